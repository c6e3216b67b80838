"""Request bodies that are too large to keep: streamed, slowed, answered early, broken off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.errors import TooLarge, WorkerTimeout
from miles_router.net.body import REPLAY_BYTES, ClientGone
from tests.doubles.relay_rig import Client, open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from tests.doubles.worker_double import Peer, Seen

CHUNKED = [(b"transfer-encoding", b"chunked")]
MB = b"x" * 1024 * 1024
LARGE = [MB] * 8


@pytest.mark.parametrize("headers", [CHUNKED, [(b"content-length", b"%d" % (8 * len(MB)))]])
async def test_a_large_body_is_streamed(
    headers: list[tuple[bytes, bytes]], autojump_clock: Clock
) -> None:
    async def count(peer: Peer, seen: Seen) -> None:
        await peer.answer(b"%d" % len(seen.body))

    async with open_rig() as rig:
        worker = rig.add(count)
        client = Client(*LARGE)
        await rig.ask(client, headers=headers)
        assert client.body == b"%d" % (8 * len(MB))
        assert worker.seen[0].header(headers[0][0].decode()) == headers[0][1].decode()
        await rig.assert_quiet()


async def test_a_worker_that_does_not_read_slows_the_client(autojump_clock: Clock) -> None:
    async def never_read(_peer: Peer, _seen: Seen) -> None:
        await trio.sleep_forever()

    async with open_rig() as rig:
        worker = rig.add(never_read)
        worker.reads_bodies = False
        client = Client(*LARGE * 4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                rig.ask,
                client,
            )
            await trio.sleep(10)
            assert client.pieces_read <= REPLAY_BYTES // len(MB) + 2
            nursery.cancel_scope.cancel()
        await rig.assert_quiet()


async def test_an_early_answer_ends_an_upload_and_its_connection(autojump_clock: Clock) -> None:
    async def refuse(peer: Peer, _seen: Seen) -> None:
        await peer.answer(b"no", status=413)
        await trio.sleep_forever()

    async with open_rig() as rig:
        worker = rig.add(refuse)
        worker.reads_bodies = False
        client = Client(*LARGE)
        await rig.ask(client, headers=CHUNKED)
        assert (client.status, client.body) == (413, b"no")
        # Half a request stands on it: what comes next would be read as its rest.
        assert len(rig.services.idle) == 0
        await rig.assert_quiet()


async def test_an_early_answer_of_a_worker_that_closes(autojump_clock: Clock) -> None:
    async def refuse(peer: Peer, _seen: Seen) -> None:
        await peer.answer(b"no", status=413)
        peer.stream.shut()

    async with open_rig() as rig:
        worker = rig.add(refuse)
        worker.reads_bodies = False
        client = Client(*LARGE)
        await rig.ask(client, headers=CHUNKED)
        assert (client.status, client.body) == (413, b"no")
        await rig.assert_quiet()


async def test_a_client_that_leaves_in_mid_upload(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        worker = rig.add()
        client = Client(*[MB] * 6, is_endless=True)
        async with trio.open_nursery() as nursery:

            async def upload() -> None:
                with pytest.raises(ClientGone):
                    await rig.ask(client, headers=CHUNKED)

            nursery.start_soon(upload)
            await trio.sleep(1)
            client.leave()
        await rig.settle()
        assert worker.open_count == 0
        await rig.assert_quiet()


async def test_a_body_that_grows_too_large_in_mid_upload(autojump_clock: Clock) -> None:
    async with open_rig(max_body_bytes=7 * 1024 * 1024) as rig:
        worker = rig.add()
        with pytest.raises(TooLarge):
            await rig.ask(Client(*LARGE), headers=CHUNKED)
        await rig.settle()
        assert worker.open_count == 0
        await rig.assert_quiet()


async def test_a_worker_that_stops_reading_is_given_up_in_time(autojump_clock: Clock) -> None:
    async def hang(_peer: Peer, _seen: Seen) -> None:
        await trio.sleep_forever()

    async with open_rig(idle_timeout_s=3.0) as rig:
        rig.add(hang).reads_bodies = False
        with pytest.raises(WorkerTimeout):
            await rig.ask(Client(*LARGE), headers=CHUNKED)
        assert trio.current_time() < 5
        await rig.assert_quiet()
