"""Letting a WebSocket in: which of its judges refuses it, or how it is accepted.

The first fault found is the one that is told, so the order is part of the behaviour:

1. what its address may have: 429, in `trioecho._server.requests`. What is counted has to be cheap to refuse.
2. host: 421. Plain requests are judged by it too, before their route is looked for.
3. origin: 403, by the route's options, or the server's where there is no route. Before routing, as in ASP.NET: a page
   that may not connect learns nothing else.
4. path: 404.
5. the handshake itself (RFC 6455 §4.2.1): see `check_handshake`; the extensions it offers: 400.
6. `admit`, which may ask a database: only for what could be accepted.
7. room, of the server, its sockets, its memory and the route: 503, last. Nobody should be told to come back later with
   a request that can never be accepted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import trio

from trioecho._http.http1 import Http1
from trioecho._http.messages import Accept, Request
from trioecho._http.refusals import Refused, listed, quoted, try_later
from trioecho._http.upgrade import agree_on_compression, check_handshake, check_origin, choose_subprotocol
from trioecho._protocol.deflate import Agreement
from trioecho._server.handlers import call
from trioecho._server.outcomes import outcome_of
from trioecho._server.routes import Admit, Endpoint, OpenRoute
from trioecho._server.service import Service
from trioecho._websocket.handlers import name_of

logger = logging.getLogger("trioecho")


APPLICATION = "application"
"""What refuses where a function of the application's does, as `Figures.refusals` counts it."""

NO_MEMORY = "This server has no memory left for one more"


@dataclass(frozen=True, slots=True)
class Admission:
    """How a WebSocket is accepted: its route, the key of its handshake, and what the 101 says besides."""

    route: OpenRoute
    key: str
    subprotocol: str | None
    agreement: Agreement | None
    headers: tuple[tuple[str, str], ...]


async def admit_websocket(request: Request, endpoint: Endpoint | None, service: Service) -> Admission:
    """Judge a request for a WebSocket whose host is right. The caller sets the deadline.

    Raises `Refused`. After it has returned, nothing may be waited for until the connection has taken its place: there
    was room for it. A checkpoint only where the route's `admit` is one. Cancelled: nothing has been accepted.
    """
    route = None if endpoint is None else endpoint.websocket
    check_origin(request, service.options if route is None else route.options)
    if route is None:
        raise Refused(404, _no_websocket(request, service))
    key, offered = check_handshake(request)
    agreement = agree_on_compression(request, route.options)
    accept = None if route.admit is None else await ask(route.admit, request)
    subprotocol = _subprotocol(request, route, offered, accept)
    if not service.room or not route.room or not service.sockets.room:
        raise _full(route, service)
    return Admission(route, key, subprotocol, agreement, () if accept is None else accept.headers)


async def ask(admit: Admit, request: Request, http: Http1 | None = None) -> Accept | None:
    """Return what `admit` says to a request. Raises `Refused`, also (500, and logged) where `admit` fails.

    Where the request may have a body, `http` is its connection, and `ClientGone` is raised if its client goes.
    """
    try:
        accept = await call(admit, request)
        if accept is not None and not isinstance(accept, Accept):
            raise TypeError(
                f"admit returns None or trioecho.Accept(...), or raises trioecho.Refused; it returned {accept!r}"
            )
    except BaseException as error:
        outcome = outcome_of(error, http)
    else:
        return accept
    try:
        if outcome.failed is not None:
            logger.error("admission by %s failed", name_of(admit), exc_info=outcome.failed)
        if outcome.passing is not None:
            raise outcome.passing
        if outcome.gone is not None:
            raise outcome.gone
        outcome.refused = outcome.refused or Refused(500, "The server could not decide on this request.")
        outcome.refused._counted_as = APPLICATION
        raise outcome.refused
    finally:
        # The traceback of what it holds holds this frame.
        del outcome


def _no_websocket(request: Request, service: Service) -> str:
    root = request.root_path
    sentence = f"No WebSocket is served at {quoted(root + request.path)}"
    if service.routes.sample:
        paths = [root + path for path in service.routes.websocket_paths]
        return f"{sentence}; WebSockets are served at {listed(paths)}."
    return f"{sentence}."


def _subprotocol(
    request: Request, route: OpenRoute, offered: tuple[str, ...], accept: Accept | None
) -> str | None:
    if request.token_prefix is not None:
        # The 101 would say it aloud.
        offered = tuple([each for each in offered if not each.startswith(request.token_prefix)])
    if accept is not None and accept.subprotocol is not None:
        chosen: str | None = accept.subprotocol
    elif route.choose is None:
        return choose_subprotocol(offered, route.options.subprotocols)
    else:
        try:
            chosen = route.choose(request, offered)
        except Refused as refused:
            refused._counted_as = APPLICATION
            raise
        except (KeyboardInterrupt, trio.Cancelled):
            raise
        except BaseException:
            logger.exception("choosing a subprotocol by %s failed", name_of(route.choose))
            raise Refused(500, "The server could not choose a subprotocol.") from None
    if chosen is not None and chosen not in offered:
        # What was chosen is not told: it may be a token.
        logger.error(
            "a subprotocol was chosen at %s that its client had not offered; it offered %s",
            quoted(request.path),
            listed(offered) or "none",
        )
        raise Refused(500, "The server chose a subprotocol that was not offered.")
    return chosen


def _full(route: OpenRoute, service: Service) -> Refused:
    if service.stopping or service.refusing:
        return try_later("This server is stopping and takes no new connections", counted_as="stopping")
    if not route.room:
        taken = _all_taken(route.most, " of this path")
    elif service.room:
        taken = f"All {service.sockets.limit} sockets of this server are open"
    elif service.memory.full:
        service.memory.refuse()
        return try_later(NO_MEMORY, counted_as="memory")
    else:
        taken = _all_taken(service.options.max_connections)
    return try_later(taken)


def _all_taken(most: int | None, where: str = "") -> str:
    return f"The one connection{where} is taken" if most == 1 else f"All {most} connections{where} are taken"
