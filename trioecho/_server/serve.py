"""`serve`: listeners, room for one more connection, and the graceful stop."""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Collection, Mapping, Sequence

import trio

from trioecho._http.upgrade import Handshake, accepting_response
from trioecho._protocol.endings import LOG_LEVELS
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.listeners import accept, listen, urls
from trioecho._server.requests import address, receive_handshake
from trioecho._server.routes import Handler, checked_handlers, echo
from trioecho._server.service import Service
from trioecho._websocket.connection import Connection
from trioecho._websocket.message_stream import websocket_of
from trioecho._websocket.websocket import WebSocket
from trioecho._wire.choice import wire_of
from trioecho._wire.poller import Poller
from trioecho._wire.tls import TlsStream
from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")


class Server:
    """A running server: where it listens, who is connected, and how to stop it. Made by `serve`."""

    def __init__(
        self, service: Service, listeners: Sequence[trio.SocketListener], *, encrypted: bool
    ) -> None:
        self._service = service
        self._listeners = listeners
        self._encrypted = encrypted
        self._accepting = trio.CancelScope()
        host: str
        self._port: int
        host, self._port = listeners[0].socket.getsockname()[:2]
        # A wildcard address is no address to connect to.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self._authority = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    def __repr__(self) -> str:
        return f"<trioecho.Server with {len(self.connections)} connections>"

    @property
    def port(self) -> int:
        """The TCP port, the same at every address; the real one if port 0 was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where the page is: ``"http://127.0.0.1:5000"``."""
        return f"http{'s' if self._encrypted else ''}://{self._authority}"

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL at which the page can be opened, `url` first; a wildcard address stands for all it covers."""
        scheme = f"http{'s' if self._encrypted else ''}"
        return urls([listener.socket for listener in self._listeners], scheme)

    @property
    def websocket_url(self) -> str:
        """Where the (first) handler is: ``"ws://127.0.0.1:5000/ws"``."""
        return f"ws{'s' if self._encrypted else ''}://{self._authority}{next(iter(self._service.handlers))}"

    @property
    def connections(self) -> Collection[WebSocket]:
        """The open WebSocket connections, oldest first: a snapshot."""
        return tuple(self._service.connections.values())

    @property
    def records(self) -> Collection[ConnectionRecord]:
        """The records of the last 1,000 connections that have ended, oldest first: a snapshot."""
        return tuple(self._service.records)

    def stop(self, *, timeout: float = 10.0) -> None:
        """Begin a graceful stop and return at once; `serve` returns when the last connection has ended.

        No new connection is accepted. Each handler still gets the messages that have arrived; then `receive` raises
        `trio.EndOfChannel`. One that has not returned after `timeout` seconds is cancelled. Every client is sent
        1001. Calling it again can only shorten the time.
        """
        self._accepting.cancel()
        self._service.stop(trio.current_time() + timeout)

    def abort(self) -> None:
        """Stop at once: handlers are cancelled, a Close 1001 is sent where there is room for it, nobody is awaited."""
        self._accepting.cancel()
        self._service.abort()


@trio.lowlevel.enable_ki_protection
async def serve(
    handler: Handler | Mapping[str, Handler] = echo,
    *,
    host: str | Sequence[str] = "127.0.0.1",
    port: int = 5000,
    options: WebSocketOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve WebSockets, and the sample page at ``/``, until cancelled or until `Server.stop`.

    `handler` is an async function of one `WebSocket`, served at ``options.path``, or a mapping of path to such
    functions. `host` is an address or name, or several; `port` 0 takes a free one. With `ssl_context`, https and wss.

    With ``server = await nursery.start(serve, handler)`` the `Server` is there as soon as connections are accepted.

    Raises `OSError` if it cannot listen, `TypeError` or `ValueError` with a sentence for a handler or path that will
    not do. No failure of one connection or handler leaves this function. Cancelled: handlers are cancelled, every
    client is sent 1001 and has ``options.close_timeout`` to answer, then the cancellation goes on.
    """
    options = options if options is not None else WebSocketOptions()
    service = Service(checked_handlers(handler, options), options)
    serve_one = (
        functools.partial(serve_connection, service=service)
        if ssl_context is None
        else functools.partial(_serve_tls, service=service, ssl_context=ssl_context)
    )
    listeners = await listen(host, port)
    try:
        async with trio.open_nursery() as poller_nursery:
            if Poller.available:
                service.poller = Poller()
                poller_nursery.start_soon(service.poller.run)
            try:
                async with trio.open_nursery() as nursery:
                    server = Server(service, listeners, encrypted=ssl_context is not None)
                    task_status.started(server)
                    with server._accepting:
                        await accept(listeners, functools.partial(nursery.start_soon, serve_one))
            finally:
                if service.poller is not None:
                    service.poller.stop()
    finally:
        # Last of all: every connection has closed by then, and each has let go of it.
        if service.poller is not None:
            service.poller.close()


@trio.lowlevel.enable_ki_protection
async def serve_connection(transport: trio.abc.Stream, service: Service) -> None:
    """Serve one accepted stream from its first byte to its last, and close it.

    Raises nothing of its own: what goes wrong is logged. Cancelled: the peer is sent 1001 and has
    ``close_timeout`` seconds to answer; then the cancellation goes on.
    """
    try:
        accepted = await receive_handshake(transport, service)
        if accepted is not None:
            handshake, early = accepted
            connection, websocket = _admit(transport, service, handshake)
            opening = accepting_response(handshake)
            # A request is not kept for as long as its connection lives.
            del accepted, handshake
            record = connection.record
            try:
                # Awaited here, not in a function of its own: each message goes through every coroutine on its way.
                await connection.run(service.handlers[record.path], websocket, opening, early)
            finally:
                del service.connections[connection]
                service.records.append(record)
                assert record.cause is not None
                logger.log(LOG_LEVELS[record.cause], "%s", record, extra={"record": record})
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        logger.debug("connection lost before a WebSocket was opened: %s", error)
    except Exception:
        logger.exception("a connection failed")
    finally:
        await trio.aclose_forcefully(transport)


def _admit(
    transport: trio.abc.Stream, service: Service, handshake: Handshake
) -> tuple[Connection, WebSocket]:
    """Make an accepted handshake a connection, which takes its place in the same step."""
    record = ConnectionRecord(
        peer=address(transport),
        path=handshake.path,
        origin=handshake.origin,
        subprotocol=handshake.subprotocol,
    )
    connection = Connection(wire_of(transport, record.peer, service.poller), service.options, record)
    websocket = websocket_of(connection, handshake)
    service.connections[connection] = websocket
    return connection, websocket


async def _serve_tls(stream: trio.SocketStream, *, service: Service, ssl_context: ssl.SSLContext) -> None:
    if service.poller is not None:
        await serve_connection(TlsStream(stream, ssl_context), service)
    else:
        await serve_connection(trio.SSLStream(stream, ssl_context, server_side=True), service)
