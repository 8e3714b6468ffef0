"""Who is at the other end of a transport, and what TLS has agreed on with it."""

from __future__ import annotations

import ssl

import trio

from trioecho._http.messages import Tls
from trioecho._wire.socket import tcp_of
from trioecho._wire.tls import TlsStream


def address(transport: trio.abc.Stream) -> str:
    """Return the peer's address and port, or what the stream says of itself."""
    stream = tcp_of(transport)
    if isinstance(stream, trio.SocketStream):
        try:
            host, port, *_ = stream.socket.getpeername()
        except OSError:
            return "a client that has gone"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
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
