"""Frames into pieces of messages where permessage-deflate was agreed on (RFC 7692 §6.2), without I/O.

In two steps. The frames of a chunk are decoded at once, as in `piecewise.py`, so that Pings are found in time; what is
compressed waits as it came. Then it is inflated in order, `TURN` bytes in one call at most, also within a frame and
within a message, whose size has no limit here: 64 KiB can stand for 64 MiB. The rest is held until somebody calls
again. A Close, and what is wrong with a frame, is told when all that came before it has been given.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections import deque
from typing import NamedTuple, TypeAlias, cast

from trioecho._protocol.deflate import RSV1, TAIL, Agreement, Inflater
from trioecho._protocol.frames import TEXT, FrameError
from trioecho._protocol.inflating import MESSAGE_COST, TURN, check_reserved
from trioecho._protocol.piecewise import Piece, PiecewiseDecoder, wire_size

SMALL = 1024
"""Bytes below which a part of a compressed message is joined with the next one in the same chunk."""


class Packed(NamedTuple):
    """A part of a compressed message, as it came."""

    payload: bytes
    opcode: int
    last: bool


Part: TypeAlias = str | bytes | Piece | Packed


class InflatingPiecewiseDecoder(PiecewiseDecoder):
    """Turns a client's bytes, compressed or not, into messages and pieces of messages.

    The bytes of a piece are those that it has when it is inflated.
    """

    __slots__ = (
        "_arrived",
        "_came",
        "_compressed",
        "_content",
        "_counting",
        "_cut",
        "_failed",
        "_inflater",
        "_opened",
        "_rest",
        "_saved",
        "_wire",
        "given_bytes",
        "held",
    )

    # `_parse_header` looks at them itself.
    _RESERVED = 0

    def __init__(self, agreement: Agreement) -> None:
        super().__init__()
        self._inflater = Inflater(agreement.client_window_bits, takeover=agreement.client_takeover)
        # Whether the message whose frames are arriving is compressed.
        self._compressed = False
        # What has come and has not been given, in order; of the first, where a part has been inflated, the rest.
        self._came: deque[Part] = deque()
        self._rest: bytes | None = None
        # Payload bytes of whole messages, as they came, whether or not they have been given.
        self._arrived = 0
        # What was wrong with a frame behind all that.
        self._failed: FrameError | None = None
        # Of the message that is being given: whether a piece of it has been, its bytes on the wire, and inflated, and
        # the beginning of a UTF-8 sequence.
        self._opened = False
        self._wire = self._content = 0
        self._cut = b""
        # What whole messages have more than their frames.
        self._saved = 0
        self._counting = False
        self.held = False
        """What has come waits for another call of `decode`, be it without data."""
        self.given_bytes = 0
        """Bytes of all pieces and messages that the last call has given."""

    @property
    def pending_bytes(self) -> int:
        """Bytes held for what is not complete yet, and of what waits to be inflated."""
        waiting = [len(part.payload) for part in self._came if isinstance(part, Packed)]
        return super().pending_bytes + len(self._cut) + sum(waiting)

    @property
    def wire_bytes(self) -> int:
        """Payload bytes of the frames of whole messages, where `payload_bytes` has them inflated."""
        return self.payload_bytes - self._saved

    @property
    def decoded_bytes(self) -> int:
        return self._arrived + self._size

    def count_only(self) -> None:
        """From here on messages are counted, and nothing is inflated: a compressed one counts as it came."""
        self._counting = True

    def decode(self, data: bytes, messages: list[str | bytes]) -> bytes | None:
        """As `PiecewiseDecoder.decode`; where `held` is true afterwards, there is more to decode of what was given."""
        close = None
        if self._failed is None:
            # What has come counts when it is given.
            counts = self.messages, self.payload_bytes
            came: list[str | bytes] = []
            try:
                close = super().decode(data, came)
            except FrameError as error:
                # A new one, without the traceback, which holds the frames that it came through.
                self._failed = FrameError(error.close_code, error.reason)
            self._came.extend(came)
            self._arrived += self.payload_bytes - counts[1]
            self.messages, self.payload_bytes = counts
        self.given_bytes = 0
        try:
            self.held = self._give(cast("list[str | bytes | Piece]", messages))
        except FrameError as error:
            self._failed = FrameError(error.close_code, error.reason)
            self._came.clear()
            self.held = False
        if self.held:
            return None
        if self._failed is not None:
            # A new one each time: with a traceback, it would hold this frame, and so itself.
            raise FrameError(self._failed.close_code, self._failed.reason)
        return close

    def _parse_header(self, data: bytes, position: int) -> tuple[int, int, int] | None:
        check_reserved(data[position])
        return super()._parse_header(data, position)

    def _begin_frame(self, first: int, length: int, key: bytes) -> None:
        if first & RSV1 and not self._opcode:
            self._compressed = True
        super()._begin_frame(first, length, key)

    def _keep(self, piece: bytes, opcode: int) -> None:
        if not self._compressed:
            super()._keep(piece, opcode)
        elif piece:
            into = cast("list[Part]", self._into)
            into.append(self._joined(piece, opcode, last=False))

    def _assembled(self, last: bytes, opcode: int) -> str | bytes:
        if not self._compressed:
            return super()._assembled(last, opcode)
        self._compressed = False
        # `decode` appends whatever this is.
        return cast("str | bytes", self._joined(last, opcode, last=True))

    def _joined(self, piece: bytes, opcode: int, *, last: bool) -> Packed:
        """A part of the message whose frames are arriving, with the part before it if that was small."""
        into = cast("list[Part]", self._into)
        before = into[-1] if into else None
        if isinstance(before, Packed) and not before.last and len(before.payload) < SMALL:
            into.pop()
            piece = before.payload + piece
        return Packed(piece, opcode, last)

    def _give(self, messages: list[str | bytes | Piece]) -> bool:
        """Give what has come, as far as one call may inflate it. Whether there is more."""
        came, left = self._came, TURN
        while came:
            part = came[0]
            if not isinstance(part, Packed):
                self._count(part)
                messages.append(came.popleft())  # type: ignore[arg-type]
            elif self._counting:
                if self._rest is None:
                    self._wire += len(part.payload)
                self._content = self._wire
                self._rest = None
                came.popleft()
                self._append(b"", 0, part.last, messages)
            elif left <= 0:
                return True
            else:
                left -= self._inflate(part, left, messages) + MESSAGE_COST
        return False

    def _inflate(self, part: Packed, most: int, messages: list[str | bytes | Piece]) -> int:
        """Give what `part`, the first, or the rest of it, stands for, `most` bytes at most. Returns how many."""
        data = self._rest
        if data is None:
            self._wire += len(part.payload)
            data = part.payload + TAIL if part.last else part.payload
        inflated, self._rest = self._inflater.inflate_some(data, most, last=part.last)
        size = len(inflated)
        self._content += size
        last = False
        if self._rest is None:
            self._came.popleft()
            last = part.last
        if part.opcode != TEXT:
            self._append(inflated, size, last, messages)
            return size
        if self._cut:
            inflated = self._cut + inflated
        try:
            text, used = utf_8_decode(inflated, "strict", last)
        except UnicodeDecodeError as error:
            raise FrameError(1007, f"text is not UTF-8: {error.reason}") from None
        self._cut = inflated[used:]
        self._append(text, used, last, messages)
        return size

    def _append(
        self, payload: str | bytes, size: int, last: bool, messages: list[str | bytes | Piece]
    ) -> None:
        """Give a part of a compressed message, and count the message with its `last`."""
        self.given_bytes += size
        if not last:
            if size:
                self._opened = True
                messages.append(Piece(payload, size, False))
            return
        messages.append(Piece(payload, size, True) if self._opened else payload)
        self._opened = False
        self._end_message()

    def _count(self, part: str | bytes | Piece) -> None:
        """Count what was not compressed, as it is given."""
        size = part.size if isinstance(part, Piece) else wire_size(part)
        self.given_bytes += size
        self._wire += size
        self._content += size
        if not isinstance(part, Piece) or part.last:
            self._end_message()

    def _end_message(self) -> None:
        self.messages += 1
        self.payload_bytes += self._content
        self._saved += self._content - self._wire
        self._wire = self._content = 0
