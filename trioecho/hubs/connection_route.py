"""`ConnectionRoute`: a handler of connections over three transports, with SignalR's negotiation, and no hub protocol.

Which connection a request is for, and whether it may be, is decided here; what the transports say is theirs.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

import trio

from trioecho import Accept, HttpRoute, Refused, Request, Response, RouteGroup, WebSocket, WebSocketRoute
from trioecho._http.refusals import try_later
from trioecho._server.admission import ask
from trioecho._server.handlers import call, checked_function
from trioecho._server.routes import Admit, Route
from trioecho.hubs.absences import Absences
from trioecho.hubs.connection_options import EVENTS, POLLING, WEBSOCKETS, ConnectionOptions
from trioecho.hubs.events_transport import EventsConnection
from trioecho.hubs.http_connection import HttpConnection
from trioecho.hubs.logical_connection import ConnectionHandler, LogicalConnection
from trioecho.hubs.negotiate import NAMES, answer, asks_for_stateful, version_of
from trioecho.hubs.polling_transport import PollingConnection, first_answer
from trioecho.hubs.tokens import Claim, Signer, unclaimed
from trioecho.hubs.websocket_transport import NO_CODE, ReattachableConnection, WebSocketConnection

logger = logging.getLogger("trioecho")

User: TypeAlias = Callable[[Request], Awaitable[str | None] | str | None]
"""Says who sends a request that was admitted; None for nobody in particular."""

MOST_SPENT: Final = 10_000
"""Tokens of connections that have ended before the tokens did, which begin no other. Of more, the oldest are forgotten:
whoever has one could as well negotiate anew."""

NEGOTIATE: Final = "/negotiate"

_ADMITTED: Final = "trioecho.hubs"
"""Where a request's `state` holds what admission has found, until its handler takes it."""

C = TypeVar("C", bound=HttpConnection)


class ConnectionRoute(RouteGroup):
    """A handler of connections that come over WebSockets, Server-Sent Events or long polling, as SignalR's clients do.

    It stands at a path like any other route, and also answers what is below it: ``POST /chat/negotiate``. Its paths
    match in any case of their letters. `handler` is an async function of one `Connection`, which may outlive any number
    of requests. When it returns, the client is told goodbye; what it raises is logged and ends that connection only.

    `admit` is an async function of each `Request`, as for other routes: it raises `Refused`, or returns None or
    `Accept`, whose headers are added to the answer to a negotiation and to a 101. A refusal of 401 is sent without its
    sentence, as SignalR's clients want it. `user` is a function of the admitted request that says who sends it, by
    default ``request.state["user"]`` where that is a string, as `bearer` and `basic_auth` leave it. Requests of
    another user than the one who has negotiated a connection do not find it.

    When the server stops, `Connection.receive` ends behind what has come, and what is sent still goes out, until the
    deadline of the stop. A route serves on one server at a time.

    Example:

        from trioecho.hubs import Connection, ConnectionHandler, ConnectionOptions, ConnectionRoute

        async def shout(connection: Connection) -> None:
            async def news() -> None:
                while True:
                    await trio.sleep(60)
                    await connection.send("a minute has passed")

            connection.nursery.start_soon(news)
            while True:
                message = await connection.receive()
                await connection.send(message.decode().upper())

        handler: ConnectionHandler = shout
        options = ConnectionOptions(transports=["websockets", "long-polling"], max_connections=10_000)
        routes = {"/shout": ConnectionRoute(handler, options=options)}

    Raises TypeError or ValueError with one sentence for what will not do.
    """

    ignore_case = True

    def __init__(
        self,
        handler: ConnectionHandler,
        *,
        admit: Admit | None = None,
        user: User | None = None,
        options: ConnectionOptions | None = None,
    ) -> None:
        checked_function(handler, "ConnectionRoute takes an async function", "connection")
        if admit is not None:
            checked_function(admit, "admit is an async function", "request")
        if user is not None:
            checked_function(user, "user is a function", "request")
        if options is not None and not isinstance(options, ConnectionOptions):
            raise TypeError(f"options takes a ConnectionOptions; you gave {options!r}")
        self._handler = handler
        self._admit = admit
        self._user = user
        self._options = options = options or ConnectionOptions()
        self._signer = Signer(options.secret or secrets.token_bytes(32), options.negotiation_timeout)
        self._absences = Absences(options.disconnect_timeout)
        self._connections: dict[str, WebSocketConnection | LogicalConnection] = {}
        # Tokens, until when they would still begin a connection.
        self._spent: dict[str, float] = {}
        self._nursery: trio.Nursery | None = None
        self._stopping = trio.Event()
        # Made now, so that what will not do is told now.
        self._routes = self._made()

    def __repr__(self) -> str:
        return f"ConnectionRoute({self._handler!r})"

    def routes(self) -> Mapping[str, Sequence[Route]]:
        """What stands where; see `RouteGroup`."""
        return self._routes

    def _made(self) -> dict[str, list[Route]]:
        options, cors = self._options, self._options.cors()
        here: list[Route] = []
        if WEBSOCKETS in options.transports:
            here.append(
                WebSocketRoute(
                    self._carry, options=options.websocket_overrides(), admit=self._admit_websocket
                )
            )
        if EVENTS in options.transports or POLLING in options.transports:
            size = options.max_message_size
            here += [
                HttpRoute(self._get, ["GET"], cors=cors, while_client_stays=True),
                HttpRoute(self._post, ["POST"], cors=cors, max_body_size=size, while_client_stays=True),
                HttpRoute(self._delete, ["DELETE"], cors=cors),
            ]
        return {"": here, NEGOTIATE: [HttpRoute(self._negotiate, ["POST"], cors=cors)]}

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the connections that outlive their requests; see `RouteGroup`.

        RuntimeError where it serves already.
        """
        if self._nursery is not None:
            raise RuntimeError(f"{self!r} serves already; make another for each server")
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._absences.watch)
                async with trio.open_nursery() as nursery:
                    self._nursery, self._stopping = nursery, stopping
                    task_status.started()
                    await stopping.wait()
                    for connection in tuple(self._connections.values()):
                        if isinstance(connection, LogicalConnection):
                            connection.stop()
                watching.cancel_scope.cancel()
        finally:
            self._nursery = None

    # What requests do.

    async def _negotiate(self, request: Request) -> Response:
        user, headers = await self._admitted(request)
        self._check_room()
        version = version_of(request)
        claim = self._signer.issue(
            _path_of(request),
            user,
            now=time.time(),
            stateful=self._options.stateful and asks_for_stateful(request),
            secret_id=version == 0,
        )
        told = answer(claim, version, self._options.transports)
        return Response.json(told, headers=(*headers, ("Cache-Control", "no-store")))

    async def _get(self, request: Request) -> Response:
        user, _ = await self._admitted(request)
        if request.method == "HEAD":
            raise Refused(405, "A transport takes GET, POST or DELETE; received HEAD.", {"Allow": "GET"})
        events = "text/event-stream" in request.headers.get("accept", "").lower()
        transport = EVENTS if events else POLLING
        if transport not in self._options.transports:
            raise Refused(404, f"The transport {NAMES[transport]} is not offered here.")
        connection = self._found(request, user)
        if connection is None:
            claim = self._claim(request, user)
            if events:
                opened = EventsConnection(claim, request, user, self._options, self._stopping)
                self._begin(opened)
                return opened.answer()
            self._begin_polling(claim, request, user)
            return first_answer()
        _check_transport(connection, NAMES[transport])
        if isinstance(connection, PollingConnection):
            return await connection.poll()
        raise Refused(409, "This connection is open already.")

    async def _post(self, request: Request) -> Response:
        user, _ = await self._admitted(request)
        connection = self._found(request, user)
        if connection is None:
            if POLLING not in self._options.transports:
                raise _unknown()
            # Some clients say their first before they poll, and ASP.NET takes that, too.
            connection = self._begin_polling(self._claim(request, user), request, user)
        if not isinstance(connection, HttpConnection):
            raise Refused(
                405, "A client of WebSockets sends messages, not POST.", {"Allow": "GET, POST, DELETE"}
            )
        if not await connection.take_in(request):
            raise _unknown()
        return Response(content_type="text/plain")

    async def _delete(self, request: Request) -> Response:
        user, _ = await self._admitted(request)
        connection = self._known(request, user)
        if not isinstance(connection, PollingConnection):
            raise Refused(400, "Only a connection of long polling ends by DELETE.")
        connection.lose()
        return Response(status=202, content_type="text/plain")

    # What WebSockets do.

    async def _admit_websocket(self, request: Request) -> Accept | None:
        user, headers = await self._admitted(request)
        if "id" not in request.query:
            # The client has skipped the negotiation.
            claim = unclaimed()
            self._check_room()
        else:
            connection = self._found(request, user)
            if connection is None:
                claim = self._claim(request, user)
            else:
                _check_transport(connection, NAMES[WEBSOCKETS])
                if not isinstance(connection, ReattachableConnection):
                    raise Refused(409, "This connection is open already.")
                claim = connection.claim
        request.state[_ADMITTED] = claim, user
        return Accept(headers=headers) if headers else None

    async def _carry(self, websocket: WebSocket) -> None:
        """The handler of each WebSocket."""
        claim, user = websocket.request.state.pop(_ADMITTED)
        try:
            if claim.stateful:
                await self._reattachable(claim, websocket.request, user).hold(websocket)
            elif claim.token in self._connections:
                # Two came with one token, at the same time.
                await websocket.aclose(1008, "this connection is open already")
            else:
                connection = WebSocketConnection(websocket, claim, user)
                self._connections[claim.token] = connection
                try:
                    # Awaited here, not in a function of its own: each message goes through every coroutine on its way.
                    await self._handler(connection)
                finally:
                    self._forget(claim)
        finally:
            if websocket.close_code == NO_CODE:
                # SignalR's clients close without a code, and take anything but 1000 for a failure.
                await websocket.aclose()

    def _reattachable(self, claim: Claim, request: Request, user: str | None) -> ReattachableConnection:
        known = self._connections.get(claim.token)
        if isinstance(known, ReattachableConnection):
            return known
        connection = ReattachableConnection(
            claim, request, user, self._options, self._stopping, self._absences
        )
        self._begin(connection)
        return connection

    # Connections.

    def _begin_polling(self, claim: Claim, request: Request, user: str | None) -> PollingConnection:
        connection = PollingConnection(claim, request, user, self._options, self._stopping, self._absences)
        self._begin(connection)
        return connection

    def _begin(self, connection: LogicalConnection) -> None:
        if self._nursery is None or self._stopping.is_set():
            raise _stopping()
        # They can be made anew, and take several KiB.
        connection.request.forget_headers()
        self._connections[connection.token] = connection
        self._nursery.start_soon(self._live, connection)

    async def _live(self, connection: LogicalConnection) -> None:
        try:
            await connection.run(self._handler)
        except Exception:
            # Of our own making; it would end every other connection.
            logger.exception("a connection failed")
        finally:
            self._forget(connection.claim)

    def _forget(self, claim: Claim) -> None:
        del self._connections[claim.token]
        now = time.time()
        while self._spent and (len(self._spent) >= MOST_SPENT or self._spent[next(iter(self._spent))] <= now):
            del self._spent[next(iter(self._spent))]
        if claim.deadline > now:
            self._spent[claim.token] = claim.deadline

    def _found(self, request: Request, user: str | None) -> WebSocketConnection | LogicalConnection | None:
        """Return the connection that a request names; None for one that has not begun. Raises Refused."""
        token = request.query.get("id")
        if not token:
            raise Refused(400, "Connection ID required")
        connection = self._connections.get(token)
        if connection is None:
            return None
        if connection.user != user or (isinstance(connection, LogicalConnection) and connection.gone):
            raise _unknown()
        return connection

    def _known(self, request: Request, user: str | None) -> WebSocketConnection | LogicalConnection:
        """Return the connection that a request names. Raises Refused."""
        connection = self._found(request, user)
        if connection is None:
            raise _unknown()
        return connection

    def _claim(self, request: Request, user: str | None) -> Claim:
        """Return what the token of a request claims. Raises Refused where it can begin no connection."""
        token = request.query["id"]
        claim = self._signer.verify(token, _path_of(request), user, now=time.time())
        if claim is None or token in self._spent:
            raise _unknown()
        self._check_room()
        return claim if self._options.stateful else replace(claim, stateful=False)

    def _check_room(self) -> None:
        if self._nursery is None or self._stopping.is_set():
            raise _stopping()
        most = self._options.max_connections
        if most is not None and len(self._connections) >= most:
            raise try_later("All connections of this path are taken")

    async def _admitted(self, request: Request) -> tuple[str | None, tuple[tuple[str, str], ...]]:
        """Return who sends a request, and what is to be added to the answer. Raises Refused."""
        accept: Accept | None = None
        if self._admit is not None:
            try:
                accept = await ask(self._admit, request)
            except Refused as refused:
                if refused.status != 401:
                    raise
                # The client shows the body in place of what has happened.
                raise Refused(401, refused.sentence, refused.headers, body=b"") from None
        user = request.state.get("user") if self._user is None else await call(self._user, request)
        if user is not None and not isinstance(user, str):
            if self._user is not None:
                raise TypeError(f"user returns a string or None; it returned {user!r}")
            user = None
        return user, () if accept is None else accept.headers


def _path_of(request: Request) -> str:
    """Return the path of the route that a request is for, as it was negotiated at and as it is used."""
    return request.path.lower().removesuffix(NEGOTIATE).rstrip("/")


def _check_transport(connection: WebSocketConnection | LogicalConnection, name: str) -> None:
    if connection.transport != name:
        raise Refused(400, f"This connection is over {connection.transport}, and cannot go on over {name}.")


def _unknown() -> Refused:
    return Refused(404, "No Connection with that ID")


def _stopping() -> Refused:
    return try_later("This server is stopping and takes no new connections")
