"""A connection until it is a WebSocket: one request after the other, each answered, or accepted as a handshake.

Each wait has its own deadline. `handshake_timeout` bounds a request's head, from the moment when it may begin, and the
admission of a WebSocket; while the client has said nothing, the server's stop ends it at once.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass

import trio

from trioecho._http.http1 import Http1
from trioecho._http.messages import Request, answer_to
from trioecho._http.refusals import Refused
from trioecho._http.upgrade import check_host, check_origin, wants_websocket
from trioecho._protocol.counted import counted
from trioecho._protocol.untrusted import told
from trioecho._server.admission import Admission, admit_websocket
from trioecho._server.exchange import exchange
from trioecho._server.handlers import call
from trioecho._server.outcomes import outcome_of
from trioecho._server.peers import peer_of, tls_of
from trioecho._server.raw import RawStream
from trioecho._server.routes import RawRoute
from trioecho._server.service import Service
from trioecho._websocket.handlers import name_of
from trioecho._wire.socket import await_hang_up
from trioecho._wire.tls import TlsStream

logger = logging.getLogger("trioecho")

# Of what is no request nobody can tell where in it a password or a token stands. The client itself is told all of it.
_QUOTED = re.compile(r"""[;:] (received|illegal header|Illegal header)[^'"]*['"].*""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A handshake that was accepted, and the bytes that came behind it."""

    request: Request
    admission: Admission
    early: bytes
    peer: str
    """What the client is called: its address and port."""


async def receive_requests(transport: trio.abc.Stream, service: Service) -> Accepted | None:
    """Answer requests until one is accepted as a WebSocket's handshake; None when the connection is over before.

    Raises `trio.BrokenResourceError` when the client goes. Cancelled: close the transport.
    """
    peer, client = peer_of(transport)
    http: Http1 | None = None
    while True:
        request: Request | None = None
        refusal: Refused | None = None
        begun, fresh = False, http is None
        with service.phase(service.options.handshake_timeout) as phase:
            with service.silence():
                if http is None:
                    if isinstance(transport, (TlsStream, trio.SSLStream)):
                        await transport.do_handshake()
                    tls = tls_of(transport)
                    http = Http1(
                        transport,
                        client=client,
                        tls=tls,
                        scheme="http" if tls is None else "https",
                        send_timeout=service.options.send_timeout,
                    )
                begun = await http.begin()
                if not begun:
                    return None
            try:
                if begun:
                    request = await http.receive()
                    endpoint = service.routes.find(request)
                    if wants_websocket(request):
                        check_host(request, service.options)
                        if endpoint is None or endpoint.raw is None:
                            admission = await admit_websocket(request, endpoint, service)
                            return Accepted(request, admission, http.take_bytes(), peer)
                        check_origin(request, service.options)
                    elif endpoint is not None and endpoint.raw is not None:
                        check_host(request, service.options)
            except Refused as refused:
                # Its traceback would hold this frame, which holds it.
                refusal = refused.with_traceback(None)
        if http is None or (not begun and (service.stopping or not fresh)):
            # Nobody has said anything that an answer could be for.
            return None
        if phase.cancelled_caught:
            refusal = _too_late(request, service)
        if refusal is not None:
            await _refuse(http, request, refusal, service, peer)
            break
        assert request is not None
        if endpoint is not None and endpoint.raw is not None:
            await _hand_over(http, request, endpoint.raw, transport, service, peer)
            return None
        await exchange(http, request, service, peer)
        if not http.reusable or service.stopping:
            break
    # Its client may take a while to hang up, and the traceback of how it does so may hold this frame.
    del request
    with service.phase(service.options.close_timeout, courtesy=True):
        if isinstance(transport, TlsStream):
            await transport.say_end()
        await await_hang_up(transport)
    return None


def _too_late(request: Request | None, service: Service) -> Refused:
    seconds = service.options.handshake_timeout
    if trio.current_time() >= service.deadline:
        return Refused(503, "This server has stopped.")
    if request is None:
        return Refused(408, f"No complete request came within {counted(seconds, 'second')}.")
    return Refused(503, f"The server did not decide on this request within {counted(seconds, 'second')}.")


async def _refuse(
    http: Http1, request: Request | None, refused: Refused, service: Service, peer: str
) -> None:
    """Answer what is no request, or no handshake that is accepted, and have the connection closed: what follows it may
    be frames."""
    sentence = refused.sentence if request is not None else _QUOTED.sub(".", refused.sentence)
    logger.info("%s refused: %d %s", peer, refused.status, told(sentence))
    http.close_after = True
    with service.phase(service.options.close_timeout):
        head_only = request is not None and request.method == "HEAD"
        await http.respond(answer_to(refused), head_only=head_only)


async def _hand_over(
    http: Http1, request: Request, route: RawRoute, transport: trio.abc.Stream, service: Service, peer: str
) -> None:
    stream = RawStream(transport, http.take_bytes())
    try:
        with service.phase(math.inf):
            await call(route.function, request, stream)
    except BaseException as error:
        outcome = outcome_of(error, None)
    else:
        return
    try:
        failed = outcome.failed or outcome.refused
        if failed is not None and (lost := _lost(failed)) is None:
            logger.error("%s failed, for %s", name_of(route.function), peer, exc_info=failed)
        elif failed is not None:
            logger.debug("%s: the connection was lost: %s", peer, lost)
        if outcome.passing is not None:
            raise outcome.passing
    finally:
        # The traceback of what they hold holds this frame.
        del outcome, failed


def _lost(error: BaseException) -> BaseException | None:
    """Return what says that the connection was lost, where that is all that `error` says."""
    while isinstance(error, BaseExceptionGroup):
        kinds = (trio.BrokenResourceError, trio.ClosedResourceError)
        found, rest = error.split(kinds)
        if found is None or rest is not None:
            return None
        error = found.exceptions[0]
    return error if isinstance(error, (trio.BrokenResourceError, trio.ClosedResourceError)) else None
