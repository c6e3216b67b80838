"""The settings of a router: one frozen value, checked when it is made.

Flags, `router.toml` and `MILES_ROUTER_*` variables all fill `Settings`; the annotations tell the
command line how, and the text under each field is its help. Pure: it reads no file and no
environment (`sources.py` does). Invariant: a `Settings` that exists can be used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path  # noqa: TC003  the command line reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from miles_router.config import values
from miles_router.config.checks import check_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LISTEN = Group("Listening", sort_key=1)
_POOL = Group("Workers", sort_key=2)
_ACCESS = Group("Access", sort_key=3)
_HEALTH = Group("Health checks", sort_key=4)
_RELAY = Group("Relaying", sort_key=5)
_QUEUE = Group("Load and queue", sort_key=6)
_AFFINITY = Group("Session affinity", sort_key=7)
_CACHE = Group("Token cache", sort_key=8)
_REST = Group("Logs and middleware", sort_key=9)


def _read_size(_: Any, tokens: Sequence[Any]) -> int:
    return values.parse_size(tokens[0].value)


def _flag(group: Group, **more: Any) -> Parameter:
    return Parameter(group=group, **more)


def _size(group: Group) -> Parameter:
    """A flag that takes bytes, with or without a unit."""
    return _flag(group, converter=_read_size, show_default=values.show_size, metavar="SIZE")


def _optional(group: Group, **more: Any) -> Parameter:
    """A flag whose default is the absence of a value."""
    return Parameter(group=group, show_default="none", **more)


def _many(group: Group, metavar: str, **more: Any) -> Parameter:
    """A flag that takes one or several values and may be repeated."""
    return Parameter(
        group=group,
        metavar=f"{metavar}...",
        show_default="none",
        consume_multiple=(1, None),
        negative="",
        **more,
    )


# Among the middleware it stands for the token cache, which is built in.
RADIX_TREE_MIDDLEWARE = "miles.router.middleware_hub.radix_tree_middleware.RadixTreeMiddleware"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """Everything that can be chosen when a router starts."""

    host: Annotated[str, _flag(_LISTEN, alias="--sglang-router-ip")] = "127.0.0.1"
    """Address to listen on; any but a loopback address needs an admin token."""
    port: Annotated[int, _flag(_LISTEN, alias="--sglang-router-port")] = 30000
    """TCP port to listen on; 0 takes a free one."""
    shutdown_grace_s: Annotated[float, _flag(_LISTEN)] = 30.0
    """Seconds that running requests get to finish after SIGTERM or SIGINT."""

    workers: Annotated[tuple[str, ...], _many(_POOL, "URL", name="--worker")] = ()
    """Workers, as http://HOST:PORT; more can be added while the router runs."""
    policy: Annotated[Literal["least_inflight", "round_robin", "random"], _flag(_POOL)] = (
        "least_inflight"
    )
    """How to choose among the available workers."""
    allow_workers: Annotated[tuple[str, ...], _many(_POOL, "NET|HOST", name="--allow-worker")] = ()
    """Networks (10.0.0.0/8) and host names that worker URLs may point to; none: loopback
    and private networks."""
    open_registration: Annotated[tuple[str, ...], _many(_POOL, "NET")] = ()
    """Networks whose machines may register as workers without the admin token."""

    admin_token: Annotated[str | None, _optional(_ACCESS, metavar="TOKEN")] = None
    """Token for changing the pool, engine control and snapshots; none: every caller may.
    Prefer --admin-token-file: other users of the machine can read flags."""
    admin_token_file: Annotated[Path | None, _optional(_ACCESS)] = None
    """File that holds the admin token."""
    api_keys: Annotated[tuple[str, ...], _many(_ACCESS, "TENANT=KEY", name="--api-key")] = ()
    """Keys that callers must send as bearer token; a caller sees only what its tenant cached."""
    api_keys_file: Annotated[Path | None, _optional(_ACCESS)] = None
    """File of TENANT=KEY lines; empty lines and lines that begin with # are skipped."""
    forward_authorization: Annotated[bool, _flag(_ACCESS, show_default="off")] = False
    """Pass the caller's Authorization header on, for workers that check it themselves."""

    health_interval_s: Annotated[float, _flag(_HEALTH, alias="--rollout-health-check-interval")] = (
        10.0
    )
    """Seconds between two probes of a worker."""
    health_timeout_s: Annotated[float, _flag(_HEALTH)] = 30.0
    """Seconds after which an unanswered probe counts as failed; busy workers answer late."""
    health_failures: Annotated[
        int, _flag(_HEALTH, alias="--miles-router-health-check-failure-threshold")
    ] = 3
    """Failed probes in a row that quarantine a worker."""
    health_successes: Annotated[int, _flag(_HEALTH)] = 2
    """Good probes in a row that bring a quarantined worker back."""
    health_path: Annotated[str, _flag(_HEALTH, metavar="PATH")] = "/health"
    """Path on the worker that is probed."""

    connect_timeout_s: Annotated[float, _flag(_RELAY)] = 5.0
    """Seconds to connect to a worker."""
    first_byte_timeout_s: Annotated[
        float | None, _optional(_RELAY, alias="--miles-router-timeout")
    ] = None
    """Seconds until a worker's answer must begin. An answer that is not streamed begins when the
    generation ends, so for those this bounds the whole request."""
    idle_timeout_s: Annotated[float | None, _optional(_RELAY)] = None
    """Seconds that an answer may pause once it has begun."""
    retries: Annotated[int, _flag(_RELAY)] = 2
    """Further workers to try when a worker cannot be reached, or dies before the first byte of a
    generation. Nothing is repeated after a first byte or a timeout."""
    max_body_bytes: Annotated[int, _size(_RELAY)] = 1024**3
    """Largest request body: bytes, or with a unit such as 512MiB."""

    max_inflight_per_worker: Annotated[int | None, _optional(_QUEUE)] = None
    """Requests that one worker may hold at a time; further ones wait in the queue."""
    max_inflight_total: Annotated[
        int | None, _optional(_QUEUE, alias="--miles-router-max-connections")
    ] = None
    """Requests that all workers together may hold at a time; further ones wait in the queue."""
    queue_size: Annotated[int, _flag(_QUEUE)] = 10_000
    """Requests that may wait for a worker; one more is answered 429."""
    queue_timeout_s: Annotated[float, _flag(_QUEUE)] = 60.0
    """Seconds that a request may wait for a worker before it is answered 503."""

    affinity_margin: Annotated[int, _flag(_AFFINITY)] = 2
    """A session leaves its worker when that holds this many requests more than the least busy."""
    affinity_ttl_s: Annotated[float, _flag(_AFFINITY)] = 7200.0
    """Seconds without a request after which a session's worker is forgotten."""
    affinity_keys: Annotated[int, _flag(_AFFINITY)] = 1_000_000
    """Sessions remembered at most; 0 turns affinity off."""

    token_cache: Annotated[bool, _flag(_CACHE, show_default="off", negative="")] = False
    """Keep the exact tokens of /generate: text goes to workers as the ids they produced before, and
    /retrieve_from_text gives whole trajectories back. Needs --tokenizer."""
    tokenizer: Annotated[str | None, _optional(_CACHE, metavar="PATH|NAME")] = None
    """Tokenizer of the model that the workers serve: a directory, a .gguf file or a hub name."""
    trust_remote_code: Annotated[bool, _flag(_CACHE, show_default="off", negative="")] = False
    """Run Python code that comes with the tokenizer."""
    cache_bytes: Annotated[int, _size(_CACHE)] = 4 * 1024**3
    """Memory for tokens, texts and log-probabilities; what was unused longest goes first."""
    cache_ttl_s: Annotated[float | None, _optional(_CACHE)] = None
    """Seconds after its last turn that a trajectory is kept."""
    keep_versions: Annotated[int, _flag(_CACHE)] = 8
    """Weight versions whose trajectories are kept: the newest ones, in order of arrival."""
    capture_routed_experts: Annotated[bool, _flag(_CACHE, show_default="off", negative="")] = False
    """Ask workers for the experts that each new token was routed to (R3), and keep them."""
    routed_experts_bytes: Annotated[int, _size(_CACHE)] = 8 * 1024**3
    """Memory, or disk with --routed-experts-dir, for routed experts; the oldest go first."""
    routed_experts_dir: Annotated[Path | None, _optional(_CACHE, metavar="DIR")] = None
    """Directory that holds routed experts instead of memory."""
    journal: Annotated[Path | None, _optional(_CACHE, metavar="DIR")] = None
    """Directory for a journal of all turns, from which a restarted router knows them again."""
    gc_interval_s: Annotated[float, _flag(_CACHE)] = 30.0
    """Seconds between two sweeps of the token cache."""
    retrieve_miss: Annotated[Literal["error", "tokenize"], _flag(_CACHE)] = "error"
    """What /retrieve_from_text answers for a text never seen: an error, or tokens that are marked
    as not exact."""

    log_format: Annotated[Literal["console", "json"], _flag(_REST)] = "console"
    """Log lines for people, or one JSON object a line for programs."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _flag(_REST)] = "info"
    """Least severe log lines to write."""
    middleware: Annotated[
        tuple[str, ...], _many(_REST, "MODULE:CLASS", alias="--miles-router-middleware-paths")
    ] = ()
    """Middleware to load, outermost first, as package.module:Class."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, with a `ConfigFault` that says what to do."""
        check_settings(self)

    def __repr__(self) -> str:
        """All fields, secrets hidden."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.masked().items())
        return f"Settings({shown})"

    @property
    def has_token_cache(self) -> bool:
        """Whether the token cache is on: by its flag, or by the name that miles has for it."""
        return self.token_cache or RADIX_TREE_MIDDLEWARE in self.middleware

    @property
    def tenants_by_key(self) -> Mapping[str, str]:
        """API key to the tenant it stands for."""
        return values.tenants_by_key(self.api_keys)

    def masked(self) -> dict[str, Any]:
        """Every field by name, secrets hidden: safe to print."""
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.admin_token is not None:
            shown["admin_token"] = values.MASK
        shown["api_keys"] = values.mask_api_keys(self.api_keys)
        return shown
