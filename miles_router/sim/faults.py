"""What a simulated worker does wrong, and when: a small language and the table of active faults.

Grammar: `KIND[=VALUE][:key=value,...]`, for example `hang:count=2,path=/generate`, `status=503`,
`reset:probability=0.1,count=all`. Pure: this decides, `misbehave` does. Invariant: a fault is
used up after `count` requests and never touches the `/sim/` routes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

REFUSE = "refuse"
EXIT = "exit"

KINDS: dict[str, tuple[str, ...]] = {
    "refuse": ("seconds",),
    "reset": (),
    "close": (),
    "hang": (),
    "truncate": ("bytes",),
    "truncate_chunked": ("bytes",),
    "garbage": (),
    "slow": ("bytes", "delay_s"),
    "status": ("code",),
    "gzip": (),
    "long_length": ("bytes",),
    "short_length": ("bytes",),
    "html": (),
    "list": (),
    "early": ("code",),
    "exit": ("code",),
}
"""Each kind with the keys it takes besides path, count, after and probability."""

_VALUE_KEYS = {
    "refuse": "seconds",
    "status": "code",
    "early": "code",
    "exit": "code",
    "truncate": "bytes",
    "truncate_chunked": "bytes",
    "long_length": "bytes",
    "short_length": "bytes",
    "slow": "delay_s",
}
_FIELD_OF_INTEGER = {"after": "after", "code": "code", "status": "code", "bytes": "size_bytes"}
_DEFAULT_CODES = {"status": 500, "early": 413, "exit": 13}


class FaultSyntaxError(ValueError):
    """A fault text that means nothing; the message says what would."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misbehaviour and the requests it applies to.

    Attributes:
        kind: one of `KINDS`.
        path: the request path it applies to; `*` at the end matches any rest.
        count: requests it applies to; None for all.
        after: matching requests that are let through first.
        probability: chance for each matching request.
        code: status (`status`, `early`) or exit code (`exit`).
        seconds: how long `refuse` keeps the listener closed.
        size_bytes: the key `bytes`: where to cut, by how much to lie, or the size of a slow piece.
        delay_s: pause between the pieces of `slow`.
    """

    kind: str
    path: str = "/generate"
    count: int | None = 1
    after: int = 0
    probability: float = 1.0
    code: int = 500
    seconds: float = 1.0
    size_bytes: int | None = None
    delay_s: float = 0.05

    def matches(self, path: str) -> bool:
        """Whether a request for `path` (without its query) is meant."""
        if path.startswith("/sim/") and not self.path.startswith("/sim/"):
            return False
        if self.path.endswith("*"):
            return path.startswith(self.path[:-1])
        return path == self.path


def _number(key: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        value = kind(text)
    except ValueError:
        raise FaultSyntaxError(f"{key}={text}: {key} takes a number.") from None
    if not value >= 0:
        raise FaultSyntaxError(f"{key}={text}: {key} must not be negative.")
    return value


def _set(fault: Fault, key: str, text: str) -> Fault:
    if key == "path":
        if not text.startswith("/"):
            raise FaultSyntaxError(f"path={text}: a path starts with '/'.")
        return replace(fault, path=text)
    if key == "count":
        return replace(fault, count=None if text == "all" else int(_number(key, text, int)))
    if key in _FIELD_OF_INTEGER:
        value: Any = int(_number(key, text, int))
        return replace(fault, **{_FIELD_OF_INTEGER[key]: value})
    share: Any = float(_number(key, text, float))
    return replace(fault, **{key: share})


def parse_fault(text: str) -> Fault:
    """Read one fault.

    Raises:
        FaultSyntaxError: unknown kind or key, or a value that is no number.
    """
    head, _, rest = text.strip().partition(":")
    kind, has_value, value = head.partition("=")
    if kind not in KINDS:
        raise FaultSyntaxError(f"unknown fault {kind!r}; known are: {', '.join(KINDS)}.")
    fault = Fault(kind, code=_DEFAULT_CODES.get(kind, 500))
    pairs = [pair.partition("=") for pair in rest.split(",") if pair]
    settings = [(key, given) for key, _, given in pairs]
    if has_value:
        if kind not in _VALUE_KEYS:
            raise FaultSyntaxError(f"{kind} takes no value; write '{kind}'.")
        settings.insert(0, (_VALUE_KEYS[kind], value))
    allowed = {*KINDS[kind]}
    allowed |= set() if kind == REFUSE else {"path", "count", "after", "probability"}
    allowed |= {"status"} if kind == "status" else set()
    for key, given in settings:
        if key not in allowed:
            raise FaultSyntaxError(
                f"{kind} does not take {key!r}; it takes {', '.join(sorted(allowed))}."
            )
        fault = _set(fault, key, given)
    if fault.probability > 1:
        raise FaultSyntaxError(f"probability={fault.probability:g} must be from 0 to 1.")
    return fault


@dataclass(slots=True)
class _Active:
    fault: Fault
    seen: int = 0
    used: int = 0


@dataclass(slots=True)
class FaultTable:
    """The active faults, asked once for each request; the oldest that applies wins."""

    rng: random.Random
    _active: list[_Active] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Activate a fault."""
        self._active.append(_Active(fault))

    def clear(self) -> None:
        """Behave from now on."""
        self._active.clear()

    def take(self, path: str) -> Fault | None:
        """The fault this request gets, which counts as used; None for a proper answer."""
        for active in self._active:
            fault = active.fault
            if not fault.matches(path):
                continue
            active.seen += 1
            if active.seen <= fault.after:
                continue
            if fault.probability < 1 and self.rng.random() >= fault.probability:
                continue
            active.used += 1
            if fault.count is not None and active.used >= fault.count:
                self._active.remove(active)
            return fault
        return None

    def listed(self) -> list[dict[str, object]]:
        """The active faults for `GET /sim/fault`."""
        return [
            {
                "kind": active.fault.kind,
                "path": active.fault.path,
                "count": active.fault.count,
                "used": active.used,
            }
            for active in self._active
        ]
