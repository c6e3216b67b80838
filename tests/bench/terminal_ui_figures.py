"""What the terminal UI's benchmark finds, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.measuring import show, spread

PACED_HZ = 100
MODES = ("headless", "embedded", "attached")


@dataclass(slots=True)
class Figures:
    """Of one router in one turn. Seconds, and requests per second.

    `cpu_share`: CPU of the router with its UI, or of an attached UI, in cores, while requests come
    at `PACED_HZ`. `foreign_share`: of the machine, the most that others took in a measurement.
    """

    saturated_hz: float = 0.0
    saturated_p99_s: float = 0.0
    paced_p50_s: float = 0.0
    paced_p99_s: float = 0.0
    cpu_share: float = 0.0
    foreign_share: float = 0.0


def fields(figures: Figures) -> dict[str, float]:
    return {name: getattr(figures, name) for name in Figures.__slots__}


def report(found: dict[str, list[Figures]], paints: list[tuple[float, float]]) -> None:
    base = found["headless"]
    for mode, bound in (("embedded", ">= 0.85 x"), ("attached", ">= 0.97 x")):
        ratios = [
            one.saturated_hz / other.saturated_hz
            for one, other in zip(found[mode], base, strict=True)
        ]
        show(f"requests/s at saturation, {mode} UI, of headless", spread(ratios, "x"), bound)
    rates = [one.saturated_hz for one in base]
    show("  requests/s of the headless router", spread(rates, "/s"), "-")
    for mode in MODES:
        p99 = [one.saturated_p99_s * 1e3 for one in found[mode]]
        show(f"  p99 at saturation, {mode}", spread(p99, "ms"), "-")
    for mode in MODES:
        p99 = [one.paced_p99_s * 1e3 for one in found[mode]]
        show(f"p99 at {PACED_HZ} requests/s, {mode}", spread(p99, "ms"), "-")
    for mode in MODES[1:]:
        added = [
            (one.paced_p99_s - other.paced_p99_s) * 1e3
            for one, other in zip(found[mode], base, strict=True)
        ]
        show(f"  added by the {mode} UI", spread(added, "ms"), "<= 2 ms")
    ui = {
        "embedded": [
            one.cpu_share - other.cpu_share
            for one, other in zip(found["embedded"], base, strict=True)
        ],
        "attached": [one.cpu_share for one in found["attached"]],
    }
    for mode, shares in ui.items():
        what = f"CPU of the {mode} UI at 5 Hz, {PACED_HZ} requests/s"
        show(what, spread([share * 100 for share in shares], "%"), "<= 6 %")
    foreign = [one.foreign_share * 100 for figures in found.values() for one in figures]
    show("  of the machine, taken by others meanwhile", spread(foreign, "%"), "-")
    took, cpu = zip(*paints, strict=True)
    show("start to first paint, no token cache", spread(list(took), "s"), "<= 1 s")
    show("  CPU time of it", spread(list(cpu), "s"), "-")
