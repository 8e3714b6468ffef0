"""The head of a response: its status line, its date, its header fields, and how its body is framed."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache

from trioecho._http.messages import Response
from trioecho._http.refusals import phrase

WITHOUT_CONTENT = frozenset({204, 205, 304})
"""Statuses whose responses have no content, whatever their body (RFC 9110 §15.3.5, §15.3.6, §15.4.5)."""


def announced_length(response: Response) -> int | None:
    """Return the bytes that the body will have; None for a stream that does not say.

    Raises ValueError for a Content-Length of a stream that is no number, or stands there twice.
    """
    if isinstance(response.body, bytes):
        return len(response.body)
    lengths = [value for name, value in response.headers if name.lower() == "content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
        raise ValueError(f"Content-Length is one number of bytes; the response has {', '.join(lengths)!r}")
    return int(lengths[0])


def response_head(response: Response, length: int | None, *, chunked: bool, close: bool) -> bytes:
    """Return the head of `response`, dated now.

    `length` is the body's, None for one in chunks (`chunked`) or up to the end of the connection; `close` is whether
    the connection ends with this response, which it then says. 204 and 304 say nothing of a length, but for a 304 that
    has a Content-Length of its own.
    """
    lines = [f"HTTP/1.1 {response.status} {phrase(response.status)}", f"Date: {_date(int(time.time()))}"]
    options = ["close"] if close else []
    for name, value in response.headers:
        lowered = name.lower()
        if lowered == "upgrade":
            # Upgrade concerns this connection only, and Connection names what does (RFC 9110 §7.8).
            options.append("Upgrade")
        if lowered != "content-length" or response.status == 304:
            lines.append(f"{name}: {value}")
    if response.status == 205:
        lines.append("Content-Length: 0")
    elif response.status not in WITHOUT_CONTENT:
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None:
            lines.append(f"Content-Length: {length}")
    if options:
        lines.append(f"Connection: {', '.join(options)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    """A time of the system's clock as RFC 9110 §5.6.7 writes it."""
    return formatdate(seconds, usegmt=True)
