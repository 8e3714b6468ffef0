"""Which wire carries a connection."""

from __future__ import annotations

import trio

from trioecho._wire.poller import Poller
from trioecho._wire.socket import SocketWire
from trioecho._wire.stream import StreamWire
from trioecho._wire.tls import TlsStream, TlsWire
from trioecho._wire.wire import Wire


def wire_of(transport: trio.abc.Stream, peer: str, poller: Poller | None) -> Wire:
    """The fastest wire that carries the bytes of `transport`, whose other end is `peer`."""
    if poller is not None:
        if isinstance(transport, TlsStream):
            return TlsWire(transport, poller, peer)
        if isinstance(transport, trio.SocketStream):
            return SocketWire(transport, transport, poller, peer)
    return StreamWire(transport, peer)
