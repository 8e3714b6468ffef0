"""The listening sockets of several processes at the same places.

The supervisor opens them, and keeps them open as long as it has anybody who accepts: a worker that dies, or is
replaced, loses nobody who waits in the kernel, for its successor accepts at the same socket.

Where the kernel spreads connections over the sockets of one port (Linux, SO_REUSEPORT), each worker has one of its own
for each TCP address. One that is shared would favour whoever is woken first: 64 connections over 4 processes went 0, 0,
30 and 34. Unix sockets and what was inherited can only be shared.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

import trio

from trioecho._server.listening import ListenAt, Listening, addresses_of

BALANCED = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")
"""Whether the kernel spreads connections: BSDs and macOS give all of them to one of the sockets."""


class WorkerSockets:
    """What `count` workers listen at. Made by `open`; to be closed."""

    def __init__(self, opened: Sequence[Listening], further: Sequence[Sequence[socket.socket]]) -> None:
        self._opened = opened
        # For each of those: what the second, the third worker has in its place; nothing if they share it.
        self._further = further

    @classmethod
    async def open(cls, listen_at: ListenAt, count: int, backlog: int | None) -> WorkerSockets:
        """Listen everywhere. Raises OSError as `ListenAt.open` does, and leaves nothing open then."""
        opened = await listen_at.open()
        further: list[list[socket.socket]] = [[] for _ in opened]
        sockets = cls(opened, further)
        own = len(opened) - len(listen_at.fds) - len(listen_at.listeners)
        try:
            for place, listener in enumerate(opened[:own]):
                if BALANCED and isinstance(listener, trio.SocketListener):
                    _add(listener, count - 1, backlog, further[place])
        except BaseException:
            await sockets.aclose()
            raise
        return sockets

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to which the TCP sockets are bound."""
        return tuple(dict.fromkeys(host for host, _ in addresses_of(self._opened)))

    def of(self, worker: int) -> tuple[int, ...]:
        """The descriptors at which a worker accepts: the first is 0."""
        return tuple(
            more[worker - 1].fileno() if worker and more else listener.socket.fileno()
            for listener, more in zip(self._opened, self._further, strict=True)
        )

    def close_tcp(self) -> None:
        """Close all but the Unix sockets; each listens as long as a worker does."""
        for more in self._further:
            for each in more:
                each.close()
        for listener in self._opened:
            if isinstance(listener, trio.SocketListener):
                listener.socket.close()

    async def aclose(self) -> None:
        """Close them; each listens as long as a worker does. The file of a Unix socket is removed."""
        self.close_tcp()
        for listener in self._opened:
            await trio.aclose_forcefully(listener)


def _add(listener: trio.SocketListener, count: int, backlog: int | None, found: list[socket.socket]) -> None:
    """Let `count` more sockets listen where `listener` does, and share its connections."""
    first = listener.socket
    # Only now: with it from the beginning, a second server of the same user could have taken the port, too, and half of
    # the connections, where it is to be told that the port is in use.
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    for _ in range(count):
        another = socket.socket(first.family, socket.SOCK_STREAM)
        found.append(another)
        another.setblocking(False)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if first.family == socket.AF_INET6:
            another.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        another.bind(first.getsockname())
        another.listen(0xFFFF if backlog is None else backlog)
