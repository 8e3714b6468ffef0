"""Which route a path leads to: parameters, the more specific one, conflicts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.paths import PathPattern, PathTable


def table(*patterns: str) -> PathTable[str]:
    return PathTable((PathPattern(pattern), pattern) for pattern in patterns)


def find(paths: PathTable[str], target: str) -> tuple[str, dict[str, str]] | None:
    found = paths.find(target.partition("?")[0], target)
    return None if found is None else (found[0], dict(found[1]))


def test_a_parameter_is_one_segment_decoded() -> None:
    """It is never empty, and an encoded slash is part of it."""
    rooms = table("/rooms/{room}")
    assert find(rooms, "/rooms/blue?x=/y") == ("/rooms/{room}", {"room": "blue"})
    assert find(rooms, "/rooms/%C3%BCber%2Fall") == ("/rooms/{room}", {"room": "über/all"})
    for other in ("/rooms/", "/rooms", "/rooms/a/b", "/rooms/a/", "/", "/Rooms/a", "//rooms/a"):
        assert find(rooms, other) is None, other


def test_a_path_parameter_is_all_the_rest() -> None:
    """It may be empty, but the slash before it has to be there."""
    files = table("/files/{path:path}")
    assert find(files, "/files/a/b%20c.txt") == ("/files/{path:path}", {"path": "a/b c.txt"})
    assert find(files, "/files/") == ("/files/{path:path}", {"path": ""})
    assert find(files, "/files") is None


def test_what_is_no_path_leads_nowhere() -> None:
    """The targets of OPTIONS and CONNECT, and what else does not begin with a slash."""
    everything = table("/{path:path}")
    for target in ("*", "a.com:443", "secret.txt", "ftp://a.com/b", "?a=b"):
        assert find(everything, target) is None, target


def test_the_more_specific_path_wins_in_any_order() -> None:
    """A literal before a parameter, a parameter before the rest."""
    patterns = ["/{path:path}", "/a/{x}", "/a/b", "/a/{x}/c", "/a/{path:path}", "/a/b/c/{x}"]
    for given_ in (patterns, patterns[::-1]):
        paths = table(*given_)
        assert find(paths, "/a/b") == ("/a/b", {})
        assert find(paths, "/a/z") == ("/a/{x}", {"x": "z"})
        assert find(paths, "/a/z/c") == ("/a/{x}/c", {"x": "z"})
        assert find(paths, "/a/z/d") == ("/a/{path:path}", {"path": "z/d"})
        assert find(paths, "/a/b/c/d") == ("/a/b/c/{x}", {"x": "d"})
        assert find(paths, "/b") == ("/{path:path}", {"path": "b"})
        assert find(paths, "/a/") == ("/a/{path:path}", {"path": ""})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/{a}", "/{b}"),
        ("/{a}/x", "/y/{b}"),
        ("/{a:path}", "/{b:path}"),
        ("/{a}/x", "/y/{b:path}"),
        ("/a", "/a"),
    ],
)
def test_a_conflict_is_refused_when_the_routes_are_made(one: str, other: str) -> None:
    """Neither is more specific, so it would be chance who is asked."""
    with pytest.raises(ValueError, match=r"more specific|given twice"):
        table(one, other)


@pytest.mark.parametrize(
    "path", ["/a{b}", "/{b}c", "/{}", "/{a-b}", "/{a:int}", "/{a:path}/b", "/{a}/{a}", "/{a"]
)
def test_a_pattern_that_makes_no_sense_is_refused(path: str) -> None:
    """In one sentence that repeats it."""
    with pytest.raises(ValueError, match=re.escape(repr(path))):
        PathPattern(path)


def folded(*patterns: str) -> PathTable[str]:
    return PathTable((PathPattern(pattern, ignore_case=True), pattern) for pattern in patterns)


def test_a_pattern_may_ignore_the_case_of_letters() -> None:
    """Of its own; what a parameter stands for stays as it was sent."""
    chat = folded("/Chat", "/Chat/negotiate")
    for path in ("/Chat", "/chat", "/CHAT"):
        assert find(chat, path) == ("/Chat", {})
    assert find(chat, "/chat/Negotiate") == ("/Chat/negotiate", {})
    rooms = folded("/Rooms/{room}/hub")
    assert find(rooms, "/rooms/Blue/HUB") == ("/Rooms/{room}/hub", {"room": "Blue"})
    assert find(rooms, "/rooms/Blue") is None


@pytest.mark.parametrize(
    ("exact", "ignoring"),
    [("/chat", "/Chat"), ("/chat", "/chat"), ("/a/{x}", "/A/{y}"), ("/{x}/b", "/A/{y}")],
)
def test_what_differs_in_ignored_letters_is_the_same(exact: str, ignoring: str) -> None:
    """Two patterns, of which one ignores the case, or both."""
    for other in (False, True):
        patterns = [PathPattern(exact, ignore_case=other), PathPattern(ignoring, ignore_case=True)]
        for order in (patterns, patterns[::-1]):
            with pytest.raises(ValueError, match=r"given twice|more specific"):
                PathTable((pattern, None) for pattern in order)


SEGMENTS = st.sampled_from(["a", "A", "b", "{x}", "{y}", "{p:path}", ""])


def pattern_of(segments: list[str]) -> str:
    cut = segments.index("{p:path}") + 1 if "{p:path}" in segments else len(segments)
    return "/" + "/".join(segments[:cut])


def expression(pattern: PathPattern) -> re.Pattern[str]:
    text = "".join(
        "/" + (re.escape(each) if isinstance(each, str) else ".*" if each.rest else "[^/]+")
        for each in pattern.segments
    )
    return re.compile(text, re.DOTALL | (re.IGNORECASE if pattern.ignore_case else 0))


@given(
    st.lists(st.tuples(st.lists(SEGMENTS, min_size=1, max_size=3), st.booleans()), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "A", "b", "c", ""]), min_size=1, max_size=4),
)
def test_it_finds_what_regular_expressions_find(
    patterns: list[tuple[list[str], bool]], segments: list[str]
) -> None:
    """The one that matches and is covered by all others that match, whether they ignore the case of letters or not."""
    made = []
    for each, ignore_case in patterns:
        try:
            made.append(PathPattern(pattern_of(each), ignore_case=ignore_case))
        except ValueError:
            return
    try:
        paths = PathTable((pattern, pattern) for pattern in made)
    except ValueError:
        return
    target = "/" + "/".join(segments)
    matching = [pattern for pattern in made if expression(pattern).fullmatch(target)]
    found = paths.find(target, target)
    if not matching:
        assert found is None
    else:
        assert found is not None
        assert found[0] in matching
        assert all(other.covers(found[0]) for other in matching)


def test_a_path_of_escapes_is_not_worth_its_decoding() -> None:
    """More than 1,000 of them match no parameter."""
    assert find(table("/{x}"), "/" + "%41" * 1001) is None
    assert find(table("/{x}"), "/" + "%41" * 1000) is not None
