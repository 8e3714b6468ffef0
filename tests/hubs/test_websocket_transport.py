"""Connections over WebSockets: over one, and over one after the other where the client asked for that."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
import trio.testing
from hubs.clients_of_transports import receive_all, serving_route
from serving import reset, until

import trioecho
from trioecho.hubs import Connection, Reattached
from trioecho.testing import BINARY, TEXT, Frame

STATEFUL = "negotiateVersion=1&useStatefulReconnect=true"


async def test_frames_come_as_bytes_and_go_as_what_they_are() -> None:
    received: list[bytes] = []

    async def handler(connection: Connection) -> None:
        received.append(await connection.receive())
        received.append(await connection.receive())
        await connection.send("text")
        await connection.send(b"binary")
        await connection.send(b"bytes of text", text=True)
        assert connection.try_send(trioecho.Prepared("prepared"))
        await receive_all(connection)

    async with serving_route(handler) as served, served.websocket() as client:
        await client.send("é")
        await client.send(b"\xff")
        frames = [await client.receive_frame() for _ in range(4)]
        assert frames == [
            Frame(True, TEXT, b"text"),
            Frame(True, BINARY, b"binary"),
            Frame(True, TEXT, b"bytes of text"),
            Frame(True, TEXT, b"prepared"),
        ]
        assert received == ["é".encode(), b"\xff"]


async def test_who_skips_the_negotiation_has_a_connection_too() -> None:
    """With names of its own."""
    async with serving_route() as served, served.websocket() as one, served.websocket() as other:
        for client in (one, other):
            await client.send("x")
            assert await client.receive() == "x"
        ids = {(each.id, each.token) for each in served.connections}
        assert len(ids) == 2
        assert not served.connections[0].stateful


async def send_for_ever(connection: Connection) -> None:
    while True:
        await connection.send(b"x")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_the_end_of_the_websocket_ends_the_connection(how: str) -> None:
    """However it ended, `receive` says so by one exception; `send` raises."""
    outcome: list[type[Exception]] = []

    async def handler(connection: Connection) -> None:
        try:
            while True:
                await connection.receive()
        except trio.EndOfChannel as error:
            outcome.append(type(error))
            with pytest.raises(trio.BrokenResourceError):
                await send_for_ever(connection)
            raise

    async with serving_route(handler) as served, served.websocket() as client:
        if how == "close":
            await client.close(1000)
            await client.receive_close()
        else:
            reset(client)
        await until(lambda: served.ended)
    assert outcome == [trioecho.WebSocketEnded]


@pytest.mark.parametrize(
    ("error", "close"), [(None, (1000, "")), ("It is over. " * 20, (1011, ("It is over. " * 20)[:123]))]
)
async def test_a_goodbye_is_a_close(error: str | None, close: tuple[int, str]) -> None:
    """With as much of the error as it has room for."""

    async def handler(connection: Connection) -> None:
        await connection.send("last")
        await connection.aclose(error)
        with pytest.raises(trio.ClosedResourceError):
            await connection.send("later")
        assert await receive_all(connection) == []

    async with serving_route(handler) as served, served.websocket() as client:
        assert await client.receive() == "last"
        assert await client.receive_close() == close
        await client.close(close[0])


async def test_children_of_the_nursery_end_with_the_connection() -> None:
    async def handler(connection: Connection) -> None:
        connection.nursery.start_soon(trio.sleep_forever)
        await receive_all(connection)

    async with serving_route(handler) as served, served.websocket() as client:
        await client.close(1000)
        assert await client.receive_close() == (1000, "")
        await until(lambda: served.ended)


# One WebSocket after the other.


async def note_all(connection: Connection, noted: list[object]) -> None:
    """Send everything back, and note it, and each reattachment."""
    while True:
        try:
            data = await connection.receive()
        except Reattached:
            noted.append(Reattached)
        except trio.EndOfChannel:
            noted.append(trio.EndOfChannel)
            raise
        else:
            noted.append(data)
            await connection.send(data, text=True)


@contextlib.asynccontextmanager
async def serving_stateful(**options: Any) -> Any:
    """A route whose connections may go on over another WebSocket, a token for one, and what its handler notes."""
    noted: list[object] = []

    async def handler(connection: Connection) -> None:
        await note_all(connection, noted)

    async with serving_route(handler, stateful=True, **options) as served:
        yield served, await served.token(STATEFUL), noted


async def told(client: Any, message: str) -> None:
    await client.send(message)
    assert await client.receive() == message


async def test_another_websocket_goes_on_where_one_was_lost() -> None:
    """The handler is told once, before what comes over the new one; it is one connection all the while."""
    async with serving_stateful() as (served, token, noted):
        for number in range(3):
            async with served.websocket(token) as client:
                await told(client, f"{number}")
                reset(client)
        async with served.websocket(token) as client:
            await told(client, "3")
        assert noted == [b"0", Reattached, b"1", Reattached, b"2", Reattached, b"3"]
        assert len(served.connections) == 1
        assert served.connections[0].stateful


async def test_another_websocket_takes_the_place_of_one_that_nobody_knows_to_be_lost() -> None:
    """The former is closed."""
    async with serving_stateful() as (served, token, noted):
        async with served.websocket(token) as former:
            await told(former, "1")
            async with served.websocket(token) as client:
                await told(client, "2")
                assert (await former.receive_close())[0] == 1000
        assert noted[:3] == [b"1", Reattached, b"2"]


async def test_a_close_of_the_client_is_its_goodbye() -> None:
    """It cannot come back."""
    async with serving_stateful() as (served, token, noted):
        async with served.websocket(token) as client:
            await client.close(1000)
            assert await client.receive_close() == (1000, "")
        await until(lambda: served.ended)
        assert noted == [trio.EndOfChannel]
        assert (await served.ask(f"/c?id={token}", "POST", body=b"x")).status == 404


async def test_who_does_not_come_back_is_gone() -> None:
    async with serving_stateful(disconnect_timeout=0.05) as (served, token, noted):
        async with served.websocket(token) as client:
            await told(client, "1")
            reset(client)
        await until(lambda: served.ended)
        assert noted == [b"1", trio.EndOfChannel]
        assert (await served.ask(f"/c?id={token}", "POST", body=b"x")).status == 404


async def test_who_has_come_back_is_not_away() -> None:
    """Not even when the time is over that it had."""
    async with serving_stateful(disconnect_timeout=0.5) as (served, token, _):
        async with served.websocket(token) as client:
            await told(client, "1")
            reset(client)
        async with served.websocket(token) as client:
            with trio.move_on_after(0.8):
                await client.receive()
            await told(client, "2")


async def test_what_is_sent_while_nobody_is_there_is_dropped() -> None:
    """Until the handler has been told that somebody is back: then it sends again what it wants to."""
    lost, back = trio.Event(), trio.Event()

    async def handler(connection: Connection) -> None:
        assert await connection.receive() == b"hello"
        await lost.wait()
        with trio.CancelScope() as scope:
            connection.nursery.start_soon(cancel_later, scope)
            await connection.receive()
        await connection.send("dropped")
        assert connection.try_send("dropped")
        back.set()
        with pytest.raises(Reattached):
            await connection.receive()
        await connection.send("again")
        await receive_all(connection)

    async def cancel_later(scope: trio.CancelScope) -> None:
        await trio.testing.wait_all_tasks_blocked(0.02)
        scope.cancel()

    async with serving_route(handler, stateful=True) as served:
        token = await served.token(STATEFUL)
        async with served.websocket(token) as client:
            await client.send("hello")
            reset(client)
        lost.set()
        await back.wait()
        async with served.websocket(token) as client:
            assert await client.receive() == "again"


async def test_what_is_sent_before_the_handler_knows_who_is_back_is_dropped_too() -> None:
    """So it comes once: the handler sends it again."""
    arrived = trio.Event()

    async def handler(connection: Connection) -> None:
        assert await connection.receive() == b"hello"
        await arrived.wait()
        await connection.send("too early")
        assert connection.try_send("too early")
        with pytest.raises(Reattached):
            await connection.receive()
        await connection.send("again")
        await receive_all(connection)

    async with serving_route(handler, stateful=True) as served:
        token = await served.token(STATEFUL)
        async with served.websocket(token) as client:
            await client.send("hello")
            await until(lambda: served.connections)
            async with served.websocket(token) as other:
                await client.receive_close()
                arrived.set()
                assert await other.receive() == "again"


async def test_only_who_asked_and_where_it_is_allowed_may_come_back() -> None:
    """Else the connection ends with its WebSocket."""
    for stateful, query in ((False, STATEFUL), (True, "negotiateVersion=1")):
        async with serving_route(stateful=stateful) as served:
            token = await served.token(query)
            async with served.websocket(token) as client:
                await told(client, "1")
                assert not served.connections[0].stateful
                reset(client)
            await until(lambda served=served: served.ended)
            assert (await served.ask(f"/c?id={token}", "POST", body=b"x")).status == 404


@pytest.mark.parametrize("attached", [True, False])
async def test_the_stop_of_the_server_ends_it_in_good_order(attached: bool) -> None:
    """With its WebSocket as any other does; without, at once: nobody can come back."""

    async def last_word(connection: Connection) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await receive_all(connection)
            await connection.send("the server stops")

    async with serving_route(last_word, stateful=True) as served:
        token = await served.token(STATEFUL)
        async with served.websocket(token) as client:
            await client.send("x")
            await until(lambda: served.connections)
            if not attached:
                reset(client)
                await until(lambda: not served.server.connections)
            served.server.stop(timeout=30)
            if attached:
                assert await client.receive() == "the server stops"
                assert (await client.receive_close())[0] == 1001
                await client.close(1001)
            await until(lambda: served.ended)


async def test_a_goodbye_to_a_client_that_may_come_back_is_one() -> None:
    async def handler(connection: Connection) -> None:
        await connection.send("last")
        await connection.aclose()

    async with serving_route(handler, stateful=True) as served:
        token = await served.token(STATEFUL)
        async with served.websocket(token) as client:
            assert await client.receive() == "last"
            assert await client.receive_close() == (1000, "")
            await client.close(1000)
        await until(lambda: served.ended)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await served.ask(f"/c?id={token}", "POST", body=b"x")).status == 404


async def test_a_handler_that_does_not_listen_is_cancelled_when_its_client_is_gone() -> None:
    async def deaf(connection: Connection) -> None:
        await trio.sleep_forever()

    async with serving_route(deaf, stateful=True, disconnect_timeout=0.02, close_timeout=0.02) as served:
        token = await served.token(STATEFUL)
        async with served.websocket(token) as client:
            await until(lambda: served.connections)
            reset(client)
        await until(lambda: served.ended)
