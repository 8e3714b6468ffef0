"""A WebSocket server that does what a test tells it, right or wrong, and nothing by itself: no Pong, no Close."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio
from serving import PATIENCE

from trioecho._protocol.masking import mask
from trioecho.testing import CLOSE, PING, PONG, TEXT, Frame, encode_frame

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Peer:
    """The server's end of one connection. `request` is the head of the client's request."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.request = b""
        self._received = b""

    async def read_request(self) -> None:
        while b"\r\n\r\n" not in self._received:
            data = await self.stream.receive_some()
            assert data, "the client hung up in its request"
            self._received += data
        self.request, _, self._received = self._received.partition(b"\r\n\r\n")

    async def accept(self, *, headers: str = "", behind: bytes = b"") -> None:
        """Read the request and answer 101; the bytes `behind` go out in the same write."""
        await self.read_request()
        fields = dict(line.split(b": ", 1) for line in self.request.split(b"\r\n")[1:])
        key = {name.lower(): value for name, value in fields.items()}[b"sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n"
        )
        await self.stream.send_all(answer.encode() + behind)

    async def send(self, opcode: int, payload: bytes = b"") -> None:
        await self.stream.send_all(encode_frame(opcode, payload))

    async def receive(self) -> Frame | None:
        """The client's next frame, unmasked; None at the end of TCP."""
        while (frame := self._parse()) is None:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._received += data
        return frame

    def _parse(self) -> Frame | None:
        data = self._received
        if len(data) < 2:
            return None
        assert data[1] & 0x80, "a client's frame is masked"
        assert data[0] & 0x0F in (0, TEXT, 2, CLOSE, PING, PONG), f"no frame begins with {data[:2]!r}"
        length, start = data[1] & 0x7F, 2
        if length >= 126:
            start += 2 if length == 126 else 8
            length = int.from_bytes(data[2:start])
        if len(data) < start + 4 + length:
            return None
        key, payload = data[start : start + 4], data[start + 4 : start + 4 + length]
        self._received = data[start + 4 + length :]
        return Frame(bool(data[0] & 0x80), data[0] & 0x0F, bytes(mask(payload, key)))

    async def wait_for_end(self) -> None:
        """Return when the client has hung up."""
        while await self.receive() is not None:
            pass

    def reset(self) -> None:
        """End TCP with a reset, as a crash does."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


Script = Callable[[Peer], Awaitable[object]]


@contextlib.asynccontextmanager
async def scripted(script: Script, *, unix: Path | None = None) -> AsyncIterator[str]:
    """A server that runs `script` for each connection and then hangs up; yields its URL.

    Leaving waits until the scripts have ended. What they raise fails the test.
    """
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as connections, trio.open_nursery() as listening:
            if unix is None:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            else:
                listening_socket = trio.socket.socket(trio.socket.AF_UNIX)
                await listening_socket.bind(os.fspath(unix))
                listening_socket.listen()
                listeners = [trio.SocketListener(listening_socket)]
            serve = functools.partial(
                trio.serve_listeners, functools.partial(_run, script), listeners, handler_nursery=connections
            )
            await listening.start(serve)
            port = listeners[0].socket.getsockname()[1] if unix is None else 80
            yield f"ws://127.0.0.1:{port}/ws"
            listening.cancel_scope.cancel()


async def _run(script: Script, stream: trio.SocketStream) -> None:
    try:
        await script(Peer(stream))
    finally:
        await trio.aclose_forcefully(stream)


def close(code: int | None = None, reason: str = "") -> bytes:
    """A server's Close frame; an empty one without a code."""
    return encode_frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason.encode())
