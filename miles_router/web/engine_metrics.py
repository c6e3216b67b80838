"""Many workers' Prometheus pages as one: a `worker` label is added to each sample. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAMPLE = re.compile(
    r"""([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})?(\s+\S.*)"""
)
_LABEL = re.compile(r"""\s*([a-zA-Z_]\w*)\s*=\s*("(?:[^"\\]|\\.)*")\s*(?:,\s*|$)""", re.ASCII)
_COMMENT = re.compile(r"# (?:HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)")
# Samples of these suffixes belong to the family that is declared without it.
_SUFFIXES = ("_bucket", "_sum", "_count", "_total", "_created")


def merge_metrics(pages: Iterable[tuple[str, str]]) -> str:
    """One page from (worker url, page) pairs; each family is declared once, its samples together.

    Lines that are no samples (a worker may serve anything under /metrics) are left out.
    """
    families: dict[str, _Family] = {}
    for url, page in pages:
        label = f'worker="{_escape(url)}"'
        for line in page.splitlines():
            comment = _COMMENT.match(line)
            if comment is not None:
                families.setdefault(comment[1], _Family()).declare(line)
                continue
            sample = _SAMPLE.fullmatch(line.strip())
            labels = None if sample is None else _read_labels(sample[2] or "")
            if sample is not None and labels is not None:
                name, joined = sample[1], ",".join((label, *labels))
                family = families.setdefault(_family_of(name, families), _Family())
                family.samples.append(f"{name}{{{joined}}}{sample[3]}")
    lines = [
        line for family in families.values() for line in (*family.declarations, *family.samples)
    ]
    return "\n".join(lines) + "\n" if lines else ""


class _Family:
    def __init__(self) -> None:
        self.declarations: list[str] = []
        self.samples: list[str] = []

    def declare(self, line: str) -> None:
        """Keep the first HELP and the first TYPE."""
        kind = line.split(" ", 2)[1]
        if not any(kept.split(" ", 2)[1] == kind for kept in self.declarations):
            self.declarations.append(line)


def _read_labels(text: str) -> list[str] | None:
    """The labels of a sample, one `name="value"` each; None if `text` is something else.

    A `worker` label of the worker's own becomes `exported_worker`, as Prometheus has it: a name
    that stands twice would make the whole page unreadable.
    """
    labels = []
    place = 0
    while place < len(text):
        found = _LABEL.match(text, place)
        if found is None:
            return None
        name = "exported_worker" if found[1] == "worker" else found[1]
        labels.append(f"{name}={found[2]}")
        place = found.end()
    return labels


def _family_of(name: str, families: dict[str, _Family]) -> str:
    if name in families:
        return name
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and name.removesuffix(suffix) in families:
            return name.removesuffix(suffix)
    return name


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
