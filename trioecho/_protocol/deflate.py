"""permessage-deflate (RFC 7692): how it is offered and agreed on, and one connection's deflater and inflater.

Both are made when they are first needed. With a window of 12 bits and memory level 5 a compressor takes 38 KiB and a
decompressor 12 KiB, so a connection that never sends or never receives anything compressed does not pay for it.

`Deflate` is what a server offers, `Agreement` what it has agreed on with one client.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from trioecho._protocol.extensions import Offer
from trioecho._protocol.frames import FrameError

NAME: Final = "permessage-deflate"

RSV1: Final = 0x40
"""The bit of a frame's first byte that says that its message is compressed (§6)."""

TAIL: Final = b"\x00\x00\xff\xff"
"""What a flush ends with, which is left out of a message (§7.2.1)."""

EMPTY: Final = b"\x00"
"""A block of nothing, without its tail: an empty message, and what may end one that has been flushed (§7.2.3.6)."""

WITH_CONTEXT: Final = 128
"""Bytes from which a message is compressed where the earlier ones help: JSON of 200 bytes shrinks to a quarter."""

WITHOUT_CONTEXT: Final = 512
"""The same where each message stands alone: JSON of 200 bytes shrinks only to 70 %."""

_WINDOW_BITS: Final = {str(bits): bits for bits in range(8, 16)}
_WITHOUT_VALUE: Final = {"server_no_context_takeover", "client_no_context_takeover"}

Encoding: TypeAlias = tuple[int, int, int]
"""What a compressed message depends on besides its content: window bits, level, memory level."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deflate:
    """permessage-deflate as a server agrees to it: ``WebSocketOptions(compression=Deflate(...))``. Immutable.

    **Off is right wherever a message holds a secret next to text that somebody else can choose.** The length of what
    is compressed tells how much of the text repeats the secret, and whoever can watch the encrypted connection and
    choose the text, by a web page for instance, finds the secret letter by letter (CRIME, BREACH). Do not send this:

        await ws.send(json.dumps({"token": session_token, "you_searched": text_from_elsewhere}))

    nor the two in two messages, because with context takeover each message is compressed with the help of those before
    it. What must stay secret goes by itself, uncompressed:

        await ws.send(json.dumps({"token": session_token}), compress=False)

    Example:

        small = trioecho.Deflate(server_max_window_bits=10, client_max_window_bits=10, memory_level=3)

        async def news(ws: trioecho.WebSocket) -> None:
            await ws.send("token 5c1f", compress=False)
            await ws.send("so many words " * 100)

        routes = {"/news": trioecho.WebSocketRoute(news, options={"compression": small})}

    - `server_max_window_bits` (default 12, from 8 to 15):
        The server looks for repetitions in the last ``2 ** bits`` bytes that it has sent. A client may ask for less.
        With 12 a compressor takes 38 KiB, with 15 and `memory_level` 8, zlib's own defaults, 200 KiB.
    - `client_max_window_bits` (default 12, from 9 to 15):
        The same for what the client sends. It can only be asked of clients that offer it; others, Firefox among them,
        use up to 15, for which a decompressor takes 40 KiB instead of 12. Not 8, which clients in Python cannot do.
    - `server_context_takeover` (default True):
        A message is compressed with the help of those before it, which is what makes short ones small. False saves a
        compressor for each connection, and lets `trioecho.broadcast` and `trioecho.Prepared` messages be compressed
        once without a loss. A client may ask for False.
    - `client_context_takeover` (default True):
        The same for what the client sends; False saves a decompressor for each connection. A client may say that it
        does without.
    - `level` (default 6, from 1 to 9):
        zlib's: 1 is fastest, 9 smallest.
    - `memory_level` (default 5, from 1 to 9):
        zlib's: more is a little faster and smaller, and takes more memory.
    - `threshold` (default None: 128 bytes, or 512 where messages are compressed without the earlier ones):
        The shortest message that is compressed, in bytes. What is shorter hardly shrinks.

    Raises TypeError for a value of the wrong kind and ValueError for one that makes no sense, each with one sentence
    that says what would be right.
    """

    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    server_context_takeover: bool = True
    client_context_takeover: bool = True
    level: int = 6
    memory_level: int = 5
    threshold: int | None = None

    def __post_init__(self) -> None:
        _check_number("server_max_window_bits", self.server_max_window_bits, 8, 15)
        _check_number("client_max_window_bits", self.client_max_window_bits, 9, 15)
        for name in ("server_context_takeover", "client_context_takeover"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} takes True or False; you gave {value!r}")
        _check_number("level", self.level, 1, 9)
        _check_number("memory_level", self.memory_level, 1, 9)
        threshold = self.threshold
        if threshold is None:
            return
        if isinstance(threshold, bool) or not isinstance(threshold, int):
            raise TypeError(f"threshold takes a whole number of bytes, or None; you gave {threshold!r}")
        if threshold < 0:
            raise ValueError(f"threshold must be at least 0 (bytes), or None; you gave {threshold!r}")


def _check_number(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number from {least} to {most}; you gave {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}; you gave {value!r}")


class Agreement(NamedTuple):
    """permessage-deflate as it was agreed on with one client."""

    answer: str
    """What the 101 says: ``"permessage-deflate; server_max_window_bits=12"``."""
    encoding: Encoding
    """How this side compresses."""
    threshold: int
    server_takeover: bool
    client_takeover: bool
    client_window_bits: int

    @property
    def memory(self) -> int:
        """Bytes that a connection's compressor and decompressor take, by zlib's own account (zconf.h)."""
        bits, _, memory_level = self.encoding
        compressor = (1 << (max(bits, 9) + 2)) + (1 << (memory_level + 9))
        return compressor + (1 << self.client_window_bits) + 7 * 1024


def agree(offers: Iterable[Offer], deflate: Deflate) -> Agreement | None:
    """Return what is agreed on: the first of the client's `offers` that can be accepted (§5, §7.1), or None.

    An offer of another extension, or with a parameter that is unknown, comes twice or has a wrong value, is declined,
    and the next one looked at.
    """
    for offer in offers:
        if offer.name == NAME and (parameters := _parameters(offer)) is not None:
            return _accepted(parameters, deflate)
    return None


def _parameters(offer: Offer) -> dict[str, int | None] | None:
    """The parameters of an offer, the window bits as numbers; None if one of them is wrong."""
    parameters: dict[str, int | None] = {}
    for name, value in offer.parameters:
        if name in parameters:
            return None
        if name in _WITHOUT_VALUE:
            if value is not None:
                return None
            parameters[name] = None
        elif name == "client_max_window_bits" and value is None:
            parameters[name] = None
        elif name in ("client_max_window_bits", "server_max_window_bits") and value in _WINDOW_BITS:
            parameters[name] = _WINDOW_BITS[value]
        else:
            return None
    return parameters


def _accepted(offered: dict[str, int | None], deflate: Deflate) -> Agreement:
    client_bits = None
    if "client_max_window_bits" in offered:
        client_bits = min(deflate.client_max_window_bits, offered["client_max_window_bits"] or 15)
    server_bits = min(deflate.server_max_window_bits, offered.get("server_max_window_bits") or 15)
    return _agreement(
        deflate,
        # May be said unasked (§7.1.2.1): a client can always cope with less.
        server_bits if server_bits < 15 or "server_max_window_bits" in offered else None,
        client_bits,
        deflate.server_context_takeover and "server_no_context_takeover" not in offered,
        deflate.client_context_takeover and "client_no_context_takeover" not in offered,
    )


# Most clients offer the same, and what is agreed on with them is kept once. There are some hundred agreements.
@functools.lru_cache(maxsize=256)
def _agreement(
    deflate: Deflate,
    server_bits: int | None,
    client_bits: int | None,
    server_takeover: bool,
    client_takeover: bool,
) -> Agreement:
    """An agreement whose answer names the window bits that are given; None is 15, and unsaid."""
    answer = [NAME]
    if not server_takeover:
        answer.append("server_no_context_takeover")
    if not client_takeover:
        answer.append("client_no_context_takeover")
    if server_bits is not None:
        answer.append(f"server_max_window_bits={server_bits}")
    if client_bits is not None:
        answer.append(f"client_max_window_bits={client_bits}")
    threshold = deflate.threshold
    if threshold is None:
        threshold = WITH_CONTEXT if server_takeover else WITHOUT_CONTEXT
    encoding = (server_bits or 15, deflate.level, deflate.memory_level)
    return Agreement(
        "; ".join(answer), encoding, threshold, server_takeover, client_takeover, client_bits or 15
    )


class Deflater:
    """Compresses what one connection sends, or one message by itself where `takeover` is False.

    What it has returned has to be sent, and in this order: a message that is not sent after all has to be followed by
    `forget`, or the peer's context is another one from there on.
    """

    __slots__ = ("_compressor", "_encoding", "_takeover")

    def __init__(self, encoding: Encoding, *, takeover: bool) -> None:
        self._encoding = encoding
        self._takeover = takeover
        self._compressor: zlib._Compress | None = None

    def deflate(self, payload: bytes) -> bytes:
        """A whole message."""
        if not payload:
            # A second flush in a row gives nothing, from which no tail could be cut.
            return EMPTY
        compressor = self._compressor or self._begin()
        if not self._takeover:
            self._compressor = None
        return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def feed(self, part: bytes | memoryview) -> bytes:
        """A part of a message; what comes of it may come with a later part."""
        return (self._compressor or self._begin()).compress(part)

    def flush(self) -> bytes:
        """All that the parts before have left, their tail included: another part, or `end`, has to follow."""
        return (self._compressor or self._begin()).flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """The end of a message that has just been flushed."""
        if not self._takeover:
            self._compressor = None
        return EMPTY

    def forget(self) -> None:
        """Compress the next message without the help of those before: right also where the peer has kept them."""
        self._compressor = None

    def _begin(self) -> zlib._Compress:
        bits, level, memory_level = self._encoding
        # Python refuses a raw stream of 8 bits. zlib looks back by 262 bytes less than its window has, so 9 bits are
        # right for a peer of 8: 250 bytes at most.
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, -max(bits, 9), memory_level)
        return self._compressor


class Inflater:
    """Decompresses what one peer sends: the parts of a message, as they come, and its end."""

    __slots__ = ("_decompressor", "_takeover", "_window_bits")

    def __init__(self, window_bits: int, *, takeover: bool) -> None:
        # zlib compresses with 9 bits where 8 were asked of it, see above.
        self._window_bits = max(window_bits, 9)
        self._takeover = takeover
        self._decompressor: zlib._Decompress | None = None

    def inflate(self, data: bytes, room: int, *, last: bool) -> bytes:
        """What `data`, the next part of a message, and the `last` or not, stands for.

        At most ``room + 1`` bytes: so many mean that there is more than `room`, and that nothing can be inflated behind
        it. Raises FrameError 1007 for what cannot be inflated, and for data behind a final block: each could begin
        anew.
        """
        return self.inflate_some(data + TAIL if last else data, room + 1, last=last)[0]

    def inflate_some(self, data: bytes, most: int, *, last: bool) -> tuple[bytes, bytes | None]:
        """`inflate`, but `most` bytes at most, and what has to be given in place of `data` to get more: None where that
        is all. With the `last` part, `data` has its `TAIL`."""
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = self._decompressor = zlib.decompressobj(-self._window_bits)
        if decompressor.eof:
            # Behind the final block that has come before.
            inflated, rest = b"", decompressor.unused_data + data
        else:
            try:
                inflated = decompressor.decompress(data, most)
            except zlib.error as error:
                raise FrameError(1007, f"compressed message cannot be inflated: {_reason(error)}") from None
            if len(inflated) == most and not decompressor.eof:
                # There may be more also where nothing of `data` is left.
                return inflated, decompressor.unconsumed_tail
            rest = decompressor.unused_data
        if decompressor.eof:
            self._check_end(rest, last)
        if last and (not self._takeover or decompressor.eof):
            self._decompressor = None
        return inflated, None

    def _check_end(self, rest: bytes, last: bool) -> None:
        """Behind a final block comes nothing, or an empty one without its tail, which is then put there (§7.2.3.4)."""
        if rest not in ((TAIL, EMPTY + TAIL) if last else (b"", EMPTY)):
            raise FrameError(1007, "compressed message goes on behind its final block")


def _reason(error: zlib.error) -> str:
    """What zlib says, without its own numbers: ``invalid distance too far back``."""
    return str(error).rpartition(": ")[2]
