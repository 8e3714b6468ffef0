"""The bodies of requests: where they end. Bytes in, pieces out; no stream.

Chunks are not left to h11. What it makes of a chunk extension too long for its buffer depends on how the network cut
it; it lets a trailer's line end with a lone LF, and takes any other character in a chunk's extension. Where one server
sees a line's end and another does not, requests are smuggled (RFC 9112 §7.1, §11.2): here a line ends with CRLF, and
what is not in the grammar is refused.
"""

from __future__ import annotations

import abc
import re
from typing import Final

from trioecho._http.refusals import Refused
from trioecho._protocol.counted import counted
from trioecho._protocol.tokens import TCHAR

PIECE_BYTES: Final = 65_536
"""The most that one piece of a body has."""

MAX_EXTENSION_BYTES: Final = 4096
"""In all chunks of one body together. Nobody uses extensions; a flood of them would cost more than the body."""

MAX_TRAILER_BYTES: Final = 4096
"""Behind the last chunk. Trailers are checked and dropped."""

_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;" + _TEXT + rb")?)\r\n")
_SIZE_LINE_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,16}([ \t]*(?:;" + _TEXT + rb")?)\r?)?")
_TRAILER = re.compile(rb"(?:" + TCHAR.encode() + rb"+:" + _TEXT + rb")?\r\n")
_TRAILER_BEGUN = re.compile(rb"(" + TCHAR.encode() + rb"+(?::" + _TEXT + rb")?)?\r?")
# How a line goes on: within an extension or a trailer's value, before an extension, and within a trailer's name.
_MORE_TEXT = re.compile(rb"(" + _TEXT + rb")\r?")
_MORE_SPACE = re.compile(rb"([ \t]*(?:;" + _TEXT + rb")?)\r?")
_MORE_NAME = re.compile(rb"(" + TCHAR.encode() + rb"*(?::" + _TEXT + rb")?)\r?")


class Body(abc.ABC):
    """One request's body. `ended` is whether all of it has been taken, `taken` how many bytes have."""

    __slots__ = ("ended", "taken")

    def __init__(self) -> None:
        self.ended = False
        self.taken = 0

    @property
    @abc.abstractmethod
    def left(self) -> int | None:
        """Bytes that are still to be taken; None where that is not known."""

    @abc.abstractmethod
    def take(self, received: bytearray) -> bytes:
        """Take the next piece, of at most 64 KiB, off the front of `received`; b"" if there is none yet, or no more.

        Raises Refused (400) where the body does not go on as it must, always again.
        """

    @abc.abstractmethod
    def broken_off(self) -> str:
        """Say, in one sentence, what is missing when nothing more will come."""


class LengthBody(Body):
    """A body of as many bytes as Content-Length has announced."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length
        self.ended = not length

    @property
    def left(self) -> int:
        return self._left

    def take(self, received: bytearray) -> bytes:
        piece = bytes(received[: min(self._left, PIECE_BYTES)])
        del received[: len(piece)]
        self._left -= len(piece)
        self.taken += len(piece)
        self.ended = not self._left
        return piece

    def broken_off(self) -> str:
        return f"A body of {counted(self.taken + self._left, 'byte')} was announced; it broke off after {self.taken}."


class ChunkedBody(Body):
    """A body in chunks (RFC 9112 §7.1)."""

    __slots__ = ("_extensions", "_known", "_left", "_more", "_most", "_trailers")

    def __init__(self) -> None:
        super().__init__()
        # Of the current chunk, with the two of its line's end; 0 where a size is due, -1 behind the last chunk.
        self._left = 0
        self._extensions = 0
        self._trailers = 0
        # Of a line that has not ended: how many bytes are known to be right, 0 for none, how it may go on behind them,
        # and how many it may have. What is known is not looked at again with each byte that comes.
        self._known = self._most = 0
        self._more = _MORE_TEXT

    @property
    def left(self) -> int | None:
        return 0 if self.ended else None

    def take(self, received: bytearray) -> bytes:
        # As many chunks as there are, for they may be very small.
        pieces: list[bytes] = []
        size = position = 0
        try:
            while not self.ended:
                if self._left > 2:
                    piece = bytes(received[position : position + min(self._left - 2, PIECE_BYTES - size)])
                    pieces.append(piece)
                    self._left -= len(piece)
                    size += len(piece)
                    read = len(piece)
                elif self._left > 0:
                    read = self._line_end(received, position)
                elif self._left == 0:
                    read = self._size_line(received, position)
                else:
                    read = self._trailer(received, position)
                if not read:
                    break
                position += read
        except Refused:
            # First what came before it: how much that is must not depend on how the network cut it.
            if not size:
                raise
        finally:
            del received[:position]
            self.taken += size
        return b"".join(pieces)

    def broken_off(self) -> str:
        return (
            f"A body in chunks ends with one of no bytes; it broke off after {counted(self.taken, 'byte')}."
        )

    def _line_end(self, received: bytearray, position: int) -> int:
        end = received[position : position + self._left]
        if end != b"\r\n"[-self._left :][: len(end)]:
            raise Refused(400, "A chunk ends, behind as many bytes as its size says, with a line's end.")
        self._left -= len(end)
        return len(end)

    def _goes_on(self, received: bytearray, position: int) -> bool:
        """Whether a line whose beginning is known has neither ended nor gone wrong nor grown too long."""
        if not self._known:
            return False
        more = self._more.match(received, position + self._known)
        assert more is not None  # it matches nothing at all, too
        if more.end() != len(received) or len(received) - position > self._most:
            self._known = 0
            return False
        self._knows(received, position, more.end(1), self._most)
        return True

    def _knows(self, received: bytearray, position: int, end: int, most: int) -> None:
        """What stands from `position` to `end` is the beginning of a line of at most `most` bytes."""
        mark, before = (b":", _MORE_NAME) if self._left < 0 else (b";", _MORE_SPACE)
        if self._more is before or not self._known:
            self._more = _MORE_TEXT if received.find(mark, position + self._known, end) >= 0 else before
        self._known, self._most = end - position, most

    def _size_line(self, received: bytearray, position: int) -> int:
        if self._goes_on(received, position):
            return 0
        begun = None
        line = _SIZE_LINE.match(received, position)
        if line is not None:
            size, extension = int(line[1], 16), len(line[2])
        else:
            begun = _SIZE_LINE_BEGUN.match(received, position)
            assert begun is not None  # it matches nothing at all, too
            if begun.end() != len(received):
                raise Refused(
                    400,
                    "A chunk begins with its size in hexadecimal digits, such as '1f4', and a line's end.",
                )
            size, extension = 0, len(begun[1] or b"")
        if self._extensions + extension > MAX_EXTENSION_BYTES:
            raise Refused(
                400,
                f"The extensions of a body's chunks may have {MAX_EXTENSION_BYTES} bytes in all; received more.",
            )
        if line is None:
            assert begun is not None
            if begun[1]:
                most = begun.start(1) - position + MAX_EXTENSION_BYTES - self._extensions
                self._knows(received, position, begun.end(1), most)
            return 0
        self._extensions += extension
        self._left = size + 2 if size else -1
        return line.end() - position

    def _trailer(self, received: bytearray, position: int) -> int:
        if self._goes_on(received, position):
            return 0
        begun = None
        line = _TRAILER.match(received, position)
        if line is None:
            begun = _TRAILER_BEGUN.match(received, position)
            assert begun is not None
            if begun.end() != len(received):
                raise Refused(400, "A trailer is a line like 'Name: value'; received something else.")
        read = (len(received) if line is None else line.end()) - position
        if self._trailers + read > MAX_TRAILER_BYTES:
            raise Refused(400, f"The trailers of a body may have {MAX_TRAILER_BYTES} bytes; received more.")
        if line is None:
            assert begun is not None
            if begun[1]:
                self._knows(received, position, begun.end(1), MAX_TRAILER_BYTES - self._trailers)
            return 0
        self._trailers += read
        self.ended = read == 2
        return read
