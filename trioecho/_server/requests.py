"""A connection until it is a WebSocket: one request after the other, each answered, or accepted as a handshake.

Each wait has its own deadline. `handshake_timeout` bounds a request's head, from the moment when it may begin, and the
admission of a WebSocket; while the client has said nothing, the server's stop ends it at once.

Who the client is, and whether its address may have one more, is found out for each request anew: a proxy sends those of
many clients over one connection.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from dataclasses import dataclass

import trio

from trioecho._http.forwarded import believe
from trioecho._http.http1 import Http1
from trioecho._http.messages import Request, answer_to
from trioecho._http.networks import subscriber
from trioecho._http.refusals import Refused, try_later
from trioecho._http.root_path import take_root_path
from trioecho._http.upgrade import check_host, check_origin, wants_websocket
from trioecho._protocol.counted import counted
from trioecho._protocol.untrusted import told
from trioecho._server.accounts import OverLimit
from trioecho._server.admission import NO_MEMORY, Admission, admit_websocket
from trioecho._server.exchange import exchange
from trioecho._server.handlers import call
from trioecho._server.outcomes import outcome_of
from trioecho._server.peers import called, tls_of
from trioecho._server.raw import RawStream
from trioecho._server.routes import RawRoute
from trioecho._server.service import Service
from trioecho._server.sockets import Visit
from trioecho._websocket.expiring import expired
from trioecho._websocket.handlers import name_of
from trioecho._wire.poller import MOST
from trioecho._wire.proxy_protocol import ProxyProtocolError, read_source
from trioecho._wire.socket import await_hang_up, tcp_of, unread
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
    """What the client is called: its address and port, as a trusted proxy tells them where there is one."""
    group: str | None
    """Under which address it is counted; None where it has none."""


async def receive_requests(visit: Visit, service: Service) -> Accepted | None:
    """Answer requests until one is accepted as a WebSocket's handshake; None when the connection is over before.

    Raises `trio.BrokenResourceError` when the client goes. Cancelled, also by `Visit.scope`: close the transport.
    """
    transport, peer = visit.transport, visit.peer
    http: Http1 | None = None
    try:
        while True:
            request: Request | None = None
            refusal: Refused | None = None
            begun, fresh = False, http is None
            with service.phase(service.options.handshake_timeout) as phase:
                spoken = await _spoken(transport, http, service)
                with contextlib.nullcontext() if spoken else service.silence():
                    if http is None:
                        if (
                            visit.trusted
                            and service.options.proxy_protocol
                            and not await _identified(visit, service)
                        ):
                            return None
                        peer = visit.peer
                        if isinstance(transport, (TlsStream, trio.SSLStream)):
                            await transport.do_handshake()
                        tls = tls_of(transport)
                        http = Http1(
                            transport,
                            client=visit.client,
                            tls=tls,
                            scheme="http" if tls is None else "https",
                            send_timeout=service.options.send_timeout,
                            budget=service.memory,
                        )
                    begun = await http.begin()
                    if not begun:
                        return None
                    begun_at = trio.current_time()
                try:
                    if begun:
                        request = await http.receive()
                        request.server = service.server
                        if not visit.counted:
                            # It has made room for another in the step in which this came.
                            return None
                        service.sockets.serve(visit)
                        request.ready = service.ready
                        if visit.trusted:
                            believe(request, service.options.proxy_networks)
                            peer = (
                                visit.peer
                                if request.client in (None, visit.client)
                                else called(request.client)
                            )
                        _charge(request, visit, service)
                        root_path = service.options.root_path
                        if (
                            root_path
                            and not take_root_path(request, root_path)
                            and not wants_websocket(request)
                        ):
                            raise _with_slash(request)
                        endpoint = service.routes.find(request)
                        if wants_websocket(request):
                            check_host(request, service.options)
                            if endpoint is None or endpoint.raw is None:
                                admission = await admit_websocket(request, endpoint, service)
                                service.tally.handshakes.observe(trio.current_time() - begun_at)
                                return Accepted(
                                    request, admission, http.take_bytes(), peer, _group_of(request, visit)
                                )
                            check_origin(request, service.options)
                        elif endpoint is not None and endpoint.raw is not None:
                            check_host(request, service.options)
                        if endpoint is not None and endpoint.raw is not None and service.memory.full:
                            service.memory.refuse()
                            raise try_later(NO_MEMORY, counted_as="memory")
                except Refused as refused:
                    # Its traceback would hold this frame, which holds it.
                    refusal = refused.with_traceback(None)
            if phase.cancelled_caught:
                await expired()
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
            _served(visit, service)
            peer = visit.peer
            with service.phase(service.options.close_timeout, courtesy=True):
                await http.take_rest()
            if not http.reusable or service.stopping:
                break
        # Its client may take a while to hang up, and the traceback of how it does so may hold this frame.
        del request
        _served(visit, service)
        with service.phase(service.options.close_timeout, courtesy=True):
            if isinstance(transport, TlsStream):
                await transport.say_end()
            await await_hang_up(transport)
        return None
    finally:
        if http is not None:
            http.forget()


async def _spoken(transport: trio.abc.Stream, http: Http1 | None, service: Service) -> bool:
    """Wait until there is something to be read, or the client has gone, where the server's poller can say so.

    True: what is there may be the beginning of a request. Nobody is called silent who has sent that before the stop.
    """
    tcp = tcp_of(transport)
    if service.poller is None or not isinstance(tcp, trio.SocketStream):
        return False
    if service.sockets.open <= MOST:
        # So few may be woken together, and a handshake is quicker by a sixth without.
        return False
    plain = tcp is transport
    # In TLS's buffers there may be another request already.
    if http is not None and (http.has_bytes or not plain):
        return False
    with service.silence():
        await service.poller.wait_readable(tcp.socket.fileno())
        return plain
    return plain and unread(tcp)


async def _identified(visit: Visit, service: Service) -> bool:
    """Read the PROXY header of a trusted proxy. False if that is none, which was logged: it is no client that could be
    told."""
    stream = tcp_of(visit.transport)
    assert isinstance(stream, trio.SocketStream)
    try:
        source = await read_source(stream)
    except ProxyProtocolError as error:
        logger.info("%s refused: no header of the PROXY protocol: %s", visit.peer, told(str(error)))
        return False
    if source is not None:
        service.sockets.identify(visit, source, called(source))
    return True


def _group_of(request: Request, visit: Visit) -> str | None:
    if not visit.trusted:
        return visit.group
    return None if request.client is None else subscriber(request.client[0])


def _charge(request: Request, visit: Visit, service: Service) -> None:
    """Count a request with what its client's address has. Raises `OverLimit`."""
    if service.accounts.limits is None:
        return
    address = None if request.client is None else request.client[0]
    if address is None or (visit.trusted and address in service.options.proxy_networks):
        return
    if wants_websocket(request):
        service.accounts.handshake(address, trio.current_time())
    visit.account = service.accounts.hold(address)


def _served(visit: Visit, service: Service) -> None:
    """From here on nothing is owed to the client until it asks for more."""
    service.accounts.release(visit.account)
    visit.account = None
    service.sockets.wait(visit)


def _with_slash(request: Request) -> Refused:
    """Lead from the root path to the same with a slash, relatively: a proxy may have taken more away."""
    location = f"./{request.root_path.rpartition('/')[2]}{request.target}"
    return Refused(308, "A root path has a slash at its end.", {"Location": location})


def _too_late(request: Request | None, service: Service) -> Refused:
    seconds = service.options.handshake_timeout
    if trio.current_time() >= service.deadline:
        refused = Refused(503, "This server has stopped.")
        refused._counted_as = "stopping"
        return refused
    if request is None:
        refused = Refused(408, f"No complete request came within {counted(seconds, 'second')}.")
    else:
        refused = Refused(
            503, f"The server did not decide on this request within {counted(seconds, 'second')}."
        )
    refused._counted_as = "late"
    return refused


async def _refuse(
    http: Http1, request: Request | None, refused: Refused, service: Service, peer: str
) -> None:
    """Answer what is no request, or no handshake that is accepted, and have the connection closed: what follows it may
    be frames."""
    sentence = refused.sentence if request is not None else _QUOTED.sub(".", refused.sentence)
    line = f"{peer} refused: {refused.status} {told(sentence)}"
    if isinstance(refused, OverLimit):
        service.turned_away.count(refused.kind, line, level=logging.INFO)
    else:
        logger.info("%s", line)
    service.tally.refused(refused)
    http.close_after = True
    with service.phase(service.options.close_timeout):
        head_only = request is not None and request.method == "HEAD"
        await http.respond(answer_to(refused), head_only=head_only)


async def _hand_over(
    http: Http1, request: Request, route: RawRoute, transport: trio.abc.Stream, service: Service, peer: str
) -> None:
    stream = RawStream(transport, http.take_bytes(), service.stop_begun)
    try:
        with service.phase(math.inf):
            await call(route.function, request, stream)
    except BaseException as error:
        outcome = outcome_of(error, None)
    else:
        return
    finally:
        request.forget_body()
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
