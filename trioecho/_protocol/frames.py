"""Frames as bytes (RFC 6455 §5): opcodes, headers, Close payloads. `decoder.py` reads what a client sends.

Fixed is what the RFC fixes; nothing here knows a connection.
"""

from __future__ import annotations

import struct
from typing import Final

from trioecho._protocol.masking import mask

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA


class FrameError(Exception):
    """The peer's bytes break RFC 6455 or a limit; the connection has to be failed (§7.1.7).

    `close_code` is 1002, 1007 or 1009; `reason` names what was received and what would have been accepted.
    """

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(close_code, reason)
        self.close_code = close_code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.close_code} {self.reason}"


def parse_close(payload: bytes) -> tuple[int, str]:
    """The code and reason in a Close frame's payload; (1005, "") for an empty one (RFC 6455 §7.1.5).

    Valid codes are those of ASP.NET: 1000-1003, 1007-1014, 3000-4999. Raises `FrameError` 1002 for any other code or
    a payload of one byte, 1007 for a reason that is not UTF-8 (§8.1).
    """
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise FrameError(1002, "Close frame has a payload of one byte; a code takes two")
    code = int.from_bytes(payload[:2])
    if not close_code_allowed(code):
        raise FrameError(1002, f"Close frame has code {code}, which may not be sent")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(1007, "reason of the Close frame is not UTF-8") from None


def close_code_allowed(code: int) -> bool:
    """Whether a Close frame may carry `code` (RFC 6455 §7.4 and the IANA registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


TEXT_HEADERS: Final = tuple(bytes((0x81, length)) for length in range(126))
"""The header of an unmasked, unfragmented text frame with so many bytes of payload: what a server sends before it."""

BINARY_HEADERS: Final = tuple(bytes((0x82, length)) for length in range(126))
"""The same for binary frames."""


_MEDIUM_HEADER: Final = struct.Struct("!BBH").pack
_LARGE_HEADER: Final = struct.Struct("!BBQ").pack


def long_header(opcode: int, length: int) -> bytes:
    """The header of an unmasked, unfragmented data frame with 126 bytes of payload or more."""
    if length < 65_536:
        return _MEDIUM_HEADER(0x80 | opcode, 126, length)
    return _LARGE_HEADER(0x80 | opcode, 127, length)


def fragment_header(opcode: int, length: int) -> bytes:
    """The header of an unmasked frame behind which more of its message follows (§5.4)."""
    if length < 126:
        return bytes((opcode, length))
    if length < 65_536:
        return _MEDIUM_HEADER(opcode, 126, length)
    return _LARGE_HEADER(opcode, 127, length)


LAST_FRAGMENT: Final = bytes((0x80 | CONTINUATION, 0))
"""An unmasked, empty frame that ends a message of which all pieces have been sent."""


def encode_frame(opcode: int, payload: bytes, *, fin: bool = True, key: bytes | None = None) -> bytes:
    """Any frame, masked with `key` where one is given: what `trioecho.testing` sends."""
    first = (0x80 if fin else 0) | opcode
    masked = 0x80 if key is not None else 0
    length = len(payload)
    if length < 126:
        header = bytes((first, masked | length))
    elif length < 65_536:
        header = bytes((first, masked | 126)) + length.to_bytes(2)
    else:
        header = bytes((first, masked | 127)) + length.to_bytes(8)
    return header + payload if key is None else header + key + mask(payload, key)


def shortened_reason(reason: str) -> str:
    """As much of `reason` as a Close frame has room for: 123 bytes of UTF-8, cut between characters."""
    return reason.encode()[:123].decode(errors="ignore")
