"""Which wire carries a connection."""

from __future__ import annotations

from collections.abc import Hashable

import trio

from trioecho._wire.poller import Poller
from trioecho._wire.socket import SocketWire
from trioecho._wire.stream import StreamWire
from trioecho._wire.tls import TlsStream, TlsWire
from trioecho._wire.wire import Wire


def wire_of(transport: trio.abc.Stream, peer: str, poller: Poller | None, group: Hashable = None) -> Wire:
    """The fastest wire that carries the bytes of `transport`, whose other end is `peer`, of `group` (`shares.py`)."""
    if poller is not None:
        if isinstance(transport, TlsStream):
            return TlsWire(transport, poller, peer, group)
        if isinstance(transport, trio.SocketStream):
            return SocketWire(transport, transport, poller, peer, group)
    return StreamWire(transport, peer, group)
