"""The head of a response, byte by byte."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import h11
import pytest

from trioecho._http.fields import Headers, Query
from trioecho._http.messages import Response, answer_to
from trioecho._http.refusals import Refused
from trioecho._http.response_head import announced_length, response_head

DATE = b"Date: Tue, 24 Nov 2026 16:00:00 GMT\r\n"


@pytest.fixture(autouse=True)
def at_four(monkeypatch):
    """All responses of these tests are dated alike."""
    monkeypatch.setattr(time, "time", lambda: 1_795_536_000.75)


def head(response: Response, *, close: bool = False, chunked: bool = False) -> bytes:
    return response_head(response, announced_length(response), chunked=chunked, close=close)


async def stream() -> AsyncIterator[bytes]:
    """A body that comes in pieces."""
    yield b""


def test_a_head_is_sent_byte_by_byte():
    """Status line, date, the response's own fields with their doubles, length."""
    response = Response("hello", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=\xeb")])
    assert head(response) == (
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Set-Cookie: a=1\r\nSet-Cookie: b=\xeb\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\n"
    )
    assert head(response, close=True).endswith(b"\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (304, b"HTTP/1.1 304 Not Modified"),
        (408, b"HTTP/1.1 408 Request Timeout"),
        (421, b"HTTP/1.1 421 Misdirected Request"),
        (426, b"HTTP/1.1 426 Upgrade Required"),
        (431, b"HTTP/1.1 431 Request Header Fields Too Large"),
        (501, b"HTTP/1.1 501 Not Implemented"),
        (503, b"HTTP/1.1 503 Service Unavailable"),
        (505, b"HTTP/1.1 505 HTTP Version Not Supported"),
        (299, b"HTTP/1.1 299 "),
    ],
)
def test_a_status_has_its_phrase(status, line):
    """Every status has its standard words, or none, and the space before them."""
    assert head(Response(status=status)).startswith(line + b"\r\n" + DATE)


def test_the_date_is_that_of_the_answer(monkeypatch):
    """A response is dated, in the one form that HTTP has (RFC 9110 §6.6.1), and a second later otherwise."""
    first = head(Response())
    monkeypatch.setattr(time, "time", lambda: 1_795_536_001.0)
    assert head(Response()) == first.replace(b"16:00:00", b"16:00:01") != first


def test_what_has_no_content_has_no_length():
    """204 and 304 say nothing of a length, 205 that it is 0; a 304 may say the length of what it stands for."""
    for status in (204, 304):
        assert b"Content-" not in head(Response(status=status))
        assert b"Transfer-" not in head(Response(stream(), status=status), chunked=True)
    assert head(Response(status=205)).endswith(b"\r\nContent-Length: 0\r\n\r\n")
    for status, said in ((304, True), (204, False)):
        response = Response(stream(), status=status, headers={"Content-Length": "5"})
        assert (b"\r\nContent-Length: 5\r\n" in head(response)) is said


def test_a_stream_goes_in_chunks_or_has_its_length():
    """One of the two is said, never both."""
    assert head(Response(stream()), chunked=True).endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    announced = head(Response(stream(), headers={"content-length": "12"}))
    assert announced.endswith(b"\r\nContent-Length: 12\r\n\r\n")
    assert announced.lower().count(b"content-length") == 1
    assert b"Transfer-" not in announced


@pytest.mark.parametrize("lengths", [["x"], ["-1"], ["\xb2"], ["1", "1"], [""]])
def test_a_length_that_is_none_is_refused(lengths):
    """The function of a route that announces nonsense hears so."""
    response = Response(stream(), headers=[("Content-Length", length) for length in lengths])
    with pytest.raises(ValueError, match="one number of bytes"):
        announced_length(response)


def test_received_values_are_no_header_fields():
    """A query may hold a line's end, decoded: sent as a header it would be one of the client's making."""
    query = Query.parse("X=a%0D%0ASet-Cookie:%20b")
    for make in (Response, lambda headers: Refused(400, headers=headers)):
        with pytest.raises(ValueError, match="printable characters"):
            make(headers=query)
    assert Response(headers=Headers([("A", "1"), ("A", "2")])).headers == (("A", "1"), ("A", "2"))


def test_a_refused_version_is_told_what_to_upgrade_to():
    """426 has Upgrade (RFC 9110 §15.5.22), named in Connection as a header of this connection, closing or not."""
    refused = Refused(426, "13", (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")))
    for close, options in ((True, [b"close", b"upgrade"]), (False, [b"upgrade"])):
        answer = head(answer_to(refused), close=close)
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        client.receive_data(answer)
        event = client.next_event()
        assert isinstance(event, h11.Response)
        said = b",".join(value for name, value in event.headers if name == b"connection").lower().split(b",")
        assert sorted(option.strip() for option in said) == options
