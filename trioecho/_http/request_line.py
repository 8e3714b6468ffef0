"""The request line, recognised while it comes in: what can no longer become a request is refused at once.

So nobody waits for the end of what is not HTTP. Each byte is looked at once, however the network cuts the line, or
twice, when the line is complete.
"""

from __future__ import annotations

import re

from trioecho._http.refusals import Refused, quoted
from trioecho._protocol.tokens import TCHAR

_REQUEST_LINE = re.compile(rf"{TCHAR}+ [\x21-\x7e]+ HTTP/[0-9]\.[0-9]\r?".encode())
# What the line is made of, with one space in between: the method, the target, and as much of a version as we need
# to know before the line is complete.
_PARTS = (re.compile(f"{TCHAR}*".encode()), re.compile(rb"[\x21-\x7e]*"), re.compile(rb"[HTP/0-9.]*"))
_SPACE = 0x20
_LINE_FEED = 0x0A
_CARRIAGE_RETURN = 0x0D
# RFC 8446 §5.1: a TLS connection begins with a record of type 22, handshake. No HTTP request does.
_TLS_HANDSHAKE_RECORD = 0x16


class RequestLine:
    """How much of one request line has been recognised. It begins at `start` in what was received."""

    __slots__ = ("_begin", "_part", "_position", "_start")

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._part = 0
        # Where the part begins that has not ended yet, and up to where it is known to be right.
        self._begin = self._position = start

    def check(self, received: bytes | bytearray, end: int | None = None) -> None:
        """Looks at what is new in `received`, all bytes so far, up to `end` (None: all of them).

        Raises Refused (400) at the first byte that is wrong, and if the line ends too early; a TLS hello is
        named as such. The sentence quotes no more than that byte: more would depend on how the bytes were cut.
        """
        end = len(received) if end is None else end
        if self._part == len(_PARTS) or self._position >= end:
            return
        if received[self._start] == _TLS_HANDSHAKE_RECORD:
            raise Refused(
                400,
                "This port speaks plain HTTP; received what looks like a TLS hello: use http:// and ws:// here.",
            )
        while True:
            matched = _PARTS[self._part].match(received, self._position, end)
            assert matched is not None  # it matches nothing at all, too
            self._position = position = matched.end()
            if position == end:
                return
            if received[position] != _SPACE or position == self._begin or self._part == len(_PARTS) - 1:
                break
            self._part += 1
            self._begin = self._position = position + 1
        if received[position] == _CARRIAGE_RETURN:
            position += 1
            if position == end:
                return  # looked at again with the next byte
        if received[position] == _LINE_FEED and _REQUEST_LINE.fullmatch(received, self._start, position):
            self._part = len(_PARTS)
            return
        line = quoted(received[self._start : position + 1].decode("latin-1").rstrip("\r\n"))
        raise Refused(400, f"An HTTP/1.1 request begins with a line like 'GET / HTTP/1.1'; received {line}.")
