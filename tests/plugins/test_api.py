from __future__ import annotations

from miles_router.config import Settings
from miles_router.plugins.api import RouterApi
from tests.core.rig import Rig


def test_middleware_sees_workers_and_settings() -> None:
    rig = Rig()
    api = RouterApi(settings=Settings(port=1234), pool=rig.pool, clock=lambda: rig.now)
    assert (api.workers, api.newest_weight_version) == ((), None)
    worker = rig.joined(1, "v1")
    assert [(view.id, view.status) for view in api.workers] == [(worker.id, "active")]
    assert api.newest_weight_version == "v1"
    assert api.settings.port == 1234


def test_a_weight_version_seen_in_an_answer_is_noted() -> None:
    rig = Rig()
    api = RouterApi(settings=Settings(), pool=rig.pool, clock=lambda: rig.now)
    worker = rig.joined(1, "v1")
    api.note_weight_version(worker.id, "v2")
    assert (worker.weight_version, api.newest_weight_version) == ("v2", "v2")
    api.note_weight_version("nobody", "v3")
    assert api.newest_weight_version == "v2"
