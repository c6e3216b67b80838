from __future__ import annotations

import trio

from miles_router.demo.tally import Exchange, Tally
from tests.demo.conversations import exchange_of


def failed(rid: str) -> Exchange:
    return Exchange(
        body={"rid": rid},
        turn=0,
        interruption=None,
        status=502,
        answer=None,
        fault="502 gone",
        took_s=0.1,
    )


def test_right_answers_and_clients_that_left_are_no_reason_to_fail() -> None:
    tally = Tally(1)
    tally.note(exchange_of({"rid": "a"}, None), [])
    assert tally.reasons() == ["1 of 1 turns were never answered"]
    tally.note(exchange_of({"rid": "b"}, {"text": ""}), [])
    assert tally.reasons() == []
    assert tally.is_good


def test_each_fault_is_a_reason() -> None:
    tally = Tally(4)
    tally.note(exchange_of({"rid": "a"}, {"text": ""}), ["text is x, not y"])
    tally.note(failed("b"), [])
    tally.note_unasked(1)
    tally.broken.append("the router fell over")
    assert not tally.is_good
    assert tally.share == 0.75
    assert tally.reasons() == [
        "wrong answer: a: text is x, not y",
        "lost request: b: 502 gone",
        "the router fell over",
        "2 of 4 turns were never answered",
    ]


async def test_a_share_can_be_waited_for(autojump_clock: object) -> None:
    tally = Tally(4)
    async with trio.open_nursery() as nursery:

        async def answer_one_a_second() -> None:
            for number in range(3):
                await trio.sleep(1)
                tally.note(exchange_of({"rid": str(number)}, {"text": ""}), [])

        nursery.start_soon(answer_one_a_second)
        started_at = trio.current_time()
        await tally.wait_share(0.5)
        assert trio.current_time() - started_at == 2
        await tally.wait_share(0.25)
        assert trio.current_time() - started_at == 2
