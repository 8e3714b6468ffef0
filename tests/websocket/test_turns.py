"""Whose turn it is to send, where messages go out in pieces: one task's at a time, in the order in which they asked."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trioecho._websocket.turns import Turns


async def hold(turns: Turns, name: str, had: list[str], done: trio.Event) -> None:
    """Take the turn, keep it until `done`, pass it on."""
    if await turns.take():
        had.append(name)
        await done.wait()
        turns.pass_on()
    else:
        had.append(f"{name} let go")


async def test_the_turn_goes_round_in_the_order_of_asking() -> None:
    """Whoever has just passed it on and asks again is the last."""
    turns, had = Turns(), []
    first, rest = trio.Event(), trio.Event()
    rest.set()
    async with trio.open_nursery() as nursery:
        for name, done in (("a", first), ("b", rest), ("c", rest), ("d", rest)):
            nursery.start_soon(hold, turns, name, had, done)
            await trio.testing.wait_all_tasks_blocked()
        assert (had, turns.taken) == (["a"], True)
        first.set()
    assert (had, turns.taken) == (["a", "b", "c", "d"], False)


async def test_it_is_handed_over_without_a_gap() -> None:
    """Between one task's turn and the next one's nobody else gets in, though the next has yet to run."""
    turns, had, done = Turns(), [], trio.Event()
    done.set()
    async with trio.open_nursery() as nursery:
        assert await turns.take()
        nursery.start_soon(hold, turns, "waited", had, done)
        await trio.testing.wait_all_tasks_blocked()
        turns.pass_on()
        assert turns.taken
        assert await turns.take()
        had.append("asked again")
        turns.pass_on()
    assert had == ["waited", "asked again"]


async def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    """And the turn does not get lost."""
    turns, had, done = Turns(), [], trio.Event()
    done.set()
    async with trio.open_nursery() as nursery:
        assert await turns.take()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as cancelled:
                cancelled.start_soon(hold, turns, "cancelled", had, done)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(hold, turns, "next", had, done)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        turns.pass_on()
    assert (had, turns.taken) == (["next"], False)


async def test_who_has_the_turn_and_asks_for_it_is_told() -> None:
    """It would wait for itself. The turn stays its own."""
    turns = Turns()
    assert await turns.take()
    with pytest.raises(RuntimeError, match="send it from another task"):
        await turns.take()
    assert turns.taken
    turns.pass_on()
    assert not turns.taken


async def test_only_who_has_the_turn_passes_it_on() -> None:
    """Another task's `pass_on` does nothing."""
    turns, had, done = Turns(), [], trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, turns, "a", had, done)
        await trio.testing.wait_all_tasks_blocked()
        turns.pass_on()
        assert turns.taken
        done.set()


async def test_when_nothing_is_sent_any_more_nobody_waits() -> None:
    """Each goes on, and knows that it is not its turn."""
    turns, had, done = Turns(), [], trio.Event()
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(hold, turns, name, had, done)
            await trio.testing.wait_all_tasks_blocked()
        turns.clear()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(had) == ["a", "b let go", "c let go"]
        done.set()
