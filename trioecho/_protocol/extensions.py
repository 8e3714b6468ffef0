"""The syntax of Sec-WebSocket-Extensions (RFC 6455 §9.1): the lines of a request in, what the client offers out.

What an offer means is the extension's own: `deflate.py` has the one that there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from trioecho._protocol.tokens import TCHAR, TOKEN

_TOKEN = f"{TCHAR}+"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
# A name or a parameter, and what ends it. White space is allowed where HTTP allows it.
_PART = re.compile(rf"[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|{_QUOTED}))?[ \t]*([,;]|\Z)")
_EMPTY_ELEMENTS = re.compile(r"[ \t,]*")
_ESCAPE = re.compile(r"\\(.)")


class Offer(NamedTuple):
    """One extension that a client offers, with its parameters in order; a parameter without a value has None."""

    name: str
    parameters: tuple[tuple[str, str | None], ...] = ()


def parse_offers(lines: Iterable[str]) -> list[Offer]:
    """Return the offers of one or more header lines, the preferred one first; empty elements of the list are none.

    Raises ValueError for what the grammar does not have; its only argument is the text that cannot be understood.
    """
    text = ",".join(lines)
    offers: list[Offer] = []
    position = _after_empty_elements(text, 0)
    while position < len(text):
        begin, end = position, ";"
        name, parameters = "", []
        while end == ";":
            part = _PART.match(text, position)
            if part is None:
                raise ValueError(text[begin:].strip(" \t"))
            token, value, quoted, end = part.groups()
            if quoted is not None:
                # "the value after quoted-string unescaping MUST conform to the 'token' ABNF"
                value = _ESCAPE.sub(r"\1", quoted)
                if TOKEN.fullmatch(value) is None:
                    raise ValueError(text[begin:].strip(" \t"))
            if name:
                parameters.append((token, value))
            elif value is not None:
                raise ValueError(text[begin:].strip(" \t"))
            else:
                name = token
            position = part.end()
        offers.append(Offer(name, tuple(parameters)))
        position = _after_empty_elements(text, position)
    return offers


def _after_empty_elements(text: str, position: int) -> int:
    empty = _EMPTY_ELEMENTS.match(text, position)
    assert empty is not None  # it matches nothing at all, too
    return empty.end()
