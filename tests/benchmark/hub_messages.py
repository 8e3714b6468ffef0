"""The bytes of hubs, made before the clock starts: handshakes, calls, and what each call brings about.

Written by hand from HubProtocol.md of SignalR's specification, so that no server is judged by its own encoder. Calls of
one pool have all the same length, and an argument and an id of their own each.
"""

import random
import socket
from dataclasses import dataclass

from opening import ContenderError
from prebuilt import BINARY, TEXT, Pool, client_frame, head, payload

JSON, MESSAGEPACK = "json", "messagepack"

#: Ids have so many digits, so that every message of a pool has the same length.
DIGITS = 5

#: A pool within the generator's cache, and no id twice.
CALLS = 4096

MASK = b"\x51\x62\x73\x84"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server may write otherwise than the specification has it, and its clients read all the same."""

    json: int = TEXT
    """The opcode of frames with JSON."""
    headers: bytes = b"\x80"
    """What stands for no headers in a result in MessagePack: an empty map."""


DIALECTS = {"": Dialect(), "aiosignalr": Dialect(json=BINARY, headers=b"\xcc\x80")}


def greet(connection: socket.socket, protocol: str) -> None:
    """Agree with a hub on `protocol`. Raises ContenderError where it answers anything but that it does."""
    request = b'{"protocol":"%s","version":1}\x1e' % protocol.encode()
    connection.sendall(client_frame(TEXT, request, MASK))
    answer = b""
    while len(answer) < 5 and (received := connection.recv(4096)):
        answer += received
    if answer[:1] not in (b"\x81", b"\x82") or answer[1:] != b"\x03{}\x1e":
        raise ContenderError(f"wrong handshake of the hub: {answer!r}")


def echoes(protocol: str, *, size: int, depth: int, dialect: str) -> Pool:
    """Calls of `Echo` with one argument of `size` bytes of text, in batches of `depth`, and their results."""
    headers = DIALECTS[dialect].headers
    rng = random.Random(size * depth)
    calls, results = [], []
    for number in range(CALLS):
        id, said = b"%0*d" % (DIGITS, number), payload(rng, size, text=True)
        if protocol == JSON:
            calls.append(
                b'{"arguments":["%b"],"invocationId":"%b","target":"Echo","type":1}\x1e' % (said, id)
            )
            results.append(b'{"type":3,"invocationId":"%b","result":"%b"}\x1e' % (id, said))
        else:
            calls.append(framed(b"\x96\x01\x80%b%b\x91%b\x90" % (packed(id), packed(b"Echo"), packed(said))))
            results.append(framed(b"\x95\x03%b%b\x03%b" % (headers, packed(id), packed(said))))
    return pool(protocol, calls, results, depth, dialect)


def broadcasts(protocol: str, *, size: int, dialect: str) -> Pool:
    """Calls of `Say` that want no answer, and the message to all that each leads to."""
    rng = random.Random(size)
    calls, messages = [], []
    for _ in range(CALLS):
        said = payload(rng, size, text=True)
        if protocol == JSON:
            calls.append(b'{"type":1,"target":"Say","arguments":["%b"]}\x1e' % said)
            messages.append(b'{"type":1,"target":"said","arguments":["%b"]}\x1e' % said)
        else:
            calls.append(framed(b"\x96\x01\x80\xc0%b\x91%b\x90" % (packed(b"Say"), packed(said))))
            messages.append(framed(b"\x96\x01\x80\xc0%b\x91%b\x90" % (packed(b"said"), packed(said))))
    return pool(protocol, calls, messages, 1, dialect)


def pool(protocol: str, calls: list[bytes], answers: list[bytes], depth: int, dialect: str) -> Pool:
    """The frames of `calls`, each with a mask of its own, and of the `answers`, in batches of `depth`."""
    rng = random.Random(depth)
    sent = TEXT if protocol == JSON else BINARY
    opcode = DIALECTS[dialect].json if protocol == JSON else BINARY
    frames = [client_frame(sent, call, rng.randbytes(4)) for call in calls]
    replies = [head(opcode, len(answer), masked=False) + answer for answer in answers]
    starts = range(0, len(frames) - depth + 1, depth)
    return Pool(
        batches=[b"".join(frames[start : start + depth]) for start in starts],
        replies=[b"".join(replies[start : start + depth]) for start in starts],
        frame_length=len(replies[0]),
    )


def packed(text: bytes) -> bytes:
    """A string in MessagePack, in its shortest form, of up to 255 bytes."""
    return (bytes([0xA0 | len(text)]) if len(text) < 32 else bytes([0xD9, len(text)])) + text


def framed(message: bytes) -> bytes:
    """A hub message in MessagePack behind its length, in seven bits a byte, the lowest first."""
    length = len(message)
    return (bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])) + message
