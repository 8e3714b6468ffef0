"""Bytes made before the clock starts: frames to send, the echoes they must come back as, and opening handshakes.

Nothing repeats within a pool: each frame has a payload and a mask of its own, so that no server can profit from a
constant mask or a payload it has seen, and a wrong, lost, doubled or reordered echo is seen at once.
"""

import base64
import hashlib
import random
import string
from dataclasses import dataclass

#: RFC 6455, section 1.3
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

#: Distinct frames in a pool: thousands of small ones, few large ones. The pool stays within a few MiB, because a
#: generator that walks through more memory than its cache holds would measure memory.
MOST_FRAMES = 4096
FEWEST_FRAMES = 8
POOL_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Pool:
    """What to send, and what must come back: `replies[i]` is the echo of `batches[i]`.

    A batch is `depth` frames, `frame_length` bytes each when they come back.
    """

    batches: list[bytes]
    replies: list[bytes]
    frame_length: int


def head(opcode: int, length: int, *, masked: bool) -> bytes:
    """The head of an unfragmented frame without its mask (RFC 6455, section 5.2: the shortest form of the length)."""
    flag = 0x80 if masked else 0
    if length < 126:
        return bytes((0x80 | opcode, flag | length))
    if length < 2**16:
        return bytes((0x80 | opcode, flag | 126)) + length.to_bytes(2)
    return bytes((0x80 | opcode, flag | 127)) + length.to_bytes(8)


def client_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """One whole frame as a client sends it, masked (RFC 6455, section 5.3)."""
    size = len(payload)
    key = int.from_bytes(mask * (size // 4 + 1))
    shifted = int.from_bytes(payload + bytes(4 - size % 4))
    masked = (key ^ shifted).to_bytes((size // 4 + 1) * 4)[:size]
    return head(opcode, size, masked=True) + mask + masked


def payload(rng: random.Random, size: int, *, text: bool) -> bytes:
    """`size` random bytes, as ASCII letters if they are to be `text`."""
    if text:
        return "".join(rng.choices(string.ascii_letters, k=size)).encode()
    return rng.randbytes(size)


def frame_pool(*, size: int, depth: int, text: bool, protocol: str) -> Pool:
    """Frames with `size` bytes of payload in batches of `depth`, the same ones in every run.

    With the protocol `tcp` the same bytes are sent to a server that sends every byte back.
    """
    rng = random.Random(size * depth)
    frames, echoes = [], []
    count = max(FEWEST_FRAMES, min(MOST_FRAMES, POOL_BYTES // size))
    for _ in range(max(count, depth)):
        content = payload(rng, size, text=text)
        opcode = TEXT if text else BINARY
        frame = client_frame(opcode, content, rng.randbytes(4))
        frames.append(frame)
        echoes.append(frame if protocol == "tcp" else head(opcode, size, masked=False) + content)
    starts = range(0, len(frames) - depth + 1, depth)
    return Pool(
        batches=[b"".join(frames[i : i + depth]) for i in starts],
        replies=[b"".join(echoes[i : i + depth]) for i in starts],
        frame_length=len(echoes[0]),
    )


def ping_pool(*, size: int = 4, count: int = MOST_FRAMES) -> Pool:
    """`count` Pings with `size` bytes of payload, and the Pong that each is to be answered with."""
    rng = random.Random(size)
    payloads = [rng.randbytes(size) for _ in range(count)]
    return Pool(
        batches=[client_frame(PING, each, rng.randbytes(4)) for each in payloads],
        replies=[head(PONG, size, masked=False) + each for each in payloads],
        frame_length=2 + size,
    )


def handshake_pool(port: int, extension: str = "", count: int = 256) -> list[tuple[bytes, bytes]]:
    """`count` requests for `/ws`, each with the line of the answer that proves it was computed for its key.

    `extension` is what they offer in Sec-WebSocket-Extensions; without it they have no such field.
    """
    rng = random.Random(port)
    offer = f"Sec-WebSocket-Extensions: {extension}\r\n".encode() if extension else b""
    pool = []
    for _ in range(count):
        key = base64.b64encode(rng.randbytes(16))
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID).digest())
        request = (
            b"GET /ws HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\n"
            b"%b"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        ) % (port, key, offer)
        pool.append((request, accept))
    return pool
