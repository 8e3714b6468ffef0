"""Thousands whose timers go off together are let through a few at a time, and a stop does not wait for them."""

from __future__ import annotations

import contextlib

import pytest
import trio
from serving import connected, open_stream, reset, serving, until
from serving import way_of_reading as way_of_reading
from slow_client import fill, hold, joined

import trioecho
from trioecho._websocket import expiring
from trioecho._websocket.expiring import AT_ONCE, expired, lost


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
        turns = expiring._expired.get()
        for _ in range(AT_ONCE):
            nursery.start_soon(hold, turns)
        async with connected(server) as client:
            await until(lambda: turns.statistics().tasks_waiting)
            await client.close(4000)
            assert (await client.receive_close())[0] == 4000
            await until(lambda: server.records)
            assert server.records[0].cause == "peer closed"
        may_go.set()


@pytest.mark.parametrize("way_of_reading", ["poller-tls"], indirect=True)
@pytest.mark.parametrize("kept_alive", [False, True])
async def test_who_is_only_closed_waits_for_its_turn_too(*, kept_alive: bool) -> None:
    """Without a word: where TLS was never begun, or another request never came."""
    may_go = trio.Event()

    async def hold(turns: trio.Semaphore) -> None:
        async with turns:
            await may_go.wait()

    routes = {"/": trioecho.HttpRoute(trioecho.healthz)}
    async with serving(routes, handshake_timeout=0.2) as server, trio.open_nursery() as nursery:
        await expired()
        turns = expiring._expired.get()
        for _ in range(AT_ONCE):
            nursery.start_soon(hold, turns)
        if kept_alive:
            stream = await open_stream(server)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await stream.receive_some()
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await until(lambda: turns.statistics().tasks_waiting == 1)
        assert server.open_sockets == 1
        may_go.set()
        await until(lambda: not server.open_sockets)
        await trio.aclose_forcefully(stream)


async def test_those_who_are_lost_are_looked_at_one_by_one() -> None:
    """In two rounds of Trio's loop one of them."""
    passed: list[int] = []

    async def go(number: int) -> None:
        await lost()
        passed.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(go, number)
        before = len(passed)
        while len(passed) < 20:
            await trio.lowlevel.checkpoint()
            assert len(passed) - before <= 1
            before = len(passed)
    assert sorted(passed) == [*range(20)]


async def test_all_who_are_lost_at_once_have_their_record() -> None:
    """While bytes waited for them; also where somebody's turn takes long."""
    count = 6
    async with serving(hold) as server, contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            client, ws = await stack.enter_async_context(joined(server))
            await fill(ws)
            clients.append(client)
        await lost()
        async with expiring._lost.get():
            for client in clients:
                reset(client)
            with trio.fail_after(20):
                await until(lambda: len(server.records) == count)
        assert {record.cause for record in server.records} <= {"connection lost", "peer vanished"}
