"""Who is at the other end of a transport, and what TLS has agreed on with it."""

from __future__ import annotations

import ssl

import trio

from trioecho._http.messages import Tls
from trioecho._server.addresses import authority
from trioecho._server.unix import name_of, shown
from trioecho._wire.socket import tcp_of
from trioecho._wire.tls import TlsStream


def peer_of(transport: trio.abc.Stream) -> tuple[str, tuple[str, int] | None]:
    """Return what the peer is called, and its TCP address and port, None for what has none or has gone.

    It is called by its address and port; at a Unix socket ``unix:`` and the path, its own if it has one, else the
    server's; or what the stream says of itself. Asked once for each connection: each time costs a system call.
    """
    stream = tcp_of(transport)
    if not isinstance(stream, trio.SocketStream):
        return type(stream).__name__, None
    try:
        peer = stream.socket.getpeername()
        if isinstance(peer, str | bytes):
            return f"unix:{shown(name_of(peer or stream.socket.getsockname()))}", None
    except OSError:
        return "a client that has gone", None
    return authority(*peer[:2]), (peer[0], peer[1])


def called(client: tuple[str, int]) -> str:
    """Return what a client is called whose address, and port or 0, a proxy has told."""
    host, port = client
    if port:
        return authority(host, port)
    return f"[{host}]" if ":" in host else host


def tls_of(transport: trio.abc.Stream) -> Tls | None:
    """Return what TLS has agreed on, once its handshake is done; None without TLS."""
    if isinstance(transport, TlsStream):
        agreed: ssl.SSLObject | trio.SSLStream[trio.abc.Stream] = transport.tls
    elif isinstance(transport, trio.SSLStream):
        agreed = transport
    else:
        return None
    # getpeercert is None without a certificate, and an empty dictionary for one that was not verified.
    return Tls(agreed.version() or "", agreed.selected_alpn_protocol(), agreed.getpeercert() or None)
