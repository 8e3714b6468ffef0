"""The header lines of a request, looked at before they are parsed: their number, and what must not be in them.

h11 accepts folded lines and some control characters, because clients of long ago sent them. Two servers on the way of
one request may read those differently, and that is how requests are smuggled; no browser sends them today (RFC 9112
§2.2 and §5.2, RFC 9110 §5.5).

The bounds are for the work: without them, a head of 16 KiB can cost a hundred times what it costs to send.
"""

from __future__ import annotations

import re

from trioecho._http.hosts import is_authority
from trioecho._http.refusals import Refused, listed, quoted

MAX_FIELD_LINES = 100
"""Browsers send some 15, and proxies add a few. It is Apache httpd's default, too."""
MAX_LIST_ELEMENTS = 100
"""In a header that is looked into element by element. Far more than any of them has had in earnest."""

# All but the controls and the comma. Deleting them leaves little to look at, and is many times faster than looking
# with a regular expression.
_PLAIN = bytes({*range(0x20, 0x100)} - {0x7F, ord(",")})
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_LONE_RETURN = re.compile(rb"\r[^\n]")
_FOLDED = re.compile(rb"\n[ \t][^\n]*")
_HOST = re.compile(rb"\n[Hh][Oo][Ss][Tt]:([^\n]*)")
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding):([^\n]*)", re.IGNORECASE)
# Who looks into them: h11, the judge of handshakes, the page.
_LISTS = (
    b"connection",
    b"expect",
    b"if-none-match",
    b"sec-websocket-extensions",
    b"sec-websocket-protocol",
    b"upgrade",
)


def check_field_lines(head: bytes) -> None:
    """Refuses a head, from a right request line to its blank line, whose header lines nobody should have to parse.

    Raises Refused: 431 for more than 100 lines and for a list of more than 100 elements, 400 for a folded line
    and for a control character.
    """
    signs = head.translate(None, _PLAIN)
    # The request line and the blank line have ends, too.
    number = signs.count(b"\n") - 2
    if number > MAX_FIELD_LINES:
        raise Refused(
            431, f"The head of a request may have {MAX_FIELD_LINES} header lines; received {number}."
        )
    folded = _FOLDED.search(head)
    if folded is not None:
        line = quoted(folded[0].strip(b"\r\n").decode("latin-1"))
        raise Refused(400, f"A header stands on one line; received one that goes on in the line {line}.")
    if signs.translate(None, b"\t\n\r,") or _LONE_RETURN.search(head):
        control = _CONTROL.search(head)
        assert control is not None
        begin, end = head.rfind(b"\n", 0, control.start()) + 1, head.find(b"\n", control.start())
        line = head[begin:end].removesuffix(b"\r").decode("latin-1")
        raise Refused(
            400,
            f"A header has no control characters but tabs; received {quoted(control[0].decode('latin-1'))} "
            f"in the line {quoted(line)}.",
        )
    if signs.count(b",") + number > MAX_LIST_ELEMENTS:
        _check_lists(head)


def check_host(head: bytes) -> None:
    """Refuses (Refused, 400) a Host that is none. Of several, the first is looked at; h11 refuses those."""
    host = _HOST.search(head)
    if host is not None:
        check_authority("A Host header", host[1].strip(b" \t\r").decode("latin-1"))


def check_authority(what: str, value: str) -> None:
    """Refuses (Refused, 400) what cannot be `what`, since it is no host, with or without a port."""
    if not is_authority(value):
        raise Refused(
            400,
            f"{what} is a host, or a host and a port, such as 'server.example.com:5000'; received {quoted(value)}.",
        )


def check_framing(head: bytes) -> bool:
    """Return whether a body follows this head, one of no bytes included.

    Raises Refused (400) where two servers may find its end in two places (RFC 9112 §6.1, §6.3, §11.2): more than one
    Content-Length, equal or not, one that is a list, one beside a Transfer-Encoding, and a Transfer-Encoding that is
    not ``chunked`` alone. Whether a Content-Length is a number, h11 sees.
    """
    found = [(name.lower(), value.strip(b" \t\r")) for name, value in _FRAMING.findall(head)]
    if not found:
        return False
    lengths = [value.decode("latin-1") for name, value in found if name == b"content-length"]
    codings = [value.decode("latin-1") for name, value in found if name == b"transfer-encoding"]
    if lengths and codings:
        raise Refused(
            400, "A request has a Content-Length or a Transfer-Encoding, but not both; received both."
        )
    if len(lengths) > 1 or (lengths and "," in lengths[0]):
        raise Refused(400, f"A request has one Content-Length, one number; received {listed(lengths)}.")
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        raise Refused(400, f"Transfer-Encoding may be 'chunked' alone; received {listed(codings)}.")
    return True


def _check_lists(head: bytes) -> None:
    elements = dict.fromkeys(_LISTS, 0)
    for line in head.split(b"\n"):
        name, _, value = line.partition(b":")
        lowered = name.lower()
        if lowered in elements:
            elements[lowered] += value.count(b",") + 1
    for lowered, number in elements.items():
        if number > MAX_LIST_ELEMENTS:
            header = lowered.decode().title()
            raise Refused(
                431, f"The header {header} may list {MAX_LIST_ELEMENTS} elements; received {number}."
            )
