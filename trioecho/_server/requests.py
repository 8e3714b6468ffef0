"""The first phase of a connection, up to its opening handshake: one request is read, and answered or accepted."""

from __future__ import annotations

import logging
import ssl

import trio

from trioecho._http.http1 import Http1
from trioecho._http.messages import Request, Tls
from trioecho._http.pages import refusal, respond
from trioecho._http.refusals import Refused
from trioecho._http.upgrade import Handshake, check_host, judge, wants_websocket
from trioecho._server.service import Service
from trioecho._wire.socket import await_hang_up, tcp_of
from trioecho._wire.tls import TlsStream

logger = logging.getLogger("trioecho")


async def receive_handshake(transport: trio.abc.Stream, service: Service) -> tuple[Handshake, bytes] | None:
    """Read one request under `handshake_timeout`; returns the accepted handshake, or None when it was answered, or
    when there is nobody to answer."""
    request: Request | None = None
    http: Http1 | None = None
    try:
        with service.phase(service.options.handshake_timeout):
            begun = False
            with service.silence():
                if isinstance(transport, (TlsStream, trio.SSLStream)):
                    await transport.do_handshake()
                tls = tls_of(transport)
                http = Http1(
                    transport,
                    client=client_of(transport),
                    tls=tls,
                    scheme="http" if tls is None else "https",
                )
                if not await http.begin():
                    return None
                begun = True
            if begun:
                request = await http.receive()
        if http is None:
            return None
        http.close_after = True
        if request is None:
            if service.stopping:
                return None
            seconds = service.options.handshake_timeout
            raise Refused(408, f"No complete request came within {seconds:g} seconds.")
        if wants_websocket(request):
            handshake = judge(
                request, service.options, service.handlers, room=service.room, stopping=service.stopping
            )
            return handshake, http.take_bytes()
        check_host(request, service.options)
        response = respond(request, service.handlers)
    except Refused as refused:
        logger.info("%s refused: %d %s", address(transport), refused.status, refused.sentence)
        response = refusal(refused)
    assert http is not None  # nothing else refuses
    with service.phase(service.options.close_timeout):
        await http.respond(response)
    with service.phase(service.options.close_timeout, courtesy=True):
        await await_hang_up(transport)
    return None


def address(transport: trio.abc.Stream) -> str:
    """The peer's address and port, or what the stream says of itself."""
    stream = tcp_of(transport)
    if isinstance(stream, trio.SocketStream):
        try:
            host, port, *_ = stream.socket.getpeername()
        except OSError:
            return "a client that has gone"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return type(stream).__name__


def client_of(transport: trio.abc.Stream) -> tuple[str, int] | None:
    """The peer's address and port; None for what has none: a Unix socket, a client that has gone, no socket at all."""
    stream = tcp_of(transport)
    if not isinstance(stream, trio.SocketStream):
        return None
    try:
        name = stream.socket.getpeername()
    except OSError:
        return None
    return (name[0], name[1]) if isinstance(name, tuple) else None


def tls_of(transport: trio.abc.Stream) -> Tls | None:
    """What TLS has agreed on, after its handshake; None without TLS."""
    if isinstance(transport, TlsStream):
        agreed: ssl.SSLObject | trio.SSLStream[trio.abc.Stream] = transport.tls
    elif isinstance(transport, trio.SSLStream):
        agreed = transport
    else:
        return None
    return Tls(
        agreed.version() or "",
        agreed.selected_alpn_protocol(),
        # None without a certificate, an empty one for one that was not verified.
        agreed.getpeercert() or None,
    )
