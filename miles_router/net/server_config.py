"""How long a router is patient with its clients, and how many may wait to be taken.

Plain numbers: who reads them need not load Hypercorn. This file must not know connections.
"""

from __future__ import annotations

# Bursts of thousands of rollouts connect at once; the kernel caps this at net.core.somaxconn.
BACKLOG = 4096
# Clients keep pools of connections between rollout phases: minutes, not Hypercorn's 5 s. It also
# bounds how long an unfinished request head may take.
KEEP_ALIVE_S = 600.0
# Between two pieces of a body nothing keeps a client waiting but its own network.
BODY_PAUSE_S = 60.0
