"""miles-router: between reinforcement-learning rollouts and a pool of SGLang workers.

The ideas, and where they live:

- A **worker** is one inference server. `core.roster` and `core.pool` hold them; `core.lifecycle` is
  the table of their states; `core.health` judges probes; `core.versions` knows the newest weights.
- A request waits as a ticket and runs under a **lease** (`core.admission`); a **policy** picks the
  worker (`core.policies`), sessions stay where they were (`core.affinity`).
- `core` decides without a clock, a socket or a loop; `net` moves bytes: `gate` reads what clients
  send, `exchange` relays one request through `attempt`s, `upstream` speaks HTTP to workers.
- `tasks` run beside the requests: health, drain deadlines, watchdog.
- `web` is HTTP as clients see it: `guard` outermost, then middleware (`plugins`), then `front`.
- `assemble` makes the parts, `app` runs them in one nursery, `cli` parses, `client` calls a router.
- `sim` is a simulated worker with faults, `demo` a rollout against it; the router knows neither.

Errors are one tree in `errors`; settings one frozen value in `config`.
"""

__version__ = "0.1.0"
