"""`serve`: listeners, room for one more connection, and the graceful stop."""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Sequence

import trio

from trioecho._http.upgrade import accepting_response
from trioecho._protocol.connection_id import new_id
from trioecho._protocol.endings import LOG_LEVELS
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.draining import Draining
from trioecho._server.listeners import accept
from trioecho._server.listening import NOT_GIVEN, Host, ListenAt, NotGiven, Unix
from trioecho._server.requests import Accepted, receive_requests
from trioecho._server.routes import Route, Routes, RouteTable
from trioecho._server.server import Server
from trioecho._server.service import Service
from trioecho._server.sockets import Visit, most_sockets
from trioecho._websocket.connection import Connection
from trioecho._websocket.message_stream import websocket_of
from trioecho._websocket.websocket import WebSocket
from trioecho._wire.choice import wire_of
from trioecho._wire.poller import Poller
from trioecho._wire.tls import TlsStream
from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")

CONNECTION_BYTES = 12 * 1024
"""What a connection counts towards `max_memory` by itself, measured with an echo: its tasks, coroutines and objects."""

TLS_BYTES = 48 * 1024
"""What TLS adds to that: OpenSSL's state and buffers."""


@trio.lowlevel.enable_ki_protection
async def serve(
    handler: Route | Routes | None = None,
    *,
    host: Host | NotGiven = NOT_GIVEN,
    port: int | NotGiven = NOT_GIVEN,
    unix: Unix | None = None,
    fd: int | Sequence[int] | None = None,
    listeners: Sequence[trio.SocketListener] | None = None,
    backlog: int | None = None,
    options: WebSocketOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve WebSockets, and HTTP beside them, until cancelled or until `Server.stop`.

    `handler` is an async function of one `WebSocket`, served at ``options.path``, or a mapping from paths to routes:
    such functions, `WebSocketRoute`, `HttpRoute`, `Files`, `RawRoute`, or several of them in a list. A path may have
    parameters, ``/rooms/{room}``, ``/files/{path:path}``; the more specific one wins. Without a handler it is the
    sample: an echo, its page at ``/``, and ``/healthz``, ``/livez`` and ``/readyz``. With `ssl_context`, https and wss.

    Where it listens, at ``127.0.0.1`` port 5000 if nothing is given:

    - `host`, `port`:
        An address or name, or several, or None for every address of the machine, IPv4 and IPv6; ``0.0.0.0`` is every
        IPv4 address, ``::`` every IPv6 address and no other. `port` 0 takes one that is free at all of them.
    - `unix`:
        A Unix socket: its path, which only the server's own user can use then, or a `UnixSocket` with more to say.
    - `fd`:
        A listening TCP or Unix stream socket that this process was started with, such as 3 from systemd, or several in
        a list. The server uses duplicates: closing the numbers, or calling them anew, stays the caller's. They are made
        non-blocking.
    - `listeners`:
        Ready `trio.SocketListener` objects. The server owns them from here on and closes them, however it ends.
    - `backlog`:
        How many connections may wait to be accepted (listen(2)), for `host` and `unix`; None is as many as the system
        allows.

    They can be combined. With `unix`, `fd` or `listeners` there is TCP besides only if `host` or `port` is given.

    With ``server = await nursery.start(serve, handler)`` the `Server` is there as soon as connections are accepted.

    The log goes to the logger ``trioecho``. Its handlers are called in Trio's thread, and everything stands still
    while one of them waits: for a pipe that nobody reads, a slow disk, a network. `trioecho.run` and the command line
    have one that does not; give others their lines through a bounded queue (`logging.handlers.QueueHandler`).

    Raises `OSError` if it cannot listen, `TypeError` or `ValueError` with a sentence for a handler, path or place to
    listen at that will not do. No failure of one connection or handler leaves this function. Cancelled: handlers are
    cancelled, every client is sent 1001 and has ``options.close_timeout`` to answer, then the cancellation goes on.
    """
    options = options if options is not None else WebSocketOptions()
    listen_at = ListenAt.of(host, port, unix=unix, fd=fd, listeners=listeners, backlog=backlog)
    service = Service(RouteTable(handler, options), options)
    service.ssl_context = ssl_context
    serve_one = (
        functools.partial(serve_connection, service=service)
        if ssl_context is None
        else functools.partial(_serve_tls, service=service)
    )
    draining: Draining | None = None
    opened = await listen_at.open()
    service.sockets.limit = most_sockets(options)
    try:
        async with trio.open_nursery() as poller_nursery:
            if Poller.available:
                service.poller = Poller(service.shortage)
                poller_nursery.start_soon(service.poller.run)
            poller_nursery.start_soon(service.memory.run)
            try:
                async with service.groups_running(), trio.open_nursery() as nursery:
                    server = service.server = Server(service, opened, encrypted=ssl_context is not None)
                    draining = server._draining
                    poller_nursery.start_soon(draining.run)
                    task_status.started(server)
                    with draining.accepting:
                        start_one = functools.partial(nursery.start_soon, serve_one)
                        await accept(
                            opened,
                            start_one,
                            listen_at.listen_again(opened),
                            lambda: len(nursery.child_tasks),
                            service.sockets.relieve,
                        )
            finally:
                service.memory.stop()
                if draining is not None:
                    draining.over()
                if service.poller is not None:
                    service.poller.stop()
    finally:
        service.server = None
        # Last of all: every connection has closed by then, and each has let go of it.
        if service.poller is not None:
            service.poller.close()
        # `accept` has closed them, unless it was never reached.
        for listener in opened:
            await trio.aclose_forcefully(listener)


@trio.lowlevel.enable_ki_protection
async def serve_connection(transport: trio.abc.Stream, service: Service) -> None:
    """Serve one accepted stream from its first byte to its last, and close it.

    Raises nothing of its own: what goes wrong is logged. Where no memory is left for an answer, the stream is closed
    without one. Cancelled: the peer is sent 1001 and has
    ``close_timeout`` seconds to answer; then the cancellation goes on.
    """
    memory = service.memory
    size = CONNECTION_BYTES + (TLS_BYTES if isinstance(transport, (TlsStream, trio.SSLStream)) else 0)
    memory.add(size)
    visit: Visit | None = None
    try:
        visit = Visit(transport)
        if memory.over:
            memory.relieve()
            if memory.over:
                memory.refuse()
                return
        service.sockets.enter(visit)
        accepted: Accepted | None = None
        assert visit.scope is not None
        with visit.scope:
            accepted = await receive_requests(visit, service)
        visit.scope = None
        if accepted is not None:
            admission = accepted.admission
            opening = accepting_response(
                admission.key,
                admission.subprotocol,
                admission.headers,
                None if admission.agreement is None else admission.agreement.answer,
            )
            # Behind this nothing may fail before the place is given back below.
            connection, websocket = _take_place(transport, service, accepted)
            route = admission.route
            if admission.agreement is not None:
                memory.add(admission.agreement.memory)
                size += admission.agreement.memory
            connection.begin_with(opening, accepted.early)
            # Neither is kept for as long as the connection lives.
            del accepted, admission, opening
            record = connection.record
            try:
                # Awaited here, not in a function of its own: each message goes through every coroutine on its way.
                await connection.run(route.handler, websocket)
            finally:
                del service.connections[connection]
                route.connected -= 1
                service.records.append(record)
                service.tally.ended(record)
                assert record.cause is not None
                logger.log(
                    LOG_LEVELS[record.cause], "%s", record, extra={"record": record, "connection": record.id}
                )
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        logger.debug("connection lost before a WebSocket was opened: %s", error)
    except Exception:
        logger.exception("a connection failed")
    finally:
        memory.add(-size)
        if visit is not None:
            service.accounts.release(visit.account)
        try:
            await trio.aclose_forcefully(transport)
        finally:
            if visit is not None:
                service.sockets.leave(visit)


def _take_place(
    transport: trio.abc.Stream, service: Service, accepted: Accepted
) -> tuple[Connection, WebSocket]:
    """Make an accepted handshake a connection, which takes its place in the same step."""
    request, admission = accepted.request, accepted.admission
    record = ConnectionRecord(
        peer=accepted.peer,
        path=request.path,
        origin=request.origin,
        subprotocol=admission.subprotocol,
        extensions=None if admission.agreement is None else admission.agreement.answer,
        id=new_id(),
    )
    # They can be made anew, and take several KiB.
    request.forget_headers()
    wire = wire_of(transport, record.peer, service.poller, accepted.group)
    connection = Connection(
        wire, admission.route.options, record, admission.agreement, service.memory, service.shortage
    )
    connection.liveness.pings.round_trips = service.tally.round_trips
    if service.shortage.lasts:
        service.shortage.done(trio.current_time())
    websocket = websocket_of(connection, request, service.server)
    if logger.isEnabledFor(logging.DEBUG):
        # Before the place is taken: a filter of the application's may raise.
        logger.debug("%s", record.opened, extra={"connection": record.id})
    service.connections[connection] = websocket
    admission.route.connected += 1
    return connection, websocket


@trio.lowlevel.enable_ki_protection
async def _serve_tls(stream: trio.SocketStream, *, service: Service) -> None:
    ssl_context = service.ssl_context
    assert ssl_context is not None
    if service.poller is not None:
        await serve_connection(TlsStream(stream, ssl_context), service)
    else:
        await serve_connection(trio.SSLStream(stream, ssl_context, server_side=True), service)
