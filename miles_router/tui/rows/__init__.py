"""What the tables and lists of the screen show, row by row, as text and tones."""

from miles_router.tui.rows.fields import Pair, event_fields, field_lines, log_fields
from miles_router.tui.rows.lines import (
    EVENT_FIELDS,
    LOG_FIELDS,
    event_line,
    log_lines,
)
from miles_router.tui.rows.requests import (
    REQUEST_COLUMNS,
    REQUEST_FIELDS,
    REQUEST_SORT,
    RequestRow,
    request_layout,
    request_rows,
)
from miles_router.tui.rows.table import Cell, Column, Layout, Line, Sort, Tone
from miles_router.tui.rows.worker import WorkerRow, short_url
from miles_router.tui.rows.worker_columns import COLUMNS, worker_layout
from miles_router.tui.rows.workers import DEFAULT_SORT, WORKER_FIELDS, worker_rows

__all__ = [
    "COLUMNS",
    "DEFAULT_SORT",
    "EVENT_FIELDS",
    "LOG_FIELDS",
    "REQUEST_COLUMNS",
    "REQUEST_FIELDS",
    "REQUEST_SORT",
    "WORKER_FIELDS",
    "Cell",
    "Column",
    "Layout",
    "Line",
    "Pair",
    "RequestRow",
    "Sort",
    "Tone",
    "WorkerRow",
    "event_fields",
    "event_line",
    "field_lines",
    "log_fields",
    "log_lines",
    "request_layout",
    "request_rows",
    "short_url",
    "worker_layout",
    "worker_rows",
]
