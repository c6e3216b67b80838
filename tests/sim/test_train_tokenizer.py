from __future__ import annotations

import json
from itertools import islice

from miles_router.sim.train_tokenizer import DATA_PATH, VOCABULARY_SIZE, corpus, train


def test_the_shipped_file_is_what_the_script_makes() -> None:
    shipped = json.loads(DATA_PATH.read_text(encoding="utf-8"))
    made = json.loads(train().to_str())
    assert made["model"]["vocab"] == shipped["model"]["vocab"]
    assert made["model"]["merges"] == shipped["model"]["merges"]
    assert made["added_tokens"] == shipped["added_tokens"]


def test_the_shipped_file_is_small_and_has_the_promised_size() -> None:
    assert DATA_PATH.stat().st_size < 200_000
    vocabulary = json.loads(DATA_PATH.read_text(encoding="utf-8"))["model"]["vocab"]
    assert len(vocabulary) == VOCABULARY_SIZE


def test_the_corpus_is_the_same_every_time() -> None:
    assert list(islice(corpus(), 200)) == list(islice(corpus(), 200))
