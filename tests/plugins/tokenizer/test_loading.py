"""Tokenizers from directories, GGUF files and the hub; and what is said where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.errors import ConfigFault
from miles_router.plugins.tokenizer import load_tokenizer
from miles_router.sim.tokenizer import tokenizer_dir
from tests.plugins.tokenizer.vocabularies import copy_of, int32, load, smollm2_file

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]

OWN_CODE = '''
from transformers import PreTrainedTokenizer

class OwnTokenizer(PreTrainedTokenizer):
    """Characters up to U+0FFF, and an end token; slow, as code beside a model mostly is."""

    END = 0x1000

    def __init__(self, **options):
        options.setdefault("eos_token", "<end>")
        super().__init__(**options)

    @property
    def vocab_size(self):
        return self.END

    def get_vocab(self):
        return {chr(i): i for i in range(self.END)} | {"<end>": self.END}

    def _tokenize(self, text, **options):
        return [character for character in text if ord(character) < self.END]

    def _convert_token_to_id(self, token):
        return ord(token) if len(token) == 1 else self.END

    def _convert_id_to_token(self, index):
        return chr(index)

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens)

    def save_vocabulary(self, *args, **options):
        return ()
'''


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "default", "-c", code]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def refused(path_or_name: object, **options: bool) -> str:
    with pytest.raises(ConfigFault) as raised:
        load_tokenizer(str(path_or_name), **options)
    assert raised.value.key == "tokenizer"
    assert "\n" not in raised.value.message
    return raised.value.message


def test_importing_the_package_imports_no_library_of_tokenizers() -> None:
    done = python(
        "import sys, miles_router.plugins.tokenizer\n"
        "print({'transformers', 'tokenizers', 'huggingface_hub', 'torch'} & set(sys.modules))"
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_loading_prints_nothing_and_leaves_the_environment_alone() -> None:
    done = python(
        "import os; before = dict(os.environ)\n"
        "from miles_router.plugins.tokenizer import load_tokenizer, read_expert_shape\n"
        f"tokenizer = load_tokenizer({str(tokenizer_dir())!r})\n"
        f"load_tokenizer({str(smollm2_file())!r})\n"
        f"read_expert_shape({str(tokenizer_dir())!r})\n"
        "assert dict(os.environ) == before\n"
        "print(tokenizer.encode('the work', is_continuation=False).text.decode())"
    )
    assert (done.stdout, done.stderr) == ("the work\n", "")


def test_a_directory_and_a_gguf_file() -> None:
    for name, source in (("sim", tokenizer_dir()), ("smollm2", smollm2_file())):
        tokenizer = load_tokenizer(str(source))
        assert tokenizer.name == str(source)
        assert tokenizer.fingerprint == load(name).adapter.fingerprint


def test_a_path_may_be_relative_to_here_or_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of(tokenizer_dir(), tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = load("sim").adapter.fingerprint
    for path in ("model", "./model", "~/model"):
        assert load_tokenizer(path).fingerprint == expected


@pytest.mark.parametrize("path", ["./missing", "/missing/model", "~/missing.gguf", "~no-such-user"])
def test_a_path_that_is_not_there(path: str) -> None:
    assert "does not exist" in refused(path)


def test_files_that_are_no_tokenizer(tmp_path: Path) -> None:
    assert "give the directory" in refused(tokenizer_dir() / "tokenizer.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty} holds no tokenizer" in refused(empty)
    (empty / "model.gguf").write_bytes(b"")
    assert f"give {empty}/model.gguf" in refused(empty)
    assert "an empty name" in refused("")
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"nothing of the kind")
    assert "is no GGUF file" in refused(gguf)
    folder = tmp_path / "folder.gguf"
    folder.mkdir()
    assert "holds no tokenizer" in refused(folder)


@pytest.mark.parametrize("text", ["", "{", '{"model": {"type": "none"}}', "[]"])
def test_a_damaged_tokenizer(tmp_path: Path, text: str) -> None:
    model = copy_of(tokenizer_dir(), tmp_path / "model")
    (model / "tokenizer.json").write_text(text)
    assert f"cannot load a tokenizer from {model}" in refused(model)


def test_a_name_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refused("no-such-owner/no-such-model")
    assert "no-such-owner/no-such-model" in message
    assert "check the name, or download it and give its directory" in message


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def from_pretrained(*_args: object, **_options: object) -> None:
        raise ImportError("it requires the SentencePiece library")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", from_pretrained)
    message = refused(tokenizer_dir())
    assert "needs a package that is not installed: it requires the SentencePiece" in message


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model with a tokenizer in code of its own."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    model = tmp_path / "own"
    model.mkdir()
    (model / "own_tokenizer.py").write_text(OWN_CODE)
    config: dict[str, Any] = {
        "tokenizer_class": "OwnTokenizer",
        "auto_map": {"AutoTokenizer": ["own_tokenizer.OwnTokenizer", None]},
    }
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    known = set(sys.modules)
    yield model
    for name in set(sys.modules) - known:
        if name.startswith("transformers_modules"):
            del sys.modules[name]


def test_code_beside_a_model_runs_only_where_it_is_trusted(own_code: Path) -> None:
    assert "give --trust-remote-code if you trust it" in refused(own_code)


def test_a_slow_tokenizer_with_code_of_its_own(own_code: Path) -> None:
    tokenizer = load_tokenizer(str(own_code), trust_remote_code=True)
    run = tokenizer.encode("né<end>a b", is_continuation=False)
    assert run.id_array.tolist() == [*map(ord, "né"), 0x1000, *map(ord, "a b")]
    assert run.length_array.tolist() == [1, 2, 5, 1, 1, 1]
    assert tokenizer.spell(run.id_array, skip_special_tokens=False) == run
    dropped = tokenizer.encode("a你b", is_continuation=True)
    assert dropped.id_array.tolist() == [ord("a"), ord("b")]
    assert dropped.length_array.tolist() == [1, 4]
    shown = tokenizer.spell(int32([ord("a"), 0x1000, ord("é")]), skip_special_tokens=True)
    assert (shown.text.decode(), shown.length_array.tolist()) == ("aé", [1, 0, 2])
    assert tokenizer.vocab_size == 0x1001
    assert len(tokenizer.fingerprint) == 64


def test_a_tokenizer_that_cannot_continue_a_text_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    names = ["[UNK]", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    message = refused(tmp_path)
    assert "puts a space before every text" in message
