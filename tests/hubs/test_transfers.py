"""Transfers on their way: in order, bounded, and the end behind them."""

from __future__ import annotations

import trio
import trio.testing

from trioecho.hubs.transfers import OVERHEAD, Transfers


async def test_what_was_put_before_the_end_is_taken_in_order() -> None:
    transfers = Transfers(1000)
    assert await transfers.put(b"1")
    assert transfers.try_put(b"2")
    transfers.end()
    assert not await transfers.put(b"3")
    assert not transfers.try_put(b"4")
    assert [await transfers.take() for _ in range(4)] == [b"1", b"2", None, None]


async def test_no_more_waits_than_the_limit_and_one_transfer() -> None:
    """Empty ones count too. One that is larger than the limit passes when nothing else is there."""
    transfers = Transfers(10 * OVERHEAD)
    put = 0
    while transfers.try_put(b""):
        put += 1
    assert put == 10
    assert len(transfers.take_all()) == 10
    assert transfers.try_put(bytes(100_000))
    assert not transfers.try_put(b"")


async def test_those_who_wait_for_room_go_on_in_their_order() -> None:
    """And nobody overtakes them, not even one that would not wait."""
    transfers = Transfers(1)
    assert transfers.try_put(b"0")
    async with trio.open_nursery() as nursery:
        for number in (b"1", b"2", b"3"):
            nursery.start_soon(transfers.put, number)
            await trio.testing.wait_all_tasks_blocked()
        assert transfers.take_all() == [b"0"]
        # The first has been woken, and has not run.
        assert not transfers.try_put(b"x")
        assert [await transfers.take() for _ in range(3)] == [b"1", b"2", b"3"]


async def test_nobody_overtakes_the_only_one_who_waited() -> None:
    transfers = Transfers(1)
    assert transfers.try_put(b"0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transfers.put, b"1")
        await trio.testing.wait_all_tasks_blocked()
        assert transfers.take_all() == [b"0"]
        assert not transfers.try_put(b"x")
        nursery.start_soon(transfers.put, b"2")
        assert [await transfers.take() for _ in range(2)] == [b"1", b"2"]
        assert transfers.try_put(b"3")


async def test_the_end_wakes_everybody() -> None:
    """Who waits for room has put nothing; who waits for something gets what there was, or the end."""
    transfers, empty = Transfers(1), Transfers(1)
    told: list[object] = []

    async def put() -> None:
        told.append(await transfers.put(b"late"))

    async def take() -> None:
        told.append(await empty.take())

    assert transfers.try_put(b"first")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put)
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        transfers.end()
        empty.end()
    assert sorted(map(str, told)) == ["False", "None"]
    assert await transfers.take() == b"first"


async def test_a_cancelled_put_has_put_nothing_and_lets_the_next_one_go_on() -> None:
    transfers = Transfers(1)
    assert transfers.try_put(b"0")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transfers.put, b"1")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transfers.put, b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert await transfers.take() == b"0"
    assert transfers.take_all() == [b"2"]


async def test_what_is_discarded_leaves_nothing() -> None:
    transfers = Transfers(1)
    assert transfers.try_put(b"0")
    transfers.end(discard=True)
    assert len(transfers) == 0
    assert await transfers.take() is None
