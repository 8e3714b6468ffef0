"""One connection to Redis, by coredis, which gives the parsing, TLS and the login.

coredis reads as fast as Redis sends and keeps what nobody has taken, without a limit. `Pace` holds it back, so what
is not taken stays in the kernel and in Redis, which has a limit of its own (``client-output-buffer-limit``).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from types import TracebackType
from typing import Any

import trio
from anyio.abc import SocketAttribute
from coredis.connection import (
    BaseConnection,
    TCPConnection,
    TCPLocation,
    UnixDomainSocketConnection,
    UnixDomainSocketLocation,
)
from coredis.exceptions import RedisError

from trioecho.hubs.redis_url import RedisUrl

KEEP_ALIVE: dict[int, int | bytes] = {
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


class RedisConnection:
    """One connection. `run` makes it and holds it; `ready` is set when it can be used."""

    def __init__(self, url: RedisUrl, ssl_context: ssl.SSLContext | None, pace: Pace | None = None) -> None:
        self.ready = trio.Event()
        self._url = url
        self._closing = False
        self._scope = trio.CancelScope(shield=True)
        options: dict[str, Any] = {
            "username": url.username,
            "password": url.password,
            "db": url.db,
            "processing_budget": pace,
        }
        self.redis: BaseConnection
        if url.path:
            self.redis = UnixDomainSocketConnection(UnixDomainSocketLocation(url.path), **options)
        else:
            self.redis = TCPConnection(
                TCPLocation(url.host, url.port),
                ssl_context=ssl_context,
                socket_keepalive=True,
                socket_keepalive_options=KEEP_ALIVE,
                **options,
            )

    async def run(self) -> None:
        """Hold the connection until `close`, which has to be called. Raises `RedisLost` when it ends otherwise.

        It is shielded: cancelled while it logs in, coredis would log a failure and raise another exception.
        """
        why = "the connection was lost"
        with self._scope:
            try:
                await self.redis.run(task_status=self)
            except RedisError as error:
                why = told_by(error)
        if not self._closing:
            raise RedisLost(why)

    def started(self, value: None = None) -> None:
        """What coredis calls when it has logged in."""
        self.ready.set()

    def close(self) -> None:
        """End it, at once and without a word of coredis's."""
        self._closing = True
        stream = self.redis.stream
        if stream is None:
            self._scope.cancel()
        elif self.redis.usable:
            self.redis.invalidate()
        else:
            with contextlib.suppress(OSError):
                stream.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)


def told_by(error: BaseException) -> str:
    """Return what an error of coredis's says, and what was behind it."""
    cause = error.__cause__
    return f"{error}: {cause}" if isinstance(cause, OSError) else str(error) or type(error).__name__
