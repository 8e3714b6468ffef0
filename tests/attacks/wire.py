"""The bytes that attackers send: opening handshakes, and frames that no well-behaved client would make."""

from prebuilt import client_frame, handshake_pool, head
from target import Target

#: Attackers mask all frames alike: a different key each costs them time, not the server.
KEY = b"\x5a\xa5\x3c\xc3"

CONTINUATION = 0x0

FIN = 0x80

#: Bytes of one write of a flood.
BLAST = 64 * 1024


def handshake(target: Target, extension: str = "") -> bytes:
    """An opening handshake that a server accepts."""
    return handshake_pool(target.port, extension, count=1)[0][0]


def upgraded() -> bytes:
    """What the answer to one contains."""
    return b"HTTP/1.1 101 "


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """One masked frame; one that is not `final` has another behind it."""
    whole = client_frame(opcode, payload, KEY)
    return whole if final else bytes((whole[0] & ~FIN,)) + whole[1:]


def begun_frame(opcode: int, payload: bytes, length: int) -> bytes:
    """A frame's head that promises `length` bytes, and `payload` as the first of them."""
    start = len(head(opcode, len(payload), masked=True))
    return head(opcode, length, masked=True) + client_frame(opcode, payload, KEY)[start:]


def blast(unit: bytes) -> bytes:
    """`unit` as often as goes into one write."""
    return unit * max(1, BLAST // len(unit))
