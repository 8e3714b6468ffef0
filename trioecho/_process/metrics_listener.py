"""The figures of a server at a port of their own, as long as the server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from trioecho._server.figures import Figures
from trioecho._server.listening import ListenAt
from trioecho._server.serve import serve
from trioecho._server.server import Server
from trioecho.metrics import Metrics
from trioecho.options import WebSocketOptions

PATH = "/metrics"
"""Where Prometheus looks unless it is told otherwise."""

MOST_SOCKETS = 64
"""Sockets open at once. A few programs read figures; with more, whatever else they are is kept from taking the
descriptors of the server's clients."""


class MetricsListener:
    """Where figures are read: `port` of `host`. Whoever can connect there may read them.

    Raises ModuleNotFoundError where prometheus-client is not installed, TypeError or ValueError as `serve` does.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        try:
            self.listen_at = ListenAt.of(host, port)
        except (TypeError, ValueError) as error:
            # It begins with the name of what is wrong.
            raise type(error)(f"metrics_{error}") from None
        self.port, self.host = port, host
        # Tells what is missing before anything listens.
        self.looks = Metrics()
        """For a process whose figures another serves: looks how late the event loop is, while it runs."""

    async def serve(
        self,
        server: Server | None,
        *,
        collect: Callable[[], Awaitable[Figures]] | None = None,
        task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the figures of `server`, or what `collect` returns, until cancelled; the task starts with the `Server`
        that does. Raises OSError or UnicodeError if it cannot listen."""
        servers = () if server is None else (server,)
        await serve(
            {PATH: Metrics(*servers, readers=None, collect=collect)},
            host=self.host,
            port=self.port,
            options=WebSocketOptions(max_sockets=MOST_SOCKETS),
            task_status=task_status,
        )
