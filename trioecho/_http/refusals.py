"""Refusing a request: the exception that carries the answer, and how received values stand in its sentence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import TypeAlias

from trioecho._http.fields import checked_fields

LONGEST_QUOTE = 100
"""Characters of a received value that are repeated in a sentence or a log line."""

RETRY_AFTER_SECONDS = 5
"""Long enough to let connections end, short enough for a person to wait. Picked arbitrarily."""

_MOST_NAMED = 5
_SERVERS_OWN = frozenset({"connection", "content-length", "date", "transfer-encoding"})
_SURROGATE = re.compile("[\ud800-\udfff]")

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""What a caller may give as header fields: a mapping, or pairs where a name comes several times."""


class Refused(Exception):  # noqa: N818 (the name says what happened)
    """Answer a request with an error or a redirect: raised by `admit`, by the function of a route, and by trioecho.

    `status` is any of 300 to 599. `sentence` is for people: it is the body of the response, in plain text and followed
    by a line's end, and stands in the log; name in it what was received and what would have been accepted. `headers`
    are added to the response, such as ``{"WWW-Authenticate": "Bearer"}``, ``{"Retry-After": "5"}`` or
    ``{"Location": "/login"}``; Connection, Content-Length, Date and Transfer-Encoding are the server's. `body`, if
    given, is sent instead of the sentence: ``str`` as plain text, ``bytes`` as they are, with a Content-Type from
    `headers`.

    Raises TypeError or ValueError with one sentence for what cannot be sent.
    """

    # One of a few words for `Figures.refusals`; "" where the status says it.
    _counted_as = ""

    def __init__(
        self, status: int, sentence: str = "", headers: HeadersLike = (), body: str | bytes | None = None
    ) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"Refused takes a status such as 403; you gave {status!r}")
        if not 300 <= status <= 599:
            raise ValueError(f"Refused takes a status from 300 to 599; you gave {status}")
        if not isinstance(sentence, str):
            raise TypeError(f"Refused takes a sentence as a string; you gave {sentence!r}")
        if body is not None and not isinstance(body, (str, bytes)):
            raise TypeError(f"Refused takes a body of str or bytes; you gave {type(body).__name__}")
        self.status = int(status)
        self.sentence = sentence or phrase(status)
        super().__init__(self.sentence)
        self.headers = checked_fields(headers)
        for name, _ in self.headers:
            if name.lower() in _SERVERS_OWN:
                raise ValueError(f"the header {name} is the server's own: leave it out of Refused")
        for text in (self.sentence, body):
            if isinstance(text, str) and not text.isascii() and _SURROGATE.search(text):
                raise ValueError(f"Refused takes text that can be sent as UTF-8; you gave {text!r}")
        self.body = body


def try_later(why: str, *, counted_as: str = "room") -> Refused:
    """Return the refusal (503) of what would be taken at another time; `why` has no full stop."""
    refused = Refused(
        503,
        f"{why}; try again in {RETRY_AFTER_SECONDS} seconds.",
        (("Retry-After", str(RETRY_AFTER_SECONDS)),),
    )
    refused._counted_as = counted_as
    return refused


def phrase(status: int) -> str:
    """Return the reason phrase of a status; "" for one that HTTP does not define."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def quoted(value: str) -> str:
    """Return a received value as it may stand in a sentence: quoted, in printable ASCII, at most 100 characters.

    Angle brackets are escaped too: whatever shows the sentence, and whatever it takes it for, it is no HTML.
    """
    shown = ascii(value[:LONGEST_QUOTE]).replace("<", "\\x3c").replace(">", "\\x3e")
    return shown if len(value) <= LONGEST_QUOTE else f"{shown}... ({len(value)} characters)"


def listed(values: Collection[str]) -> str:
    """Return the first five values, quoted, and how many more there are."""
    named = [quoted(value) for value in islice(values, _MOST_NAMED)]
    more = len(values) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
