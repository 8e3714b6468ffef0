"""Connections over Unix sockets live and end as they do over TCP, with our client and with other people's."""

from __future__ import annotations

import asyncio
import shutil

import pytest
import trio
import websockets
from connecting import connect
from serving import connected, one_way, pass_time, plain_tcp, serving, someone_else_is_served, until
from serving import slow_clock as slow_clock
from serving import unix_path as unix_path
from serving import way_of_reading as way_of_reading

import trioecho

MUCH = 4_000_000
"""Bytes: more than the kernel holds for a Unix socket."""


class Steps(trio.abc.Instrument):
    """Counts what Trio's tasks do."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def ended(server: trioecho.Server, count: int) -> tuple[trioecho.ConnectionRecord, ...]:
    """The records, once `count` connections have ended."""
    await until(lambda: len(server.records) >= count)
    return tuple(server.records)


async def test_an_echo_over_a_unix_socket(unix_path: str) -> None:
    """With and without TLS, on the poller and on Trio's streams: messages small and large, then Close both ways."""
    async with serving(at={"unix": unix_path}, max_message_size=MUCH) as server:
        async with connect(server, max_message_size=MUCH) as ws:
            for message in ("hello", b"", bytes(MUCH)):
                await ws.send(message)
                assert await ws.receive() == message
        (record,) = await ended(server, 1)
        assert (record.cause, record.clean, record.peer) == ("peer closed", True, f"unix:{unix_path}")
        await someone_else_is_served(server)


async def test_the_server_closes_over_a_unix_socket(unix_path: str) -> None:
    """The handler's Close arrives with its code, behind what was sent before it, and the record is clean."""

    async def leave(ws: trioecho.WebSocket) -> None:
        await ws.send("last words")
        await ws.aclose(4000, "enough")

    async with serving(leave, at={"unix": unix_path}) as server, connected(server) as client:
        assert await client.receive() == "last words"
        assert await client.receive_close() == (4000, "enough")
        await client.close(4000)
        assert await client.receive_rest() == []
        (record,) = await ended(server, 1)
        assert (record.cause, record.clean, record.closed_first) == ("application closed", True, "server")


async def test_a_client_that_vanishes_is_noticed_after_its_messages(unix_path: str) -> None:
    """It sends three messages and hangs up without a word: the handler gets them, then the end."""
    got: list[str | bytes] = []

    async def take(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            got.append(message)

    async with serving(take, at={"unix": unix_path}) as server:
        async with connected(server) as client:
            for message in ("one", "two", "three"):
                await client.send(message)
        (record,) = await ended(server, 1)
        assert got == ["one", "two", "three"]
        assert (record.cause, record.clean) == ("peer vanished", False)


async def test_a_client_that_vanishes_while_nobody_reads_is_noticed(unix_path: str) -> None:
    """The handler is slow, reading has stopped, the client is killed: what it sent is delivered, and no loop spins."""
    go = trio.Event()
    got = 0

    async def slow(ws: trioecho.WebSocket) -> None:
        nonlocal got
        await go.wait()
        async for message in ws:
            got += len(message)

    async with serving(slow, at={"unix": unix_path}, answer_timeout=10) as server:
        async with connected(server) as client:
            with trio.move_on_after(0.5):
                while True:
                    await client.send(bytes(50_000))
        (ws,) = server.connections
        await until(lambda: ws._connection.paused)
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(0.2)
        trio.lowlevel.remove_instrument(steps)
        assert steps.count < 100, "something spins"
        go.set()
        (record,) = await ended(server, 1)
        assert got >= 50_000
        assert record.cause == "peer vanished"


@plain_tcp
async def test_a_half_closed_unix_socket_still_gets_its_answers(unix_path: str) -> None:
    """A client that ends its direction (``nc -N``) reads the answers to what it said."""
    async with serving(at={"unix": unix_path}) as server, connected(server) as client:
        await client.send("question")
        stream = client.stream
        assert isinstance(stream, trio.SocketStream)
        await stream.send_eof()
        assert await client.receive() == "question"
        assert await client.receive_rest() == []
        (record,) = await ended(server, 1)
        assert (record.cause, record.messages_sent) == ("peer vanished", 1)


async def test_backpressure_reaches_the_client_and_lets_go(unix_path: str) -> None:
    """A handler that does not read stops the client's sending; when it reads, every message is there, in order."""
    go = trio.Event()
    got: list[int] = []
    sent = 0

    async def slow(ws: trioecho.WebSocket) -> None:
        await go.wait()
        async for message in ws:
            assert isinstance(message, bytes)
            got.append(int.from_bytes(message[:4]))

    async with serving(slow, at={"unix": unix_path}) as server, connected(server) as client:
        async with trio.open_nursery() as nursery:

            async def send_all() -> None:
                nonlocal sent
                for number in range(200):
                    await client.send(number.to_bytes(4) + bytes(60_000))
                    sent += 1

            nursery.start_soon(send_all)
            (ws,) = server.connections
            await until(lambda: ws._connection.paused)
            before = -1
            while before != sent:
                before = sent
                await trio.sleep(0.1)
            assert sent < 200, "nothing has stopped the client"
            go.set()
        await client.close()
        assert (await client.receive_close())[0] == 1000
        assert got == list(range(200))


async def test_a_client_that_does_not_read_is_dropped_after_send_timeout(unix_path: str) -> None:
    """Its answers fill the kernel; nothing moves for `send_timeout`: that is the end, and others are served."""

    async def flood(ws: trioecho.WebSocket) -> None:
        if ws.path == "/flood":
            while True:
                await ws.send(bytes(100_000))
        await trioecho.echo(ws)

    routes = {"/ws": trioecho.echo, "/flood": flood}
    async with serving(routes, at={"unix": unix_path}, send_timeout=0.3) as server:
        async with connected(server, path="/flood"):
            (record,) = await ended(server, 1)
            assert (record.cause, record.clean) == ("send timeout", False)
        await someone_else_is_served(server)


async def test_a_slow_reader_is_not_dropped(unix_path: str, slow_clock: trio.testing.MockClock) -> None:
    """It needs three times `send_timeout` for the message, but always takes some: all of it arrives."""

    async def send_much(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.send(bytes(MUCH))

    async with (
        serving(send_much, at={"unix": unix_path}, send_timeout=0.4) as server,
        connected(server) as client,
    ):
        await client.send("go")
        left = MUCH
        while left > 0:
            await pass_time(slow_clock, 0.1)
            enough = left - MUCH // 12
            while left > max(0, enough):
                piece = await client.stream.receive_some(65_536)
                assert piece, f"dropped with {left} bytes to go"
                left -= len(piece)


async def test_a_silent_client_is_found_by_keep_alive(
    unix_path: str, slow_clock: trio.testing.MockClock
) -> None:
    """One that answers no Ping is told 1011; one that does stays."""
    async with serving(at={"unix": unix_path}, keep_alive_interval=0.2, keep_alive_timeout=0.2) as server:
        async with connect(server) as alive:
            async with connected(server) as silent:
                await pass_time(slow_clock, 10, until=lambda: server.records)
                frames = await silent.receive_rest()
                assert frames[-1].close == (1011, "keep-alive timeout")
            await alive.send("still here")
            assert await alive.receive() == "still here"


async def test_a_stop_says_1001_and_removes_the_file_first(unix_path: str) -> None:
    """Who comes too late finds no file; who is connected hears 1001 and may answer."""
    async with serving(at={"unix": unix_path}) as server, connected(server) as client:
        server.stop()
        assert (await client.receive_close())[0] == 1001
        with pytest.raises(FileNotFoundError):
            await trio.open_unix_socket(unix_path)
        await client.close(1001)
        assert await client.receive_rest() == []


async def test_an_abort_waits_for_nobody(unix_path: str) -> None:
    """A client that reads nothing cannot hold it."""

    async def flood(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send(bytes(100_000))

    async with serving(flood, at={"unix": unix_path}) as server, connected(server):
        (ws,) = server.connections
        await until(lambda: ws._connection.outgoing.blocked)
        server.abort()
        with trio.fail_after(30):
            (record,) = await ended(server, 1)
        assert record.cause == "server aborted"


@one_way
async def test_plain_http_is_answered(unix_path: str) -> None:
    """The sample page and its 404 come over a Unix socket as well; the log names it."""
    async with serving(at={"unix": unix_path}) as server, await trio.open_unix_socket(unix_path) as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        async for piece in stream:
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.urls == ()


# Other people's clients.


@one_way
async def test_websockets_is_echoed_over_a_unix_socket(unix_path: str) -> None:
    """`websockets.unix_connect`, on asyncio."""

    async def story() -> object:
        async with websockets.unix_connect(unix_path, uri="ws://localhost/ws") as ws:
            await ws.send("x" * 300_000)
            return await ws.recv()

    async with serving(at={"unix": unix_path}):
        assert await trio.to_thread.run_sync(asyncio.run, story()) == "x" * 300_000


@one_way
async def test_aiohttp_is_echoed_over_a_unix_socket(unix_path: str) -> None:
    """`aiohttp.UnixConnector`."""
    aiohttp = pytest.importorskip("aiohttp")

    async def story() -> object:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=unix_path)) as session,
            session.ws_connect("http://localhost/ws") as ws,
        ):
            await ws.send_bytes(b"\x00" * 300_000)
            return (await ws.receive()).data

    async with serving(at={"unix": unix_path}):
        assert await trio.to_thread.run_sync(asyncio.run, story()) == b"\x00" * 300_000


@one_way
async def test_curl_reads_the_page_over_a_unix_socket(unix_path: str) -> None:
    """``curl --unix-socket``."""
    if (curl := shutil.which("curl")) is None:
        pytest.skip("no curl on this machine")
    command = [curl, "-sS", "--max-time", "10", "--unix-socket", unix_path, "http://localhost/healthz"]
    async with serving(at={"unix": unix_path}):
        answer = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    assert answer.stdout
