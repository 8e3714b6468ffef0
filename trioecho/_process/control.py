"""What a supervisor and one of its workers say to each other: JSON objects, one a line, over a pair of sockets.

The other end's death is the end of what can be received, whatever it died of.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any, Self

import trio

LONGEST = 16 * 1_048_576
"""Bytes of one line that are taken: figures of a busy server are some tens of KiB."""


class Channel(trio.abc.AsyncResource):
    """One end. As a context manager it is closed on leaving."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()
        self._turn = trio.Lock()

    @classmethod
    def at(cls, number: int) -> Self:
        """The end that this process was started with; the channel owns the descriptor."""
        return cls(trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=number))))

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """One end, and the other one for a process that is started with it; the caller closes that."""
        ours, theirs = socket.socketpair()
        return cls(trio.SocketStream(trio.socket.from_stdlib_socket(ours))), theirs

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one object. Raises `trio.BrokenResourceError` when the other end is gone. Cancelled: nothing more can
        be sent, as half of it may have gone."""
        line = json.dumps(message).encode() + b"\n"
        async with self._turn:
            await self._stream.send_all(line)

    async def receive(self) -> dict[str, Any] | None:
        """The next object; None when the other end is gone, or says what is none. Cancelled: nothing is lost."""
        while (end := self._received.find(b"\n")) < 0:
            try:
                data = await self._stream.receive_some(65_536)
            except trio.BrokenResourceError:
                return None
            if not data or len(self._received) > LONGEST:
                return None
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            message = json.loads(line)
        except ValueError:
            return None
        return message if isinstance(message, dict) else None

    async def aclose(self) -> None:
        """Close this end."""
        await self._stream.aclose()
