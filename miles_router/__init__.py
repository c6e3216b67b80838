"""miles-router: between reinforcement-learning rollouts and a pool of SGLang workers.

The ideas, and where they live:

- A **worker** is one inference server. `core.roster` and `core.pool` hold them; `core.lifecycle` is
  the table of their states; `core.health` judges probes; `core.versions` knows the newest weights.
- A request waits as a ticket and runs under a **lease** (`core.admission`); a **policy** picks the
  worker (`core.policies`), sessions stay where they were (`core.affinity`).
- `core` decides without a clock, a socket or a loop; `net` moves bytes: `gate` reads what clients
  send, `exchange` relays one request through `attempt`s, `upstream` speaks HTTP to workers.
- A **turn** is one exchange as tokens, a **trajectory** the turns of one conversation:
  `core.trajectory` stores them in `core.radix`, a tree of token ids that is searched by text.
  `core.generate` reads requests and answers, `core.alignment` lines ids up with text, `core.r3` is
  routed experts; `net.token_cache` adds threads, journal and files, `plugins.token_cache` sits
  around `/generate`, `plugins.tokenizer` adapts the model's tokenizer.
- `tasks` run beside the requests: health, drain deadlines, watchdog, sweeps of the token cache.
- `web` is HTTP as clients see it: `guard` outermost, then middleware (`plugins`), then `front`.
- `assemble` and `open_cache` make the parts, `app` runs them in one nursery; `cli` parses, `client`
  calls a router.
- `sim` is a simulated worker with faults, `demo` a rollout against it; the router knows neither.

Errors are one tree in `errors`; settings one frozen value in `config`.
"""

__version__ = "0.1.0"
