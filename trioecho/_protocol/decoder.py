"""Data frames into messages, without I/O (RFC 6455 §5).

The decoder takes bytes, cut anywhere, and yields whole messages in order. It stops at a control frame, because a Pong
has to go out before the echo of a message that came after its Ping: what to do with the control frame is the caller's
business, and decoding goes on when the caller asks again.

What may never happen here: the same bytes giving different messages when cut differently; an exception other than
`FrameError`, whatever the bytes; memory growing with anything but the size of the message being assembled.

Text is decoded piece by piece as it arrives, so that invalid UTF-8 is noticed inside an unfinished frame (Autobahn
6.4.3 and 6.4.4 count anything later as non-strict).
"""

from __future__ import annotations

import codecs
from typing import Final, NamedTuple

from trioecho._protocol.frames import CONTINUATION, TEXT, FrameError
from trioecho._protocol.masking import mask

_NAMES: Final = {0: "continuation", 1: "text", 2: "binary", 8: "Close", 9: "Ping", 10: "Pong"}
_UTF8: Final = codecs.getincrementaldecoder("utf-8")

_MERGE_AT: Final = 1024
"""Pieces of an unfinished message after which they are joined into one, so that a message that dribbles in byte by
byte costs its size in memory and not an object per byte."""


class ControlFrame(NamedTuple):
    """One whole control frame: opcode (8, 9 or 10), unmasked payload, and the bytes as they came."""

    opcode: int
    payload: bytes
    raw: bytes


class FrameDecoder:
    """Turns a client's bytes into messages.

    `max_message_size` is in bytes (of UTF-8 for text), `max_fragments` counts the frames of one message. Both are
    judged as soon as a frame's header announces too much, before its payload is awaited.
    """

    __slots__ = (
        "_data",
        "_fin",
        "_fragments",
        "_key",
        "_max_fragments",
        "_max_message_size",
        "_opcode",
        "_pieces",
        "_position",
        "_remaining",
        "_size",
        "_utf8",
        "messages",
        "payload_bytes",
    )

    def __init__(self, *, max_message_size: int, max_fragments: int) -> None:
        self._max_message_size = max_message_size
        self._max_fragments = max_fragments
        # Bytes not decoded yet: those of _data from _position on.
        self._data = b""
        self._position = 0
        # The frame whose payload is still arriving: bytes to come, its key turned to the next byte, its FIN bit.
        self._remaining = -1
        self._key = b""
        self._fin = False
        # The message that is being assembled; opcode 0 when there is none.
        self._opcode = 0
        self._size = 0
        self._fragments = 0
        self._pieces: list[str] | list[bytes] = []
        self._utf8: codecs.IncrementalDecoder | None = None
        self.messages = 0
        """Whole messages decoded so far."""
        self.payload_bytes = 0
        """Payload bytes of those messages."""

    @property
    def pending_bytes(self) -> int:
        """Bytes held for the message or frame that is not complete yet."""
        return len(self._data) - self._position + self._size

    def decode_one(self, data: bytes) -> str | bytes | None:
        """The message, if `data` is exactly one whole message of less than 64 KiB and nothing was left over.

        That is what a client sends that waits for each answer, and this takes half of the time of `decode`. None for
        anything else, which is left to `decode` then.
        """
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
        if length != size - start or length > self._max_message_size:
            return None
        message: str | bytes
        if data[0] == 0x81:
            try:
                message = mask(data[start:], data[start - 4 : start]).decode()
            except UnicodeDecodeError:
                return None
        elif data[0] == 0x82:
            message = mask(data[start:], data[start - 4 : start])
        else:
            return None
        self.messages += 1
        self.payload_bytes += length
        return message

    def decode(self, data: bytes, messages: list[str | bytes]) -> ControlFrame | None:
        """Decode `data` and whatever was left over; append whole messages to `messages`.

        Returns the control frame it stopped at, or None when it needs more bytes; after a control frame, call again
        with ``b""``. Raises `FrameError`; the messages before it have been appended then.
        """
        position = 0
        if self._data:
            if data:
                data = self._data[self._position :] + data
            else:
                # Not cut off its rest: with a chunk full of Pings that would copy the chunk once per Ping.
                data, position = self._data, self._position
            self._data = b""
            self._position = 0
        size = len(data)
        count = len(messages)
        append = messages.append
        payload_bytes = 0
        try:
            while True:
                # The common case, in one pass: whole unfragmented messages of less than 64 KiB.
                while not self._opcode and position + 6 <= size:
                    first = data[position]
                    length = data[position + 1] - 128
                    start = position + 6
                    if length == 126 and position + 8 <= size:
                        length = data[position + 2] << 8 | data[position + 3]
                        start = position + 8
                        if length < 126:
                            break
                    elif not 0 <= length < 126:
                        break
                    if first != 0x81 and first != 0x82:
                        break
                    end = start + length
                    if end > size or length > self._max_message_size:
                        break
                    payload = mask(data[start:end], data[start - 4 : start])
                    append(payload.decode() if first == 0x81 else payload)
                    payload_bytes += length
                    position = end
                if self._remaining >= 0:
                    position = self._take_payload(data, position, append)
                    if self._remaining >= 0:
                        return None
                    continue
                if position == size:
                    return None
                header = self._parse_header(data, position, size)
                if header is None:
                    self._data = data[position:]
                    return None
                first, length, start = header
                if first & 0x0F >= 8:
                    end = start + length
                    if end > size:
                        self._data = data[position:]
                        return None
                    self._data, self._position = data, end
                    payload = mask(data[start:end], data[start - 4 : start])
                    return ControlFrame(first & 0x0F, payload, data[position:end])
                self._begin_frame(first, length, data[start - 4 : start])
                position = start
        except UnicodeDecodeError as error:
            raise FrameError(1007, f"text is not UTF-8: {error.reason}") from None
        finally:
            self.messages += len(messages) - count
            self.payload_bytes += payload_bytes

    def _parse_header(self, data: bytes, position: int, size: int) -> tuple[int, int, int] | None:
        """First byte, payload length and where the payload starts; None when the header is not complete."""
        if size - position < 2:
            return None
        first = data[position]
        opcode = first & 0x0F
        length = data[position + 1]
        if first & 0x70:
            raise FrameError(1002, "reserved bits are set, but no extension was agreed on")
        if opcode not in _NAMES:
            raise FrameError(1002, f"opcode {opcode:#x} is reserved")
        # "The server MUST close the connection upon receiving a frame that is not masked." (§5.1)
        if length < 128:
            raise FrameError(1002, "frame is not masked; a client masks every frame")
        length -= 128
        if opcode >= 8:
            # "MUST have a payload length of 125 bytes or less and MUST NOT be fragmented." (§5.5)
            if not first & 0x80:
                raise FrameError(1002, f"{_NAMES[opcode]} frame is fragmented")
            if length > 125:
                raise FrameError(1002, f"{_NAMES[opcode]} frame is longer than 125 bytes")
        start = position + 6
        if length == 126:
            start += 2
            length = int.from_bytes(data[position + 2 : position + 4])
            minimum = 126
        elif length == 127:
            start += 8
            length = int.from_bytes(data[position + 2 : position + 10])
            minimum = 65_536
        else:
            minimum = 0
        if start > size:
            return None
        if length >> 63:
            raise FrameError(1002, "frame length has its highest bit set")
        # "The minimal number of bytes MUST be used to encode the length." (§5.2)
        if length < minimum:
            raise FrameError(1002, f"frame length {length} is not encoded in the fewest bytes")
        return first, length, start

    def _begin_frame(self, first: int, length: int, key: bytes) -> None:
        opcode = first & 0x0F
        if opcode == CONTINUATION:
            if not self._opcode:
                raise FrameError(1002, "continuation frame without a message to continue")
        elif self._opcode:
            raise FrameError(1002, f"{_NAMES[opcode]} frame inside a fragmented message")
        else:
            self._opcode = opcode
            self._utf8 = _UTF8() if opcode == TEXT else None
        self._fragments += 1
        announced = self._size + length
        if announced > self._max_message_size:
            raise FrameError(
                1009, f"message has at least {announced} bytes; at most {self._max_message_size} are accepted"
            )
        if self._fragments > self._max_fragments:
            raise FrameError(
                1009, f"message has more than {self._max_fragments} fragments, which is all that is accepted"
            )
        self._fin = bool(first & 0x80)
        self._key = key
        self._remaining = length

    def _take_payload(self, data: bytes, position: int, append: object) -> int:
        """Take what has arrived of the current frame's payload; finish frame and message where it is complete."""
        piece = data[position : position + self._remaining]
        taken = len(piece)
        self._remaining -= taken
        self._size += taken
        piece = mask(piece, self._key)
        finished = not self._remaining
        if not finished and taken & 3:
            turn = taken & 3
            self._key = self._key[turn:] + self._key[:turn]
        last = finished and self._fin
        pieces: list[object] = self._pieces  # type: ignore[assignment]
        if self._utf8 is not None:
            text = self._utf8.decode(piece, last)
            if text:
                pieces.append(text)
        elif taken:
            pieces.append(piece)
        if len(pieces) > _MERGE_AT:
            pieces[:] = [self._joined()]
        if finished:
            self._remaining = -1
            if last:
                append(self._joined())  # type: ignore[operator]
                self.payload_bytes += self._size
                self._opcode = self._size = self._fragments = 0
                self._pieces = []
                self._utf8 = None
        return position + taken

    def _joined(self) -> str | bytes:
        if len(self._pieces) == 1:
            return self._pieces[0]
        if self._utf8 is not None:
            return "".join(self._pieces)  # type: ignore[arg-type]
        return b"".join(self._pieces)  # type: ignore[arg-type]
