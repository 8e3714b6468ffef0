"""The load of compressed messages: JSON, deflated in advance, whose answers are inflated and compared.

What is sent is made before the clock starts, so each message is compressed by itself and refers to none before it. A
client may do that whatever was agreed on (RFC 7692, section 7.2.3.2). It is not offered as client_no_context_takeover,
because browsers do not offer that, and some servers make a new inflater for each message where it is agreed on. The
answers refer to earlier ones unless that was agreed away, so all of them are inflated, in order.
"""

import json
import random
import socket
import zlib

from exchange import Connection, Exchange
from opening import ContenderError
from prebuilt import FEWEST_FRAMES, MOST_FRAMES, POOL_BYTES, TEXT, Pool, client_frame

#: What every contender is offered: the same window for both sides, with and without a context that outlasts a message.
OFFER = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
OFFER_WITHOUT_CONTEXT = f"{OFFER}; server_no_context_takeover; client_no_context_takeover"

#: The first byte of a message's only or first frame, and what a message's compressed bytes lack at their end (RFC 7692,
#: section 7.2.2).
FIN, RSV1, CONTROL = 0x80, 0x40, 0x08
TAIL = b"\x00\x00\xff\xff"

WINDOW_BITS, LEVEL = 12, 6

NAMES = ("Ada", "Björn", "Chiara", "Dimitri", "Edda", "Fatima", "Grzegorz", "Hikaru", "Inès", "Jorge")
STATES = ("open", "paid", "packed", "sent", "returned")


def json_text(rng: random.Random, size: int) -> bytes:
    """Exactly `size` bytes of JSON as an application sends it: a list of orders, and a note of random letters."""
    orders: list[dict[str, object]] = []
    left = size - len(encoded(orders, ""))
    while True:
        order = {
            "id": rng.randrange(10**9),
            "customer": rng.choice(NAMES),
            "state": rng.choice(STATES),
            "amount": rng.randrange(100_000) / 100,
            "at": f"2026-11-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:{rng.randrange(60):02}:00Z",
        }
        # Behind a comma and a space.
        length = len(json.dumps(order, ensure_ascii=False).encode()) + (2 if orders else 0)
        if length > left:
            return encoded(orders, "".join(rng.choices("abcdefghijklmnopqrstuvwxyz    ", k=left)))
        left -= length
        orders.append(order)


def encoded(orders: list[dict[str, object]], note: str) -> bytes:
    """The JSON of one message."""
    return json.dumps({"type": "orders", "note": note, "orders": orders}, ensure_ascii=False).encode()


def deflated(content: bytes) -> bytes:
    """A message's compressed bytes, which need no context (RFC 7692, section 7.2.1)."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS)
    return (compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def deflated_pool(*, size: int) -> Pool:
    """Frames with JSON of `size` bytes, deflated; the replies are the JSON itself, for the bytes may differ."""
    rng = random.Random(size)
    contents = [json_text(rng, size) for _ in range(max(FEWEST_FRAMES, min(MOST_FRAMES, POOL_BYTES // size)))]
    frames = []
    for content in contents:
        frame = bytearray(client_frame(TEXT, deflated(content), rng.randbytes(4)))
        frame[0] |= RSV1
        frames.append(bytes(frame))
    return Pool(batches=frames, replies=contents, frame_length=0)


class Deflating(Exchange):
    """Drives its connections as `Exchange` does, and takes answers that are compressed."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._inflaters: dict[Connection, zlib._Decompress] = {}
        self._inflated: dict[Connection, bytes] = {}

    def _add(self, sock: socket.socket, index: int) -> Connection:
        connection = super()._add(sock, index)
        self._inflaters[connection] = zlib.decompressobj(-WINDOW_BITS)
        return connection

    def _takes(self, connection: Connection, data: bytes) -> bool:
        """Take `data` as the continuation of the connection's answer; True when the answer is complete.

        Raises ContenderError for an answer that is not the message which was sent, or not compressed.
        """
        if not data:
            raise ContenderError("hung up under load")
        data = connection.stash + data
        position, complete = 0, False
        while (frame := frame_at(data, position)) is not None:
            first, begin, position = frame
            payload = data[begin:position]
            if first & CONTROL:
                self._answer(connection, bytes((first, len(payload))) + payload)
                continue
            if complete or not connection.reply or connection.reply[:1] == b"\xff":
                raise ContenderError(f"wrong echo: one more message: {payload[:80]!r}")
            complete = self._takes_frame(connection, first, payload)
        connection.stash = data[position:]
        return complete

    def _takes_frame(self, connection: Connection, first: int, payload: bytes) -> bool:
        begun = self._inflated.get(connection)
        if first & ~FIN != (TEXT | RSV1 if begun is None else 0):
            raise ContenderError(f"wrong echo: a frame that begins with {first:#x}, not compressed text")
        try:
            content = (begun or b"") + self._inflaters[connection].decompress(
                payload + TAIL if first & FIN else payload
            )
        except zlib.error as error:
            raise ContenderError(f"wrong echo: it cannot be inflated: {error}") from None
        if not first & FIN:
            self._inflated[connection] = content
            return False
        self._inflated.pop(connection, None)
        if content != connection.reply:
            raise ContenderError(f"wrong echo: {content[:80]!r}")
        return True


def frame_at(data: bytes, position: int) -> tuple[int, int, int] | None:
    """The first byte of a server's frame, where its payload begins and ends; None where it is not whole yet."""
    if len(data) < position + 2:
        return None
    first, length = data[position], data[position + 1]
    begin = position + 2
    if length >= 126:
        begin += 2 if length == 126 else 8
        length = int.from_bytes(data[position + 2 : begin])
    # Bytes of the length that have not come make it too small, but not the head: the end is behind all there is.
    return (first, begin, begin + length) if begin + length <= len(data) else None
