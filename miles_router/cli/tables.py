"""Tables on the terminal: rich where a person looks, plain aligned columns where a program reads.

Rows are made by pure functions; only what is called `write_...` touches a stream.
"""

from __future__ import annotations

import io
import json
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from miles_router.client import Worker

Row = tuple[str, ...]

WORKER_HEADERS: Row = (
    "ID", "URL", "STATUS", "INFLIGHT", "SERVED", "ERRORS", "WEIGHTS", "PROBE", "SINCE", "REASON"
)  # fmt: skip
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_COLOUR = {
    "active": "green",
    "suspect": "yellow",
    "probation": "yellow",
    "stale": "yellow",
    "draining": "cyan",
    "drained": "cyan",
    "quarantined": "red",
}


def worker_row(worker: Worker) -> Row:
    """One worker, in the order of `WORKER_HEADERS`; `-` where nothing is known."""
    probe = worker.last_probe
    return (
        worker.id,
        worker.url,
        worker.status,
        str(worker.inflight),
        str(worker.served),
        str(worker.errors),
        worker.weight_version or "-",
        "-" if probe is None else f"{probe.outcome} {show_age(probe.age_s)} ago",
        show_age(worker.since_s),
        worker.reason or "-",
    )


def show_age(age_s: float | None) -> str:
    """A span of time in its largest whole unit: 45s, 12m, 3h, 2d."""
    if age_s is None:
        return "-"
    for unit_s, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if age_s >= unit_s:
            return f"{int(age_s // unit_s)}{name}"
    return f"{int(age_s)}s"


def aligned(headers: Row, rows: Sequence[Row]) -> str:
    """Columns padded to their widest cell, two spaces apart, no line longer than its text."""
    table = [headers, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    return "\n".join(lines) + "\n"


def write_table(headers: Row, rows: Sequence[Row]) -> None:
    """Print a table to standard output."""
    if sys.stdout.isatty():
        _write_rich(headers, rows)
    else:
        sys.stdout.write(aligned(headers, rows))


def write_json(text: str) -> None:
    """Print JSON as it came; characters that standard output lacks become JSON's own escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    sys.stdout.write(text.rstrip("\n") + "\n")


def escape_what_is_lacking(stream: TextIO) -> None:
    """Let `stream` show characters that its encoding lacks as escapes, instead of failing."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _write_rich(headers: Row, rows: Sequence[Row]) -> None:
    from rich import box  # noqa: PLC0415  only people on a terminal pay for the import
    from rich.console import Console  # noqa: PLC0415  same
    from rich.table import Table  # noqa: PLC0415  same
    from rich.text import Text  # noqa: PLC0415  same

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOUR.get(cell, "")) for cell in row))
    Console().print(table)
