"""A connection that outlives its requests: whatever its handler does ends this one connection, and is told once."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing
from hubs.clients_of_transports import receive_all, serving_route
from serving import until

from trioecho.hubs import Connection


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("where", ["handler", "child"])
async def test_a_handler_that_raises_ends_its_connection_only(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, with the traceback, and without the token; the others go on."""

    async def fail(connection: Connection) -> None:
        raise OSError("out of luck")

    async def handler(connection: Connection) -> None:
        if await connection.receive() != b"fail":
            await connection.send("well")
            await receive_all(connection)
        elif where == "handler":
            await fail(connection)
        else:
            connection.nursery.start_soon(fail, connection)
            await trio.sleep_forever()

    async with serving_route(handler) as served:
        failing, other = await served.begin_polling("negotiateVersion=0"), await served.begin_polling()
        await served.ask(failing, "POST", body=b"fail")
        assert (await served.ask(failing)).status == 204
        await served.ask(other, "POST", body=b"go on")
        assert (await served.ask(other)).body == b"well"
    (record,) = errors(caplog)
    assert "failed, for a client over LongPolling at /c" in record.getMessage()
    assert "out of luck" in caplog.text
    assert failing.partition("=")[2] not in caplog.text


async def test_that_the_client_has_gone_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Neither what `receive` raises then, nor `send`, in the handler or in a child."""

    async def send_for_ever(connection: Connection) -> None:
        while True:
            await connection.send("x")
            await trio.testing.wait_all_tasks_blocked()

    async def handler(connection: Connection) -> None:
        connection.nursery.start_soon(send_for_ever, connection)
        while True:
            await connection.receive()

    async with serving_route(handler) as served:
        target = await served.begin_polling()
        await served.ask(target, "DELETE")
        await until(lambda: served.ended)
    assert not errors(caplog)


async def test_that_another_client_has_gone_is_one(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(connection: Connection) -> None:
        if len(served.connections) == 1:
            await receive_all(connection)
        else:
            await served.connections[0].send("is anybody there?")

    async with serving_route(handler) as served:
        await served.ask(await served.begin_polling(), "DELETE")
        await until(lambda: served.ended)
        await served.begin_polling()
        await until(lambda: len(served.ended) == 2)
    assert len(errors(caplog)) == 1


async def test_aclose_in_the_handler_ends_both_directions() -> None:
    """Calling it again does nothing more; it may be called from outside."""
    outcome: list[str] = []

    async def handler(connection: Connection) -> None:
        await connection.send("last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert await receive_all(connection) == []
            with pytest.raises(trio.ClosedResourceError):
                await connection.send("later")
        await connection.aclose()
        outcome.append("closed")

    async with serving_route(handler) as served:
        target = await served.begin_polling()
        assert (await served.ask(target)).body == b"last"
        assert (await served.ask(target)).status == 204
        await until(lambda: outcome)
        assert (await served.ask(target)).status == 404


async def test_children_are_cancelled_when_the_handler_returns() -> None:
    async def handler(connection: Connection) -> None:
        connection.nursery.start_soon(trio.sleep_forever)

    async with serving_route(handler) as served:
        target = await served.begin_polling()
        assert (await served.ask(target)).status == 204


async def test_the_end_of_the_server_cancels_the_handler() -> None:
    """Without a stop, nobody is waited for."""
    cancelled: list[Connection] = []

    async def deaf(connection: Connection) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(connection)

    with trio.fail_after(5):
        async with serving_route(deaf, close_timeout=60) as served:
            await served.begin_polling()
            await until(lambda: served.connections)
    assert cancelled == served.connections


async def test_the_deadline_of_the_stop_cancels_the_handler() -> None:
    async def deaf(connection: Connection) -> None:
        await trio.sleep_forever()

    with trio.fail_after(5):
        async with serving_route(deaf, close_timeout=60) as served:
            await served.begin_polling()
            await until(lambda: served.connections)
            served.server.stop(timeout=0.05)
            await until(lambda: served.ended)


async def test_it_says_what_it_is_without_its_token() -> None:
    async with serving_route() as served:
        await served.begin_polling()
        await until(lambda: served.connections)
        (connection,) = served.connections
        assert repr(connection) == "<trioecho.hubs.Connection over LongPolling at /c>"
        assert connection.state == {}
