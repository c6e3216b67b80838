from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from miles_router.web.engine_metrics import merge_metrics
from tests.web.rig import open_router, open_sims

A, B = "http://10.0.0.1:1", "http://10.0.0.2:2"
PAGE = """\
# HELP sglang:tokens_total Tokens
# TYPE sglang:tokens_total counter
sglang:tokens_total{model_name="m"} 5.0
# HELP sglang:latency Latency
# TYPE sglang:latency histogram
sglang:latency_bucket{le="1.0",model_name="m"} 3
sglang:latency_bucket{le="+Inf",model_name="m"} 4
sglang:latency_sum{model_name="m"} 2.5
sglang:latency_count{model_name="m"} 4
# TYPE up gauge
up 1
"""


def samples(page: str) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    ]


def test_each_sample_is_labelled_with_its_worker() -> None:
    merged = samples(merge_metrics([(A, PAGE), (B, PAGE)]))
    assert len(merged) == 2 * len(samples(PAGE))
    for url in (A, B):
        own = [
            (name, {k: v for k, v in labels.items() if k != "worker"}, value)
            for name, labels, value in merged
            if labels["worker"] == url
        ]
        assert own == samples(PAGE)


def test_families_are_declared_once_and_stay_together() -> None:
    lines = merge_metrics([(A, PAGE), (B, PAGE)]).splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        line for line in PAGE.splitlines() if line.startswith("#")
    ]
    families = [line.split("{")[0].split("_")[0] for line in lines if not line.startswith("#")]
    assert families == sorted(families, key=["sglang:tokens", "sglang:latency", "up"].index)


@pytest.mark.parametrize(
    ("sample", "merged"),
    [
        ("up 1", f'up{{worker="{A}"}} 1'),
        ("up{} 1", f'up{{worker="{A}"}} 1'),
        ('up{a="}"} 1', f'up{{worker="{A}",a="}}"}} 1'),
        ('up{a="x\\"y,worker=\\"z"} 1 17', f'up{{worker="{A}",a="x\\"y,worker=\\"z"}} 1 17'),
        ('up{a="1",} NaN', f'up{{worker="{A}",a="1"}} NaN'),
        ('up{worker="w7"} 1', f'up{{worker="{A}",exported_worker="w7"}} 1'),
        ('up{a="1", worker="w7"} 1', f'up{{worker="{A}",a="1",exported_worker="w7"}} 1'),
        ("<html>", None),
        ("# EOF", None),
        ("up", None),
        ("up{a=1} 1", None),
    ],
)
def test_labels_survive_and_what_is_no_sample_does_not(sample: str, merged: str | None) -> None:
    assert merge_metrics([(A, sample)]) == ("" if merged is None else merged + "\n")


def test_an_odd_url_cannot_break_the_page() -> None:
    [(_, labels, _)] = samples(merge_metrics([('http://x"\\\n', "up 1")]))
    assert labels == {"worker": 'http://x"\\\n'}


@pytest.mark.loopback
async def test_the_route_merges_what_the_workers_say() -> None:
    async with open_sims(2) as sims, open_router() as rig:
        for sim in sims:
            rig.join(sim.url)
        rig.join("http://127.0.0.1:1")
        answer = await rig.client.get("/engine_metrics")
        assert answer.status == 200
        assert str(answer.header("content-type")).startswith("text/plain; version=")
        found = samples(answer.body.decode())
        workers = {
            labels["worker"] for name, labels, _ in found if name == "sglang:num_running_reqs"
        }
        assert workers == {sim.url for sim in sims}
        assert {labels["worker"] for _, labels, _ in found} == workers
        # A worker's own labels stay: those of its web server say no model.
        http = [labels for name, labels, _ in found if name == "sglang:http_requests_active"]
        assert {labels["endpoint"] for labels in http} == {"/metrics"}
        others = [labels for name, labels, _ in found if not name.startswith("sglang:http_")]
        assert all(labels["model_name"] == "sim/bpe" for labels in others)
