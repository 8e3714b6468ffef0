"""A client's bytes as frames, one by one, for whoever wants to tell what came and when (RFC 6455 §5).

The server proper reads messages; here each frame is wanted, in the order in which it came, the wrong one included.
"""

from __future__ import annotations

from typing import NamedTuple

from trioecho._protocol.frames import CLOSE, CONTINUATION, TEXT, FrameError
from trioecho._protocol.masking import mask

LONGEST_MESSAGE = 1_048_576
"""Bytes of one message that are put together."""

KNOWN = {0, 1, 2, 8, 9, 10}


class ClientFrame(NamedTuple):
    """One frame of a client, unmasked. Where payloads are discarded, `payload` is its beginning."""

    first: int
    payload: bytes
    length: int
    masked: bool

    @property
    def opcode(self) -> int:
        return self.first & 0x0F

    @property
    def fin(self) -> bool:
        return bool(self.first & 0x80)


class FrameReader:
    """Takes bytes, cut anywhere, and gives frames.

    With `discard`, no more than that many bytes of a data frame's payload are kept, and no message is too long.
    `compressed` allows RSV1.
    """

    def __init__(self, *, discard: int | None = None, compressed: bool = False) -> None:
        self.discard = discard
        self.compressed = compressed
        self._data = bytearray()
        # A data frame whose payload is being discarded: what will be given, and the bytes still to come.
        self._pending: ClientFrame | None = None
        self._remaining = 0

    def feed(self, data: bytes | bytearray) -> None:
        """Take more bytes."""
        if self._remaining:
            dropped = min(self._remaining, len(data))
            self._remaining -= dropped
            data = data[dropped:]
        self._data += data

    def next(self) -> ClientFrame | None:
        """Return the next frame, or None where more bytes are needed. Raises `FrameError` for what is wrong, behind
        which nothing can be read."""
        if self._remaining:
            return None
        if self._pending is not None:
            frame, self._pending = self._pending, None
            return frame
        data = self._data
        if len(data) < 2:
            return None
        first, length, masked = data[0], data[1] & 0x7F, bool(data[1] & 0x80)
        start = 2
        if length >= 126:
            start += 2 if length == 126 else 8
            if len(data) < start:
                return None
            length = int.from_bytes(data[2:start])
        self._check(first, length, masked)
        start += 4 if masked else 0
        if len(data) < start:
            return None
        key = bytes(data[start - 4 : start]) if masked else None
        whole = len(data) >= start + length
        if not whole and (self.discard is None or first & 0x0F >= CLOSE):
            return None
        payload = bytes(data[start : start + length])
        if self.discard is not None and first & 0x0F < CLOSE:
            payload = payload[: self.discard]
        frame = ClientFrame(first, payload if key is None else mask(payload, key), length, masked)
        self._remaining = max(0, start + length - len(data))
        del data[: start + length]
        if not whole:
            self._pending = frame
            return None
        return frame

    def _check(self, first: int, length: int, masked: bool) -> None:
        opcode = first & 0x0F
        if opcode not in KNOWN:
            raise FrameError(1002, f"opcode {opcode:#x} is reserved")
        if first & (0x30 if self.compressed else 0x70):
            raise FrameError(1002, "reserved bits are set, but no extension was agreed on")
        if not masked:
            raise FrameError(1002, "frame is not masked; a client masks every frame")
        if opcode >= CLOSE and (length > 125 or not first & 0x80):
            raise FrameError(1002, "control frame is fragmented, or longer than 125 bytes")
        if self.discard is None and length > LONGEST_MESSAGE:
            raise FrameError(
                1009, f"message has at least {length} bytes; at most {LONGEST_MESSAGE} are accepted"
            )


class Messages:
    """Puts data frames together."""

    def __init__(self) -> None:
        self._opcode = 0
        self._payload = bytearray()
        self.compressed = False

    def add(self, frame: ClientFrame) -> tuple[int, bytes, bool] | None:
        """Return opcode and payload of the message that `frame` completes, and whether it is compressed; None if it
        completes none. Raises `FrameError`."""
        if (frame.opcode == CONTINUATION) != bool(self._opcode):
            raise FrameError(
                1002,
                "continuation frame without a message to continue"
                if frame.opcode == CONTINUATION
                else "data frame inside a fragmented message",
            )
        if not self._opcode:
            self._opcode = frame.opcode
            self.compressed = bool(frame.first & 0x40)
        self._payload += frame.payload
        if len(self._payload) > LONGEST_MESSAGE:
            raise FrameError(1009, f"message has more than {LONGEST_MESSAGE} bytes")
        if not frame.fin:
            return None
        message = self._opcode, bytes(self._payload), self.compressed
        self._opcode = 0
        self._payload.clear()
        return message


def check_text(opcode: int, payload: bytes) -> None:
    """Raise `FrameError` (1007) for text that is not UTF-8."""
    if opcode == TEXT:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise FrameError(1007, f"text is not UTF-8: {error.reason}") from None
