"""The front door: one request head in, one response out, over any `trio.abc.Stream`.

The head is collected here and handed to h11 whole. So the answer depends on the bytes alone, never on how the
network cut them, and what follows the head, a fast client's first frames, is never touched by an HTTP parser.

Deadlines are the caller's: put a cancel scope around `read_request` and answer its expiry with 408.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import h11
import trio

from trioecho._http.pages import Response
from trioecho._http.upgrade import RequestRefused, quoted

# IIS, ASP.NET's usual host, and h11 allow 16 KiB; it is room for any handshake with a few fat cookies.
MAX_HEAD_BYTES = 16 * 1024

# The end of a head as h11 sees it; RFC 9112 §2.2 lets a recipient take a lone LF for a line's end.
_BLANK_LINE = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/[0-9]\.[0-9]\r?")
_REQUEST_LINE_BEGUN = re.compile(
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?: (?:[\x21-\x7e]+(?: [HTP/0-9.]*)?)?)?)?\r?"
)
_LINE_FEED = 0x0A
# RFC 8446 §5.1: a TLS connection begins with a record of type 22, handshake. No HTTP request does.
_TLS_HANDSHAKE_RECORD = 0x16
_BYTEARRAY = re.compile(r"bytearray\(b(.*)\)")
_LONGEST_REASON = 200


async def read_request(stream: trio.abc.Stream) -> tuple[h11.Request, bytes]:
    """Reads one request head; returns it and the bytes that arrived behind it.

    Raises RequestRefused for what is not HTTP/1 (400, a TLS hello is named as such; 505 for HTTP/2 and other
    versions), for a head that breaks off (400), and for a head longer than 16 KiB (431);
    trio.BrokenResourceError if the peer closes before its first byte or resets. A body announced by the
    request is not read.

    A checkpoint at every read. When cancelled, what was read is lost: close the stream then, or answer and
    close it.
    """
    received: bytes | bytearray = await stream.receive_some(MAX_HEAD_BYTES)
    if not received:
        raise trio.BrokenResourceError("the peer closed the connection before sending a request")
    searched = 0
    while (blank_line := _BLANK_LINE.search(received, searched, MAX_HEAD_BYTES)) is None:
        _check_beginning(received)
        if len(received) >= MAX_HEAD_BYTES:
            raise RequestRefused(
                431, f"The head of a request may have {MAX_HEAD_BYTES} bytes; received more."
            )
        searched = max(0, len(received) - 2)
        chunk = await stream.receive_some(MAX_HEAD_BYTES)
        if not chunk:
            raise RequestRefused(
                400, f"A request head ends with a blank line; received {len(received)} bytes without one."
            )
        if not isinstance(received, bytearray):
            received = bytearray(received)
        received += chunk
    end = blank_line.end()
    return _parsed(bytes(received[:end])), bytes(received[end:])


async def send_response(stream: trio.abc.Stream, response: Response, *, head_only: bool) -> None:
    """Sends one response, without its body if `head_only` (the answer to a HEAD request). Does not close the
    stream.

    Raises trio.BrokenResourceError if the peer has reset the connection: it will not read the answer, so let
    it pass. A checkpoint; when cancelled, some part of the response may have been sent, and the stream is
    good for closing only.
    """
    connection = h11.Connection(h11.SERVER)
    head = h11.Response(
        status_code=response.status,
        reason=HTTPStatus(response.status).phrase.encode("ascii"),
        headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers],
    )
    await stream.send_all(connection.send(head) + (b"" if head_only else response.body))


def _parsed(head: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    connection.receive_data(head)
    try:
        request = connection.next_event()
    except h11.RemoteProtocolError as error:
        _check_beginning(head)
        sentence = f"The request is not valid HTTP/1.1: {_reason(error)}."
        raise RequestRefused(error.error_status_hint, sentence) from None
    assert isinstance(request, h11.Request)  # a whole head, and h11 has not complained
    if not request.http_version.startswith(b"1."):
        version = request.http_version.decode("ascii")
        raise RequestRefused(505, f"This server speaks HTTP/1.1; received HTTP/{version}.")
    return request


def _check_beginning(received: bytes | bytearray) -> None:
    """Refuses what can no longer become a request, so that nobody waits for the end of what is not HTTP.

    The sentence quotes no more than the first byte that was wrong: more would depend on how the bytes were
    cut.
    """
    if received[0] == _TLS_HANDSHAKE_RECORD:
        raise RequestRefused(
            400,
            "This port speaks plain HTTP; received what looks like a TLS hello: use http:// and ws:// here.",
        )
    plausible = _REQUEST_LINE_BEGUN.match(received, 0, MAX_HEAD_BYTES)
    assert plausible is not None  # it matches nothing at all, too
    end = plausible.end()
    if end < min(len(received), MAX_HEAD_BYTES) and (
        received[end] != _LINE_FEED or _REQUEST_LINE.fullmatch(received, 0, end) is None
    ):
        line = quoted(received[: end + 1].decode("latin-1").rstrip("\r\n"))
        raise RequestRefused(
            400, f"An HTTP/1.1 request begins with a line like 'GET / HTTP/1.1'; received {line}."
        )


def _reason(error: h11.RemoteProtocolError) -> str:
    """What h11 says, as safe to send as the values we quote ourselves (it prints bytes as their repr)."""
    message = _BYTEARRAY.sub(r"\1", str(error))
    shortened = message if len(message) <= _LONGEST_REASON else f"{message[:_LONGEST_REASON]}..."
    return shortened.replace("<", "\\x3c").replace(">", "\\x3e")
