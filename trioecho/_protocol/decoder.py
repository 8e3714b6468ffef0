"""Frames into messages, without I/O (RFC 6455 §5).

The decoder takes bytes, cut anywhere, and gives whole messages in order. What Pings and Pongs carried is collected
beside them; a Close is the last thing it decodes.

What may never happen here: the same bytes giving different messages when cut differently; an exception other than
`FrameError`, whatever the bytes; memory growing with anything but the size of the message being assembled; a chunk of
any frames costing much more than the same chunk full of small messages.

Text is validated piece by piece as it arrives, so that invalid UTF-8 is noticed inside an unfinished frame (Autobahn
6.4.3 and 6.4.4 count anything later as non-strict). What has come of it takes about as much memory as its bytes.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import ClassVar, Final

from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameError
from trioecho._protocol.masking import mask

_NAMES: Final = {0: "continuation", 1: "text", 2: "binary", 8: "Close", 9: "Ping", 10: "Pong"}

# First bytes of frames: FIN and opcode.
_WHOLE_TEXT: Final = 0x80 | TEXT
_WHOLE_BINARY: Final = 0x80 | BINARY
_PING: Final = 0x80 | PING
_PONG: Final = 0x80 | PONG
_LAST: Final = 0x80 | CONTINUATION

_SMALL: Final = 1024
"""Pieces of an unfinished message with fewer bytes than this are joined until they have as many, so that a message
that dribbles in costs its size in memory and not an object per byte."""

_HEAD: Final = 128
"""More bytes than a ``str`` takes besides its characters, and too few to matter."""

_NONE: Final[list[bytes]] = []
"""What every decoder has for `pings` and `pongs` until the first comes; nothing is ever appended to it."""


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
        "_partial",
        "_remaining",
        "_size",
        "_tail",
        "fragments",
        "messages",
        "payload_bytes",
        "pieces",
        "pings",
        "pongs",
    )

    _RESERVED: ClassVar = 0x70
    """Bits of a frame's first byte that nobody has agreed on a meaning of."""

    def __init__(self, *, max_message_size: int, max_fragments: int) -> None:
        self._max_message_size = max_message_size
        self._max_fragments = max_fragments
        # The beginning of a header or of a control frame, or the Close: at most 131 bytes.
        self._data = b""
        # The frame whose payload is still arriving: bytes to come, its key turned to the next byte, its FIN bit.
        self._remaining = -1
        self._key = b""
        self._fin = False
        # The message that is being assembled: opcode (0 when there is none), bytes and frames so far.
        self._opcode = 0
        self._size = 0
        self._fragments = 0
        self.pieces: list[str | bytes] | None = None
        """What has come of it in long pieces; None as long as all that has come is short."""
        # Short pieces behind those, joined, and then the beginning of a UTF-8 sequence.
        self._tail = b""
        self._partial = b""
        self.fragments = 0
        """Frames decoded so far of messages that came in more than one."""
        self.messages = 0
        """Whole messages decoded so far."""
        self.payload_bytes = 0
        """Payload bytes of those messages."""
        self.pings = _NONE
        """Payloads of the Pings that have come, in order. The caller reads and clears it, and adds nothing."""
        self.pongs = _NONE
        """The same for Pongs."""

    @property
    def pending_bytes(self) -> int:
        """Bytes held for the message or frame that is not complete yet."""
        return len(self._data) + self._size

    @property
    def wire_bytes(self) -> int:
        """Payload bytes of the frames of whole messages: `payload_bytes`, but where those came compressed."""
        return self.payload_bytes

    @property
    def decoded_bytes(self) -> int:
        """Payload bytes on the wire that have been decoded, of whole messages and of the one that is arriving."""
        return self.wire_bytes + self._size

    @property
    def remaining(self) -> int:
        """Bytes to come of the frame that is arriving, so far as its header has come."""
        return max(self._remaining, 0)

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

    def decode(self, data: bytes, messages: list[str | bytes]) -> bytes | None:
        """Decode `data` and whatever was left over; append whole messages to `messages`, Pings and Pongs to `pings`
        and `pongs`.

        Returns None when it needs more bytes, or the payload of the peer's Close, and that again whenever it is called
        after it. Raises `FrameError`; what came before it has been appended then, and nothing more can be decoded.
        """
        if self._data:
            data = self._data + data
            self._data = b""
        count = len(messages)
        try:
            position = 0
            if self._remaining >= 0:
                position = self._take_payload(data, 0, messages)
                if self._remaining >= 0:
                    return None
            while True:
                position = self._decode_whole(data, position, messages)
                # Here is the end of the data, or a frame that is long, wrong, not all there, or a Close.
                if position == len(data):
                    return None
                header = self._parse_header(data, position)
                if header is None:
                    self._data = data[position:]
                    return None
                first, length, start = header
                opcode = first & 0x0F
                if opcode >= CLOSE:
                    end = start + length
                    if end > len(data):
                        self._data = data[position:]
                        return None
                    # A Close, for _decode_whole has taken all whole Pings and Pongs. It stays, so that whoever calls
                    # again gets it again, and nothing behind it is ever decoded.
                    self._data = data[position:end]
                    return mask(data[start:end], data[start - 4 : start])
                self._begin_frame(first, length, data[start - 4 : start])
                position = self._take_payload(data, start, messages)
                if self._remaining >= 0:
                    return None
        except UnicodeDecodeError as error:
            raise FrameError(1007, f"text is not UTF-8: {error.reason}") from None
        finally:
            self.messages += len(messages) - count

    def _decode_whole(self, data: bytes, position: int, messages: list[str | bytes]) -> int:
        """Decode frames from `position` on, in one pass, as long as they are right, all there, and less than 64 KiB
        each; returns where the first other frame begins, or the end."""
        size = len(data)
        limit = self._max_message_size
        append = messages.append
        payload_bytes = 0
        opcode = self._opcode
        fragments = self._fragments
        # Those that belong to messages that have ended here, less those that came before.
        ended = -fragments
        message_size = self._size
        # Short fragments, not kept or validated yet. They are before anything else happens, so that an error comes
        # where it stands among the frames.
        gathered = b""
        try:
            while position + 6 <= size:
                length = data[position + 1] - 128
                start = position + 6
                if length > 125:
                    if length == 127 or position + 8 > size:
                        break
                    length = data[position + 2] << 8 | data[position + 3]
                    start = position + 8
                    if length < 126:
                        break
                elif length < 0:
                    break
                end = start + length
                if end > size:
                    break
                payload = mask(data[start:end], data[start - 4 : start]) if length else b""
                first = data[position]
                if first == _WHOLE_TEXT:
                    if opcode or length > limit:
                        break
                    append(payload.decode())
                    payload_bytes += length
                elif first == _WHOLE_BINARY:
                    if opcode or length > limit:
                        break
                    append(payload)
                    payload_bytes += length
                elif opcode and not first & 0x7F:
                    if message_size + length > limit or fragments >= self._max_fragments:
                        break
                    fragments += 1
                    message_size += length
                    if first == _LAST:
                        ended += fragments
                        append(self._assembled(gathered + payload, opcode))
                        gathered = b""
                        payload_bytes += message_size
                        opcode = fragments = message_size = 0
                        # A message whose frames are compressed had another.
                        limit = self._max_message_size
                    elif length:
                        gathered += payload
                        if len(gathered) >= _SMALL:
                            self._keep(gathered, opcode)
                            gathered = b""
                elif first == _PING:
                    if length > 125:
                        break
                    if gathered:
                        self._keep(gathered, opcode)
                        gathered = b""
                    if self.pings is _NONE:
                        self.pings = []
                    self.pings.append(payload)
                elif first == _PONG:
                    if length > 125:
                        break
                    if gathered:
                        self._keep(gathered, opcode)
                        gathered = b""
                    if self.pongs is _NONE:
                        self.pongs = []
                    self.pongs.append(payload)
                elif not opcode and TEXT <= first <= BINARY:
                    if length > limit or not self._max_fragments:
                        break
                    opcode = first
                    fragments = 1
                    message_size = length
                    gathered = payload
                else:
                    break
                position = end
            if gathered:
                self._keep(gathered, opcode)
        finally:
            self.payload_bytes += payload_bytes
            self.fragments += ended + fragments
            self._opcode = opcode
            self._fragments = fragments
            self._size = message_size
        return position

    def _parse_header(self, data: bytes, position: int) -> tuple[int, int, int] | None:
        """First byte, payload length and where the payload starts; None when the header is not complete."""
        size = len(data)
        if size - position < 2:
            return None
        first = data[position]
        opcode = first & 0x0F
        length = data[position + 1]
        if first & self._RESERVED:
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
        self._fragments += 1
        if opcode == CONTINUATION or not first & 0x80:
            self.fragments += 1
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

    def _take_payload(self, data: bytes, position: int, messages: list[str | bytes]) -> int:
        """Take what has arrived of the current frame's payload; finish frame and message where it is complete."""
        piece = data[position : position + self._remaining]
        taken = len(piece)
        piece = mask(piece, self._key)
        self._remaining -= taken
        self._size += taken
        if self._remaining:
            turn = taken & 3
            if turn:
                self._key = self._key[turn:] + self._key[:turn]
            self._keep(piece, self._opcode)
        else:
            self._remaining = -1
            if self._fin:
                messages.append(self._assembled(piece, self._opcode))
                self.payload_bytes += self._size
                self._opcode = self._fragments = self._size = 0
            else:
                self._keep(piece, self._opcode)
        return position + taken

    def give_up(self) -> None:
        """Let go of the message that is being assembled; nothing can be decoded any more."""
        self.pieces = None
        self._tail = self._partial = b""

    def _keep(self, piece: bytes, opcode: int) -> None:
        """Keep `piece` of the message that is being assembled; raises `UnicodeDecodeError` for what cannot be text.

        A long piece of text is kept as `str` where that takes no more memory than its UTF-8, so that it need not be
        decoded again. It would take up to four times as much: with one emoji in it, each character has four bytes.
        """
        if len(piece) < _SMALL:
            if opcode == TEXT and (self._partial or not piece.isascii()):
                piece = self._partial + piece
                used = utf_8_decode(piece, "strict", False)[1]
                self._partial = piece[used:]
                if not used:
                    return
                piece = piece[:used]
            self._tail += piece
            if len(self._tail) >= _SMALL:
                self._put_by(self._tail)
                self._tail = b""
            return
        kept: str | bytes = piece
        if opcode == TEXT:
            piece = self._partial + piece
            text, used = utf_8_decode(piece, "strict", False)
            self._partial = piece[used:]
            kept = text if text.__sizeof__() <= used + _HEAD else piece[:used]
        if self._tail:
            self._put_by(self._tail)
            self._tail = b""
        self._put_by(kept)

    def _put_by(self, piece: str | bytes) -> None:
        if self.pieces is None:
            self.pieces = [piece]
        else:
            self.pieces.append(piece)

    def _assembled(self, last: bytes, opcode: int) -> str | bytes:
        """The message, of which `last` is the last piece; raises `UnicodeDecodeError`."""
        pieces = self.pieces
        if self._partial:
            last = self._partial + last
            self._partial = b""
        if self._tail:
            last = self._tail + last
            self._tail = b""
        if pieces is None:
            return last.decode() if opcode == TEXT else last
        self.pieces = None
        pieces.append(last)
        if opcode != TEXT:
            return b"".join(pieces)  # type: ignore[arg-type]
        if str in map(type, pieces):
            return "".join([piece if isinstance(piece, str) else piece.decode() for piece in pieces])
        whole = b"".join(pieces)  # type: ignore[arg-type]
        # Not needed while it is decoded.
        del pieces
        return whole.decode()
