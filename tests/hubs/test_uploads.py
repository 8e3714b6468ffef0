"""The streams that one client uploads, by their ids."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
import trio.testing

from trioecho.hubs import Hub, HubException, HubOptions, Target
from trioecho.hubs.handshake import PROTOCOLS
from trioecho.hubs.messages import BadMessage
from trioecho.hubs.methods import Method, Methods
from trioecho.hubs.uploads import Uploads


class Example(Hub[Target]):
    async def both(self, numbers: AsyncIterator[int], texts: AsyncIterator[str]) -> None: ...


def method() -> Method:
    [found] = Methods(Example, Hub)
    return found


def uploads(**options: float) -> Uploads:
    return Uploads(PROTOCOLS["json"], HubOptions(**options))  # type: ignore[arg-type]


async def test_items_go_to_the_stream_of_their_id_as_its_type() -> None:
    table = uploads()
    numbers, texts = table.begin(["1", "2"], method())
    assert table.item("1", msgspec.Raw(b"5"))
    assert table.item("2", msgspec.Raw(b'"a"'))
    assert table.item("nobody's", msgspec.Raw(b"5"))
    table.end("1", None)
    table.end("2", "broken")
    table.end("nobody's", None)
    assert [each async for each in numbers] == [5]
    assert await anext(texts) == "a"
    with pytest.raises(HubException, match="broken"):
        await anext(texts)
    assert len(table) == 0


def test_an_id_that_is_taken_is_no_new_one() -> None:
    table = uploads()
    table.begin(["1", "2"], method())
    with pytest.raises(BadMessage):
        table.begin(["3", "1"], method())


async def test_what_is_not_taken_in_time_fails(autojump_clock: trio.testing.MockClock) -> None:
    table = uploads(stream_buffer=1, client_timeout=3)
    numbers, _ = table.begin(["1", "2"], method())
    assert table.item("1", msgspec.Raw(b"5"))
    assert not table.item("1", msgspec.Raw(b"6"))
    await table.room("1")
    assert trio.current_time() == pytest.approx(3, abs=0.1)
    assert table.item("1", msgspec.Raw(b"6"))
    assert await anext(numbers) == 5
    with pytest.raises(HubException, match="not taken in time"):
        await anext(numbers)


def test_a_call_that_has_ended_lets_its_ids_go() -> None:
    table = uploads(stream_buffer=1)
    begun = table.begin(["1", "2"], method())
    table.let_go(["1", "2"], begun)
    again = table.begin(["1", "2"], method())
    table.let_go(["1", "2"], begun)
    assert len(table) == 2
    table.close()
    assert not again[0].full
