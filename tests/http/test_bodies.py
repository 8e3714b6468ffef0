"""Where the body of a request ends, however the network cuts it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioecho._http.bodies import (
    MAX_EXTENSION_BYTES,
    MAX_TRAILER_BYTES,
    PIECE_BYTES,
    Body,
    ChunkedBody,
    LengthBody,
)
from trioecho._http.refusals import Refused

SIZE = "A chunk begins with its size in hexadecimal digits, such as '1f4', and a line's end."
END = "A chunk ends, behind as many bytes as its size says, with a line's end."
TRAILER = "A trailer is a line like 'Name: value'; received something else."
EXTENSIONS = "The extensions of a body's chunks may have 4096 bytes in all; received more."
TRAILERS = "The trailers of a body may have 4096 bytes; received more."

Outcome = tuple[bytes, bool, int | None, bytes]


def refused_by(body: Body, received: bytearray) -> Refused | None:
    """How the next piece is refused, if it is; it is put aside otherwise."""
    try:
        body.take(received)
    except Refused as refused:
        return refused
    return None


def outcome(body: Body, packets: Sequence[bytes]) -> Outcome:
    """What was taken, whether that was all, the status it was refused with, and what is left for the next request."""
    received = bytearray()
    taken = b""
    for index, packet in enumerate(packets):
        received += packet
        try:
            while piece := body.take(received):
                assert len(piece) <= PIECE_BYTES
                taken += piece
        except Refused as refused:
            return taken, False, refused.status, b""
        if body.ended:
            received += b"".join(packets[index + 1 :])
            break
    assert body.taken == len(taken)
    return taken, body.ended, None, bytes(received) if body.ended else b""


def cut(whole: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    return [whole[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(
    ("sent", "taken", "behind"),
    [
        (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", b"GET"),
        (b"5\r\nhello\r\n6\r\n, you!\r\n000\r\n\r\n", b"hello, you!", b""),
        (b"0\r\n\r\n\r\n", b"", b"\r\n"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (b"0000000000000001\r\na\r\n0\r\n\r\n", b"a", b""),
        (b'1;a=b\r\na\r\n1 ; c="d e\t\xff"\r\nb\r\n0;e\r\n\r\n', b"ab", b""),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
        (b"1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nPOST", b"a", b"POST"),
    ],
)
def test_chunks_are_put_together(sent, taken, behind):
    """Sizes in any case, extensions, trailers: what follows belongs to the next request."""
    assert outcome(ChunkedBody(), [sent]) == (taken, True, None, behind)
    assert outcome(ChunkedBody(), [bytes([byte]) for byte in sent]) == (taken, True, None, behind)


@pytest.mark.parametrize(
    ("sent", "taken", "sentence"),
    [
        (b"x", b"", SIZE),
        (b"\r\n", b"", SIZE),
        (b"\n", b"", SIZE),
        (b" 5\r\nhello\r\n", b"", SIZE),
        (b"5 \r\nhello\r\n", b"", SIZE),
        (b"5\nhello\r\n", b"", SIZE),
        (b"5\rhello\r\n", b"", SIZE),
        (b"0x5\r\nhello\r\n", b"", SIZE),
        (b"+5\r\nhello\r\n", b"", SIZE),
        (b"-5\r\nhello\r\n", b"", SIZE),
        (b"5_0\r\n", b"", SIZE),
        (b"5,5\r\n", b"", SIZE),
        (b"\xb2\r\n", b"", SIZE),
        (b"0" * 17 + b"\r\n", b"", SIZE),
        (b"fffffffffffffffff\r\n", b"", SIZE),
        (b"5;a\nb\r\nhello\r\n", b"", SIZE),
        (b"5;a\rb\r\nhello\r\n", b"", SIZE),
        (b"5;a\x00b\r\nhello\r\n", b"", SIZE),
        (b"5;a\n0\r\n\r\n", b"", SIZE),
        (b"5\r\nhello0\r\n\r\n", b"hello", END),
        (b"5\r\nhello\n0\r\n\r\n", b"hello", END),
        (b"5\r\nhello\rX", b"hello", END),
        (b"3\r\nhello\r\n", b"hel", END),
        (b"1\r\na\r\n0\r\n\n", b"a", TRAILER),
        (b"0\r\n\rX", b"", TRAILER),
        (b"0\r\nX: 1\n\r\n", b"", TRAILER),
        (b"0\r\nX : 1\r\n\r\n", b"", TRAILER),
        (b"0\r\n X: 1\r\n\r\n", b"", TRAILER),
        (b"0\r\nX: 1\r\n y\r\n\r\n", b"", TRAILER),
        (b"0\r\nX: \x01\r\n\r\n", b"", TRAILER),
        (b"0\r\nGET / HTTP/1.1\r\n", b"", TRAILER),
        (b"1;" + b"x" * MAX_EXTENSION_BYTES, b"", EXTENSIONS),
        (b"1;" + b"x" * MAX_EXTENSION_BYTES + b"\r\na\r\n", b"", EXTENSIONS),
        (b"1;xxx\r\na\r\n" * 1_025, b"a" * 1_024, EXTENSIONS),
        (b"0\r\nX: " + b"x" * MAX_TRAILER_BYTES, b"", TRAILERS),
        (b"0\r\n" + b"X: xxx\r\n" * 513, b"", TRAILERS),
    ],
)
def test_what_is_in_no_chunk_is_refused(sent, taken, sentence):
    """At the first byte that is wrong, and what came before is delivered, however it was cut."""
    for packets in ([sent], [bytes([byte]) for byte in sent]):
        assert outcome(ChunkedBody(), packets) == (taken, False, 400, b"")
    body, received = ChunkedBody(), bytearray(sent)
    while (refused := refused_by(body, received)) is None:
        pass
    again = refused_by(body, received)
    assert again is not None
    assert again.sentence == refused.sentence == sentence


@pytest.mark.parametrize(
    "sent",
    [
        b"1;" + b"x" * (MAX_EXTENSION_BYTES - 1) + b"\r\na\r\n0\r\n\r\n",
        b"1\r\na\r\n0\r\nX:" + b"x" * (MAX_TRAILER_BYTES - 6) + b"\r\n\r\n",
    ],
)
def test_the_bounds_hold_to_the_byte(sent):
    """What just fits passes."""
    assert outcome(ChunkedBody(), [sent]) == (b"a", True, None, b"")
    assert outcome(ChunkedBody(), cut(sent, range(len(sent)))) == (b"a", True, None, b"")


FRAGMENTS = [
    *(
        b"5",
        b"0",
        b"1",
        b"a",
        b"\r\n",
        b"\r",
        b"\n",
        b"hello",
        b";x=y",
        b" ",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
    ),
    *(b"X: y\r\n", b"\x00", b"\xff", b"1" * 17, b";" + b"x" * 3_000, b"x" * 70_000, b"11170\r\n"),
]
ALMOST_CHUNKS = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 80_000) | st.integers(0, 60), max_size=8)


@settings(deadline=None)
@given(ALMOST_CHUNKS, CUTS)
def test_chunks_do_not_depend_on_how_the_network_cuts_them(sent, places):
    """The bytes taken, the end, the refusal and what is left over are those of the bytes in one piece."""
    assert outcome(ChunkedBody(), cut(sent, places)) == outcome(ChunkedBody(), [sent])


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.binary(max_size=20), CUTS)
def test_chunks_of_h11_are_read_as_they_were_meant(pieces, behind, places):
    """What a client's HTTP library sends arrives whole, and not a byte more."""
    client = h11.Connection(h11.CLIENT)
    client.send(
        h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Transfer-Encoding", "chunked")])
    )
    sent = b"".join(client.send(h11.Data(data=piece)) for piece in pieces)
    sent += client.send(h11.EndOfMessage(headers=[("X-Sum", "1")]))
    expected = (b"".join(pieces), True, None, behind)
    assert outcome(ChunkedBody(), cut(sent + behind, places)) == expected


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.binary(max_size=20), CUTS)
def test_a_length_is_counted_to_the_byte(content, behind, places):
    """A body of a known length is as long as that."""
    expected = (content, True, None, behind)
    assert outcome(LengthBody(len(content)), cut(content + behind, places)) == expected


def test_pieces_are_of_at_most_64_kib():
    """Whatever the chunk or the length."""
    content = bytes(PIECE_BYTES + 1)
    for body, sent in (
        (LengthBody(len(content)), content),
        (ChunkedBody(), b"10001\r\n" + content + b"\r\n0\r\n\r\n"),
    ):
        received = bytearray(sent)
        assert [len(body.take(received)), len(body.take(received))] == [PIECE_BYTES, 1]
        assert body.take(received) == b""
        assert body.ended


def test_many_small_chunks_are_one_piece():
    """What has arrived together is delivered together: a flood of tiny chunks is no flood of pieces."""
    assert ChunkedBody().take(bytearray(b"1\r\na\r\n" * 5_000)) == b"a" * 5_000


def test_a_line_in_single_bytes_costs_no_more_than_its_length_allows():
    """An extension of 4 KiB that comes byte by byte is bounded work."""
    body, received = ChunkedBody(), bytearray()
    started = time.process_time()
    for byte in b"1;" + b"x" * 4_000:
        received.append(byte)
        assert body.take(received) == b""
    assert time.process_time() - started < 2


def test_what_broke_off_is_told():
    """How much there was, and how much should have been."""
    body = LengthBody(10)
    body.take(bytearray(b"abc"))
    assert (body.left, body.broken_off()) == (7, "A body of 10 bytes was announced; it broke off after 3.")
    chunked = ChunkedBody()
    chunked.take(bytearray(b"5\r\nhel"))
    assert chunked.left is None
    assert chunked.broken_off() == "A body in chunks ends with one of no bytes; it broke off after 3 bytes."
    chunked.take(bytearray(b"lo\r\n0\r\n\r\n"))
    assert chunked.left == 0
