"""Thousands whose timers go off together are let through a few at a time, and a stop does not wait for them."""

from __future__ import annotations

import trio
from serving import connected, serving, until

from trioecho._websocket import expiring
from trioecho._websocket.expiring import AT_ONCE, expired


async def test_a_few_are_let_through_in_each_round() -> None:
    """In the order in which they came; and who comes alone waits for nobody."""
    passed: list[int] = []

    async def go(number: int) -> None:
        await expired()
        passed.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20 * AT_ONCE):
            nursery.start_soon(go, number)
            await trio.lowlevel.checkpoint()
        before = len(passed)
        while len(passed) < 20 * AT_ONCE:
            await trio.lowlevel.checkpoint()
            # Trio runs the tasks of a round in any order.
            assert len(passed) - before <= 2 * AT_ONCE
            before = len(passed)
    assert sorted(passed) == [*range(20 * AT_ONCE)]
    with trio.fail_after(5):
        await expired()


async def test_who_waits_for_it_can_be_cancelled() -> None:
    """And takes nobody's place."""
    with trio.move_on_after(0) as scope:
        await expired()
    assert scope.cancelled_caught
    with trio.fail_after(5):
        for _ in range(2 * AT_ONCE):
            await expired()


async def test_a_connection_that_ends_meanwhile_does_not_wait_for_its_turn() -> None:
    """Its timer has gone off, others are before it, and its client closes."""
    may_go = trio.Event()

    async def hold(turns: trio.Semaphore) -> None:
        async with turns:
            await may_go.wait()

    async with serving(idle_timeout=0.05) as server, trio.open_nursery() as nursery:
        await expired()
        turns = expiring._turns.get()
        for _ in range(AT_ONCE):
            nursery.start_soon(hold, turns)
        async with connected(server) as client:
            await until(lambda: turns.statistics().tasks_waiting)
            await client.close(4000)
            assert (await client.receive_close())[0] == 4000
            await until(lambda: server.records)
            assert server.records[0].cause == "peer closed"
        may_go.set()
