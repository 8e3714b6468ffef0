"""Clients for tests: of this project, of its notebooks, and of code that uses `trioecho`.

    async def test_shout():
        async with trioecho.testing.open_client(shout) as client:
            await client.send("hello")
            assert await client.receive() == "HELLO"

`open_client` runs a handler against a client over memory streams, in one Trio run and without a socket, so that
virtual time (pytest-trio's ``autojump_clock``) works. `RawClient` speaks frames, right or wrong ones, over any stream:
it does what it is told and nothing by itself, so it can be the peer that a well-behaved client library cannot. The
opcodes of its frames (RFC 6455 §5.2) are `CONTINUATION`, `TEXT`, `BINARY`, `CLOSE`, `PING` and `PONG`.

`serve` is the other way round: a server for tests of clients, of any framework, that misbehaves on request and tells
what it has seen. In pytest it is the fixture `trioecho_server`.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

import trio
import trio.testing

from trioecho._process.selfsigned import SelfSigned, self_signed
from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.handlers import echo
from trioecho._server.routes import Route, Routes, RouteTable
from trioecho._server.serve import serve_connection
from trioecho._server.server import Server
from trioecho._server.service import Service
from trioecho.faults.naming import names_of
from trioecho.faults.routes import routes as fault_routes
from trioecho.faults.seen import Seen
from trioecho.live import LiveServer
from trioecho.options import WebSocketOptions

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "FaultServer",
    "Frame",
    "RawClient",
    "check_channel",
    "connect_raw",
    "encode_frame",
    "open_client",
    "serve",
]

SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455 §1.3; its accept token is ``s3pPLMBiTxaQ9kYGzzhZRbK+xOo=``."""


class Frame(NamedTuple):
    """One frame as the server sent it; `payload` is unmasked. `RawClient` has an example."""

    fin: bool
    opcode: int
    payload: bytes

    @property
    def close(self) -> tuple[int, str]:
        """Code and reason of a Close frame; (1005, "") for an empty one."""
        assert self.opcode == CLOSE, f"not a Close frame: {self}"
        if not self.payload:
            return 1005, ""
        return int.from_bytes(self.payload[:2]), self.payload[2:].decode()


class RawClient:
    """A WebSocket client that answers nothing by itself: no Pong, no Close, no end of TCP.

    `stream` is any connected stream. After `handshake`, use `send` and `receive` for messages, `send_frame` and
    `receive_frame` for frames, `stream` for bytes. All methods pass on what the stream raises.

    Example:

        from trioecho.testing import BINARY, PONG, PING, Frame, RawClient, encode_frame, open_client

        async def main() -> None:
            async with open_client(trioecho.echo) as client:
                assert isinstance(client, RawClient)
                await client.send_frame(PING, b"there?")
                assert await client.receive_frame() == Frame(True, PONG, b"there?")
                # What no library would send: a frame without a mask.
                await client.stream.send_all(encode_frame(BINARY, b"hello"))
                code, reason = await client.receive_close()
                assert code == 1002
    """

    def __init__(self, stream: trio.abc.Stream, key: bytes | None = b"\x12\x34\x56\x78") -> None:
        self.stream = stream
        self.key = key
        """The masking key of every frame; None sends them unmasked, which no server may accept."""
        self.response = b""
        """The response head, status line and fields, once the handshake is done."""
        self.record: ConnectionRecord | None = None
        """`open_client`: the connection's record, once it has ended."""
        self._received = bytearray()

    async def handshake(self, path: str = "/ws", *, headers: str = "", behind: bytes = b"") -> bytes:
        """Ask to upgrade; returns the response head. `headers` are further lines ending in CRLF; the bytes `behind`
        are sent in the same write. Raises AssertionError, with the response, if the answer is not 101."""
        request = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {SAMPLE_KEY}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        )
        await self.stream.send_all(request.encode("latin-1") + behind)
        while b"\r\n\r\n" not in self._received:
            if not await self._receive_more():
                break
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        self.response = bytes(head)
        if not self.response.startswith(b"HTTP/1.1 101"):
            # Not by `assert`: pytest would add to the message, which is what was received.
            raise AssertionError((self.response + self._received).decode("latin-1"))
        return self.response

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
        """The bytes of one frame, masked with `key`."""
        return encode_frame(opcode, payload, fin=fin, key=self.key)

    async def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send one frame."""
        await self.stream.send_all(self.frame(opcode, payload, fin=fin))

    async def send(self, message: str | bytes) -> None:
        """Send one whole message in one frame."""
        if isinstance(message, str):
            await self.send_frame(TEXT, message.encode())
        else:
            await self.send_frame(BINARY, message)

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send Close; an empty one for None. Waits for nothing."""
        await self.send_frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason.encode())

    async def receive_frame(self) -> Frame | None:
        """The next frame, whatever it is; None at the end of the stream. Cancelled: no byte is lost."""
        while (parsed := self._parse()) is None:
            if not await self._receive_more():
                return None
        return parsed

    async def receive(self) -> str | bytes:
        """The next message, put together from its frames; raises AssertionError at any control frame or the end."""
        opcode, pieces = None, []
        while True:
            frame = await self.receive_frame()
            assert frame is not None, "expected a message, received the end of the stream"
            assert frame.opcode < CLOSE, f"expected a message, received {frame}"
            opcode = frame.opcode if opcode is None else opcode
            pieces.append(frame.payload)
            if frame.fin:
                payload = b"".join(pieces)
                return payload.decode() if opcode == TEXT else payload

    async def receive_close(self) -> tuple[int, str]:
        """Code and reason of the next frame, which has to be Close."""
        frame = await self.receive_frame()
        assert frame is not None, "expected Close, received the end of the stream"
        return frame.close

    async def receive_rest(self) -> list[Frame]:
        """All frames up to the end of the stream, or its loss."""
        frames = []
        with contextlib.suppress(trio.BrokenResourceError):
            while (frame := await self.receive_frame()) is not None:
                frames.append(frame)
        return frames

    async def _receive_more(self) -> bool:
        data = await self.stream.receive_some()
        self._received += data
        return bool(data)

    def _parse(self) -> Frame | None:
        data = self._received
        if len(data) < 2:
            return None
        length, start = data[1] & 0x7F, 2
        if length >= 126:
            start += 2 if length == 126 else 8
            length = int.from_bytes(data[2:start])
        if len(data) < start + length:
            return None
        with memoryview(data) as view:
            frame = Frame(bool(data[0] & 0x80), data[0] & 0x0F, bytes(view[start : start + length]))
        del data[: start + length]
        return frame


@contextlib.asynccontextmanager
async def open_client(
    handler: Route | Routes = echo,
    *,
    options: WebSocketOptions | None = None,
    path: str | None = None,
    headers: str = "",
) -> AsyncIterator[RawClient]:
    """A `RawClient` connected to `handler`, or to one of several routes, over memory streams, the handshake done.

    On leaving, the client's end is closed if it still is open, and the connection's end is awaited; then
    ``client.record`` is its record. The handler's `WebSocket.server` has this one connection, can be stopped, and
    listens nowhere. `path` is asked for with its query; the default is that of the first WebSocket.
    """
    options = options if options is not None else WebSocketOptions()
    service = Service(RouteTable(handler, options), options)
    service.server = Server(service, (), encrypted=False)
    path = path if path is not None else service.routes.websocket_paths[0]
    client_stream, server_stream = trio.testing.memory_stream_pair()
    client = RawClient(client_stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, server_stream, service)
        nursery.start_soon(service.server._draining.run)
        try:
            await client.handshake(path, headers=headers)
            yield client
        finally:
            service.server._draining.over()
            service.server = None
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(client_stream)
    client.record = service.records[-1] if service.records else None


async def connect_raw(port: int, host: str = "127.0.0.1", **handshake: str) -> RawClient:
    """A `RawClient` over TCP, the handshake done; `handshake` takes `path` and `headers` as `RawClient.handshake`."""
    client = RawClient(await trio.open_tcp_stream(host, port))
    await client.handshake(**handshake)  # type: ignore[arg-type]
    return client


class FaultServer:
    """A server in a thread for tests of clients, as `serve` and the fixture `trioecho_server` have it.

    `url` and `websocket_url` are those of a `LiveServer`, which is `live`; the latter leads to a plain echo. Any thread
    may call anything.

    Example:

        from websockets.sync.client import connect

        import trioecho.testing

        def test_a_client_goes_away(server: trioecho.testing.FaultServer) -> None:
            with connect(server.at("/echo"), proxy=None) as ws:
                ws.send("hello")
                assert ws.recv() == "hello"
            assert server.seen(ws, ended=True)["code_received"] == 1000

        async def main() -> None:
            with trioecho.testing.serve() as server:
                await trio.to_thread.run_sync(test_a_client_goes_away, server)
    """

    def __init__(self, live: LiveServer, seen: Seen, own: SelfSigned | None = None) -> None:
        self.live = live
        self.ca_file = None if own is None else own.ca_file
        """With TLS: the path of the authority's certificate (PEM), for clients to trust; it is removed at the end."""
        self.client_context = None if own is None else own.client_context()
        """With TLS: a client's `ssl.SSLContext` that trusts it."""
        self.url = live.url
        self.websocket_url = live.websocket_url
        self._seen = seen

    def __repr__(self) -> str:
        return f"<trioecho.testing.FaultServer {self.url}>"

    def at(self, path: str) -> str:
        """Return the WebSocket's URL of a path with its query, such as ``/close/4001?after=1``. ValueError for one that
        does not begin with a slash."""
        if not path.startswith("/"):
            raise ValueError(f"at takes a path such as '/close/4001'; you gave {path!r}")
        return f"ws{self.url.removeprefix('http').rstrip('/')}{path}"

    def seen(self, connection: object, *, ended: bool = False, timeout: float = 5.0) -> dict[str, Any]:
        """Return what the server saw of a connection at one of the faults' paths, as ``/seen/{id}`` tells it.

        `connection` is its id, as in ``?id=mine``, or the client's own object: a connection of websockets, aiohttp,
        websocket-client, trio-websocket or trioecho, or a socket. With `ended` it waits for the connection's end,
        `timeout` seconds at most, for a client may know of that before the server does.

        Blocks the calling thread. Where that runs the client's event loop, which has to go on for the connection to
        end, call it in another: ``await asyncio.to_thread(server.seen, ws, ended=True)``.

        Raises TypeError for what stands for no connection, LookupError for one that is not remembered, and
        TimeoutError.
        """
        return self.live.run(self._find, names_of(connection), ended, timeout)

    async def _find(self, names: tuple[str, ...], ended: bool, patience: float) -> dict[str, Any]:
        found = next(filter(None, map(self._seen.find, names)), None)
        if found is None:
            raise LookupError(
                f"no connection {' or '.join(names)} is remembered; those at the paths of trioecho.faults are, /echo "
                "among them"
            )
        if ended:
            with trio.move_on_after(patience) as scope:
                await found.ended.wait()
            if scope.cancelled_caught:
                raise TimeoutError(f"the connection {found.id} has not ended within {patience:g} s")
        return found.as_dict()


@contextlib.contextmanager
def serve(
    routes: Routes | None = None,
    *,
    options: WebSocketOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    tls: bool = False,
) -> Iterator[FaultServer]:
    """Serve faults for tests of clients in a thread, on a free port of 127.0.0.1, as long as the ``with`` lasts.

    Beside them stands an echo at ``options.path``, or `routes` instead: a mapping of paths. The tests may be of any
    framework, or none. On leaving, every client is closed at once.

    With `tls` it serves https and wss, with a certificate for localhost, 127.0.0.1 and ::1 by an authority of its own:
    clients take `FaultServer.client_context`, or the file `FaultServer.ca_file`.

    Raises TypeError or ValueError with one sentence for routes that will not do, such as one at a path of the faults,
    and ImportError for `tls` where trustme is not installed.

    Example:

        import socket

        import trioecho.testing

        def ask() -> None:
            with trioecho.testing.serve() as server:
                with socket.create_connection(("127.0.0.1", server.live.server.port)) as client:
                    client.sendall(b"GET /status/418 HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
                    assert client.recv(100).startswith(b"HTTP/1.1 418 ")
                    assert server.seen(client)["status"] == 418

        async def main() -> None:
            await trio.to_thread.run_sync(ask)
    """
    options = options if options is not None else WebSocketOptions()
    if routes is None:
        routes = {options.path: echo}
    elif not isinstance(routes, Mapping):
        raise TypeError(f"routes takes a mapping of paths such as {{'/ws': handler}}; you gave {routes!r}")
    seen = Seen()
    faults = fault_routes(seen)
    for path in routes:
        if path in faults:
            raise ValueError(f"{path!r} is a path of the faults; choose another")
    if tls and ssl_context is not None:
        raise ValueError("tls makes a certificate of its own; give tls=True or an ssl_context")
    with self_signed() if tls else contextlib.nullcontext() as own:
        context = ssl_context if own is None else own.context
        live = LiveServer({**faults, **routes}, options=options, ssl_context=context).start()
        try:
            yield FaultServer(live, seen, own)
        finally:
            live.stop(timeout=0)


async def check_channel(one: trio.abc.Channel[bytes], other: trio.abc.Channel[bytes]) -> None:
    """Check that two connected channels keep the contract of `trio.abc.Channel`, both ways.

    `one` and `other` are the two ends. What is checked: messages arrive in order and unchanged; a cancelled receive
    loses none; two tasks in receive at once are told so; after `aclose`, which may be called twice, sending and
    receiving raise `trio.ClosedResourceError`, and the other end's receive ends with `trio.EndOfChannel`, after what
    was sent before. Both channels are closed at the end. Raises AssertionError; wrap it in `trio.fail_after`, for a
    faulty channel may never return.

    Example:

        import functools

        import trioecho.client
        from trioecho.testing import check_channel

        async def hold(ws: trioecho.WebSocket) -> None:
            await ws.closing.wait()

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                server = await nursery.start(functools.partial(trioecho.serve, hold, port=0))
                async with trioecho.client.connect(server.websocket_url) as client:
                    (ws,) = server.connections
                    with trio.fail_after(5):
                        await check_channel(client, ws)
                server.stop()
    """
    for sender, receiver in ((one, other), (other, one)):
        messages = [os.urandom(size) for size in (0, 1, 125, 126, 65_535, 65_536)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_all, sender, messages)
            assert [await receiver.receive() for _ in messages] == messages, (
                "messages changed, or their order"
            )
        with trio.CancelScope() as scope:
            scope.cancel()
            await receiver.receive()
        assert scope.cancelled_caught, "receive was not cancelled while nothing was there to receive"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.receive)
            await trio.testing.wait_all_tasks_blocked()
            try:
                await receiver.receive()
            except trio.BusyResourceError:
                nursery.cancel_scope.cancel()
            else:
                raise AssertionError("two tasks could receive at once")
        await sender.send(b"after a cancelled receive")
        assert await receiver.receive() == b"after a cancelled receive", "a cancelled receive lost a message"

    last = None
    await one.send(b"last words")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.aclose)
        with contextlib.suppress(trio.EndOfChannel):
            last = await other.receive()
        assert last == b"last words", "a message sent before aclose was lost"
        try:
            await other.receive()
        except trio.EndOfChannel:
            pass
        else:
            raise AssertionError("receive went on after the other end had closed")
        await other.aclose()
    for channel in (one, other):
        await channel.aclose()
        for operation in (channel.receive, lambda channel=channel: channel.send(b"too late")):
            try:
                await operation()
            except trio.ClosedResourceError:
                pass
            else:
                raise AssertionError("a closed channel could be used")


async def _send_all(channel: trio.abc.Channel[bytes], messages: list[bytes]) -> None:
    for message in messages:
        await channel.send(message)
