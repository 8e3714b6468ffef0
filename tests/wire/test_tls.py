"""TLS: other people's clients, records and goodbyes as they come, and peers stuck in half a handshake."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import serving as ways
import trio
import trio.testing
import websockets.asyncio.client
import websockets.sync.client
from serving import certificates, connected, open_stream, reset, serving, someone_else_is_served, until
from serving import slow_clock as slow_clock

import trioecho
from trioecho._wire.poller import Poller
from trioecho._wire.socket import unread
from trioecho._wire.tls import TlsWire
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, RawClient, encode_frame

MESSAGES: list[str | bytes] = ["grüße", bytes(range(256)), "x" * 100_000, bytes(500_000), ""]


@pytest.fixture(params=["poller", "stream"], autouse=True)
def tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here is encrypted, on both ways of reading."""
    if request.param == "poller" and not Poller.available:
        pytest.skip("this platform has no epoll")
    monkeypatch.setattr(Poller, "available", request.param == "poller")
    monkeypatch.setattr(ways, "_encrypted", True)


def tcp(client: RawClient) -> trio.SocketStream:
    """The TCP stream below a client's TLS."""
    assert isinstance(client.stream, trio.SSLStream)
    below = client.stream.transport_stream
    assert isinstance(below, trio.SocketStream)
    return below


# Other people's clients.


async def test_websockets_is_echoed_over_wss() -> None:
    """`websockets` in a thread of its own: every kind of message, and a Close mirrored."""

    def talk(url: str) -> tuple[list[str | bytes], int | None]:
        with websockets.sync.client.connect(url, ssl=certificates()[1], proxy=None) as ws:
            heard = []
            for message in MESSAGES:
                ws.send(message)
                heard.append(ws.recv())
            ws.close(3001, "enough")
            return heard, ws.protocol.close_code

    async with serving() as server:
        assert server.websocket_url == f"wss://127.0.0.1:{server.port}/ws"
        heard, code = await trio.to_thread.run_sync(talk, server.websocket_url)
        assert (heard, code) == (MESSAGES, 3001)
        await until(lambda: server.records)
        assert server.records[0].clean


async def test_websockets_on_asyncio_is_echoed_over_wss() -> None:
    """The same library on asyncio, many messages in flight."""

    async def talk(url: str) -> list[str | bytes]:
        async with websockets.asyncio.client.connect(url, ssl=certificates()[1], proxy=None) as ws:
            for message in MESSAGES * 10:
                await ws.send(message)
            return [await ws.recv() for _ in MESSAGES * 10]

    async with serving() as server:
        heard = await trio.to_thread.run_sync(lambda: asyncio.run(talk(server.websocket_url)))
        assert heard == MESSAGES * 10


async def test_the_page_is_served_over_https() -> None:
    """Plain HTTP requests, too."""
    async with serving() as server, await open_stream(server) as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = await stream.receive_some()
        assert received.startswith(b"HTTP/1.1 200")


# Records as they come.


async def test_records_behind_the_request_in_one_segment_are_not_forgotten() -> None:
    """A fast client's first messages stand in the same TCP segment as its request, each in a record of its own."""
    async with serving() as server:
        client = RawClient(await open_stream(server))
        assert isinstance(client.stream, trio.SSLStream)
        await client.stream.do_handshake()
        tcp(client).setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        await client.stream.send_all(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await client.send("first")
        await client.send_frame(PING, b"?")
        await client.send("second")
        tcp(client).setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += await client.stream.receive_some(1)
        frames = [await client.receive_frame() for _ in range(3)]
        heard = [(frame.opcode, frame.payload) for frame in frames if frame is not None]
        assert sorted(heard) == [(TEXT, b"first"), (TEXT, b"second"), (PONG, b"?")]
        assert heard.index((TEXT, b"first")) < heard.index((TEXT, b"second"))
        await trio.aclose_forcefully(client.stream)


async def test_a_handler_that_closes_at_once_is_ahead_of_a_client_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client answers the 101 with a Close before the handler has begun: the handler's own Close is said, as
    without TLS."""
    start = TlsWire.start

    def start_late(wire: TlsWire, nursery: trio.Nursery, readable: Callable[[int, float], bool]) -> None:
        start(wire, nursery, readable)
        assert select.select([wire._fd], [], [], 10)[0], "the client's Close has not come"

    monkeypatch.setattr(TlsWire, "start", start_late)

    async def leave(ws: trioecho.WebSocket) -> None:
        await ws.aclose(4222, "server")

    def close_at_once(url: str) -> tuple[int, str]:
        with websockets.sync.client.connect(url, ssl=certificates()[1], proxy=None) as client:
            client.close(4111, "client")
            said = client.protocol.close_rcvd
        assert said is not None
        return said.code, said.reason

    async with serving(leave) as server:
        assert await trio.to_thread.run_sync(close_at_once, server.websocket_url) == (4222, "server")


async def test_a_message_of_many_records_and_many_messages_in_one() -> None:
    """What a record holds has nothing to do with what a frame is."""
    async with serving() as server, connected(server) as client:
        big = client.frame(BINARY, bytes(100_000))
        for start in range(0, len(big), 997):
            await client.stream.send_all(big[start : start + 997])
        assert await client.receive() == bytes(100_000)
        await client.stream.send_all(client.frame(TEXT, b"x") * 2000)
        for _ in range(2000):
            assert await client.receive() == "x"


async def test_a_record_cut_off_is_a_peer_that_vanished() -> None:
    """TCP ends inside a TLS record, without TLS's goodbye: what came before is delivered."""
    async with serving() as server, connected(server) as client:
        await client.send("whole")
        assert await client.receive() == "whole"
        await tcp(client).send_all(b"\x17\x03\x03\x40\x00half")
        reset(client)
        await until(lambda: server.records)
        assert server.records[0].cause == "peer vanished"
        await someone_else_is_served(server)


async def test_bytes_that_are_no_tls_end_only_their_own_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Garbage under an open WebSocket: the peer counts as vanished, and nobody else notices."""
    async with serving(close_timeout=0.1) as server, connected(server) as client:
        await tcp(client).send_all(b"this was never encrypted, was it?" * 10)
        await until(lambda: server.records)
        assert server.records[0].cause == "peer vanished"
        await someone_else_is_served(server)
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_tlss_own_goodbye_without_a_close_is_a_peer_that_vanished() -> None:
    """close_notify ends the conversation as the end of TCP does, though TCP is still there."""
    async with serving(close_timeout=0.2) as server, connected(server) as client:
        await client.send("last words")
        assert await client.receive() == "last words"
        stream = client.stream
        assert isinstance(stream, trio.SSLStream)
        # Says close_notify, then waits for the server's, which is not promised.
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.unwrap()
        await until(lambda: server.records)
        assert (server.records[0].cause, server.records[0].messages_received) == ("peer vanished", 1)


async def test_large_messages_both_ways_at_once() -> None:
    """Reading and writing of one TLS connection go on side by side."""
    async with serving() as server, connected(server) as client, trio.open_nursery() as nursery:
        frame = client.frame(BINARY, bytes(300_000))

        async def send() -> None:
            for _ in range(50):
                await client.stream.send_all(frame)

        nursery.start_soon(send)
        for _ in range(50):
            assert await client.receive() == bytes(300_000)
        await client.close()
        assert await client.receive_close() == (1000, "")
        assert await client.receive_rest() == []


# Half a handshake.


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01"])
async def test_who_never_finishes_the_handshake_is_dropped_in_time(
    hello: bytes, slow_clock: trio.testing.MockClock
) -> None:
    """A mute client, or one that stops inside its hello: TCP is closed at handshake_timeout; others are served."""
    async with serving(handshake_timeout=0.3) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            if hello:
                await stream.send_all(hello)
            await someone_else_is_served(server)
            assert not unread(stream)
            slow_clock.jump(0.3)
            assert await stream.receive_some() == b""


async def test_the_handshake_and_the_head_share_one_time(slow_clock: trio.testing.MockClock) -> None:
    """TLS done and nothing asked for: handshake_timeout counts from the accepted connection."""
    async with serving(handshake_timeout=0.3) as server, await open_stream(server) as stream:
        assert isinstance(stream, trio.SSLStream)
        slow_clock.jump(0.2)
        await stream.do_handshake()
        slow_clock.jump(0.1)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 100])
async def test_who_speaks_no_tls_is_dropped(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Plain HTTP on a TLS port is nothing that could be answered; it makes no traceback."""
    async with serving() as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(said)
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
        await someone_else_is_served(server)
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_a_body_that_tcp_ends_in_is_a_client_that_went(caplog: pytest.LogCaptureFixture) -> None:
    """TCP ends within a body, without TLS's own goodbye: nobody can be told, and nothing of the server's has failed."""

    async def post(request: trioecho.Request) -> trioecho.Response:
        return trioecho.Response(await request.body())

    caplog.set_level(logging.INFO, "trioecho")
    async with serving({"/": trioecho.HttpRoute(post, ["POST"])}) as server:
        client = RawClient(await open_stream(server))
        await client.stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this")
        await tcp(client).send_eof()
        await until(lambda: [record for record in caplog.records if record.name == "trioecho.access"])
        await trio.aclose_forcefully(client.stream)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    (line,) = [record for record in caplog.records if record.name == "trioecho.access"]
    assert "the client went" in line.getMessage()


async def test_who_does_not_trust_the_certificate_goes_away(caplog: pytest.LogCaptureFixture) -> None:
    """Its alert ends the connection; it makes no traceback."""
    async with serving() as server:
        stranger = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", server.port),
            ssl.create_default_context(),
            server_hostname="127.0.0.1",
        )
        with pytest.raises(trio.BrokenResourceError):
            await stranger.do_handshake()
        await trio.aclose_forcefully(stranger)
        await someone_else_is_served(server)
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_a_stop_in_the_middle_of_a_handshake_ends_it() -> None:
    """serve returns although somebody stands in the door."""
    with trio.fail_after(ways.PATIENCE):
        async with trio.open_nursery() as nursery:
            returned = trio.Event()

            async def serve(task_status: trio.TaskStatus[trioecho.Server]) -> None:
                options = trioecho.WebSocketOptions(handshake_timeout=math.inf)
                start = functools.partial(
                    trioecho.serve, port=0, ssl_context=certificates()[0], options=options
                )
                await start(task_status=task_status)
                returned.set()

            server = await nursery.start(serve)
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(b"\x16\x03\x01")
                await trio.testing.wait_all_tasks_blocked(0.01)
                server.stop(timeout=0.01)
                await returned.wait()


# The goodbye.


async def test_the_goodbye_is_close_then_tlss_own_then_the_end() -> None:
    """After the mirrored Close the client reads a proper end of TLS, not a truncation."""
    async with serving() as server, connected(server) as client:
        await client.close(4000, "bye")
        frame = await client.receive_frame()
        assert frame is not None
        assert (frame.opcode, frame.close) == (CLOSE, (4000, "bye"))
        assert await client.stream.receive_some() == b""


class RecordClient:
    """A client whose TLS is in memory, so that its records can be gathered, or broken, before they are sent."""

    def __init__(self, tcp: trio.SocketStream) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.tcp = tcp
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing)

    async def open(self) -> None:
        """TLS's handshake, and WebSocket's."""
        await self._step(self.tls.do_handshake)
        self.tls.write(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        response = await self._step(lambda: self.tls.read(4096))
        assert isinstance(response, bytes)
        assert response.startswith(b"HTTP/1.1 101")

    def record(self, plain: bytes) -> bytes:
        """One record, not sent."""
        self.tls.write(plain)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """TLS's close_notify, not sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    async def _step(self, operation: Callable[[], object]) -> object:
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self.tcp.send_all(self._outgoing.read())
                self._incoming.write(await self.tcp.receive_some())
            else:
                await self.tcp.send_all(self._outgoing.read())
                return result


async def test_tlss_goodbye_in_one_segment_with_a_message_overtakes_nothing() -> None:
    """A message and close_notify in one segment, TCP left open: the echo, then the end, and nobody waits for more."""
    async with serving() as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as tcp:
            client = RecordClient(tcp)
            await client.open()
            await tcp.send_all(client.record(encode_frame(TEXT, b"last", key=b"abcd")) + client.goodbye())
            received = b""
            while chunk := await tcp.receive_some():
                received += chunk
        await until(lambda: server.records)
    (record,) = server.records
    assert (record.messages_received, record.messages_sent, record.cause) == (1, 1, "peer vanished")


@pytest.mark.parametrize("broken", ["tampered with", "no TLS at all"])
async def test_messages_before_a_broken_record_of_the_same_packet_are_delivered(broken: str) -> None:
    """Three whole records with a broken one behind them, in one write: three messages, then the end is told."""
    taken: list[str | bytes] = []
    told: list[type[Exception]] = []

    async def collect(ws: trioecho.WebSocket) -> None:
        try:
            while True:
                taken.append(await ws.receive())
        except (trio.EndOfChannel, trio.BrokenResourceError) as error:
            told.append(type(error))

    async with serving(collect, close_timeout=0.2) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as tcp:
            client = RecordClient(tcp)
            await client.open()
            records = [
                client.record(encode_frame(TEXT, text.encode(), key=b"abcd"))
                for text in ("one", "two", "three")
            ]
            last = client.record(encode_frame(TEXT, b"never", key=b"abcd"))
            last = (
                last[:-1] + bytes([last[-1] ^ 1]) if broken == "tampered with" else b"GET / HTTP/1.1\r\n\r\n"
            )
            await tcp.send_all(b"".join(records) + last)
            await until(lambda: server.records)
    (record,) = server.records
    assert taken == ["one", "two", "three"]
    assert len(told) == 1
    assert issubclass(told[0], trio.BrokenResourceError)
    assert (record.messages_received, record.cause, record.clean) == (3, "peer vanished", False)


@pytest.mark.parametrize("tls", ["poller"], indirect=True)
async def test_the_last_response_ends_with_a_close_notify() -> None:
    """Without it a client cannot tell the end of a stream to HTTP/1.0 from one that was cut off. Trio's own TLS can say
    it only when it closes."""

    async def pieces() -> AsyncIterator[str]:
        yield "all of it"

    async with serving(trioecho.HttpRoute(lambda request: trioecho.Response(pieces()))) as server:
        tcp_stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        stream = trio.SSLStream(tcp_stream, certificates()[1], server_hostname="127.0.0.1")
        await stream.send_all(b"GET /ws HTTP/1.0\r\n\r\n")
        received = b""
        try:
            # Trio raises BrokenResourceError where TCP ends without one.
            while some := await stream.receive_some():
                received += some
        finally:
            await trio.aclose_forcefully(tcp_stream)
        assert received.endswith(b"\r\n\r\nall of it")
