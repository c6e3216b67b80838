from __future__ import annotations

import pytest

from miles_router.tui.names import short_id, short_url, worker_of
from tests.tui import pool_pictures as pictures


@pytest.mark.parametrize(
    ("worker_id", "others", "short"),
    [
        ("w3fa9c01d22bb", [], "w3fa9c"),
        ("w3fa9c01d22bb", ["w3fa9c01d22bb", "w000000000000"], "w3fa9c"),
        ("w3fa9c01d22bb", ["w3fa9c999999"], "w3fa9c0"),
        ("w1", ["w12"], "w1"),
        ("w1", [], "w1"),
    ],
)
def test_a_short_id_names_one_worker(worker_id: str, others: list[str], short: str) -> None:
    assert short_id(worker_id, others) == short


def test_urls() -> None:
    assert short_url("http://10.0.0.1:30000") == "10.0.0.1:30000"
    assert short_url("https://worker:443") == "https://worker:443"


def test_workers_are_found_by_id() -> None:
    pool = pictures.picture(3)
    assert worker_of(pool, pool.workers[2].id) is pool.workers[2]
    assert worker_of(pool, "w-none") is None
    assert worker_of(None, "w-none") is None
