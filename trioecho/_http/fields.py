"""Mappings in which a name may come several times: header fields, and the parameters of a query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl

from trioecho._protocol.tokens import TOKEN

MOST_PARAMETERS = 1000
"""Parameters of a query that are looked at. No form has as many, and each costs more than its bytes."""

_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class MultiMapping(Mapping[str, str]):
    """A mapping of names to strings that keeps every pair in its order. ``[name]`` is the first of that name."""

    __slots__ = ("_found", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)
        found: dict[str, list[str]] = {}
        for name, value in self._pairs:
            found.setdefault(self._key(name), []).append(value)
        self._found = found

    @staticmethod
    def _key(name: str) -> str:
        return name

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every name with its value, in order, doubles included."""
        return self._pairs

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return all values of `name` in order; empty if there is none."""
        return tuple(self._found.get(self._key(name), ()))

    def __getitem__(self, name: str) -> str:
        return self._found[self._key(name)][0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the distinct names; header fields' are in lower case."""
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MultiMapping):
            return type(self) is type(other) and self._pairs == other._pairs
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._pairs)!r})"


class Headers(MultiMapping):
    """Header fields: the names without regard to case. ``headers["Host"]``, ``headers.get_all("Cookie")``."""

    __slots__ = ()

    @staticmethod
    def _key(name: str) -> str:
        return name.lower()


class Query(MultiMapping):
    """The parameters of a URL's query, decoded: ``?tag=a&tag=b`` has ``query["tag"] == "a"`` and
    ``query.get_all("tag") == ("a", "b")``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Query:
        """Parse a query, without its question mark. Never fails: what is not UTF-8 gets U+FFFD, and of more than
        1,000 parameters the rest is not looked at."""
        if text.count("&") >= MOST_PARAMETERS:
            text = "&".join(text.split("&", MOST_PARAMETERS)[:MOST_PARAMETERS])
        return cls(parse_qsl(text, keep_blank_values=True, errors="replace"))


def parse_cookies(headers: Headers) -> dict[str, str]:
    """Return the cookies of a request (RFC 6265 §5.4) by name, as they were sent; of two of one name the first.

    Lenient, as servers are: what has no equals sign is left out, quotes around a value are taken off.
    """
    cookies: dict[str, str] = {}
    for line in headers.get_all("Cookie"):
        for pair in line.split(";"):
            name, equals, value = pair.partition("=")
            name, value = name.strip(" \t"), value.strip(" \t")
            if equals and name:
                if len(value) >= 2 and value[0] == value[-1] == '"':
                    value = value[1:-1]
                cookies.setdefault(name, value)
    return cookies


def checked_fields(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return header fields to be sent, as pairs. Raises TypeError or ValueError with one sentence for a name that is
    no token, or a value that has a line's end, another control character, or what is not Latin-1 (RFC 9110 §5.5)."""
    rule = "headers takes a mapping or pairs of strings, such as {'Retry-After': '5'}; you gave"
    if isinstance(headers, MultiMapping):
        # Its items would be the first of each name.
        headers = headers.pairs
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise TypeError(f"{rule} {headers!r}")
    fields: list[tuple[str, str]] = []
    for each in headers.items() if isinstance(headers, Mapping) else headers:
        if not isinstance(each, tuple | list) or len(each) != 2 or not all(isinstance(x, str) for x in each):
            raise TypeError(f"{rule} {each!r}")
        name, value = each
        if TOKEN.fullmatch(name) is None:
            raise ValueError(f"the name of a header is a token such as 'Retry-After'; you gave {name!r}")
        if _VALUE.fullmatch(value) is None:
            raise ValueError(
                f"the value of a header has printable characters of Latin-1 only; you gave {name}: {value!r}"
            )
        fields.append((name, value))
    return tuple(fields)
