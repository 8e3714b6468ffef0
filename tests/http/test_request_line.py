"""The request line, byte by byte: recognised as soon as it is one, refused as soon as it cannot become one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.refusals import Refused
from trioecho._http.request_line import RequestLine


def verdict(received: bytes, cuts: list[int] | None = None, start: int = 0) -> tuple[int, str] | None:
    """How a line is refused, when it comes in pieces; None if it is not."""
    line = RequestLine(start)
    try:
        for end in [*sorted(cuts or ()), len(received)]:
            line.check(received[: max(start, end)])
    except Refused as refused:
        return refused.status, refused.sentence
    return None


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\n",
        b"M-SEARCH * HTTP/1.0\r\n",
        b"GET http://a/%20?q#f HTTP/9.9\r\nanything \x00",
        b"GET",
        b"GET /ws HTT",
        b"GET / HTTP/1.1\r",
        b"",
    ],
)
def test_a_line_and_each_beginning_of_one_pass(line: bytes) -> None:
    """Nothing is refused that may still become a request; what stands behind the line is another's business."""
    for end in range(len(line) + 1):
        assert verdict(line[:end]) is None


@pytest.mark.parametrize(
    ("received", "quoted"),
    [
        (b" ", "' '"),
        (b"\r\n", "''"),
        (b"GET\r\n", "'GET'"),
        (b"GET  ", "'GET  '"),
        (b"G\x00", "'G\\x00'"),
        (b"GET /a b", "'GET /a b'"),
        (b"GET / HTTP/1.1 ", "'GET / HTTP/1.1 '"),
        (b"GET / HTTP/1\r\n", "'GET / HTTP/1'"),
        (b"GET / HTTP/1.1\rx", "'GET / HTTP/1.1\\rx'"),
        (b"\x81\x05", "'\\x81'"),
    ],
)
def test_what_cannot_become_a_line_is_refused_at_its_first_wrong_byte(received: bytes, quoted: str) -> None:
    """And at no byte before. The sentence quotes the line up to it, and nothing that came behind."""
    refused = verdict(received + b"<script>")
    assert refused == (
        400,
        f"An HTTP/1.1 request begins with a line like 'GET / HTTP/1.1'; received {quoted}.",
    )
    first = next(end for end in range(len(received) + 1) if verdict(received[:end]) is not None)
    assert verdict(received[:first]) == refused
    assert verdict(received[: first - 1]) is None


def test_a_tls_hello_is_named_as_such() -> None:
    """Whoever wrote https:// for a port without TLS is told so, by its first byte."""
    refused = verdict(b"\x16")
    assert refused is not None
    assert "received what looks like a TLS hello: use http:// and ws:// here" in refused[1]


PARTS = [b"GET", b" ", b"/", b"HTTP/1.1", b"\r", b"\n", b"\r\n", b"\x16", b"\x00", b"H", b"9"]


@given(
    st.lists(st.sampled_from(PARTS), max_size=8).map(b"".join),
    st.lists(st.integers(0, 40), max_size=5),
    st.sampled_from([b"", b"\r\n", b"\r\n\n"]),
)
def test_the_verdict_does_not_depend_on_the_cuts(received: bytes, cuts: list[int], before: bytes) -> None:
    """Nor on what stands before the line; and what has been refused stays so."""
    whole = verdict(received)
    assert verdict(received, [cut for cut in cuts if cut < len(received)]) == whole
    assert verdict(before + received, cuts, len(before)) == whole
    ends = [*range(len(received) + 1)]
    assert all(
        verdict(received[:short]) in (None, verdict(received[:long])) for short, long in pairwise(ends)
    )


def test_no_byte_is_looked_at_behind_the_end_that_was_given() -> None:
    """The head has a limit, and what lies behind it has not been judged."""
    RequestLine().check(b"GET / HTTP/1.1 \x00", 14)
    with pytest.raises(Refused):
        RequestLine().check(b"GET / HTTP/1.1 \x00", 15)
