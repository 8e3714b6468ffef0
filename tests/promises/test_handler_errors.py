"""Whatever a handler raises ends its own connection with 1011, is logged when it happened, and harms nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
import trio
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho


class Own(BaseException):
    """What an application may have defined for itself."""


ERRORS = [LookupError, Own, asyncio.CancelledError, GeneratorExit, SystemExit]

Raising = Callable[[trioecho.WebSocket, BaseException], Awaitable[object]]


async def fail(error: BaseException) -> None:
    """A task that fails once others wait."""
    await trio.lowlevel.checkpoint()
    raise error


async def in_the_handler(ws: trioecho.WebSocket, error: BaseException) -> None:
    raise error


async def in_a_group(ws: trioecho.WebSocket, error: BaseException) -> None:
    raise BaseExceptionGroup("several", [error, BaseExceptionGroup("more", [error])])


async def in_a_nursery(ws: trioecho.WebSocket, error: BaseException) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail, error)
        await trio.sleep_forever()


async def in_a_child_of_the_connection(ws: trioecho.WebSocket, error: BaseException) -> None:
    ws.nursery.start_soon(fail, error)
    await trio.sleep_forever()


async def in_a_child_while_the_handler_receives(ws: trioecho.WebSocket, error: BaseException) -> None:
    ws.nursery.start_soon(fail, error)
    async for _ in ws:
        pass


async def beside_a_cancellation(ws: trioecho.WebSocket, error: BaseException) -> None:
    """The handler is cancelled, because a child has ended badly, and what it raises is not only that."""
    ws.nursery.start_soon(fail, error)
    try:
        await trio.sleep_forever()
    except trio.Cancelled as cancelled:
        raise BaseExceptionGroup("mixed", [cancelled, error]) from None


async def instead_of_a_cancellation(ws: trioecho.WebSocket, error: BaseException) -> None:
    """Its nursery is cancelled by the handler itself, whose cleanup fails."""
    ws.nursery.cancel_scope.cancel()
    try:
        await trio.sleep_forever()
    finally:
        raise error


PLACES = [
    in_the_handler,
    in_a_group,
    in_a_nursery,
    in_a_child_of_the_connection,
    in_a_child_while_the_handler_receives,
    beside_a_cancellation,
    instead_of_a_cancellation,
]


def raising(place: Raising, error: BaseException) -> trioecho.Handler:
    """A handler that echoes, and raises `error` at `place` when it is told to fail."""

    async def handler(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            if message == "fail":
                await place(ws, error)
            await ws.send(message)

    return handler


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
async def test_whatever_a_handler_raises_ends_its_own_connection(
    kind: type[BaseException], place: Raising, caplog: pytest.LogCaptureFixture
) -> None:
    """1011 for its client, one record, one traceback; its neighbour is answered, and the server goes on."""
    caplog.set_level(logging.INFO, "trioecho")
    async with serving(raising(place, kind("on purpose"))) as server, connected(server) as neighbour:
        async with connected(server) as client:
            await client.send("fail")
            assert await client.receive_close() == (1011, "internal error")
            await neighbour.send("still here?")
            assert await neighbour.receive() == "still here?"
            await client.close(1011)
            assert await client.receive_rest() == []
        await until(lambda: server.records)
        async with connected(server) as successor:
            await successor.send("anybody there?")
            assert await successor.receive() == "anybody there?"
        await until(lambda: len(server.connections) == 1)
        record = server.records[0]
    assert (record.cause, record.closed_first, record.clean) == ("handler raised", "server", True)
    assert record.error == f"{kind.__name__}: on purpose"
    errors = [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
    tracebacks = len([entry for entry in errors if entry.exc_info])
    assert tracebacks == 1 or (tracebacks and place is beside_a_cancellation)
    assert f"{kind.__name__}: on purpose" in caplog.text


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
async def test_the_traceback_is_logged_before_the_goodbye_is_over(
    place: Raising, caplog: pytest.LogCaptureFixture
) -> None:
    """The client owes its Close, so that nothing is on record yet: who watches the log knows already what happened."""
    caplog.set_level(logging.INFO, "trioecho")
    async with serving(raising(place, LookupError("on purpose"))) as server, connected(server) as client:
        await client.send("fail")
        assert await client.receive_close() == (1011, "internal error")
        assert server.records == ()
        tracebacks = list(caplog.records)
        assert len(tracebacks) == 1 or (tracebacks and place is beside_a_cancellation)
        for traceback in tracebacks:
            assert (traceback.name, traceback.levelno) == ("trioecho", logging.ERROR)
            assert traceback.exc_info
        assert "LookupError: on purpose" in caplog.text
        await client.close(1011)
        assert await client.receive_rest() == []
        await until(lambda: server.records)
        (record,) = server.records
        (line,) = caplog.records[len(tracebacks) :]
    assert getattr(line, "record", None) is record
    assert (line.levelno, line.exc_info) == (logging.ERROR, None)
    assert "LookupError: on purpose" in line.getMessage()


@one_way
async def test_the_traceback_is_logged_though_the_client_takes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The goodbye cannot even leave, for the client does not read: the log has not waited for it."""

    async def handler(ws: trioecho.WebSocket) -> None:
        with trio.move_on_after(0.1):
            while True:
                await ws.send(bytes(1_000_000))
        raise LookupError("on purpose")

    async with serving(handler) as server, connected(server):
        await until(lambda: caplog.records)
        assert server.records == ()
        (traceback,) = caplog.records
        assert traceback.exc_info
        assert "LookupError: on purpose" in caplog.text
        server.abort()
        await until(lambda: server.records)


@one_way
async def test_many_handlers_that_raise_at_once_end_each_its_own_connection() -> None:
    """Ten fail in the same moment, in every way of the list: ten records, and the eleventh client is served."""
    go = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            if isinstance(message, bytes):
                await go.wait()
                raise ERRORS[message[0] % len(ERRORS)]("on purpose")
            await ws.send(message)

    async def fail_once(server: trioecho.Server, number: int) -> None:
        async with connected(server) as client:
            await client.send(bytes([number]))
            assert await client.receive_close() == (1011, "internal error")

    async with serving(handler, close_timeout=0.1) as server, connected(server) as neighbour:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(fail_once, server, number)
            await until(lambda: len(server.connections) == 11)
            go.set()
        await until(lambda: len(server.records) == 10)
        await neighbour.send("still here?")
        assert await neighbour.receive() == "still here?"
        assert [record.cause for record in server.records] == ["handler raised"] * 10
