"""What the benchmarks measure with: CPU and memory of processes, quantiles, one row of a table."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path


def show(what: str, figure: str, bound: str = "-") -> None:
    print(f"{what:<58} {figure:>34}   bound {bound}", flush=True)


def spread(values: list[float], unit: str) -> str:
    """The median, and from where to where."""
    middle = statistics.median(values)
    return f"{middle:.2f} {unit} [{min(values):.2f}-{max(values):.2f}]"


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads together, to the nanosecond.

    The kernel has a clock for every process (clock_getcpuclockid(3)); /proc/PID/stat counts in
    ticks of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Quiet:
    """How much of the machine was taken by others since this was made."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = [os.getpid(), *pids]
        self._before = self._read()

    def _read(self) -> tuple[float, float, float]:
        words = Path("/proc/stat").read_text(encoding="ascii").split()[1:9]
        ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in words]
        return sum(ticks), sum(ticks) - ticks[3] - ticks[4], sum(map(cpu_s, self._pids))

    def foreign_share(self) -> float:
        total, busy, own = (
            after - before for after, before in zip(self._read(), self._before, strict=True)
        )
        return max(0.0, busy - own) / total


def environment() -> dict[str, str]:
    """With compiled modules kept, as where the router is installed."""
    kept = str(Path(tempfile.gettempdir()) / "bench-pycache")
    # An empty variable is none to Python, and stays so where this is merged into another one.
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": kept}


def port_in(log: Path) -> int | None:
    """Where the router of this log listens, once it does."""
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        if '"event": "listening"' in line:
            return int(json.loads(line)["url"].rpartition(":")[2])
    return None
