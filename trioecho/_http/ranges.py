"""Parts of a representation: the Range of a request (RFC 9110 §14). Values in, values out.

One range is answered with 206 and that part, or with 416 where there is nothing of it. Several ranges in one request
are answered with 200 and the whole, as RFC 9110 §14.2 allows: clients that ask so are rare, and a server that puts
many small or overlapping parts together works more than whoever asks for them (§17.15).
"""

from __future__ import annotations

import re

from trioecho._http.fields import Headers
from trioecho._http.refusals import Refused, quoted
from trioecho._protocol.counted import counted

ACCEPT_RANGES = ("Accept-Ranges", "bytes")
"""The header field that tells a client that it may ask for parts."""

# RFC 9110 §14.1.1, the unit without regard to case.
_BYTES = re.compile(r"bytes=(.*)", re.IGNORECASE)
# RFC 9110 §14.1.2: int-range = first-pos "-" [ last-pos ], suffix-range = "-" suffix-length
_RANGE = re.compile(r"(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+)")
# Digits of a number that a size may have. A longer one is beyond every file, and `int` would be slow or refuse it.
_MOST_DIGITS = 19


def requested_range(headers: Headers, size: int) -> range | None:
    """Return which bytes of a representation of `size` bytes a GET asks for; None for all.

    All are meant where there is no Range, where it is in another unit or not well-formed, which has to be ignored, and
    where it has several ranges. Raises `Refused` (416, with a Content-Range that says the size) for a range that
    begins behind the end. The caller has looked at If-Range.
    """
    values = headers.get_all("Range")
    in_bytes = _BYTES.fullmatch(values[0].strip(" \t")) if len(values) == 1 else None
    if in_bytes is None:
        return None
    # A list may have empty elements, which mean nothing (RFC 9110 §5.6.1.2).
    elements = [element for each in in_bytes[1].split(",") if (element := each.strip(" \t"))]
    found = _RANGE.fullmatch(elements[0]) if len(elements) == 1 else None
    if found is None:
        return None
    if found["suffix"] is not None:
        suffix = _number(found["suffix"])
        if suffix and not size:
            return None  # satisfied by what there is, and Content-Range has no way to say "nothing"
        first, last = max(size - suffix, 0), size - 1
    else:
        first = _number(found["first"])
        last = _number(found["last"]) if found["last"] else max(first, size - 1)
        if last < first:
            return None
    if first >= size:
        raise Refused(
            416,
            f"There {'is' if size == 1 else 'are'} {counted(size, 'byte')}, the first is number 0; "
            f"received a Range of {quoted(elements[0])}.",
            {"Content-Range": f"bytes */{size}"},
        )
    return range(first, min(last + 1, size))


def content_range(part: range, size: int) -> tuple[str, str]:
    """Return the header field that says which bytes of how many a 206 carries (RFC 9110 §14.4)."""
    return "Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}"


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _MOST_DIGITS else int(10**_MOST_DIGITS)
