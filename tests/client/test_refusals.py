"""Answers that are no WebSocket, as exceptions and in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho.client.refusals import HandshakeFailed, HandshakeRefused, failure, parse_answer

REFUSED = "the server refused the WebSocket: "


def test_a_refusal_has_what_the_server_answered() -> None:
    """Status, header fields with their names in lower case, body."""
    refused = failure(b"HTTP/1.1 403 Forbidden\r\nX-Why: because \r\nX-Why:\r\n\r\nnot you", "a complaint")
    assert isinstance(refused, HandshakeRefused)
    assert refused.status == 403
    assert refused.headers == (("x-why", "because"), ("x-why", ""))
    assert refused.body == b"not you"
    assert str(refused) == f"{REFUSED}403 not you"


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (HandshakeRefused(404), "404 Not Found"),
        (HandshakeRefused(599), "599"),
        (HandshakeRefused(403, body=b"  \n not you \nsecond line"), "403 not you"),
        (HandshakeRefused(502, (("content-type", "text/html"),), b"<html>"), "502 Bad Gateway"),
        (HandshakeRefused(503, (("content-type", "Text/Plain; charset=x"),), b"full"), "503 full"),
        (HandshakeRefused(400, body=b"\x1b[2J\xff"), "400 \\x1b[2J\ufffd"),
        (HandshakeRefused(400, body=b"x" * 201), f"400 {'x' * 200}…"),
    ],
)
def test_the_text_is_one_short_line_for_a_terminal(refused: HandshakeRefused, words: str) -> None:
    """The first line of a plain text, else what the status means; control characters are escaped."""
    assert str(refused) == f"{REFUSED}{words}"


@given(st.binary(max_size=300), st.integers(100, 599))
def test_no_body_moves_the_cursor(body: bytes, status: int) -> None:
    """Whatever a server sends."""
    assert str(HandshakeRefused(status, body=body)).isprintable()


@pytest.mark.parametrize(
    ("answer", "parsed"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nbody\r\n\r\nmore", (200, (), b"body\r\n\r\nmore")),
        (b"HTTP/1.0 301\r\nLocation:\t/a:b\r\n\r\n", (301, (("location", "/a:b"),), b"")),
        (b"HTTP/1.1 200 OK\r\nX: Zo\xeb\r\n\r\n", (200, (("x", "Zoë"),), b"")),
        (b"HTTP/1.1 200 OK\r\nX: half", None),
        (b"HTTP/2 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 600 Odd\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", None),
        (b"", None),
    ],
)
def test_an_answer_is_taken_apart(answer: bytes, parsed: object) -> None:
    """None as long as its head is not whole, and for what is no HTTP/1."""
    assert parse_answer(answer) == parsed


@pytest.mark.parametrize(
    ("answer", "complaint", "words"),
    [
        (b"", "", "the server hung up without an answer to the WebSocket handshake"),
        (
            b"SSH-2.0-<b>\x1b\r\n",
            "",
            "the server's answer to the WebSocket handshake is no whole HTTP response; "
            "it begins with 'SSH-2.0-<b>\\x1b'",
        ),
        (
            b"x" * 1000,
            "",
            "the server's answer to the WebSocket handshake is no whole HTTP response; "
            f"it begins with '{'x' * 80}'",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "Bad accept token",
            "the server's answer 'HTTP/1.1 101 Switching Protocols' accepts no WebSocket: Bad accept token",
        ),
        (
            b"HTTP/1.1 101 \r\n\r\n",
            "",
            "the server's answer 'HTTP/1.1 101' accepts no WebSocket: it hung up",
        ),
    ],
)
def test_what_is_no_refusal_is_a_failure_in_words(answer: bytes, complaint: str, words: str) -> None:
    """Nothing came, no HTTP, or a 101 that is none."""
    failed = failure(answer, complaint)
    assert type(failed) is HandshakeFailed
    assert str(failed) == words
