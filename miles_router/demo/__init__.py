"""The demonstration: a real rollout through a router while its workers fail, every answer checked.

settings    every choice, one frozen dataclass
plan        dialogues, how their clients ask, who is interrupted (pure)
log_dir     where its logs are kept
processes   the router and the workers as child processes
steering    the router's admin calls, from trio
rollout     drives the dialogues over HTTP and records each exchange
incidents   drain, undrain, kill, come back, new weights, at given progress
latency     what the router adds, measured before the rollout
oracle      what a simulated worker must have answered (pure)
transcript  what the tokens of a dialogue must be (pure)
retrieval   every trajectory read back from the router and compared
verify      answers against expectations, found faults (pure)
report      the tables at the end (pure rows)
progress    the live line
scenario    what one demonstration consists of, and running it
alive       the demonstration in the terminal UI, without an end and without checks
run, real   the demonstration with simulated workers, and with a real model
"""

from __future__ import annotations

from miles_router.demo.run import main

__all__ = ["main"]
