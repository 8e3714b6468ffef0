"""The client's side of permessage-deflate, made of zlib alone: what tests send, and how they read what comes."""

from __future__ import annotations

import contextlib
import json
import random
import zlib
from collections.abc import AsyncIterator

import serving
import trio

import trioecho
from trioecho._protocol.deflate import Agreement, Deflate, agree
from trioecho._protocol.extensions import parse_offers
from trioecho.testing import BINARY, CLOSE, TEXT, Frame, RawClient, encode_frame

OFFER = "permessage-deflate; client_max_window_bits"
TAIL = b"\x00\x00\xff\xff"
KEY = b"abcd"


def agreed(offer: str = OFFER, **deflate: int) -> Agreement:
    """What a server with `deflate` agrees on with a client that offers `offer`."""
    agreement = agree(parse_offers([offer]), Deflate(**deflate))
    assert agreement is not None
    return agreement


def compressed_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """The first frame of a compressed message, as a client sends it."""
    frame = encode_frame(opcode, payload, fin=fin, key=KEY)
    return bytes((frame[0] | 0x40,)) + frame[1:]


class Compressor:
    """A client's context: the messages of one connection, one behind the other."""

    def __init__(self, window_bits: int = 12) -> None:
        self._zlib = zlib.compressobj(6, zlib.DEFLATED, -window_bits)

    def payload(self, content: bytes) -> bytes:
        return (self._zlib.compress(content) + self._zlib.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def frame(self, message: str | bytes) -> bytes:
        if isinstance(message, str):
            return compressed_frame(TEXT, self.payload(message.encode()))
        return compressed_frame(BINARY, self.payload(message))


def alone(content: bytes) -> bytes:
    """The payload of a message without a context."""
    return Compressor().payload(content)


class DeflatingClient(RawClient):
    """A `RawClient` that inflates what it is sent, with one context as the server has it."""

    def __init__(self, stream: trio.abc.Stream, window_bits: int = 12) -> None:
        super().__init__(stream)
        self.compressed: list[bool] = []
        """Of each frame that has come, whether RSV1 was set."""
        self.payloads: list[bytes] = []
        """The payloads as they came."""
        self._window_bits = window_bits
        self.inflater = zlib.decompressobj(-window_bits)

    def _parse(self) -> Frame | None:
        first = self._received[:1]
        frame = super()._parse()
        if frame is not None:
            self.compressed.append(bool(first[0] & 0x40))
            self.payloads.append(frame.payload)
        return frame

    def begin_context_anew(self) -> None:
        """As a client may that was promised no context takeover."""
        self.inflater = zlib.decompressobj(-self._window_bits)

    async def receive_inflated(self) -> str | bytes:
        """The next message, inflated if it came compressed; raises AssertionError at a control frame or the end."""
        before = len(self.compressed)
        opcode, payload, fin = TEXT, b"", False
        while not fin:
            frame = await self.receive_frame()
            assert frame is not None, "expected a message, received the end of the stream"
            assert frame.opcode < CLOSE, f"expected a message, received {frame}"
            opcode = frame.opcode or opcode
            payload += frame.payload
            fin = frame.fin
        assert not any(self.compressed[before + 1 :]), "RSV1 belongs in the first frame of a message"
        if self.compressed[before]:
            payload = self.inflater.decompress(payload + TAIL)
        return payload.decode() if opcode == TEXT else payload


@contextlib.asynccontextmanager
async def connected_deflating(
    server: trioecho.Server, offer: str = OFFER, window_bits: int = 12
) -> AsyncIterator[DeflatingClient]:
    """A client of `server` that has offered `offer`; its end of TCP is closed on leaving, without a word."""
    client = DeflatingClient(await serving.open_stream(server), window_bits)
    try:
        await client.handshake(headers=f"Sec-WebSocket-Extensions: {offer}\r\n")
        assert b"permessage-deflate" in client.response
        yield client
    finally:
        await trio.aclose_forcefully(client.stream)


JSON = random.Random(13)


def json_of(size: int) -> str:
    """Records as an application sends them, `size` characters of ASCII; never the same twice."""
    records: list[str] = []
    length = 0
    while length < size:
        record = {"id": JSON.randrange(10**6), "name": f"user {JSON.randrange(1000)}", "price": JSON.random()}
        records.append(json.dumps(record))
        length += len(records[-1]) + 2
    return f"[{', '.join(records)}]"[:size]
