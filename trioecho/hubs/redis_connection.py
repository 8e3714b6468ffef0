"""One connection to Redis, by coredis, which does the login and the parsing.

coredis reads as fast as Redis sends and keeps what nobody has taken, without a limit. `Pace` holds it back, so what
is not taken stays in the kernel and in Redis, which has a limit of its own (``client-output-buffer-limit``).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import anyio
import trio
from anyio.abc import ByteStream, SocketAttribute
from coredis.connection import BaseConnection, Location
from coredis.exceptions import RedisError

from trioecho.hubs.redis_url import RedisUrl

KEEP_ALIVE = {
    getattr(socket, name): value
    for name, value in {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}.items()
    if hasattr(socket, name)
}
"""Seconds, seconds, and a number: how the kernel finds out that the other machine is gone."""


class RedisLost(Exception):  # noqa: N818 (it is the network's doing)
    """A connection to Redis is lost, or was not to be had, and why."""


class Pace:
    """Lets coredis read on when all that it has read before was taken; given to it as its `processing_budget`.

    Whoever takes counts in `taken`, and takes one message each time that the tasks have their turn.
    """

    def __init__(self) -> None:
        self.taken = 0

    async def __aenter__(self) -> None:
        while True:
            taken = self.taken
            # In two turns of all tasks whoever takes has had at least one whole turn.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            if self.taken == taken:
                return

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@dataclass(unsafe_hash=True)
class Place(Location):
    """Where a connection leads to, as coredis wants to know it."""

    url: RedisUrl

    def __str__(self) -> str:
        return str(self.url)

    async def check(self) -> bool:
        """Nobody asks this."""
        return True


class OverStream(BaseConnection):
    """coredis's part: a connection over a stream that is there."""

    def __init__(self, stream: ByteStream, url: RedisUrl, pace: Pace | None) -> None:
        budget: Any = pace
        super().__init__(
            Place(url),
            username=url.username,
            password=url.password,
            db=url.db,
            processing_budget=budget,
        )
        self._stream = stream

    async def _connect(self) -> ByteStream:
        return self._stream

    def describe(self) -> str:
        return str(self.location)


class RedisConnection:
    """One connection. `run` makes it and holds it; `ready` is set when it can be used, as `redis`."""

    redis: OverStream

    def __init__(self, url: RedisUrl, ssl_context: ssl.SSLContext | None, pace: Pace | None = None) -> None:
        self.ready = trio.Event()
        self._url = url
        self._ssl_context = ssl_context
        self._pace = pace
        self._stream: ByteStream | None = None
        self._closing = False
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Hold the connection until `close`, which has to be called. Raises `RedisLost` when it ends otherwise."""
        why = "the connection was lost"
        with self._scope:
            try:
                self._stream = await self._opened()
                self.redis = OverStream(self._stream, self._url, self._pace)
                # Cancelled while it logs in, coredis would log a failure and raise another exception.
                self._scope.shield = True
                await self.redis.run(task_status=self)
            except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, RedisError) as error:
                why = str(error) or type(error).__name__
        if not self._closing:
            raise RedisLost(why)

    async def _opened(self) -> ByteStream:
        url = self._url
        if url.path:
            return await anyio.connect_unix(url.path)
        if self._ssl_context is None:
            stream: ByteStream = await anyio.connect_tcp(url.host, url.port)
        else:
            stream = await anyio.connect_tcp(
                url.host, url.port, ssl_context=self._ssl_context, tls_standard_compatible=False
            )
        connected = stream.extra(SocketAttribute.raw_socket)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE.items():
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
        return stream

    def started(self, value: None = None) -> None:
        """What coredis calls when it has logged in."""
        self.ready.set()

    def close(self) -> None:
        """End it, at once and without a word of coredis's."""
        self._closing = True
        if self._stream is None:
            self._scope.cancel()
        elif self.redis.usable:
            self.redis.invalidate()
        else:
            with contextlib.suppress(OSError):
                self._stream.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)
