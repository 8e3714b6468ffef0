"""A way to a server that is cut when a test wants, at whatever byte it is at."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import trio


class CutWire:
    """Listens on a port and passes everything on to another, both ways."""

    def __init__(self, port: int) -> None:
        self._there = port
        self._open: set[trio.SocketStream] = set()
        self._upgraded: set[trio.SocketStream] = set()
        """The clients' ends over which there is a WebSocket."""
        self._settled: set[trio.SocketStream] = set()
        self.port = 0
        self.cuts = 0

    async def carry(self, client: trio.SocketStream) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            server = await trio.open_tcp_stream("127.0.0.1", self._there)
            self._open |= {client, server}
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._copy, client, server, nursery)
                    nursery.start_soon(self._copy, server, client, nursery)
            finally:
                self._open -= {client, server}
                await trio.aclose_forcefully(server)
        await trio.aclose_forcefully(client)

    async def _copy(self, here: trio.SocketStream, there: trio.SocketStream, nursery: trio.Nursery) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            # Small pieces, so that a cut falls into a message.
            while data := await here.receive_some(97):
                await there.send_all(data)
                if data.startswith(b"HTTP/1.1 101"):
                    self._upgraded.add(there)
                elif here in self._upgraded:
                    self._settled |= {here, there}
        nursery.cancel_scope.cancel()

    def cut(self) -> bool:
        """Reset every WebSocket over which its client has said something. Returns whether there was one.

        SignalR's client gives up where that happens before.
        """
        streams = self._settled & self._open
        for stream in streams:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()
        self._open -= streams
        self._settled -= streams
        self._upgraded -= streams
        self.cuts += bool(streams)
        return bool(streams)


@contextlib.asynccontextmanager
async def cut_wire(port: int) -> AsyncIterator[CutWire]:
    """A wire to a port of this machine."""
    wire = CutWire(port)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, wire.carry, 0)
        wire.port = listeners[0].socket.getsockname()[1]
        yield wire
        nursery.cancel_scope.cancel()
