"""The first phase of a connection, up to its opening handshake: one request is read, and answered or accepted."""

from __future__ import annotations

import logging

import trio

from trioecho._http.http1 import first_bytes, read_request, send_response
from trioecho._http.pages import refusal, respond
from trioecho._http.refusals import Refused
from trioecho._http.upgrade import Handshake, check_host, judge, wants_websocket
from trioecho._server.addresses import authority
from trioecho._server.service import Service
from trioecho._server.unix import name_of, shown
from trioecho._wire.socket import await_hang_up, tcp_of
from trioecho._wire.tls import TlsStream

logger = logging.getLogger("trioecho")


async def receive_handshake(transport: trio.abc.Stream, service: Service) -> tuple[Handshake, bytes] | None:
    """Read one request under `handshake_timeout`; returns the accepted handshake, or None when it was answered, or
    when there is nobody to answer."""
    request = None
    secure = isinstance(transport, (TlsStream, trio.SSLStream))
    answerable = not secure
    try:
        with service.phase(service.options.handshake_timeout):
            first = b""
            with service.silence():
                if isinstance(transport, (TlsStream, trio.SSLStream)):
                    await transport.do_handshake()
                    answerable = True
                first = await first_bytes(transport)
            if first:
                request, rest = await read_request(transport, first)
        if request is None:
            if service.stopping or not answerable:
                return None
            seconds = service.options.handshake_timeout
            raise Refused(408, f"No complete request came within {seconds:g} seconds.")
        if wants_websocket(request):
            handshake = judge(
                request,
                service.options,
                service.handlers,
                room=service.room,
                stopping=service.stopping,
                secure=secure,
            )
            return handshake, rest
        check_host(request, service.options, secure=secure)
        response = respond(request, service.handlers)
    except Refused as refused:
        logger.info("%s refused: %d %s", address(transport), refused.status, refused.sentence)
        response = refusal(refused)
    with service.phase(service.options.close_timeout):
        head_only = request is not None and request.method == b"HEAD"
        await send_response(transport, response, head_only=head_only)
    with service.phase(service.options.close_timeout, courtesy=True):
        await await_hang_up(transport)
    return None


def address(transport: trio.abc.Stream) -> str:
    """The peer's address and port; at a Unix socket ``unix:`` and the path, its own if it has one, else the server's;
    or what the stream says of itself."""
    stream = tcp_of(transport)
    if isinstance(stream, trio.SocketStream):
        try:
            peer = stream.socket.getpeername()
            if isinstance(peer, str | bytes):
                return f"unix:{shown(name_of(peer or stream.socket.getsockname()))}"
        except OSError:
            return "a client that has gone"
        return authority(*peer[:2])
    return type(stream).__name__
