"""What a task outside a connection may hold, and what must not happen when that connection has ended.

Each of these went wrong once: found in review, and kept from coming back here.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing
from serving import PATIENCE, plain_tcp, reset, serving, until, way_of_reading

import trioecho
from trioecho.testing import CLOSE, PING, TEXT, RawClient, connect_raw

__all__ = ["way_of_reading"]

pytestmark = plain_tcp


async def test_what_is_sent_after_the_end_reaches_no_stranger() -> None:
    """A WebSocket kept beyond its connection sends nothing: its socket's number may be another client's by then."""
    kept: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        kept.append(ws)
        await ws.receive()

    async with serving({"/ws": handler, "/echo": trioecho.echo}) as server:
        first = await connect_raw(server.port)
        await first.send("go")
        assert await first.receive_close() == (1000, "")
        await first.close()
        await first.stream.aclose()
        await until(lambda: server.records)
        strangers = [await connect_raw(server.port, path="/echo") for _ in range(5)]
        with pytest.raises(trio.ClosedResourceError):
            await kept[0].send("secret")
        await kept[0].aclose()
        for stranger in strangers:
            await stranger.send("mine")
            assert await stranger.receive() == "mine"
            await stranger.stream.aclose()


async def test_nothing_is_sent_behind_the_close() -> None:
    """While the goodbye waits for its answer, an outsider's send is refused."""
    kept: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        kept.append(ws)

    async with serving(handler) as server:
        client = await connect_raw(server.port)
        assert await client.receive_close() == (1000, "")
        with pytest.raises(trio.ClosedResourceError):
            await kept[0].send("too late")
        await client.close()
        assert await client.receive_rest() == []
        await client.stream.aclose()


async def test_outsiders_that_wait_are_told_of_the_end() -> None:
    """A task of another nursery, in receive or held in send, does not wait for ever when the connection has ended."""
    kept: list[trioecho.WebSocket] = []
    leave = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        kept.append(ws)
        await leave.wait()

    async def push(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send(bytes(1_000_000))

    async def send_for_ever(ws: trioecho.WebSocket) -> None:
        with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
            await push(ws)

    async def receive(ws: trioecho.WebSocket) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await ws.receive()

    async with serving(handler, close_timeout=0.1) as server:
        client = await connect_raw(server.port)
        await until(lambda: kept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_for_ever, kept[0])
            nursery.start_soon(receive, kept[0])
            await trio.testing.wait_all_tasks_blocked(0.01)
            leave.set()
        await client.stream.aclose()


async def test_a_cancelled_aclose_does_not_lose_the_goodbye() -> None:
    """A handler whose aclose was cancelled while the Close waited for room still says it, once, when there is room."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send(bytes(10_000_000))
        with trio.move_on_after(0.05):
            await ws.aclose(4000, "enough")

    async with serving(handler) as server:
        client = await connect_raw(server.port)
        (ws,) = server.connections
        await trio.sleep(0.1)
        assert len(await client.receive()) == 10_000_000
        assert await client.receive_close() == (4000, "enough")
        await client.close(4000)
        assert await client.receive_rest() == []
        await client.stream.aclose()
        await until(lambda: server.records)
        assert ws.record.clean


async def test_a_handler_that_returns_with_much_unsent_is_over_in_time() -> None:
    """With neither keep-alive nor idle timeout, a client that does not read holds its connection for send_timeout."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send(bytes(30_000_000))

    async with serving(handler, close_timeout=0.1, send_timeout=0.1, keep_alive_interval=0) as server:
        clients = [await connect_raw(server.port) for _ in range(8)]
        await until(lambda: len(server.records) == 8)
        assert not server.connections
        for client in clients:
            reset(client)


async def test_a_lost_pong_does_not_hide_the_loss() -> None:
    """A client that pings and resets TCP: the handler in receive is told, though the Pongs could not be sent."""
    told = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await ws.receive()
        told.set()

    for _ in range(5):
        told = trio.Event()
        async with serving(handler) as server:
            client = await connect_raw(server.port)
            await client.stream.send_all(
                b"".join(client.frame(PING, bytes([number])) for number in range(20))
            )
            reset(client)
            await told.wait()
            await until(lambda: server.records)


async def test_a_stop_delivers_messages_behind_a_ping() -> None:
    """Messages, a Ping, messages, in one chunk, and the stop right behind: all have arrived, so all are delivered."""
    taken: list[str | bytes] = []
    go = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await go.wait()
        async for message in ws:
            taken.append(message)

    async with serving(handler) as server:
        client = await connect_raw(server.port)
        await until(lambda: server.connections)
        chunk = (
            client.frame(TEXT, b"1")
            + client.frame(PING)
            + client.frame(TEXT, b"2")
            + client.frame(TEXT, b"3")
        )
        await client.stream.send_all(chunk)
        (ws,) = server.connections
        await until(lambda: ws.record.messages_received)
        server.stop(timeout=PATIENCE)
        go.set()
        while (frame := await client.receive_frame()) is not None and frame.opcode != CLOSE:
            pass
        assert taken == ["1", "2", "3"]
        await client.stream.aclose()


async def test_a_refused_client_that_stays_does_not_delay_a_stop() -> None:
    """What is only courtesy, waiting for a refused client to hang up, ends soon when the server stops."""
    async with serving(close_timeout=60) as server:
        client = RawClient(await trio.open_tcp_stream("127.0.0.1", server.port))
        with pytest.raises(AssertionError, match="404"):
            await client.handshake("/nowhere")
        with trio.fail_after(PATIENCE / 2):
            server.stop(timeout=PATIENCE)
            assert await client.stream.receive_some() == b""
        await client.stream.aclose()
