"""TLS on the same path as plain TCP: one epoll, and a send that goes straight to the socket.

`trio.SSLStream` is used wherever there is no poller. With one, it would be the slowest part of a message's way: each
of its operations goes through Trio's streams, their locks and waits. Here the standard library's `ssl.SSLObject` works
on bytes in memory, `TlsStream.open` and `seal`, and the connection moves them as it does without TLS. Measured with 50
connections and one message of 64 bytes in flight on each: see tests/benchmark/README.md, row TLS.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Hashable
from typing import Any

import trio

from trioecho._wire.poller import Poller, Readable
from trioecho._wire.socket import SocketWire
from trioecho._wire.wire import CHUNK


class TlsStream(trio.abc.Stream):
    """The server's side of TLS over a `trio.SocketStream`.

    A Trio stream until the WebSocket is open; from then on the connection calls `open` and `seal` and moves the bytes
    itself. The stream methods raise `trio.BrokenResourceError` for whatever is wrong with the peer's TLS.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls", "broken", "ended", "held", "transport_stream")

    def __init__(self, transport_stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.transport_stream = transport_stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.ended = False
        """`open` has come to the peer's close_notify."""
        self.held = False
        """There is more in what `open` was given than it was asked for."""
        self.broken: ssl.SSLError | None = None
        """What `open` has come to that is no TLS."""

    @property
    def tls(self) -> ssl.SSLObject:
        """The standard library's object, to be asked what was agreed on."""
        return self._tls

    async def do_handshake(self) -> None:
        """Agree on keys. The caller sets the deadline."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._send_outgoing()
                await self._receive_incoming()
            except ssl.SSLError as error:
                # What OpenSSL has to say to the peer, an alert, is worth one try.
                await self._send_outgoing()
                raise trio.BrokenResourceError from error
            else:
                await self._send_outgoing()
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Plain text, at least one byte; b"" at the peer's close_notify or the end of TCP."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._tls.read(max_bytes if max_bytes is not None else CHUNK)
            except ssl.SSLWantReadError:
                await self._receive_incoming()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send plain text. Cancelled: some of it may have been sent, and the stream is good for closing only."""
        try:
            sealed = self.seal(bytes(data))
        except ssl.SSLError as error:
            # Such as behind the end of TCP without a close_notify: OpenSSL has given the connection up.
            raise trio.BrokenResourceError from error
        await self.transport_stream.send_all(sealed)

    async def wait_send_all_might_not_block(self) -> None:
        """As the TCP stream's."""
        await self.transport_stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Say close_notify (RFC 8446 §6.1), without waiting for the peer's, and close TCP."""
        try:
            await self.say_end()
        finally:
            await self.transport_stream.aclose()

    async def say_end(self) -> None:
        """Say close_notify, before TCP is half-closed: without it a client takes what has come for a part (RFC 9110
        §4.2.2). Nothing may be sent afterwards, and what arrives is not decrypted. A checkpoint."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # Wants to read the peer's close_notify, which nobody waits for; ours stands in the outgoing bytes.
            pass
        try:
            await self._send_outgoing()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def open(self, data: bytes, most: int) -> bytes:
        """The plain text in `data`, and in what came before it, at most `most` bytes; b"" if no record is complete yet.

        Sets `ended` if the peer's close_notify stands behind it, `broken` if something stands there that is not TLS;
        raises that, an `ssl.SSLError`, only if nothing stands before it.
        """
        if data:
            self._incoming.write(data)
        plain = b""
        try:
            while piece := self._tls.read(most - len(plain)):
                plain = plain + piece if plain else piece
                self.held = bool(self._incoming.pending or self._tls.pending())
                if not self.held or len(plain) == most:
                    return plain
            self.ended = True
        except ssl.SSLWantReadError:
            self.held = False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.ended = True
        except ssl.SSLError as error:
            self.broken = ssl.SSLError(*error.args)
            if not plain:
                raise
        return plain

    @property
    def unsaid(self) -> int:
        """Bytes that TLS itself has to say, which `seal` gives out."""
        return self._outgoing.pending

    def seal(self, data: bytes) -> bytes:
        """The TLS records that carry `data`, and whatever else OpenSSL has to say first."""
        if data:
            self._tls.write(data)
        return self._outgoing.read()

    async def _send_outgoing(self) -> None:
        data = self._outgoing.read()
        if data:
            await self.transport_stream.send_all(data)

    async def _receive_incoming(self) -> None:
        data = await self.transport_stream.receive_some(CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class TlsWire(SocketWire):
    """TLS over a socket on the poller, from the first byte behind the request."""

    __slots__ = ("_begun", "_paused", "_readable", "_tls", "seal")

    def __init__(self, stream: TlsStream, poller: Poller, peer: str, group: Hashable = None) -> None:
        super().__init__(stream, stream.transport_stream, poller, peer, group)
        self._tls = stream
        self._readable: Readable | None = None
        self._begun = False
        self._paused = False
        self.seal = stream.seal

    def start(self, nursery: trio.Nursery, readable: Readable) -> None:
        self._readable = readable
        super().start(nursery, self._ready)

    def reader(self) -> tuple[Callable[[Any, int], bytes], Any]:
        return TlsWire._read, self

    def pause(self, *, lost: bool) -> None:
        self._paused = True
        if lost:
            self.batch.forget(self._fd)
            self._unwatched = True
        else:
            super().pause(lost=False)

    def resume(self) -> bool:
        self._paused = False
        if self._tls.held and self.batch.awake and not self._unwatched:
            self.batch.again.add(self._fd)
        return super().resume()

    @property
    def more(self) -> bool:
        return self._ends or (self._tls.held and self._fd not in self.batch.again)

    @property
    def _ends(self) -> bool:
        """Whether what comes next is not in the kernel, nor plain text."""
        tls = self._tls
        return self._unwatched or not self._begun or tls.ended or tls.broken is not None

    def unread(self) -> bool:
        return self._tls.held or super().unread()

    def stop(self) -> None:
        super().stop()
        self._readable = None

    def _ready(self, events: int, now: float) -> None:
        """The poller's call. What a record has beyond a chunk waits for another turn; the end, or a fault, that stands
        behind what was read is told at once."""
        assert self._readable is not None
        self.batch.again.discard(self._fd)
        self._readable(events, now)
        while self._readable is not None and not self._paused and not self._unwatched and self._ends:
            self._readable(0, now)
        if self._tls.held and self._readable is not None and not self._paused and not self._unwatched:
            self.batch.again.add(self._fd)

    def _read(self, size: int) -> bytes:
        tls = self._tls
        if tls.broken is not None:
            broken, tls.broken, tls.ended = tls.broken, None, True
            try:
                raise broken
            finally:
                # Its traceback holds this frame.
                del broken
        if tls.ended:
            return b""
        while True:
            held = tls.held
            if held:
                data = b""
            elif self._begun:
                data = os.read(self._fd, size)
                if not data:
                    return b""
            else:
                # A record may have carried more than the request. The kernel is not asked yet: what the client says
                # to the 101 is read when the handler has begun, as without TLS.
                self._begun, data = True, b""
            plain = tls.open(data, size)
            if tls.unsaid > CHUNK:
                # A KeyUpdate asks for one in answer, which goes out before the next frame.
                raise OSError("the peer asks for more TLS answers than it reads")
            if plain or tls.ended:
                return plain
            if not data and not held:
                raise BlockingIOError
            # Less than a record, or one that carries nothing: there may be more.
