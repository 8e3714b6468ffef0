"""Who is at the other end of a transport, and what TLS has agreed on with it."""

from __future__ import annotations

import ssl

import trio

from trioecho._http.messages import Tls
from trioecho._server.addresses import authority
from trioecho._server.unix import name_of, shown
from trioecho._wire.socket import tcp_of
from trioecho._wire.tls import TlsStream


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


def client_of(transport: trio.abc.Stream) -> tuple[str, int] | None:
    """Return the peer's TCP address and port; None for what has none, and for a client that has gone."""
    stream = tcp_of(transport)
    if isinstance(stream, trio.SocketStream):
        try:
            name = stream.socket.getpeername()
        except OSError:
            return None
        if isinstance(name, tuple):
            return name[0], name[1]
    return None


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
