"""A cancelled task is told so at its next send or receive, whatever waits, and no message is lost or sent by that."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing
from serving import connected, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import TEXT, RawClient

BURST = [str(number) for number in range(200)]
"""Messages that arrive in one packet."""


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[tuple[trioecho.WebSocket, RawClient]]:
    """A connection's two ends: its WebSocket, lent by a handler, and its client."""
    lent: list[trioecho.WebSocket] = []
    done = trio.Event()

    async def lend(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await done.wait()

    async with serving(lend) as server, connected(server) as client:
        await until(lambda: lent)
        yield lent[0], client
        done.set()


def burst(client: RawClient) -> bytes:
    return b"".join(client.frame(TEXT, message.encode()) for message in BURST)


async def receive(ws: trioecho.WebSocket) -> str | bytes:
    """By the method."""
    return await ws.receive()


async def iterate(ws: trioecho.WebSocket) -> str | bytes:
    """As a loop does."""
    return await anext(ws)


Taking = Callable[[trioecho.WebSocket], Awaitable["str | bytes"]]


def cancelled_by_itself() -> trio.CancelScope:
    scope = trio.CancelScope()
    scope.cancel()
    return scope


def out_of_time() -> trio.CancelScope:
    return trio.CancelScope(deadline=trio.current_time() - 1)


@pytest.mark.parametrize("scope_of", [cancelled_by_itself, out_of_time])
@pytest.mark.parametrize("take", [receive, iterate])
async def test_a_cancelled_task_receives_nothing_though_messages_wait(
    take: Taking, scope_of: Callable[[], trio.CancelScope]
) -> None:
    """Cancelled at its next receive, and again; the message that it would have got is the next one's."""
    async with held() as (ws, client):
        await client.stream.send_all(burst(client))
        await until(lambda: ws.record.messages_received == len(BURST))
        taken: list[str | bytes] = [await take(ws)]
        for _ in range(3):
            with scope_of() as scope:
                taken.append(await take(ws))
            assert scope.cancelled_caught, "a cancelled receive returned a message"
            taken.append(await take(ws))
        while len(taken) < len(BURST):
            taken.append(await take(ws))
        assert taken == BURST


@pytest.mark.parametrize("scope_of", [cancelled_by_itself, out_of_time])
@pytest.mark.parametrize("waiting", [0, 5], ids=["nothing waits", "messages wait"])
async def test_a_cancelled_task_sends_nothing(scope_of: Callable[[], trio.CancelScope], waiting: int) -> None:
    """Cancelled at its next send, be there room or not: the message is not on the wire, nor on the record."""
    async with held() as (ws, client):
        await client.stream.send_all(client.frame(TEXT, b"x") * waiting)
        await until(lambda: ws.record.messages_received == waiting)
        for number in range(3):
            await ws.send(f"before {number}")
            with scope_of() as scope:
                await ws.send("never")
            assert scope.cancelled_caught, "a cancelled send went through"
        await ws.send("after")
        heard = [await client.receive() for _ in range(4)]
        assert heard == ["before 0", "before 1", "before 2", "after"]
        await until(lambda: ws.record.messages_sent == 4)


@pytest.mark.parametrize("take", [receive, iterate])
async def test_a_task_that_is_cancelled_as_a_burst_arrives_takes_one_message_at_most(take: Taking) -> None:
    """It has been woken by the first of 200 messages, and is cancelled before or after it runs: it takes no more."""
    for _ in range(20):
        async with held() as (ws, client), trio.open_nursery() as nursery:
            taken: list[str | bytes] = []
            taken_before = -1
            scope = trio.CancelScope()
            stopped = trio.Event()

            async def work(
                ws: trioecho.WebSocket = ws,
                taken: list[str | bytes] = taken,
                scope: trio.CancelScope = scope,
                stopped: trio.Event = stopped,
            ) -> None:
                with scope:
                    while len(taken) < len(BURST):
                        taken.append(await take(ws))
                stopped.set()

            nursery.start_soon(work)
            await trio.testing.wait_all_tasks_blocked()
            await client.stream.send_all(burst(client))
            while not ws.record.messages_received:
                await trio.lowlevel.checkpoint()
            taken_before = len(taken)
            scope.cancel()
            await stopped.wait()
            assert len(taken) <= min(taken_before + 1, len(BURST)), (
                "it went on as if it had not been cancelled"
            )
            while len(taken) < len(BURST):
                taken.append(await take(ws))
            assert taken == BURST


@pytest.mark.parametrize("take", [receive, iterate])
async def test_a_task_that_cancels_itself_in_the_midst_of_a_burst_takes_no_more(take: Taking) -> None:
    """After the fifth of 200 messages; the sixth is there for whoever receives next."""
    async with held() as (ws, client):
        await client.stream.send_all(burst(client))
        taken: list[str | bytes] = []
        with trio.CancelScope() as scope:
            while len(taken) < len(BURST):
                taken.append(await take(ws))
                if len(taken) == 5:
                    scope.cancel()
        assert scope.cancelled_caught
        assert taken == BURST[:5]
        assert await take(ws) == BURST[5]


async def test_an_echo_that_is_cancelled_in_the_midst_of_a_burst_sends_no_more() -> None:
    """The send behind the cancellation raises; what was sent before it arrives, and what comes after it is whole."""
    async with held() as (ws, client):
        await client.stream.send_all(burst(client))
        with trio.CancelScope() as scope:
            async for message in ws:
                if message == BURST[5]:
                    scope.cancel()
                await ws.send(message)
        assert scope.cancelled_caught
        await ws.send("after")
        assert [await client.receive() for _ in range(6)] == [*BURST[:5], "after"]


async def test_a_task_that_never_waits_for_long_is_stopped_by_a_deadline() -> None:
    """A handler that sends without end, to a client that reads it all, ends soon after its deadline."""
    async with held() as (ws, client), trio.open_nursery() as nursery:
        heard: list[str | bytes] = []

        async def listen() -> None:
            while not heard or heard[-1] != "after":
                heard.append(await client.receive())

        nursery.start_soon(listen)
        sent = 0
        with trio.move_on_after(0.1) as scope:
            while True:
                await ws.send("x")
                sent += 1
        assert scope.cancelled_caught
        await ws.send("after")
        await until(lambda: heard and heard[-1] == "after")
        assert len(heard) == sent + 1


async def test_every_message_is_there_though_receive_is_cancelled_at_every_moment() -> None:
    """A scope that is cancelled 0 to 6 steps after the wait began, 200 messages arriving meanwhile: all, in order."""
    async with held() as (ws, client), trio.open_nursery() as nursery:
        taken: list[str | bytes] = []

        async def send_all() -> None:
            for message in BURST:
                await client.send(message)
                await trio.lowlevel.checkpoint()

        async def cancel_after(scope: trio.CancelScope, ticks: int) -> None:
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        nursery.start_soon(send_all)
        round_ = 0
        while len(taken) < len(BURST):
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_after, scope, round_ % 7)
                while len(taken) < len(BURST):
                    taken.append(await ws.receive())
            round_ += 1
            # While it is cancelled before anything arrives, others must run all the same.
            await trio.lowlevel.checkpoint()
        assert taken == BURST
