"""How the time that a parser takes grows with what a client sends: with its size, and not with the square of it."""

from __future__ import annotations

import gc
import math
import time
import zlib
from collections.abc import Callable

import pytest

from trioecho._http.bodies import ChunkedBody
from trioecho._http.conditional import Validators, parse_http_date, precondition
from trioecho._http.fields import Headers, Query, parse_cookies
from trioecho._http.hosts import is_authority, parse_host_pattern
from trioecho._http.messages import Request
from trioecho._http.origins import normalised, parse_origin_pattern
from trioecho._http.paths import PathPattern, PathTable
from trioecho._http.ranges import requested_range
from trioecho._http.refusals import Refused
from trioecho._http.request_head import HeadSearch, parse_head, path_and_target
from trioecho._http.upgrade import check_handshake
from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.deflate import Deflate, agree
from trioecho._protocol.extensions import parse_offers
from trioecho._protocol.frames import BINARY, CONTINUATION, PING, TEXT, encode_frame
from trioecho._protocol.inflating import InflatingDecoder
from trioecho._protocol.piecewise import PiecewiseDecoder
from trioecho._protocol.untrusted import told

KEY = b"\x01\x02\x03\x04"
LIMIT = 2**30

STEPS = 8
"""From the smallest size to the largest: linear work takes 8 times as long, quadratic work 64 times."""

MOST_EXPONENT = 1.5
"""Of the size in the time. A machine that is busy with other things makes a linear parser look like 1.2 at worst."""

TRIES = 6

Work = Callable[[], object]


def frames(opcode: int, payload: bytes, number: int, first: int | None = None) -> bytes:
    """`number` frames; the first of another opcode, and none with FIN, if `first` is given."""
    if first is None:
        return encode_frame(opcode, payload, key=KEY) * number
    begin = encode_frame(first, payload, fin=False, key=KEY)
    return begin + encode_frame(opcode, payload, fin=False, key=KEY) * number


def decoding(data: bytes, size: int = 0, kind: type[FrameDecoder] = FrameDecoder) -> Work:
    """Decode `data`, in pieces of `size`."""

    def work() -> None:
        if kind is PiecewiseDecoder:
            decoder: FrameDecoder = PiecewiseDecoder()
        elif kind is InflatingDecoder:
            agreement = agree(parse_offers(["permessage-deflate"]), Deflate())
            assert agreement is not None
            decoder = InflatingDecoder(max_message_size=LIMIT, max_fragments=LIMIT, agreement=agreement)
        else:
            decoder = FrameDecoder(max_message_size=LIMIT, max_fragments=LIMIT)
        messages: list[str | bytes] = []
        for start in range(0, len(data), size or len(data)):
            decoder.decode(data[start : start + (size or len(data))], messages)
            while isinstance(decoder, InflatingDecoder) and decoder.held:
                decoder.decode(b"", messages)

    return work


def deflated(content: bytes) -> bytes:
    """One compressed message."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -12)
    payload = (compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    frame = encode_frame(BINARY, payload, key=KEY)
    return bytes((frame[0] | 0x40,)) + frame[1:]


def refusing(function: Callable[..., object], *arguments: object) -> Work:
    """Call it; that it refuses is no less work."""

    def work() -> None:
        try:
            function(*arguments)
        except (Refused, ValueError):
            pass

    return work


def searching(head: bytes, size: int) -> Work:
    """Look for the end of a head that comes in pieces."""

    def work() -> None:
        search, received = HeadSearch(), bytearray()
        for start in range(0, len(head), size):
            received += head[start : start + size]
            if search.begun(received):
                search.head(received)

    return refusing(work)


def chunked(body: bytes, size: int) -> Work:
    """Take a body in chunks, which comes in pieces."""

    def work() -> None:
        taking, received = ChunkedBody(), bytearray()
        for start in range(0, len(body), size):
            received += body[start : start + size]
            while taking.take(received):
                pass

    return work


def asked(value: str) -> Request:
    return Request("GET", "/", "/", {"Sec-WebSocket-Protocol": value})


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
TABLE = PathTable([(PathPattern("/a/{b}/c/{d:path}"), 1), (PathPattern("/a/b/c/{d}"), 2)])
VALIDATORS = Validators('"abc"')

# Each takes a number of bytes, or nearly so, of the kind of which it has most to do.
GROWING: dict[str, tuple[int, Callable[[int], Work]]] = {
    "whole frames": (20_000, lambda n: decoding(frames(TEXT, b"hello", n // 11))),
    "Pings": (20_000, lambda n: decoding(frames(PING, b"", n // 6))),
    "empty fragments": (20_000, lambda n: decoding(frames(CONTINUATION, b"", n // 6, TEXT))),
    "short fragments": (20_000, lambda n: decoding(frames(CONTINUATION, b"x", n // 7, TEXT))),
    "a message in bytes": (10_000, lambda n: decoding(encode_frame(BINARY, bytes(n), key=KEY), 1)),
    "a text in bytes": (10_000, lambda n: decoding(encode_frame(TEXT, "☃".encode() * (n // 3), key=KEY), 1)),
    "fragments in bytes": (7_000, lambda n: decoding(frames(CONTINUATION, b"x", n // 7, BINARY), 1)),
    "pieces": (7_000, lambda n: decoding(frames(CONTINUATION, b"x", n // 7, TEXT), 3, PiecewiseDecoder)),
    "a bomb": (200_000, lambda n: decoding(deflated(bytes(n)), 0, InflatingDecoder)),
    "many bombs": (200_000, lambda n: decoding(deflated(bytes(10_000)) * (n // 10_000), 0, InflatingDecoder)),
    "compressed in bytes": (
        3_000,
        lambda n: decoding(deflated(bytes(range(256)) * (n // 50)), 1, InflatingDecoder),
    ),
    "extensions": (2_000, lambda n: refusing(parse_offers, ["a;" * (n // 2) + "b"])),
    "extensions, spaces": (2_000, lambda n: refusing(parse_offers, ["a" + " " * n + "!="])),
    "extensions, escapes": (2_000, lambda n: refusing(parse_offers, ['a;b="' + '\\"' * (n // 2)])),
    "extensions, commas": (2_000, lambda n: refusing(parse_offers, ["," * n + "a b"])),
    "a head": (1_800, lambda n: refusing(parse_head, HEAD + b"a: " + b"x" * n + b"\r\n\r\n")),
    "a head of lines": (200, lambda n: refusing(parse_head, HEAD + b"a:b\r\n" * (n // 16) + b"\r\n")),
    "a head of commas": (1_800, lambda n: refusing(parse_head, HEAD + b"accept: " + b"," * n + b"\r\n\r\n")),
    "a head of spaces": (1_800, lambda n: refusing(parse_head, HEAD + b"a:" + b" " * n + b"\r\n\r\n")),
    "a head in bytes": (1_800, lambda n: searching(HEAD + b"a:" + b"x" * n, 1)),
    "a request line in bytes": (1_800, lambda n: searching(b"GET /" + b"x" * n, 1)),
    "empty lines in bytes": (1_800, lambda n: searching(b"\r\n" * (n // 2), 1)),
    "chunks": (5_000, lambda n: chunked(b"1\r\nx\r\n" * (n // 6), 1000)),
    "chunks in bytes": (5_000, lambda n: chunked(b"1\r\nx\r\n" * (n // 6), 1)),
    "a chunk's extension": (500, lambda n: chunked(b"1;" + b"x" * n, 1)),
    "spaces before a chunk's extension": (500, lambda n: chunked(b"1" + b" " * n, 1)),
    "a trailer's name": (500, lambda n: chunked(b"0\r\n" + b"x" * n, 1)),
    "a trailer": (500, lambda n: chunked(b"0\r\na:" + b"x" * n, 1)),
    "a path": (1_800, lambda n: refusing(path_and_target, b"/" + b"%41" * (n // 3))),
    "a path of slashes": (1_800, lambda n: refusing(TABLE.find, "/" * n, "/" * n)),
    "a path for a parameter": (1_800, lambda n: refusing(TABLE.find, "/a/b" * (n // 4), "/a/b" * (n // 4))),
    "cookies": (1_800, lambda n: refusing(parse_cookies, Headers([("Cookie", "a=b;" * (n // 4))]))),
    "cookies, spaces": (1_800, lambda n: refusing(parse_cookies, Headers([("Cookie", "a=" + " \t" * n)]))),
    "a query": (1_800, lambda n: refusing(Query.parse, "a=b&" * (n // 4))),
    "a query of percents": (1_800, lambda n: refusing(Query.parse, "a=" + "%" * n)),
    "subprotocols": (1_800, lambda n: refusing(check_handshake, asked("a," * (n // 2)))),
    "entity tags": (
        1_800,
        lambda n: refusing(precondition, "GET", Headers([("If-None-Match", 'W/"a' * (n // 4))]), VALIDATORS),
    ),
    "a range": (1_800, lambda n: refusing(requested_range, Headers([("Range", "bytes=" + "1" * n)]), 10)),
    "ranges": (1_800, lambda n: refusing(requested_range, Headers([("Range", "bytes=" + ", " * n)]), 10)),
    "a date": (1_800, lambda n: refusing(parse_http_date, " \t" * n + "Sun")),
    "a host": (1_800, lambda n: refusing(is_authority, "a." * (n // 2) + "[")),
    "a host of percents": (1_800, lambda n: refusing(is_authority, "%41" * (n // 3) + "%")),
    "an address": (1_800, lambda n: refusing(is_authority, "[" + ":1" * (n // 2) + "]")),
    "a host for users": (1_800, lambda n: refusing(parse_host_pattern, "a-." * (n // 3) + "!")),
    "an origin": (1_800, lambda n: refusing(normalised, "https://" + "a-." * (n // 3) + "!")),
    "an origin for users": (
        1_800,
        lambda n: refusing(parse_origin_pattern, "https:" + "a." * (n // 2) + "!"),
    ),
    "a sentence": (1_800, lambda n: refusing(told, "\x1b" * n)),
}


def seconds(work: Work) -> float:
    """How long it takes, by this thread's own clock; the least of a few times, each long enough to be measured."""
    best = math.inf
    for _ in range(3):
        times = 0
        begun = time.thread_time()
        while (passed := time.thread_time() - begun) < 0.002 or not times:
            work()
            times += 1
        best = min(best, passed / times)
    return best


@pytest.mark.parametrize("what", GROWING)
def test_the_time_grows_with_the_size(what: str) -> None:
    """What is eight times as long takes little more than eight times as long; where once it did, another try cannot
    make quadratic work look so."""
    size, work = GROWING[what]
    small, large = work(size), work(size * STEPS)
    exponents = []
    gc.disable()
    try:
        for _ in range(TRIES):
            exponents.append(math.log(seconds(large) / seconds(small), STEPS))
            if exponents[-1] <= MOST_EXPONENT:
                return
    finally:
        gc.enable()
    raise AssertionError(
        f"{what}: the time grows with the power {min(exponents):.2f} of the size, {exponents}"
    )


def test_quadratic_work_would_be_seen() -> None:
    """The measure itself: what copies all that came before for each byte."""

    def copying(size: int) -> Work:
        return lambda: [bytes(index * 50) for index in range(size)]

    assert math.log(seconds(copying(4000)) / seconds(copying(500)), STEPS) > MOST_EXPONENT
