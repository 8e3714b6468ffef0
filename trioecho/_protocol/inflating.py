"""Frames into messages where permessage-deflate was agreed on (RFC 7692 §6.2), without I/O.

The decoder of `decoder.py`, with the same judgements in the same places. What a compressed message is made of is
inflated as it arrives, never by more than a byte above what is accepted.

Many short messages can stand for very much: 62 of 1 MiB fit into one chunk of 64 KiB. So once `TURN` bytes have been
inflated, decoding stops between two messages, and the rest of the chunk is held until somebody calls again.
"""

from __future__ import annotations

from typing import Final

from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.deflate import RSV1, Agreement, Inflater
from trioecho._protocol.frames import BINARY, TEXT, FrameError
from trioecho._protocol.masking import mask

TURN: Final = 65_536
"""Bytes inflated in one call after which no further message is begun: as many as a chunk of plain messages has."""

MESSAGE_COST: Final = 64
"""Bytes of its `TURN` that a compressed message takes besides its own: inflating nothing at all takes ten times as long
as decoding a short plain message, and a chunk has room for nine thousand."""

_WHOLE_TEXT: Final = 0x80 | RSV1 | TEXT
_WHOLE_BINARY: Final = 0x80 | RSV1 | BINARY


class InflatingDecoder(FrameDecoder):
    """Turns a client's bytes, compressed or not, into messages.

    `max_message_size` bounds what a message has when it is inflated. Its compressed frames may have an eighth and 1 KiB
    more than that, since deflate makes longer what it cannot shorten.
    """

    __slots__ = (
        "_compressed",
        "_content",
        "_counting",
        "_inflater",
        "_longest",
        "_most",
        "_saved",
        "_turn",
        "_wire",
        "held",
    )

    # `_parse_header` looks at them itself.
    _RESERVED = 0

    def __init__(self, *, max_message_size: int, max_fragments: int, agreement: Agreement) -> None:
        super().__init__(max_message_size=max_message_size, max_fragments=max_fragments)
        self._inflater = Inflater(agreement.client_window_bits, takeover=agreement.client_takeover)
        self._most = max_message_size
        # What it may have before.
        self._longest = max_message_size + (max_message_size >> 3) + 1024
        # Of the message that is being assembled: whether it is compressed, its bytes on the wire, and inflated.
        self._compressed = False
        self._wire = self._content = 0
        # Bytes inflated in this call.
        self._turn = 0
        # What whole messages have more than their frames.
        self._saved = 0
        self._counting = False
        self.held = False
        """Frames that have come wait for another call of `decode`, be it without data."""

    @property
    def pending_bytes(self) -> int:
        """Bytes held for the message or frame that is not complete yet, and of frames that wait."""
        return len(self._data) + (self._content if self._compressed else self._size)

    @property
    def wire_bytes(self) -> int:
        """Payload bytes of the frames of whole messages, where `payload_bytes` has them inflated."""
        return self.payload_bytes - self._saved

    def count_only(self) -> None:
        """From here on messages are counted, and nothing is inflated: a compressed one counts as it came."""
        self._counting = True

    def decode_one(self, data: bytes) -> str | bytes | None:
        """As `FrameDecoder.decode_one`, also for a compressed message; raises `FrameError` where that is wrong."""
        if data[0] not in (_WHOLE_TEXT, _WHOLE_BINARY):
            return super().decode_one(data)
        size = len(data)
        if size < 6 or self._opcode or self._data:
            return None
        length = data[1] - 128
        start = 6
        if length == 126 and size >= 134:
            length = data[2] << 8 | data[3]
            start = 8
        elif length > 125:
            return None
        if length != size - start or length > self._longest:
            return None
        content = self._inflater.inflate(mask(data[start:], data[start - 4 : start]), self._most, last=True)
        if len(content) > self._most:
            raise self._too_big()
        message: str | bytes = content
        if data[0] == _WHOLE_TEXT:
            try:
                message = content.decode()
            except UnicodeDecodeError as error:
                raise FrameError(1007, f"text is not UTF-8: {error.reason}") from None
        self.messages += 1
        self.payload_bytes += len(content)
        self._saved += len(content) - length
        return message

    def decode(self, data: bytes, messages: list[str | bytes]) -> bytes | None:
        """As `FrameDecoder.decode`; where `held` is true afterwards, there is more to decode of what was given."""
        self._turn = 0
        self.held = False
        return super().decode(data, messages)

    def _parse_header(self, data: bytes, position: int) -> tuple[int, int, int] | None:
        check_reserved(data[position])
        if self._turn >= TURN and not self._opcode:
            # At least one message has been completed in this turn, so there is something to catch up with.
            self.held = True
            return None
        return super()._parse_header(data, position)

    def _begin_frame(self, first: int, length: int, key: bytes) -> None:
        if first & RSV1 and not self._opcode:
            self._compressed = True
            self._max_message_size = self._longest
            if length > self._longest:
                raise FrameError(
                    1009,
                    f"compressed message has at least {length} bytes; at most {self._longest} are accepted, and "
                    f"{self._most} when it is inflated",
                )
        super()._begin_frame(first, length, key)

    def _keep(self, piece: bytes, opcode: int) -> None:
        if not self._compressed:
            super()._keep(piece, opcode)
        elif inflated := self._inflated(piece, last=False):
            super()._keep(inflated, opcode)

    def _assembled(self, last: bytes, opcode: int) -> str | bytes:
        if not self._compressed:
            return super()._assembled(last, opcode)
        last = self._inflated(last, last=True)
        self._compressed = False
        self._max_message_size = self._most
        saved, self._wire, self._content = self._content - self._wire, 0, 0
        if self._counting:
            # What had come of it before.
            self.give_up()
            return b""
        message = super()._assembled(last, opcode)
        self._saved += saved
        self._turn += MESSAGE_COST
        # The caller adds the bytes of its frames.
        self.payload_bytes += saved
        return message

    def _inflated(self, piece: bytes, *, last: bool) -> bytes:
        self._wire += len(piece)
        if self._counting:
            return b""
        room = self._most - self._content
        inflated = self._inflater.inflate(piece, room, last=last)
        if len(inflated) > room:
            raise self._too_big()
        self._content += len(inflated)
        self._turn += len(inflated)
        return inflated

    def _too_big(self) -> FrameError:
        return FrameError(
            1009,
            f"message has more than {self._most} bytes when it is inflated, which is all that is accepted",
        )


def check_reserved(first: int) -> None:
    """Raise FrameError 1002 where the `first` byte of a frame has a reserved bit in the wrong place (§6.1)."""
    if first & 0x30:
        raise FrameError(1002, "reserved bits are set that permessage-deflate does not use")
    if first & RSV1 and not TEXT <= first & 0x0F <= BINARY:
        raise FrameError(
            1002,
            f"RSV1 is set in a frame with opcode {first & 0x0F:#x}; it belongs in a message's first frame",
        )
