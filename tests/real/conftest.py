"""Fixtures of the tests with real models: a tiny model on disk, loaded, and served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.real.tiny import Worker, save_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import trio

    from examples.hf_worker.loading import Loaded
    from tests.real.tiny import StartWorker


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session")
def tiny(tiny_dir: Path) -> Loaded:
    from examples.hf_worker.loading import find_source, load

    return load(find_source(str(tiny_dir), None), None)


@pytest.fixture
async def start_worker(nursery: trio.Nursery) -> AsyncIterator[StartWorker]:
    """Start workers on free ports; keyword arguments are command-line options."""
    from examples.hf_worker.__main__ import build_parser, build_service, run_server

    clients: list[httpx.AsyncClient] = []

    async def start(loaded: Loaded, **options: object) -> Worker:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        service = build_service(build_parser().parse_args(["--port=0", *flags]), loaded)
        urls: list[str] = await nursery.start(run_server, service)
        clients.append(httpx.AsyncClient(base_url=urls[0], timeout=60))
        return Worker(service, clients[-1])

    yield start
    for client in clients:
        await client.aclose()
    nursery.cancel_scope.cancel()


@pytest.fixture
async def worker(start_worker: StartWorker, tiny: Loaded) -> Worker:
    return await start_worker(tiny)
