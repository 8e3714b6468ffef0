"""One plain HTTP exchange: a request, the route that answers it, its response, and one line in the log.

    ┌── `request.nursery` ─────────────────────────────────────────────┐
    │ the route's function, then its response, sent piece by piece     │
    │ what the function has started; cancelled when all has been sent  │
    │ the watch: ends everything here when the client goes, while a    │
    │ response of unknown length streams, or with `while_client_stays` │
    │ from the start                                                   │
    └──────────────────────────────────────────────────────────────────┘
    the line in the log

What fails in here is a 500 where nothing has been sent, otherwise the end of the connection, and no other's concern.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import trio

from trioecho._http.http1 import ClientGone, Http1
from trioecho._http.messages import Request, Response, answer_to
from trioecho._http.refusals import Refused, listed, quoted, try_later
from trioecho._http.response_head import announced_length
from trioecho._http.upgrade import check_host
from trioecho._protocol.connection_id import new_id
from trioecho._protocol.record import summary
from trioecho._protocol.untrusted import for_json, shown
from trioecho._server.admission import NO_MEMORY, ask
from trioecho._server.handlers import call
from trioecho._server.outcomes import outcome_of
from trioecho._server.routes import Endpoint, HttpRoute
from trioecho._server.service import Service
from trioecho._websocket.handlers import name_of

logger = logging.getLogger("trioecho")
access_logger = logging.getLogger("trioecho.access")


@dataclass(slots=True)
class Exchange:
    """What the log says of one exchange."""

    id: str
    """Eight letters and digits, with which each log line of this exchange begins."""
    peer: str
    method: str
    path: str
    """As it was sent, without the query: tokens may stand there."""
    agent: str | None = None
    """The User-Agent as it was sent."""
    status: int | None = None
    """None where the client went before there was an answer."""
    body_bytes: int = 0
    duration: float = 0.0
    """Seconds from the head of the request to the end of the response."""
    error: str | None = None
    level: int = logging.INFO
    """How loudly it is logged."""

    def as_dict(self) -> Mapping[str, Any]:
        """All fields but `level`, as plain values that JSON can hold; a text of more than 500 characters is cut there
        and says how many it had."""
        return {
            name: for_json(value) if isinstance(value, str) else value
            for name, value in asdict(self).items()
            if name != "level"
        }

    def __str__(self) -> str:
        parts = [
            f"{self.id} {shown(self.peer)} {shown(self.method)} {shown(self.path)} {self.status or 'unanswered'}",
            f"{self.body_bytes} B",
            f"{self.duration:.3f} s",
        ]
        if self.agent is not None:
            parts.append(f"agent {shown(self.agent)}")
        if self.error is not None:
            parts.append(f"error {shown(self.error)}")
        return "; ".join(parts)


async def exchange(http: Http1, request: Request, service: Service, peer: str) -> None:
    """Answer one request, which was just received.

    Afterwards `http.reusable` says whether another may come, once what is left of this one is read. Raises nothing but
    `ClientGone`. Cancelled, also by the server's stop at its deadline: the connection is good for closing only.
    """
    path, agent = request.target.partition("?")[0], request.headers.get("user-agent")
    line = Exchange(new_id(), peer, request.method, path, agent)
    started = trio.current_time()
    try:
        with service.phase(math.inf) as phase:
            await _answer(http, request, service, line)
        if phase.cancelled_caught:
            line.error = "the server stopped"
    except ClientGone:
        line.error = "the client went"
        raise
    finally:
        request.forget_body()
        line.duration = trio.current_time() - started
        line.body_bytes = http.body_bytes
        if not http.answered:
            line.status = None
        service.tally.answered(line.status, line.body_bytes)
        if line.error is not None or (line.status or 500) >= 400:
            line.level = logging.INFO
        access_logger.log(line.level, "%s", line, extra={"exchange": line, "connection": line.id})


async def _answer(http: Http1, request: Request, service: Service, line: Exchange) -> None:
    route: HttpRoute | None = None
    try:
        check_host(request, service.options)
        if service.memory.full:
            service.memory.refuse()
            raise try_later(NO_MEMORY)
        endpoint = service.routes.find(request)
        route = _route(request, endpoint, service)
        response = None if route is not None else _automatic(request, endpoint)
        if route is not None:
            line.level = logging.DEBUG if route.quiet else logging.INFO
            request.max_body_size = route.max_body_size
            if route.admit is not None:
                await ask(route.admit, request, http)
    except Refused as refused:
        response = answer_to(refused)
    if response is not None:
        await _send(http, request, service, line, route, response)
    else:
        assert route is not None
        failure = await _run(http, request, service, line, route)
        try:
            if failure is not None and not http.answered:
                await _send(http, request, service, line, route, answer_to(failure))
        finally:
            # Its traceback holds this frame, by way of the one that it was raised in (Python 3.13).
            del failure


async def _run(
    http: Http1, request: Request, service: Service, line: Exchange, route: HttpRoute
) -> Refused | None:
    """Let the function answer. Returns what is to be answered instead, where it has failed."""
    try:
        async with trio.open_nursery() as nursery:
            request.nursery = nursery
            if route.while_client_stays:
                nursery.start_soon(http.watch)
            response = await call(route.function, request)
            if not isinstance(response, Response):
                raise TypeError(
                    f"a route's function returns trioecho.Response(...); it returned {response!r}"
                )
            if announced_length(response) is None and not route.while_client_stays:
                nursery.start_soon(http.watch)
            await _send(http, request, service, line, route, response)
            nursery.cancel_scope.cancel()
    except BaseException as error:
        outcome = outcome_of(error, http)
    else:
        return None
    finally:
        request.nursery = None
    try:
        if outcome.failed is not None:
            line.error = summary(outcome.failed)
            logger.error(
                "%s %s failed at %s %s, for %s",
                line.id,
                name_of(route.function),
                request.method,
                shown(line.path),
                line.peer,
                exc_info=outcome.failed,
                extra={"connection": line.id},
            )
        elif outcome.refused is not None and http.answered:
            line.error = f"refused too late: {summary(outcome.refused)}"
        if outcome.passing is not None:
            raise outcome.passing
        if outcome.gone is not None:
            raise outcome.gone
        return outcome.refused or Refused(500, "The server failed to answer this request.")
    finally:
        # The traceback of what it holds holds this frame.
        del outcome


async def _send(
    http: Http1,
    request: Request,
    service: Service,
    line: Exchange,
    route: HttpRoute | None,
    response: Response,
) -> None:
    if route is not None and route.cors is not None:
        # A copy: the function may return the same response to everybody.
        response = copy.copy(response)
        response.headers += route.cors.headers_for(request)
    line.status = response.status
    http.close_after = http.close_after or service.stopping
    await http.respond(response, head_only=request.method == "HEAD")


def _route(request: Request, endpoint: Endpoint | None, service: Service) -> HttpRoute | None:
    """Return the route that answers; None for an OPTIONS that the server answers itself. Raises `Refused`."""
    if endpoint is None:
        if request.path == "*" and request.method == "OPTIONS":
            return None
        raise Refused(404, _not_found(request, service))
    route = endpoint.http.get(request.method)
    if route is not None or request.method == "OPTIONS":
        return route
    if request.method == "GET" and endpoint.websocket is not None:
        raise Refused(
            400,
            f"A WebSocket is served at {_asked(request)}; received a request without the headers that ask for "
            "one, 'Upgrade: websocket' and 'Connection: Upgrade', which a proxy on the way may have removed.",
        )
    takes = " and ".join(endpoint.http) if endpoint.http else "WebSocket handshakes, which are GET"
    raise Refused(
        405,
        f"{_asked(request)} takes {takes}; received {quoted(request.method)}.",
        {"Allow": ", ".join(endpoint.methods)},
    )


def _automatic(request: Request, endpoint: Endpoint | None) -> Response:
    """Return the answer to an OPTIONS that no route takes (RFC 9110 §9.3.7), or to a preflight of CORS."""
    if endpoint is None:
        return Response(status=204, headers={"Allow": "GET, HEAD, OPTIONS"})
    asked = request.headers.get("access-control-request-method", "")
    route = endpoint.http.get(asked)
    if route is not None and route.cors is not None:
        # Of this route only: a browser that is told of others asks no further before it uses them.
        methods = [method for method, each in endpoint.http.items() if each is route]
        preflight = route.cors.preflight(request, methods)
        if preflight is not None:
            return preflight
    return Response(status=204, headers={"Allow": ", ".join(endpoint.methods)})


def _not_found(request: Request, service: Service) -> str:
    sentence = f"Nothing is served at {_asked(request)}"
    if not service.routes.sample:
        return f"{sentence}."
    root = request.root_path
    return (
        f"{sentence}; the page is at '{root}/', the health check at '{root}/healthz', "
        f"WebSockets at {listed([root + path for path in service.routes.websocket_paths])}."
    )


def _asked(request: Request) -> str:
    """The path that the client has asked for, as a sentence to it has it."""
    return quoted(request.root_path + request.path)
