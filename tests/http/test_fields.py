"""Header fields and the parameters of a query: every pair kept, each found by its name, nothing sent that cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.fields import MOST_PARAMETERS, Headers, MultiMapping, Query, checked_fields, parse_cookies

PAIRS = (("Host", "a"), ("cookie", "x=1"), ("Cookie", "y=2"))


def test_a_name_is_found_without_regard_to_case() -> None:
    """``[name]`` is the first, `get_all` has all in order, and all names are counted once."""
    headers = Headers(PAIRS)
    assert headers["HOST"] == "a"
    assert headers["cookie"] == "x=1"
    assert headers.get_all("COOKIE") == ("x=1", "y=2")
    assert list(headers) == ["host", "cookie"]
    assert len(headers) == 2
    assert "hOST" in headers
    assert headers.pairs == PAIRS


def test_what_is_not_there_is_missing_as_in_any_mapping() -> None:
    """KeyError, None, the default, an empty tuple; and what is no string is no name."""
    headers = Headers(PAIRS)
    with pytest.raises(KeyError):
        headers["Origin"]
    assert headers.get("Origin") is None
    assert headers.get("Origin", "none") == "none"
    assert headers.get_all("Origin") == ()
    assert 3 not in headers
    assert isinstance(headers, Mapping)


def test_two_of_one_kind_are_equal_when_their_pairs_are() -> None:
    """Order and doubles included; a query is no header."""
    assert Headers(PAIRS) == Headers(list(PAIRS))
    assert hash(Headers(PAIRS)) == hash(Headers(PAIRS))
    assert Headers(PAIRS) != Headers(PAIRS[::-1])
    assert Headers(PAIRS) != Query(PAIRS)
    assert Headers(PAIRS) != dict(PAIRS)
    assert repr(Query([("a", "b")])) == "Query([('a', 'b')])"


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=6))
def test_no_pair_is_lost(pairs: list[tuple[str, str]]) -> None:
    """Each value is among those of its name, and there are no others."""
    mapping = MultiMapping(pairs)
    assert list(mapping.pairs) == pairs
    for name in mapping:
        assert mapping.get_all(name) == tuple(value for other, value in pairs if other == name)
    assert sum(len(mapping.get_all(name)) for name in mapping) == len(pairs)


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=6))
def test_a_query_is_what_a_form_has_encoded(pairs: list[tuple[str, str]]) -> None:
    """The names' case counts; empty values stay."""
    assert list(Query.parse(urlencode(pairs, encoding="utf-8", errors="replace")).pairs) == [
        (name.encode(errors="replace").decode(), value.encode(errors="replace").decode())
        for name, value in pairs
    ]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", ()),
        ("&&", ()),
        ("a", (("a", ""),)),
        ("a=1&A=2", (("a", "1"), ("A", "2"))),
        ("a=b=c", (("a", "b=c"),)),
        ("a=%ff", (("a", "\ufffd"),)),
        ("a=%zz+%20", (("a", "%zz  "),)),
    ],
)
def test_no_query_fails(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    """What is not UTF-8 gets U+FFFD, broken escapes stay as they are."""
    assert Query.parse(text).pairs == pairs


def test_of_too_many_parameters_the_rest_is_not_looked_at() -> None:
    """A target of 16 KiB can name 8,000."""
    for number in (MOST_PARAMETERS - 1, MOST_PARAMETERS, MOST_PARAMETERS + 1, 8_000):
        query = Query.parse("&".join(f"{each}=" for each in range(number)))
        assert list(query) == [str(each) for each in range(min(number, MOST_PARAMETERS))]


@pytest.mark.parametrize(
    ("lines", "cookies"),
    [
        ([], {}),
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1;b=2 ;\tc = 3"], {"a": "1", "b": "2", "c": "3"}),
        (["a=1", "a=2; b=3"], {"a": "1", "b": "3"}),
        (['a="1 2"; b="; c=""'], {"a": "1 2", "b": '"', "c": ""}),
        (["flag; =nameless; a==="], {"a": "=="}),
        (["a=%20"], {"a": "%20"}),
    ],
)
def test_cookies_are_read_leniently(lines: list[str], cookies: dict[str, str]) -> None:
    """Of one name the first counts; without an equals sign or a name it is none; values are not decoded."""
    assert parse_cookies(Headers([("cookie", line) for line in lines])) == cookies


@pytest.mark.parametrize(
    "headers", [{"X-A": "1", "X-B": "\tü "}, [("X-A", "1"), ("X-B", "\tü ")], (["X-A", "1"], ["X-B", "\tü "])]
)
def test_a_mapping_and_pairs_can_be_sent(headers: Any) -> None:
    """As they are, in their order; what is beyond ASCII in Latin-1."""
    assert checked_fields(headers) == (("X-A", "1"), ("X-B", "\tü "))


def test_doubles_can_be_sent() -> None:
    """From pairs, and from the headers of a request, of which a mapping would give the first only."""
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert checked_fields(cookies) == tuple(cookies)
    assert checked_fields(Headers(cookies)) == tuple(cookies)
    assert checked_fields(each for each in cookies) == tuple(cookies)


@pytest.mark.parametrize(
    ("headers", "error", "sentence"),
    [
        (
            "X: y",
            TypeError,
            "takes a mapping or pairs of strings, such as {'Retry-After': '5'}; you gave 'X: y'",
        ),
        (b"X: y", TypeError, "you gave b'X: y'"),
        (None, TypeError, "you gave None"),
        ([("X", 5)], TypeError, "you gave ('X', 5)"),
        ({"X": None}, TypeError, "you gave ('X', None)"),
        ([("X", "y", "z")], TypeError, "you gave ('X', 'y', 'z')"),
        (["Xy"], TypeError, "you gave 'Xy'"),
        ({"": "y"}, ValueError, "is a token such as 'Retry-After'; you gave ''"),
        ({"X Y": "z"}, ValueError, "is a token such as 'Retry-After'; you gave 'X Y'"),
        ({"X:": "z"}, ValueError, "is a token such as 'Retry-After'; you gave 'X:'"),
        ({"X": "a\r\nY: b"}, ValueError, "printable characters of Latin-1 only; you gave X: 'a\\r\\nY: b'"),
        ({"X": "a\n"}, ValueError, "printable characters of Latin-1 only"),
        ({"X": "\x7f"}, ValueError, "printable characters of Latin-1 only"),
        ({"X": "€"}, ValueError, "printable characters of Latin-1 only"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_lesson(
    headers: Any, error: type[Exception], sentence: str
) -> None:
    """In one sentence that names what was given: above all a line's end, which would begin another header."""
    with pytest.raises(error) as refused:
        checked_fields(headers)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.text(st.characters(max_codepoint=0xFF)) | st.text('a=;" \t'))
def test_any_line_of_cookies_has_names_and_values(line: str) -> None:
    """Whatever it is: no name is empty, nothing has white space around it, and no cookie has another's sign in it."""
    for name, value in parse_cookies(Headers([("Cookie", line)])).items():
        assert name
        assert name.strip(" \t") == name
        assert not {";", "="} & set(name)
        assert ";" not in value
        assert f"{name}" in line
        assert value in line
