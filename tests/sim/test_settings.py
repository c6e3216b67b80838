from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from miles_router.sim import SimSettings


def test_the_fields_that_other_parts_rely_on() -> None:
    assert [field.name for field in dataclasses.fields(SimSettings)] == [
        *("host", "port", "weight_version", "seed", "model_path", "tokens_per_s", "max_running"),
        *("context_tokens", "health_delay_s", "incremental_streaming", "routed_experts"),
        *("num_layers", "num_experts", "top_k", "api_key", "max_queued", "drift", "fault"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000),
        ("tokens_per_s", -1.0),
        ("max_running", 0),
        ("top_k", 65),
        ("drift", 1.5),
        *(
            (name, odd)
            for name in ("tokens_per_s", "health_delay_s")
            for odd in (math.inf, math.nan)
        ),
    ],
)
def test_values_no_worker_could_run_with_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(SimSettings(), **{name: value})
