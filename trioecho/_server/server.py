"""`Server`: what `serve` hands to whoever started it."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Mapping, Sequence

from trioecho._protocol.counted import counted
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.addresses import authority, urls
from trioecho._server.draining import Draining, Steps
from trioecho._server.figures import Figures
from trioecho._server.listening import Listening, addresses_of, paths_of
from trioecho._server.service import Service
from trioecho._server.unix import shown
from trioecho._websocket.memory import MemoryFigures
from trioecho._websocket.websocket import WebSocket


class Server:
    """A running server: where it listens, who is connected, and how to stop it. Made by `serve`.

    Where it listens stays readable after it has stopped.
    """

    def __init__(self, service: Service, listeners: Sequence[Listening], *, encrypted: bool) -> None:
        self._service = service
        self._encrypted = encrypted
        self._addresses = addresses_of(listeners)
        self._unix_paths = paths_of(listeners)
        self._draining = Draining(service)

    def __repr__(self) -> str:
        return f"<trioecho.Server with {counted(len(self.connections), 'connection')}>"

    @property
    def port(self) -> int:
        """The TCP port of the first address, and of all that `serve` opened; the real one if port 0 was asked for.

        RuntimeError if the server listens at Unix sockets only.
        """
        return self._first[1]

    @property
    def url(self) -> str:
        """The first address, where the sample has its page: ``"http://127.0.0.1:5000"``.

        RuntimeError if the server listens at Unix sockets only.
        """
        return f"http{'s' if self._encrypted else ''}://{self._authority}"

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL at which the server can be reached, `url` first; a wildcard address stands for all it covers.

        Empty if the server listens at Unix sockets only.
        """
        return urls(self._addresses, f"http{'s' if self._encrypted else ''}")

    @property
    def websocket_url(self) -> str:
        """Where the (first) WebSocket is: ``"ws://127.0.0.1:5000/ws"``, with the path as its route has it.

        RuntimeError as for `url`, and where no route is a WebSocket's.
        """
        paths = self._service.routes.websocket_paths
        if not paths:
            raise RuntimeError("this server has no WebSocket route, so there is no URL of one")
        return f"ws{'s' if self._encrypted else ''}://{self._authority}{paths[0]}"

    @property
    def has_websockets(self) -> bool:
        """Whether any of its routes is a WebSocket's."""
        return bool(self._service.routes.websocket_paths)

    @property
    def answers_http(self) -> bool:
        """Whether any of its routes answers plain HTTP."""
        return self._service.routes.answers_http

    @property
    def healthy(self) -> bool:
        """Whether all its route groups say that they are, such as hubs that reach the other processes."""
        return all(group.healthy for group in self._service.routes.groups)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to which its TCP sockets are bound, wildcards among them: ``("127.0.0.1",)``."""
        return tuple(dict.fromkeys(host for host, _ in self._addresses))

    @property
    def unix_paths(self) -> tuple[str, ...]:
        """The paths of its Unix sockets, as they were bound; an abstract name begins with a zero character."""
        return self._unix_paths

    @property
    def connections(self) -> Collection[WebSocket]:
        """The open WebSocket connections, oldest first: a snapshot."""
        return tuple(self._service.connections.values())

    @property
    def records(self) -> Collection[ConnectionRecord]:
        """The records of the last 1,000 connections that have ended, oldest first: a snapshot."""
        return tuple(self._service.records)

    @property
    def open_sockets(self) -> int:
        """How many accepted sockets are open: of WebSockets, of plain HTTP, and of those who have asked for nothing
        yet. `WebSocketOptions.max_sockets` bounds it."""
        return self._service.sockets.open

    @property
    def max_sockets(self) -> int | None:
        """`WebSocketOptions.max_sockets`, or what was made of the limit on open files; None: any number."""
        return self._service.sockets.limit

    @property
    def turned_away(self) -> Mapping[str, int]:
        """How many were turned away so far, by reason: a snapshot, with what has happened only.

        ``"no room"`` are sockets that were closed while no request came on them, because `max_sockets` were open or
        the process could open no more files. The others are named after the limits of `AddressLimits`: sockets closed
        for ``"in_progress"``, requests refused with 429 for ``"connections"`` and ``"handshakes_per_second"``.
        """
        return dict(self._service.turned_away.counts)

    @property
    def memory(self) -> MemoryFigures:
        """What the server holds of its `max_memory`, and whom it had to do without for that: a snapshot."""
        return self._service.memory.figures

    @property
    def figures(self) -> Figures:
        """What the server has done so far and is doing, in numbers: a snapshot. Takes some 1 µs for each open
        connection. `trioecho.metrics` serves them to Prometheus."""
        return self._service.tally.figures(self._service)

    @property
    def ready(self) -> bool:
        """Whether more clients are welcome: false from when `stop` was called. What `trioecho.readyz` answers."""
        return self._service.ready

    def stop(
        self,
        *,
        timeout: float = 10.0,
        delay: float = 0.0,
        window: float = 0.0,
        restart: bool = False,
        handover: bool = False,
    ) -> None:
        """Begin a graceful stop and return at once; `serve` returns when the last connection has ended.

        Three steps, of which the first two take no time unless asked to:

        - For `delay` seconds the server goes on as before, but for `ready`, which is false, and `trioecho.readyz`,
          which answers 503: load balancers send new clients elsewhere before they could be refused.
        - For `window` seconds newcomers get 503 with Retry-After, plain HTTP is answered as before, and the connections
          are told to end one after the other, at equal distances, so that their clients do not all come back at once.
        - Then no new connection is accepted, and whoever is left is told: events that stream, and what else was begun
          for plain HTTP, end now.

        A handler that is told still gets the messages that have arrived; then `receive` raises `trio.EndOfChannel`.
        One that has not returned `timeout` seconds later is cancelled. Its client is sent 1001, or 1012 (service
        restart) with `restart`. Calling it again can only shorten the time.

        `handover` is for sockets (`fd`, `listeners`) at which another process accepts, too, or will: newcomers are left
        to it from the end of `delay` on, none of them is refused, and those who were accepted here before are let in.

        Raises TypeError or ValueError for what is no number of seconds.
        """
        self._draining.begin(Steps(timeout, delay, window, restart), handover=handover)

    def renew_tls(self, ssl_context: ssl.SSLContext) -> None:
        """Use another certificate, or other settings, for connections that are accepted from now on; those that are
        open keep what they have. Not a checkpoint.

        Raises TypeError for what is no `ssl.SSLContext`, RuntimeError where the server was started without one.
        """
        if not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"renew_tls takes an ssl.SSLContext; you gave {ssl_context!r}")
        if self._service.ssl_context is None:
            raise RuntimeError("this server was started without ssl_context, so its clients speak no TLS")
        self._service.ssl_context = ssl_context

    def abort(self) -> None:
        """Stop at once: handlers are cancelled, a Close 1001 is sent where there is room for it, nobody is awaited."""
        self._draining.abort()

    @property
    def _first(self) -> tuple[str, int]:
        if not self._addresses:
            if not self._unix_paths:
                raise RuntimeError("this server listens nowhere, so it has no URL or port")
            raise RuntimeError(
                f"this server listens at {', '.join(f'unix:{shown(path)}' for path in self._unix_paths)} and has no URL"
                " or port; connect to one of its unix_paths"
            )
        return self._addresses[0]

    @property
    def _authority(self) -> str:
        host, port = self._first
        # A wildcard address is no address to connect to.
        return authority({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
