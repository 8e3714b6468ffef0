"""Taking leave of a byte stream: half-closing it, and lingering until the peer has hung up."""

from __future__ import annotations

import trio

LINGER_BYTES = 1_048_576
"""Bytes that are read and thrown away after a refusal. Picked arbitrarily: a request body, not an upload."""


def tcp_of(transport: trio.abc.Stream) -> trio.abc.Stream:
    """The stream under TLS, or the stream itself where there is no TLS."""
    under: trio.abc.Stream = getattr(transport, "transport_stream", transport)
    return under


async def half_close(transport: trio.abc.Stream) -> None:
    """Tell the peer that nothing more will come, and keep reading open, where the transport can do that.

    Under TLS it is the TCP connection that is half-closed. A checkpoint.
    """
    stream = tcp_of(transport)
    if isinstance(stream, trio.abc.HalfCloseableStream):
        try:
            await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    else:
        await trio.lowlevel.checkpoint()


async def linger(transport: trio.abc.Stream) -> None:
    """Half-close, then read and discard until the peer hangs up, or `LINGER_BYTES` have come.

    Closing a socket with unread bytes makes the kernel send a reset, which can destroy the last thing said on its
    way (RFC 9112 §9.6). The caller sets the deadline.
    """
    await half_close(transport)
    stream = tcp_of(transport)
    left = LINGER_BYTES
    while left > 0:
        try:
            data = await stream.receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        if not data:
            return
        left -= len(data)
