"""Bytes on their way to a peer with which permessage-deflate was agreed on: `Outgoing`, and what compresses for it.

Order of contexts is order on the wire (RFC 7692 §7.2.3.2): what the deflater returns is put before anybody else can
compress. A short message is compressed and put in one step. Compressing a long one would hold up all connections, so it
is done in slices, other tasks running in between, while its task has the turn to send (`room.py`). Where it is
cancelled in between, nothing has been sent, and the next message begins a context of its own.

A `Prepared` message is compressed once for all connections with the same encoding, without a context. It is part of the
peer's context and not of the deflater's, so the next message of a connection with context takeover begins anew.
"""

from __future__ import annotations

from typing import Final

import trio

from trioecho._protocol.budget import Budget
from trioecho._protocol.deflate import RSV1, Agreement, Deflater, Encoding
from trioecho._protocol.frames import long_header
from trioecho._websocket.outgoing import Outgoing
from trioecho._websocket.prepared import Prepared
from trioecho._websocket.turns import Shared
from trioecho._wire.wire import Wire

SLICED: Final = 32_768
"""Bytes above which a message is compressed in slices."""

SLICE: Final = 16_384
"""Bytes compressed in one go: a quarter of a millisecond."""


class DeflatingOutgoing(Outgoing):
    """One connection's bytes to send over `wire`, compressed as its `agreement` says."""

    __slots__ = ("_saved", "_sent_saved", "agreement", "deflater")

    deflates = True

    def __init__(
        self, wire: Wire, send_timeout: float, agreement: Agreement, budget: Budget | None = None
    ) -> None:
        super().__init__(wire, send_timeout, budget)
        self.agreement = agreement
        self.deflater = Deflater(agreement.encoding, takeover=agreement.server_takeover)
        """For whoever puts, before the next checkpoint or while it has the turn, what it returns."""
        # Bytes that messages have more than their frames: of all, and of those that were handed to the kernel.
        self._saved = self._sent_saved = 0

    @property
    def sent_bytes(self) -> int:
        return super().sent_bytes + (self._saved if self.empty else self._sent_saved)

    @property
    def sent_wire_bytes(self) -> int:
        return super().sent_bytes

    def put_deflated(self, opcode: int, deflated: bytes, size: int, gather: object) -> None:
        """`put_message` for a compressed message of `size` bytes. Raises nothing."""
        self.put_message(deflated_header(opcode, len(deflated)), deflated, gather)
        if not self.broken:
            self._saved += size - len(deflated)

    def put_prepared(self, message: Prepared, gather: object) -> bool:
        """`put_frame` for a prepared message, compressed where that makes it shorter and can be done in one go."""
        size, encoding = message._size, self.agreement.encoding
        deflated = None
        if size >= self.agreement.threshold:
            deflated = message._deflated.get(encoding)
            if deflated is None and size <= SLICED:
                payload = Deflater(encoding, takeover=False).deflate(bytes(message.payload))
                deflated = _remember(message, encoding, payload)
        if deflated is None or deflated[1] >= size:
            return self.put_frame(message._frame, size, gather)
        frame, length = deflated
        if not self.put_frame(frame, length, gather):
            return False
        self._saved += size - length
        self.deflater.forget()
        return True

    def put_shared(self, message: Shared) -> bool:
        if message.prepared is None:
            return super().put_shared(message)
        return self.put_prepared(message.prepared, False)

    def count_message(self, payload_bytes: int, wire_bytes: int) -> None:
        super().count_message(wire_bytes, wire_bytes)
        if not self.broken:
            self._saved += payload_bytes - wire_bytes

    def _count(self) -> None:
        super()._count()
        self._sent_saved = self._saved


def deflated_header(opcode: int, length: int) -> bytes:
    """The header of an unmasked, unfragmented, compressed data frame."""
    opcode |= RSV1
    return bytes((0x80 | opcode, length)) if length < 126 else long_header(opcode, length)


async def deflate_in_slices(deflater: Deflater, payload: bytes) -> bytes:
    """A message, or a piece of one, flushed and with its tail. A checkpoint after each slice; cancelled, or where what
    is returned is not sent, `deflater` has to forget."""
    parts = []
    data = memoryview(payload)
    for start in range(0, len(payload), SLICE):
        parts.append(deflater.feed(data[start : start + SLICE]))
        await trio.lowlevel.checkpoint()
    parts.append(deflater.flush())
    return b"".join(parts)


async def deflate_prepared(message: Prepared, agreement: Agreement) -> None:
    """Compress a long prepared message, in slices, for all connections with the encoding of `agreement`; nothing where
    that has been done, or `put_prepared` can do it in one go. A checkpoint only where it compresses."""
    encoding = agreement.encoding
    if message._size > SLICED and message._size >= agreement.threshold and encoding not in message._deflated:
        deflater = Deflater(encoding, takeover=False)
        payload = await deflate_in_slices(deflater, bytes(message.payload))
        _remember(message, encoding, payload[:-4])


def _remember(message: Prepared, encoding: Encoding, payload: bytes) -> tuple[bytes, int]:
    opcode = message._frame[0] & 0x0F
    deflated = deflated_header(opcode, len(payload)) + payload, len(payload)
    message._deflated[encoding] = deflated
    return deflated
