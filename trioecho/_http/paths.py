"""Paths with parameters, `/rooms/{room}` and `/files/{path:path}`, and the table that finds the one for a request.

Of several patterns that match a path the more specific one wins: that which matches fewer paths. Two of which neither
is more specific are refused when the table is made, so that the order in which patterns are given never matters. These
are the rules of Go's `net/http.ServeMux`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

MOST_ESCAPES = 1000
"""Percent signs of a path that are decoded. To decode one costs more than to receive it, and no path has as many."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A segment that may be anything but empty; with `rest`, all that remains, which may be empty."""

    name: str
    rest: bool = False

    def __str__(self) -> str:
        return f"{{{self.name}:path}}" if self.rest else f"{{{self.name}}}"


Segment: TypeAlias = "str | Parameter"


class PathPattern:
    """A path as it is given for a route: literal segments, `{name}` for one segment, `{name:path}` for the rest.

    With `ignore_case` its literal segments match in any case of their letters.
    """

    __slots__ = ("ignore_case", "segments", "text")

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        """Parse `text`. Raises ValueError with one sentence that says what would be right."""
        self.text = text
        self.ignore_case = ignore_case
        self.segments: tuple[Segment, ...] = tuple(_segments(text))

    def __str__(self) -> str:
        return self.text

    @property
    def literal(self) -> bool:
        """Whether there is no parameter in it."""
        return all(isinstance(segment, str) for segment in self.segments)

    def covers(self, other: PathPattern) -> bool:
        """Whether every path that `other` matches is matched by this one, letters' case aside where either ignores it:
        two that differ in nothing else are as good as the same."""
        fold = self.ignore_case or other.ignore_case
        for index, mine in enumerate(self.segments):
            if isinstance(mine, Parameter) and mine.rest:
                return len(other.segments) > index
            if index == len(other.segments):
                return False
            theirs = other.segments[index]
            if isinstance(mine, Parameter):
                if theirs == "" or (isinstance(theirs, Parameter) and theirs.rest):
                    return False
            elif not _same(mine, theirs, fold):
                return False
        return len(self.segments) == len(other.segments)

    def overlaps(self, other: PathPattern) -> bool:
        """Whether there is a path that both match."""
        fold = self.ignore_case or other.ignore_case
        for mine, theirs in zip(self.segments, other.segments, strict=False):
            if (isinstance(mine, Parameter) and mine.rest) or (isinstance(theirs, Parameter) and theirs.rest):
                return True
            if isinstance(mine, Parameter) or isinstance(theirs, Parameter):
                if "" in (mine, theirs):
                    return False
            elif not _same(mine, theirs, fold):
                return False
        return len(self.segments) == len(other.segments)


class _Node(Generic[T]):
    """What follows behind some segments: further ones, or what stands there."""

    __slots__ = ("found", "literals", "parameter", "rest")

    def __init__(self) -> None:
        self.found: tuple[PathPattern, T] | None = None
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.rest: tuple[PathPattern, T] | None = None


class PathTable(Generic[T]):
    """Patterns with what stands at each. Raises ValueError with one sentence for two that conflict."""

    def __init__(self, entries: Iterable[tuple[PathPattern, T]]) -> None:
        entries = tuple(entries)
        _check_conflicts([pattern for pattern, _ in entries])
        exact = [entry for entry in entries if not entry[0].ignore_case]
        folded = [entry for entry in entries if entry[0].ignore_case]
        # Most paths have no parameter, and are found by one look.
        self._literal: Final = {pattern.text: value for pattern, value in exact if pattern.literal}
        self._folded: Final = {pattern.text.lower(): value for pattern, value in folded if pattern.literal}
        self._root: Final = _tree(exact)
        self._folded_root: Final = _tree(folded)

    def find(self, path: str, target: str) -> tuple[T, Mapping[str, str]] | None:
        """Return what stands at a request's path, and what its parameters stand for, decoded; None if nothing does.

        `path` is decoded, `target` the same as it was sent, where the slashes that separate segments can be told from
        those within one.
        """
        value = self._literal.get(path)
        if value is None and self._folded:
            value = self._folded.get(path.lower())
        if value is not None:
            return value, {}
        if (self._root is None and self._folded_root is None) or not path.startswith("/"):
            # "*" of OPTIONS and "host:443" of CONNECT are no paths (RFC 9112 §3.2).
            return None
        sent = target.partition("?")[0]
        if sent.count("%") > MOST_ESCAPES:
            return None
        segments = [_decoded(segment) for segment in sent[1:].split("/")]
        found = None if self._root is None else _look(self._root, segments, 0)
        if self._folded_root is not None:
            other = _look(self._folded_root, [segment.lower() for segment in segments], 0)
            if found is None or (other is not None and found[0].covers(other[0])):
                found = other
        if found is None:
            return None
        pattern, value = found
        params: dict[str, str] = {}
        for index, segment in enumerate(pattern.segments):
            if isinstance(segment, Parameter):
                params[segment.name] = "/".join(segments[index:]) if segment.rest else segments[index]
        return value, params


def _segments(text: str) -> Iterable[Segment]:
    names: set[str] = set()
    parts = text[1:].split("/")
    for index, part in enumerate(parts):
        if "{" not in part and "}" not in part:
            yield part
            continue
        name, colon, kind = part[1:-1].partition(":")
        if not (part.startswith("{") and part.endswith("}") and _NAME.fullmatch(name)):
            raise ValueError(
                f"a parameter of a path is a whole segment, such as '/rooms/{{room}}'; you gave {part!r} in {text!r}"
            )
        if colon and kind != "path":
            raise ValueError(
                f"a parameter of a path is {{name}} or {{name:path}}; you gave {part!r} in {text!r}"
            )
        if colon and index != len(parts) - 1:
            raise ValueError(
                f"{part!r} takes all the rest of a path, so nothing may follow it; you gave {text!r}"
            )
        if name in names:
            raise ValueError(f"the parameters of a path have different names; you gave {text!r}")
        names.add(name)
        yield Parameter(name, rest=bool(colon))


def _same(one: Segment, other: Segment, fold: bool) -> bool:
    return one == other or (
        fold and isinstance(one, str) and isinstance(other, str) and one.lower() == other.lower()
    )


def _check_conflicts(patterns: list[PathPattern]) -> None:
    literal = [pattern for pattern in patterns if pattern.literal]
    folded = {pattern.text.lower() for pattern in literal if pattern.ignore_case}
    if len({pattern.text for pattern in literal}) != len(literal):
        raise ValueError("a path is given twice")
    if sum(pattern.text.lower() in folded for pattern in literal) != len(folded):
        raise ValueError("a path is given twice, in letters of which one route ignores the case")
    # One without a parameter is always the more specific one.
    open_ended = [pattern for pattern in patterns if not pattern.literal]
    for index, one in enumerate(open_ended):
        for other in open_ended[:index]:
            if not one.overlaps(other):
                continue
            if one.covers(other) == other.covers(one):
                same = "the same paths" if one.covers(other) else "some of the same paths"
                raise ValueError(
                    f"{other.text!r} and {one.text!r} match {same}, and neither is more specific: change one of them"
                )


def _tree(entries: Iterable[tuple[PathPattern, T]]) -> _Node[T] | None:
    """Return the tree of those patterns that have parameters; None where none has."""
    root: _Node[T] | None = None
    for pattern, value in entries:
        if not pattern.literal:
            root = root or _Node()
            _add(root, pattern, value)
    return root


def _add(node: _Node[T], pattern: PathPattern, value: T) -> None:
    for segment in pattern.segments:
        if isinstance(segment, str):
            segment = segment.lower() if pattern.ignore_case else segment
            node = node.literals.setdefault(segment, _Node())
        elif segment.rest:
            node.rest = pattern, value
            return
        else:
            node.parameter = node.parameter or _Node()
            node = node.parameter
    node.found = pattern, value


def _look(node: _Node[T], segments: list[str], index: int) -> tuple[PathPattern, T] | None:
    """Find the most specific pattern below `node`. Visits no node twice, so a path costs no more than the table is
    large."""
    if index == len(segments):
        return node.found
    segment = segments[index]
    literal = node.literals.get(segment)
    if literal is not None and (found := _look(literal, segments, index + 1)) is not None:
        return found
    if (
        node.parameter is not None
        and segment
        and (found := _look(node.parameter, segments, index + 1)) is not None
    ):
        return found
    return node.rest


def _decoded(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return segment  # it stays as it was sent, and so does the path
