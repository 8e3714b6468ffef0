"""HTTP/1.1: one request head in, one response out, over any `trio.abc.Stream`.

The head is collected here and handed to h11 whole. So the answer depends on the bytes alone, never on how the
network cut them, and what follows the head, a fast client's first frames, is never touched by an HTTP parser.

Deadlines are the caller's: put a cancel scope around `read_request` and answer its expiry with 408.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import h11
import trio

from trioecho._http.field_lines import check_field_lines, check_host
from trioecho._http.pages import Response
from trioecho._http.refusals import Refused
from trioecho._http.request_line import RequestLine

# IIS, ASP.NET's usual host, and h11 allow 16 KiB; it is room for any handshake with a few fat cookies.
MAX_HEAD_BYTES = 16 * 1024

# The end of a head as h11 sees it; RFC 9112 §2.2 lets a recipient take a lone LF for a line's end.
_BLANK_LINE = re.compile(rb"\n\r?\n")
# RFC 9112 §2.2: a server ignores empty lines before the request line; some clients send one behind a body.
_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
_BYTEARRAY = re.compile(r"bytearray\(b(.*)\)")
_LONGEST_REASON = 200


async def first_bytes(stream: trio.abc.Stream) -> bytes:
    """Waits for a request to begin; returns what came, at least one byte.

    Raises trio.BrokenResourceError if the peer closes or resets before that. A checkpoint; cancelled, nothing is lost.
    """
    received = await stream.receive_some(MAX_HEAD_BYTES)
    if not received:
        raise trio.BrokenResourceError("the peer closed the connection before sending a request")
    return bytes(received)


async def read_request(stream: trio.abc.Stream, first: bytes = b"") -> tuple[h11.Request, bytes]:
    """Reads one request head, of which `first` has been read; returns it and the bytes that arrived behind it.

    Raises Refused for what is not HTTP/1 (400, a TLS hello is named as such; 505 for HTTP/2 and other
    versions), for a head that breaks off (400), for a head longer than 16 KiB or of too many lines (431), for header
    lines that servers read differently, and for a Host that is none (400); trio.BrokenResourceError if the peer
    closes before its first byte or resets. Empty lines before the request are skipped. A body announced by the
    request is not read.

    A checkpoint at every read. When cancelled, what was read is lost: close the stream then, or answer and
    close it.
    """
    received: bytes | bytearray = first or await first_bytes(stream)
    start = _after_empty_lines(received, 0)
    request_line = RequestLine(start)
    searched = start
    while (blank_line := _BLANK_LINE.search(received, searched, MAX_HEAD_BYTES)) is None:
        request_line.check(received, min(len(received), MAX_HEAD_BYTES))
        if len(received) >= MAX_HEAD_BYTES:
            raise Refused(431, f"The head of a request may have {MAX_HEAD_BYTES} bytes; received more.")
        searched = max(start, len(received) - 2)
        chunk = await stream.receive_some(MAX_HEAD_BYTES)
        if not chunk:
            raise Refused(
                400, f"A request head ends with a blank line; received {len(received)} bytes without one."
            )
        if not isinstance(received, bytearray):
            received = bytearray(received)
        received += chunk
        if searched == start:
            # The request line may not have begun.
            begin = _after_empty_lines(received, start)
            if begin != start:
                request_line = RequestLine(begin)
                searched = start = begin
    end = blank_line.end()
    return _parsed(bytes(received[start:end])), bytes(received[end:])


async def send_response(stream: trio.abc.Stream, response: Response, *, head_only: bool) -> None:
    """Sends one response, dated now, without its body if `head_only` (the answer to a HEAD request). Does not close
    the stream.

    Raises trio.BrokenResourceError if the peer has reset the connection: it will not read the answer, so let
    it pass. A checkpoint; when cancelled, some part of the response may have been sent, and the stream is
    good for closing only.
    """
    connection = h11.Connection(h11.SERVER)
    head = h11.Response(
        status_code=response.status,
        reason=HTTPStatus(response.status).phrase.encode("ascii"),
        headers=[
            (b"Date", _date(int(time.time()))),
            *((name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers),
        ],
    )
    await stream.send_all(connection.send(head) + (b"" if head_only else response.body))


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    """A time of the system's clock as RFC 9110 §5.6.7 writes it."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def _after_empty_lines(received: bytes | bytearray, start: int) -> int:
    """Where the first line begins that is not empty."""
    # Most requests begin with a letter, and need no regular expression.
    if received[start : start + 1] not in (b"\r", b"\n"):
        return start
    empty = _EMPTY_LINES.match(received, start, MAX_HEAD_BYTES)
    assert empty is not None  # it matches nothing at all, too
    return empty.end()


def _parsed(head: bytes) -> h11.Request:
    try:
        check_field_lines(head)
    except Refused:
        # What is no HTTP at all hears that, before anything about its lines.
        RequestLine().check(head)
        raise
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    connection.receive_data(head)
    try:
        request = connection.next_event()
    except h11.RemoteProtocolError as error:
        RequestLine().check(head)
        sentence = f"The request is not valid HTTP/1.1: {_reason(error)}."
        raise Refused(error.error_status_hint, sentence) from None
    assert isinstance(request, h11.Request)  # a whole head, and h11 has not complained
    if not request.http_version.startswith(b"1."):
        version = request.http_version.decode("ascii")
        raise Refused(505, f"This server speaks HTTP/1.1; received HTTP/{version}.")
    check_host(head)
    if request.http_version > b"1.1" and not any(
        name.lower() == b"host" for name, _ in request.headers.raw_items()
    ):
        # h11 asks for it in HTTP/1.1 only.
        raise Refused(400, "The request is not valid HTTP/1.1: Missing mandatory Host: header.")
    return request


def _reason(error: h11.RemoteProtocolError) -> str:
    """What h11 says, as safe to send as the values we quote ourselves (it prints bytes as their repr)."""
    message = _BYTEARRAY.sub(r"\1", str(error))
    shortened = message if len(message) <= _LONGEST_REASON else f"{message[:_LONGEST_REASON]}..."
    return shortened.replace("<", "\\x3c").replace(">", "\\x3e")
