"""Starting the worker: what can be loaded, what is refused, and how it says so."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from examples.hf_worker.loading import Loaded

pytestmark = pytest.mark.real

SCRIPT = Path(__file__).parents[2] / "examples" / "transformers_worker.py"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    from examples.hf_worker.loading import LoadError, find_source

    with pytest.raises(LoadError, match="nowhere does not exist"):
        find_source(str(tmp_path / "nowhere"), None)
    with pytest.raises(LoadError, match=r"holds no config\.json"):
        find_source(str(tmp_path), None)


def test_a_context_beyond_the_model_is_refused(tiny: Loaded) -> None:
    from examples.hf_worker.loading import LoadError, model_context

    assert model_context(tiny.model, 100) == 100
    with pytest.raises(LoadError, match="exceeds the 2048 positions"):
        model_context(tiny.model, 4096)


def test_a_recurrent_model_is_refused() -> None:
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    from examples.hf_worker.loading import LoadError, check_batchable

    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2))
    with pytest.raises(LoadError, match="MambaForCausalLM keeps more than keys and values"):
        check_batchable(model)


def test_the_script_serves_until_it_is_told_to_stop(tiny_dir: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--port=0", f"--model={tiny_dir}", "--max-batch=2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            url = line.split("ready at ")[1].split(":  ")[0].split(": ")[0]
            assert httpx.get(f"{url}/health", timeout=30).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert process.stdout.read() == ""


def test_a_failed_start_is_one_line_and_status_1(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--model", str(tmp_path / "nowhere")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "does not exist" in result.stderr
