"""Frames into pieces of messages, without I/O: for messages that are handed on while they arrive.

The decoder of `decoder.py`, with the same judgements in the same places, which keeps nothing of a message but the
beginning of a UTF-8 sequence: what has come of it is given as a `Piece`. A message that is there whole is given as
itself. Neither its size nor the number of its fragments has a limit here, because neither takes memory here.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import NamedTuple, cast

from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.frames import TEXT

UNLIMITED = 2**63
"""More than any frame's length, and than all frames' of one message."""


class Piece(NamedTuple):
    """A part of a message that did not arrive whole. Parts follow each other until the one that is the `last`."""

    payload: str | bytes
    size: int
    """Bytes on the wire: for text, those of its UTF-8."""
    last: bool


class PiecewiseDecoder(FrameDecoder):
    """Turns a client's bytes into messages and pieces of messages.

    No piece is empty but the last one of a message. Only what is behind the last piece, or in no piece at all, counts
    in `messages` and `payload_bytes`: whole messages.
    """

    __slots__ = ("_begun", "_given", "_into")

    def __init__(self) -> None:
        super().__init__(max_message_size=UNLIMITED, max_fragments=UNLIMITED)
        self._into: list[str | bytes | Piece] = []
        # Whether a piece of the message that is arriving has been given, and how many before the end of one.
        self._begun = False
        self._given = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes held for the frame or the character that is not complete yet."""
        return len(self._data) + len(self._partial)

    def decode(self, data: bytes, messages: list[str | bytes]) -> bytes | None:
        """As `FrameDecoder.decode`; appends pieces to `messages` as well, so that it is a ``list[str | bytes | Piece]``
        for whoever reads it."""
        self._into, self._given = cast("list[str | bytes | Piece]", messages), 0
        try:
            return super().decode(data, messages)
        finally:
            # All that has been appended was counted.
            self.messages -= self._given
            self._into = []

    def _keep(self, piece: bytes, opcode: int) -> None:
        payload: str | bytes = piece
        if opcode == TEXT and (self._partial or not piece.isascii()):
            piece = self._partial + piece
            payload, used = utf_8_decode(piece, "strict", False)
            self._partial, piece = piece[used:], piece[:used]
        elif opcode == TEXT:
            payload = piece.decode()
        if piece:
            self._begun = True
            self._given += 1
            self._into.append(Piece(payload, len(piece), False))

    def _assembled(self, last: bytes, opcode: int) -> str | bytes:
        if self._partial:
            last = self._partial + last
            self._partial = b""
        payload = last.decode() if opcode == TEXT else last
        if not self._begun:
            return payload
        self._begun = False
        # `decode` appends whatever this is.
        return cast("str | bytes", Piece(payload, len(last), True))


def wire_size(message: str | bytes) -> int:
    """Bytes that `message` takes on the wire, where it is not compressed."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
