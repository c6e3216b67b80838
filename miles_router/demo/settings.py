"""Every choice of the demonstration with simulated workers, as one frozen value.

The docstring of a field is its help text on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  the command line reads the annotations at run time


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How much is generated, by how many workers, within what time."""

    prompts: int = 8
    """Different prompts."""

    samples: int = 4
    """Dialogues that start from each prompt, as a GRPO group does."""

    turns: int = 3
    """Requests in each dialogue; a tool answers between two of them."""

    workers: int = 3
    """Simulated workers; at least 2, as one of them is killed and one drained."""

    concurrency: int = 12
    """Dialogues that run at once."""

    max_new_tokens: int = 48
    """Tokens of one answer at most; at least half as many are generated."""

    tokens_per_s: float = 40.0
    """Speed of a simulated worker for each request it runs."""

    seed: int = 0
    """Seed of the prompts and of every answer: equal seeds give equal dialogues."""

    keep_logs: Path | None = None
    """Directory for the logs of the router and the workers and for all exchanges; none: they are
    not kept."""

    tui: bool = False
    """Show it in the terminal UI, and let the rollout go on until `q`; nothing is checked then."""

    time_limit_s: float = 55.0
    """Seconds after which the demonstration gives up and says what was still missing."""

    def __post_init__(self) -> None:
        """Refuse values that show nothing.

        Raises:
            ValueError: names the setting and what it must be.
        """
        if self.tui and self.keep_logs is not None:
            raise ValueError("keep_logs does not go with tui: nothing is checked there.")
        least = {
            "prompts": 1,
            "samples": 1,
            "turns": 1,
            "workers": 2,
            "concurrency": 1,
            "max_new_tokens": 2,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value < low:
                raise ValueError(f"{name} is {value} but must be at least {low}.")
        for name in ("tokens_per_s", "time_limit_s"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} is {value:g} but must be above 0.")
