"""The head of a request: found among the bytes that arrive, and parsed into what is answered.

It is collected here and handed to h11 whole. So the answer depends on the bytes alone, never on how the network cut
them, and what follows the head, a body or a fast client's first frames, is never touched by h11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

import h11

from trioecho._http.field_lines import check_authority, check_field_lines, check_framing, check_host
from trioecho._http.refusals import Refused
from trioecho._http.request_line import RequestLine

MAX_HEAD_BYTES = 16 * 1024
"""IIS, ASP.NET's usual host, and h11 allow as much; it is room for any request with a few fat cookies."""

# The end of a head as h11 sees it; RFC 9112 §2.2 lets a recipient take a lone LF for a line's end.
_BLANK_LINE = re.compile(rb"\n\r?\n")
# RFC 9112 §2.2: a server ignores empty lines before the request line; some clients send one behind a body.
_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
_BYTEARRAY = re.compile(r"bytearray\(b(.*)\)")
_LONGEST_REASON = 200
_SCHEME_AND_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
# Decoding them costs more than receiving them. No path that is served has as many.
_MOST_ESCAPES = 1000


@dataclass(slots=True)
class RequestHead:
    """What the head of a request says.

    `path` is decoded and without the query, `target` with it, in origin form. `fields` are the header fields, one
    ``name:value`` a line, the names in lower case. `length` is that of the body in bytes, None for one in chunks.
    `persistent` is whether the client wants to send another request on this connection, `expects_continue` whether it
    waits for a 100 before it sends the body.
    """

    method: str
    path: str
    target: str
    fields: str
    http_version: str
    length: int | None
    persistent: bool
    expects_continue: bool


class HeadSearch:
    """The search for the end of one request's head, in a buffer that grows. Each byte is looked at once or twice."""

    __slots__ = ("_line", "_searched", "_start")

    def __init__(self) -> None:
        self._start = self._searched = 0
        self._line = RequestLine()

    def begun(self, received: bytearray) -> bool:
        """Whether there is more than empty lines, or more of them than a head may have bytes."""
        if self._searched == self._start:
            start = _after_empty_lines(received, self._start)
            if start != self._start:
                self._start = self._searched = start
                self._line = RequestLine(start)
        left = len(received) - self._start
        return left > 1 or (left == 1 and received[-1] != 0x0D) or len(received) >= MAX_HEAD_BYTES

    def head(self, received: bytearray) -> bytes | None:
        """Take the head off the front of `received`, with the empty lines before it; None if it has not ended yet.

        Raises Refused: 400 for what can become no request any more, 431 for more than 16 KiB.
        """
        self.begun(received)
        blank_line = _BLANK_LINE.search(received, self._searched, MAX_HEAD_BYTES)
        if blank_line is None:
            self._line.check(received, min(len(received), MAX_HEAD_BYTES))
            if len(received) >= MAX_HEAD_BYTES:
                raise Refused(431, f"The head of a request may have {MAX_HEAD_BYTES} bytes; received more.")
            self._searched = max(self._start, len(received) - 2)
            return None
        head = bytes(received[self._start : blank_line.end()])
        del received[: blank_line.end()]
        return head


def parse_head(head: bytes) -> RequestHead:
    """Parse a whole head, from its request line to its blank line.

    Raises Refused for what is not HTTP/1 (400; 505 for HTTP/2 and other versions), for too many lines (431), and for
    what two servers may read differently (400): folded lines, control characters, a Host that is none, and more than
    one opinion about where the body ends.
    """
    try:
        check_field_lines(head)
        framed = check_framing(head)
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
    version = request.http_version.decode("ascii")
    if not version.startswith("1."):
        raise Refused(505, f"This server speaks HTTP/1.1; received HTTP/{version}.")
    check_host(head)
    # raw_items: iterating over h11's headers themselves takes three times as long.
    lines = [name.lower() + b":" + value for name, value in request.headers.raw_items()]
    if version > "1.1" and not any(line.startswith(b"host:") for line in lines):
        # h11 asks for it in HTTP/1.1 only.
        raise Refused(400, "The request is not valid HTTP/1.1: Missing mandatory Host: header.")
    if not request.target.startswith(b"/"):
        absolute = _SCHEME_AND_AUTHORITY.match(request.target.decode("ascii"))
        if absolute is not None:
            check_authority("The host of a target", absolute[1])
            _name_host(lines, absolute[1].encode("ascii"))
    fields = b"\n".join(lines).decode("latin-1")
    length: int | None = 0
    if framed:
        lengths = _values(fields, "content-length")
        length = int(lengths[0]) if lengths else None
        if length is None and version < "1.1":
            # RFC 9112 §6.1: it "MUST be treated as if the framing is faulty".
            raise Refused(400, f"HTTP/{version} has no Transfer-Encoding; received one.")
    path, target = path_and_target(request.target)
    return RequestHead(
        request.method.decode("ascii"),
        path,
        target,
        fields,
        version,
        length,
        version > "1.0" and not _lists(fields, "connection", "close"),
        version > "1.0" and length != 0 and _lists(fields, "expect", "100-continue"),
    )


def path_and_target(target: bytes) -> tuple[str, str]:
    """The decoded path without the query, and the target in origin form with it.

    The absolute form, `GET http://host/ws HTTP/1.1`, must be understood too (RFC 9112 §3.2.2).
    Percent-encoded UTF-8 is decoded as in ASP.NET, all but the slash: `/%77s` is `/ws`, `/a%2Fb` is not
    `/a/b`. A path that is not UTF-8, or has more than 1,000 escapes, stays as it was sent.
    """
    text = target.decode("ascii")
    if not text.startswith("/"):
        authority = _SCHEME_AND_AUTHORITY.match(text)
        if authority is not None:
            text = text[authority.end() :]
            text = text if text.startswith("/") else f"/{text}"
    path = text.partition("?")[0]
    if 0 < path.count("%") <= _MOST_ESCAPES:
        try:
            # The slash's own percent sign is escaped, so that the slash stays so when it is decoded.
            path = unquote(path.replace("%2F", "%252F").replace("%2f", "%252f"), errors="strict")
        except UnicodeDecodeError:
            pass  # it stays as it was sent
    return path, text


def _name_host(lines: list[bytes], host: bytes) -> None:
    """Let Host be what the absolute form of the target names; the one received must be ignored (RFC 9112 §3.2.2)."""
    kept = [line for line in lines if not line.startswith(b"host:")]
    lines[:] = [b"host:" + host, *kept]


def _values(fields: str, name: str) -> list[str]:
    """The values of a header, one for each of its lines."""
    return [rest.partition("\n")[0] for rest in f"\n{fields}".split(f"\n{name}:")[1:]]


def _lists(fields: str, name: str, element: str) -> bool:
    """Whether a header, on one line or several, lists the element, in any case."""
    for value in _values(fields, name):
        lowered = value.lower()
        if lowered == element or element in {part.strip(" \t") for part in lowered.split(",")}:
            return True
    return False


def _after_empty_lines(received: bytearray, start: int) -> int:
    """Where the first line begins that is not empty."""
    # Most requests begin with a letter, and need no regular expression.
    if len(received) == start or received[start] not in b"\r\n":
        return start
    empty = _EMPTY_LINES.match(received, start, MAX_HEAD_BYTES)
    assert empty is not None  # it matches nothing at all, too
    return empty.end()


def _reason(error: h11.RemoteProtocolError) -> str:
    """What h11 says, as safe to send as the values we quote ourselves (it prints bytes as their repr)."""
    message = _BYTEARRAY.sub(r"\1", str(error))
    shortened = message if len(message) <= _LONGEST_REASON else f"{message[:_LONGEST_REASON]}..."
    return shortened.replace("<", "\\x3c").replace(">", "\\x3e")
