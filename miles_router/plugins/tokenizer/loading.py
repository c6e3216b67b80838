"""Find and load a tokenizer; say what to do where that is impossible.

transformers is imported only when a tokenizer is loaded, because that takes a second and 50 MB.
What it has to say goes into the error, not to the terminal.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miles_router.errors import ConfigFault

from .adapting import adapt
from .gguf import load_gguf_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.core.tokenizing import Tokenizer

_REAL = "pip install 'miles-router[real]'"
# Read by transformers when it is imported: no advice about missing frameworks on the terminal.
_QUIET = {"TRANSFORMERS_NO_ADVISORY_WARNINGS": "1", "TRANSFORMERS_VERBOSITY": "error"}
_LONGEST_REASON = 300
_WANTED = "give a directory, a .gguf file or a name on the hub"
# One of these is in the directory of every tokenizer, of whatever library.
_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "tekken*")


def load_tokenizer(path_or_name: str, *, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a model: a directory, a `.gguf` file or a name on the hub.

    Raises:
        ConfigFault: it cannot be loaded or cannot be used exactly; the message says what to do.
    """
    path = local_path(path_or_name)
    is_local = path.exists()
    unfit = _unfit(path_or_name, path)
    if unfit is not None:
        raise _fault(unfit)
    with _quiet():
        try:
            if path.is_file():
                tokenizer = _from_gguf(path)
            else:
                tokenizer = _from_pretrained(
                    str(path) if is_local else path_or_name, trust_remote_code=trust_remote_code
                )
        except Exception as error:
            raise _fault(_advice(path_or_name, error, is_local=is_local)) from error
        try:
            return adapt(tokenizer, path_or_name)
        except ConfigFault:
            raise
        except Exception as error:
            raise _fault(
                f"the tokenizer of {path_or_name} cannot be used: {reason_of(error)}"
            ) from error


def local_path(path_or_name: str) -> Path:
    """Where it is on this machine, if it is there; `~` is the home directory where there is one."""
    return Path(os.path.expanduser(path_or_name))


def _unfit(path_or_name: str, path: Path) -> str | None:
    """Why nothing can be loaded from there, as far as a look at the files tells."""
    if not path_or_name:
        return f"an empty name; {_WANTED}"
    if path.is_file():
        if path.suffix == ".gguf":
            return None
        return f"{path_or_name} is a file; give the directory it is in, or a .gguf file"
    if path.is_dir():
        if any(next(path.glob(pattern), None) for pattern in _FILES):
            return None
        found = next(path.glob("*.gguf"), None)
        hint = "" if found is None else f"; give {found}"
        return f"{path_or_name} holds no tokenizer, such as tokenizer.json{hint}"
    if path.is_absolute() or path_or_name.startswith((".", "~")):
        return f"{path_or_name} does not exist; {_WANTED}"
    return None


def _fault(message: str) -> ConfigFault:
    return ConfigFault(message, key="tokenizer")


def _from_pretrained(path_or_name: str, *, trust_remote_code: bool, **options: str) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415 - see the docstring of the module

    return AutoTokenizer.from_pretrained(
        path_or_name,
        trust_remote_code=trust_remote_code,
        clean_up_tokenization_spaces=False,
        **options,
    )


def _from_gguf(path: Path) -> Any:
    try:
        return load_gguf_tokenizer(path)
    except ImportError:
        # An older transformers: it reads the file itself, with torch and gguf.
        return _from_pretrained(str(path.parent), trust_remote_code=False, gguf_file=path.name)


def _advice(path_or_name: str, error: Exception, *, is_local: bool) -> str:
    """What went wrong and what to do, in one line."""
    reason = reason_of(error)
    if "trust_remote_code" in str(error):
        return (
            f"the tokenizer of {path_or_name} runs code of its own: read it, and give "
            "--trust-remote-code if you trust it"
        )
    if isinstance(error, ImportError):
        return (
            f"the tokenizer of {path_or_name} needs a package that is not installed: {reason}; "
            f"install it ({_REAL} brings those for GGUF files)"
        )
    if is_local:
        return f"cannot load a tokenizer from {path_or_name}: {reason}"
    return (
        f"cannot load the tokenizer {path_or_name}: it is no directory here, and the hub does not "
        f"give it ({reason}); check the name, or download it and give its directory"
    )


def load_config(path_or_name: str, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """The config.json of a model, as it is, or as the model's own code completes it.

    Raises whatever transformers raises where there is none.
    """
    with _quiet():
        from transformers import AutoConfig, PreTrainedConfig  # noqa: PLC0415

        if trust_remote_code:
            config = AutoConfig.from_pretrained(path_or_name, trust_remote_code=True)
            return dict(config.to_dict())
        return dict(PreTrainedConfig.get_config_dict(path_or_name)[0])


def reason_of(error: Exception) -> str:
    """What an error says, in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, advice and progress bars of transformers while it loads something."""
    found = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    try:
        logging = importlib.import_module("transformers.utils.logging")
    except ImportError as error:
        raise _fault(f"the token cache needs transformers: {error}") from error
    finally:
        for name, value in found.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
