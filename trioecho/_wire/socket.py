"""Plain TCP on the poller: the kernel is asked directly, and only when it has something.

Unix sockets go the same way. There the kernel knows at once when the peer is gone (EPOLLHUP), what is in flight is what
the peer's program has not read, and there is no keep-alive, for no cable can be cut.
"""

from __future__ import annotations

import math
import os
import select
import socket
import sys
from collections.abc import Callable, Hashable
from typing import Any

import trio

from trioecho._wire.poller import Poller, Readable
from trioecho._wire.wire import CHUNK, Wire

try:
    import fcntl
    import termios
except ImportError:  # not on Windows
    _HAS_OUTQ = False
else:
    _HAS_OUTQ = sys.platform == "linux"

UNREAD_CHUNKS = 16
"""Chunks behind the peer's Close that are read before TCP is closed over the rest."""

DISCARDED_BYTES = 1_048_576
"""Bytes that are read and thrown away after a refusal. Picked arbitrarily: a request body, not an upload."""

_KEEP_IDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))


class SocketWire(Wire):
    """The wire over `stream`, whose socket `poller` watches; `tcp` and `fd` are its socket and its number."""

    __slots__ = ("_fd", "_group", "_kept_alive", "_stream", "_tcp", "_unwatched", "batch", "peer")

    batch: Poller
    seal: Callable[[bytes], bytes] | None = None
    immediate = True

    def __init__(
        self,
        stream: trio.abc.Stream,
        tcp: trio.SocketStream,
        poller: Poller,
        peer: str,
        group: Hashable = None,
    ) -> None:
        self._stream = stream
        self._tcp = tcp
        self._fd = tcp.socket.fileno()
        self._kept_alive = False
        self._unwatched = False
        self.batch = poller
        self.peer = peer
        self._group = group

    def start(self, nursery: trio.Nursery, readable: Readable) -> None:
        self.batch.watch(self._fd, readable, self._group)

    def reader(self) -> tuple[Callable[[Any, int], bytes], Any]:
        return os.read, self._fd

    def writer(self) -> tuple[Callable[[Any, bytes], int], Any]:
        return os.write, self._fd

    def write_large(self, header: bytes, payload: bytes) -> int:
        return os.writev(self._fd, (header, payload))

    async def send(self, data: memoryview) -> int:
        while True:
            await trio.lowlevel.wait_writable(self._fd)
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                pass

    def pause(self, *, lost: bool) -> None:
        if lost:
            # epoll would report the loss without end.
            self.stop()
        elif not self._unwatched:
            self.batch.pause(self._fd)

    def resume(self) -> bool:
        if not self._unwatched:
            self.batch.resume(self._fd)
        return self.more

    @property
    def more(self) -> bool:
        return self._unwatched

    def unread(self) -> bool:
        return unread(self._tcp)

    def in_flight(self) -> int:
        return in_flight(self._tcp)

    def error(self) -> OSError | None:
        return pending_error(self._tcp)

    def keep_alive(self, interval: float, timeout: float) -> None:
        if not self._kept_alive:
            self._kept_alive = True
            keep_alive(self._tcp, interval, timeout)

    async def half_close(self) -> None:
        await half_close(self._tcp)

    def stop(self) -> None:
        self._unwatched = True
        self.batch.forget(self._fd)

    async def close(self) -> None:
        # Closing TCP over unread bytes would answer them with a reset (RFC 9112 §9.6), and that could destroy our
        # own last words on their way.
        try:
            for _ in range(UNREAD_CHUNKS):
                if not os.read(self._fd, CHUNK):
                    break
        except OSError:
            pass
        await self._stream.aclose()


def unread(tcp: trio.SocketStream) -> bool:
    """Whether the kernel holds bytes of the peer, or its end, that have not been read."""
    fd = tcp.socket.fileno()
    if fd < 0:
        return False
    if not hasattr(select, "poll"):  # Windows, where select takes any number
        return bool(select.select([fd], [], [], 0)[0])
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    return bool(ready.poll(0))


def in_flight(tcp: trio.SocketStream) -> int:
    """Bytes in the kernel that the peer's has not acknowledged (Linux: SIOCOUTQ); 0 where that cannot be asked.

    Of a Unix socket, memory that holds what the peer has not read: more than the bytes, and 0 when there are none.
    """
    if not _HAS_OUTQ:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(tcp.socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # it has been closed, and has no number any more
        return 0


def pending_error(tcp: trio.SocketStream) -> OSError | None:
    """What the kernel holds against the connection: a reset, or a peer that TCP has given up."""
    try:
        number = tcp.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError as error:
        return error
    return OSError(number, os.strerror(number)) if number else None


def keep_alive(tcp: trio.SocketStream, interval: float, timeout: float) -> None:
    """Switch TCP's own keep-alive on: a probe after `interval` seconds without a byte, given up `timeout` later.

    TCP_USER_TIMEOUT is left alone. It would find a dead peer as well when bytes are in flight, but it also ends a
    living one that has not opened its window for so long, acknowledged probes or not; bytes in flight have
    ``send_timeout``.
    """
    if not interval + timeout < math.inf or _KEEP_IDLE is None:
        return
    between = max(1, int(timeout / 3))
    try:
        tcp.setsockopt(socket.IPPROTO_TCP, _KEEP_IDLE, min(32_767, max(1, math.ceil(interval))))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, min(32_767, between))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, min(127, max(1, int(timeout // between))))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except (OSError, AttributeError):
        # The connection has gone, it is a Unix socket, or this platform's TCP has no such thing: then `send_timeout` is
        # what is left.
        pass


def tcp_of(transport: trio.abc.Stream) -> trio.abc.Stream:
    """The stream under TLS, or the stream itself where there is no TLS."""
    under: trio.abc.Stream = getattr(transport, "transport_stream", transport)
    return under


async def half_close(transport: trio.abc.Stream) -> None:
    """Tell the peer that nothing more will come, and keep reading open, where the transport can do that.

    Under TLS it is the TCP connection that is half-closed. A checkpoint.
    """
    stream = tcp_of(transport)
    if isinstance(stream, trio.abc.HalfCloseableStream):
        try:
            await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    else:
        await trio.lowlevel.checkpoint()


async def await_hang_up(transport: trio.abc.Stream) -> None:
    """Half-close, then read and discard until the peer hangs up, or `DISCARDED_BYTES` have come.

    Closing a socket with unread bytes makes the kernel send a reset, which can destroy the last thing said on its
    way (RFC 9112 §9.6). The caller sets the deadline.
    """
    await half_close(transport)
    stream = tcp_of(transport)
    left = DISCARDED_BYTES
    while left > 0:
        try:
            data = await stream.receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        if not data:
            return
        left -= len(data)
