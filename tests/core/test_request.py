"""What kind of request a path is, and what its body names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.request import (
    CONTROL_PATHS,
    ONE_WORKER_PATHS,
    OWN_PATHS,
    PathClass,
    Rids,
    classify,
    find_rids,
    is_batch,
    is_generation,
    matched_path,
    wants_stream,
)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/generate", "/generate"),
        ("/generate/", "/generate"),
        ("//generate", "/generate"),
        ("/./generate", "/generate"),
        ("/x/../generate", "/generate"),
        ("/%67enerate", "/generate"),
        ("/x/%2e%2e/generate", "/generate"),
        ("/generate%2F", "/generate"),
        ("/%2567enerate", "/%67enerate"),  # decoded once, as a framework does
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/../..", "/"),
        ("/Generate", "/Generate"),
    ],
)
def test_the_path_is_the_one_that_the_worker_would_match(raw: str, path: str) -> None:
    assert matched_path(raw) == path


@given(st.text(alphabet="/.%2eEfF\u0000a?", max_size=20))
def test_matching_is_total_and_leaves_no_way_around(raw: str) -> None:
    path = matched_path(raw)
    assert path.startswith("/")
    assert "//" not in path
    assert ".." not in path.split("/")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/generate", PathClass.GENERATE),
        ("/v1/chat/completions", PathClass.CHAT),
        ("/v1/completions", PathClass.COMPLETIONS),
        ("/v1/models", PathClass.OTHER),
        ("/", PathClass.OTHER),
        ("/workers", PathClass.OWN),
        ("/workers/w1", PathClass.OWN),
        ("/workersx", PathClass.OTHER),
        ("/abort_request", PathClass.OWN),
        ("/update_weights_from_disk", PathClass.CONTROL),
        ("/update_weights_from_tensor", PathClass.CONTROL),
        ("/update_weight_version", PathClass.CONTROL),
        ("/hicache/storage-backend", PathClass.CONTROL),
        ("/pause_generation", PathClass.CONTROL),
        ("/pause_generationx", PathClass.OTHER),
        ("/scale_elastic_ep", PathClass.CONTROL),
        ("/is_scaling_elastic_ep", PathClass.CONTROL),
        ("/list_external_corpora", PathClass.CONTROL),
        ("/server_info", PathClass.CONTROL),
        ("/get_server_info", PathClass.CONTROL),
        ("/model_info", PathClass.OTHER),
        ("/v1/loads", PathClass.OTHER),
    ],
)
def test_the_class_of_a_path(path: str, label: PathClass) -> None:
    assert classify(path) is label


@pytest.mark.parametrize("path", sorted(CONTROL_PATHS | ONE_WORKER_PATHS | OWN_PATHS))
@pytest.mark.parametrize("spelling", ["{}", "{}/", "/{}", "/x/..{}", "/%2e{}"])
def test_no_spelling_of_a_guarded_path_is_relayed(path: str, spelling: str) -> None:
    label = classify(matched_path(spelling.format(path)))
    assert label is (PathClass.OWN if path in OWN_PATHS else PathClass.CONTROL)
    assert not is_generation(path)


@pytest.mark.parametrize("path", ["/generate", "/v1/responses", "/v1/embeddings", "/encode"])
def test_generations_may_be_repeated(path: str) -> None:
    assert is_generation(path)


@pytest.mark.parametrize("path", ["/", "/v1/models", "/open_session", "/close_session"])
def test_other_paths_may_not(path: str) -> None:
    assert not is_generation(path)


@pytest.mark.parametrize(
    ("body", "rids"),
    [
        (b'{"rid": "a"}', ("a",)),
        (b'{"rid": ["a", "b"], "text": ["x", "y"]}', ("a", "b")),
        (b'{"rid": "a", "prompt": ["x", "y"]}', ("a_0", "a_1")),
        (b'{"rid": "a", "prompt": [[1, 2], [3]]}', ("a_0", "a_1")),
        (b'{"rid": "a", "prompt": [1, 2, 3]}', ("a",)),
        (b'{"text": "x"}', ()),
        (b'{"rid": null}', ()),
        (b'{"rid": []}', ()),
        (b'{"rid": 7}', ()),
        (b"", ()),
        (b"[]", ()),
        (b"rid=a", ()),
        (b'{"rid": "a"', ()),
        (b'{"rid": "\xff"}', ()),
        (b"\xff\xfe", ()),
        (b'{"x":' * 100_000, ()),
        (b'{"rid": "a", "stream": 1}', ("a",)),  # one odd field hides no other
        (b'{"rid": "a", "stream": "yes"}', ("a",)),
    ],
)
def test_the_rids_that_a_body_names(body: bytes, rids: tuple[str, ...]) -> None:
    assert find_rids(body).on_worker == rids


@pytest.mark.parametrize(
    ("prompts", "rids"),
    [
        (b'"text": ["x", "y", "z"]', ("a_0", "a_1", "a_2")),
        (b'"text": ["x"]', ("a_0",)),
        (b'"input_ids": [[1, 2], [3]]', ("a_0", "a_1")),
        (b'"input_ids": [ [1] ]', ("a_0",)),
        (b'"text": null, "input_ids": [[1], [2]]', ("a_0", "a_1")),
        (b'"text": []', ()),  # nothing runs
        (b'"text": "x"', ("a",)),
        (b'"input_ids": [1, 2]', ("a",)),  # one prompt of two tokens
        (b'"input_ids": []', ("a",)),
        (b'"text": 7, "input_ids": {"x": [[1]]}', ("a",)),
        (b'"text": "[x, y]"', ("a",)),
        (b'"prompts": ["x", "y"]', ("a",)),
    ],
)
def test_a_batch_runs_under_numbered_rids(prompts: bytes, rids: tuple[str, ...]) -> None:
    assert find_rids(b'{"rid": "a", ' + prompts + b"}").on_worker == rids
    assert find_rids(b"{" + prompts + b', "rid": "a"}').on_worker == rids
    each = find_rids(b'{"rid": ["p", "q"], ' + prompts + b"}")  # named one by one
    assert each.on_worker == ("p", "q")
    assert is_batch(b"{" + prompts + b"}") is (rids != ("a",))


@pytest.mark.parametrize(
    "samples",
    [
        b'"sampling_params": {"n": 2}',
        b'"sampling_params": {"max_new_tokens": 9, "n": 8, "stop": ["x"]}',
        b'"sampling_params": [{"n": 2}, {"n": 2}]',
        b'"sampling_params": [null, {"n": 2}]',
        b'"n": 2',  # /v1/completions, /v1/chat/completions
        b'"\\u006e": 2',
        b'"sampling_params": "odd", "n": 2',
        b'"n": "odd", "sampling_params": {"n": 2}',
    ],
)
def test_several_samples_run_under_ids_that_nobody_is_told(samples: bytes) -> None:
    named = b'{"rid": "a", "text": "x", ' + samples + b"}"
    assert find_rids(named) == Rids(of_caller=("a",))
    assert find_rids(named).on_worker == ()
    assert is_batch(named)
    assert find_rids(b'{"rid": ["a", "b"], "text": ["x", "y"], ' + samples + b"}") == Rids(
        of_caller=("a", "b")
    )
    assert find_rids(b'{"text": "x", ' + samples + b"}") == Rids()


@pytest.mark.parametrize(
    "samples",
    [
        b'"sampling_params": {"n": 1}',
        b'"sampling_params": {"n": null}, "n": null',
        b'"sampling_params": null',
        b'"sampling_params": {}',
        b'"sampling_params": []',
        b'"sampling_params": {"n": "2"}',
        b'"sampling_params": {"n": [2]}',
        b'"n": 1',
        b'"n": true',
        b'"input": {"n": 2}',
    ],
)
def test_one_sample_runs_under_the_id_of_its_caller(samples: bytes) -> None:
    named = b'{"rid": "a", "text": "x", ' + samples + b"}"
    assert find_rids(named) == Rids(on_worker=("a",))
    assert not is_batch(named)


@pytest.mark.parametrize("body", [b"", b"[]", b'["x"]', b"text=x", b'{"text": ["x"', b"\xff"])
def test_what_is_no_json_object_is_no_batch(body: bytes) -> None:
    assert is_batch(body) is False


@pytest.mark.parametrize(
    ("body", "stream"),
    [
        (b'{"stream": true}', True),
        (b'{"stream": false}', False),
        (b'{"stream": null}', False),
        (b"{}", False),
        (b"", False),
        (b'{"stream": true, "rid": 7}', True),
        (b'{"stream": "\xff"}', False),
    ],
)
def test_whether_a_body_asks_for_a_stream(body: bytes, stream: bool) -> None:
    assert wants_stream(body) is stream


@given(st.binary(max_size=40))
def test_no_body_breaks_the_reading(body: bytes) -> None:
    for text in (body, b'{"rid": "' + body + b'"}', b'{"stream": ' + body + b"}"):
        assert isinstance(find_rids(text).on_worker, tuple)
        assert isinstance(
            find_rids(text[:-1] + b', "rid": "a", "n": ' + body + b"}").on_worker, tuple
        )
        assert isinstance(wants_stream(text), bool)
        assert isinstance(is_batch(text), bool)
