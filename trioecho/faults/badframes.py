"""Frames that no server may send, each with what is wrong with it and what a client answers.

A client fails the connection on the spot (RFC 6455 §7.1.7): it says Close with the code of its row, or says nothing,
and tells its user 1002, 1007, 1009 or 1006.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trioecho._http.refusals import Refused
from trioecho._http.upgrade import check_handshake
from trioecho._protocol.deflate import Deflate
from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, encode_frame, fragment_header
from trioecho.faults.negotiation import agreed
from trioecho.faults.session import Session

BOMB_BYTES: Final = 256 * 2**20
"""What the deflate bomb inflates to."""


@dataclass(frozen=True, slots=True)
class BadFrame:
    """One kind: its bytes, what is wrong with them, and the close code that they call for."""

    kind: str
    wrong: str
    code: int
    make: Callable[[], bytes]
    compressed: bool = False
    """It needs a client that offers permessage-deflate."""
    cut_off: bool = False
    """TCP ends behind it."""


@functools.cache
def bomb() -> bytes:
    """A compressed message of 256 KiB that inflates to 256 MiB: one block that stands alone, repeated."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    block = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    payload = (block * (BOMB_BYTES // 2**20))[:-4]
    return encode_frame(BINARY | 0x40, payload)


def _text(first: int, payload: bytes = b"hello") -> Callable[[], bytes]:
    return lambda: bytes((first, len(payload))) + payload


KINDS: Final = (
    BadFrame("rsv1", "RSV1 is set, and no compression was agreed on (§5.2)", 1002, _text(0xC1)),
    BadFrame("rsv2", "RSV2 is set (§5.2)", 1002, _text(0xA1)),
    BadFrame("rsv3", "RSV3 is set (§5.2)", 1002, _text(0x91)),
    BadFrame("opcode", "a data frame of the reserved opcode 3 (§5.2)", 1002, _text(0x83)),
    BadFrame("control-opcode", "a control frame of the reserved opcode 11 (§5.2)", 1002, _text(0x8B)),
    BadFrame(
        "masked", "a server's frame is masked (§5.1)", 1002, lambda: encode_frame(TEXT, b"hello", key=b"mask")
    ),
    BadFrame("utf8", "text that is not UTF-8 (§8.1)", 1007, _text(0x81, b"caf\xe9")),
    BadFrame(
        "utf8-split",
        "the last fragment of a text ends within a character (§8.1)",
        1007,
        lambda: encode_frame(TEXT, b"caf", fin=False) + encode_frame(CONTINUATION, b"\xc3"),
    ),
    BadFrame(
        "length", "5 bytes announced in 16 bits (§5.2: the fewest)", 1002, lambda: b"\x81\x7e\x00\x05hello"
    ),
    BadFrame(
        "length-64",
        "5 bytes announced in 64 bits (§5.2: the fewest)",
        1002,
        lambda: b"\x81\x7f" + (5).to_bytes(8) + b"hello",
    ),
    BadFrame(
        "length-sign", "the highest bit of the length is set (§5.2)", 1002, lambda: b"\x82\x7f\x80" + bytes(7)
    ),
    BadFrame(
        "length-huge",
        "a message of 2^62 bytes is announced, of which five come",
        1009,
        lambda: b"\x82\x7f" + (2**62).to_bytes(8) + b"hello",
    ),
    BadFrame("control-long", "a Ping of 126 bytes (§5.5)", 1002, lambda: encode_frame(PING, bytes(126))),
    BadFrame("control-fragmented", "a Ping that says that more of it follows (§5.5)", 1002, _text(PING)),
    BadFrame("continuation", "a continuation of nothing (§5.4)", 1002, _text(0x80)),
    BadFrame(
        "interleaved",
        "a text message inside of a fragmented one (§5.4)",
        1002,
        lambda: fragment_header(TEXT, 3) + b"one" + encode_frame(TEXT, b"two"),
    ),
    BadFrame("close-1", "a Close of one byte (§5.5.1)", 1002, _text(0x80 | CLOSE, b"\x03")),
    BadFrame(
        "close-utf8",
        "the reason of a Close is not UTF-8 (§5.5.1)",
        1007,
        _text(0x80 | CLOSE, b"\x03\xe8caf\xe9"),
    ),
    BadFrame(
        "close-long",
        "a Close of 126 bytes (§5.5)",
        1002,
        lambda: encode_frame(CLOSE, (1000).to_bytes(2) + bytes(124)),
    ),
    BadFrame(
        "truncated",
        "a text of 100 bytes is announced, five come, and TCP ends",
        1006,
        lambda: b"\x81\x64hello",
        cut_off=True,
    ),
    BadFrame(
        "http",
        "a response of HTTP instead of a frame",
        1002,
        lambda: b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 60\r\n\r\n" + b"." * 60,
    ),
    BadFrame(
        "deflate-garbage",
        "a compressed text that cannot be inflated (RFC 7692 §7.2.2)",
        1007,
        _text(0xC1, b"\xff\xff\xff\xff\xff"),
        compressed=True,
    ),
    BadFrame(
        "deflate-bomb",
        "256 KiB that inflate to 256 MiB: more than a client should take",
        1009,
        bomb,
        compressed=True,
    ),
)

BY_KIND: Final = {each.kind: each for each in KINDS}


async def bad_frame(session: Session, *, kind: str, after: int) -> None:
    """Sends what no server may send, and waits for what the client says to it."""
    bad = BY_KIND[kind]
    check_handshake(session.request)
    agreement = agreed(session, Deflate()) if bad.compressed else None
    if bad.compressed and agreement is None:
        raise Refused(400, f"{kind} needs a client that offers permessage-deflate; received none.")
    await session.accept(agreement=agreement)
    if not await session.echo_then_wait(after, 0):
        return
    data = bad.make()
    session.trace.odd(kind, data)
    await session.send_bytes(data)
    if bad.cut_off:
        await session.hang_up()
        return
    await session.await_close()
    if session.close_received is None and not session.over:
        # It has taken no offence. Our own Close could not be told from what is wrong with the frame.
        session.trace.error = "the client did not fail the connection"
        await session.hang_up()
