"""What the function of a `RawRoute` holds: a connection of which only the head of one request has been read."""

from __future__ import annotations

import trio


class RawStream(trio.abc.HalfCloseableStream):
    """The bytes behind a request's head, and the connection to answer on.

    `transport` is the stream below: a `trio.SocketStream`, or the server's own kind where it does TLS. `stopping` is
    set when the server begins to stop; at the end of its `shutdown_timeout` the function is cancelled.
    """

    __slots__ = ("_early", "stopping", "transport")

    def __init__(self, transport: trio.abc.Stream, early: bytes, stopping: trio.Event) -> None:
        self.transport = transport
        self.stopping = stopping
        self._early = early

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return what has come, at least one byte; b"" at the end. ValueError for a `max_bytes` below 1. A checkpoint.
        Cancelled: no byte is lost."""
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes is 1 or more; you gave {max_bytes}")
        if not self._early:
            return await self.transport.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        size = len(self._early) if max_bytes is None else max_bytes
        data, self._early = self._early[:size], self._early[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`. Cancelled: some of it may have been sent."""
        await self.transport.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the connection takes bytes."""
        await self.transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End our direction: of TCP, or nothing at all where the transport has no such thing. A checkpoint."""
        if isinstance(self.transport, trio.abc.HalfCloseableStream):
            await self.transport.send_eof()
        else:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close the connection."""
        self._early = b""
        await self.transport.aclose()
