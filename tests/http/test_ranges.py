"""The Range of a request: RFC 9110 §14."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.fields import Headers
from trioecho._http.ranges import content_range, requested_range
from trioecho._http.refusals import Refused


def asked(*values: str, size: int = 10) -> range | None:
    return requested_range(Headers([("Range", value) for value in values]), size)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=2-5", range(2, 6)),
        ("bytes=2-", range(2, 10)),
        ("bytes=9-9", range(9, 10)),
        ("bytes=5-10", range(5, 10)),
        ("bytes=5-" + "9" * 5000, range(5, 10)),
        ("bytes=0-9", range(10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-11", range(10)),
        ("bytes=-" + "9" * 5000, range(10)),
        ("Bytes=0002-0005", range(2, 6)),
        (" bytes= 2-5 , ,", range(2, 6)),
    ],
)
def test_one_range_is_a_part(value: str, part: range) -> None:
    """Cut to what there is."""
    assert asked(value) == part


@pytest.mark.parametrize(
    "value",
    [
        "bytes=0-1,3-4",
        "bytes=0-0,99-",
        "bytes=5-2",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1-2",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1 - 2",
        "bytes=٠-١",
        "bytes 0-1",
        "bytes = 0-1",
        "lines=0-1",
        "0-1",
        "",
    ],
)
def test_what_is_not_one_range_of_bytes_is_the_whole(value: str) -> None:
    """Several ranges too, and what is not well-formed."""
    assert asked(value) is None


def test_without_a_range_or_with_two_it_is_the_whole() -> None:
    """Which of two would be meant is not guessed."""
    assert asked() is None
    assert asked("bytes=0-1", "bytes=0-1") is None


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-12", 10),
        ("bytes=" + "9" * 5000 + "-", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
        ("bytes=-0", 0),
    ],
)
def test_a_range_behind_the_end_is_refused(value: str, size: int) -> None:
    """416, with the size that there is."""
    with pytest.raises(Refused) as refused:
        asked(value, size=size)
    assert refused.value.status == 416
    assert refused.value.headers == (("Content-Range", f"bytes */{size}"),)
    assert len(refused.value.sentence) < 250


def test_the_end_of_nothing_is_the_whole_of_it() -> None:
    """An empty file has no part that a Content-Range could name."""
    assert asked("bytes=-5", size=0) is None


def test_a_part_says_where_it_belongs() -> None:
    """The last byte is named, not the one behind it."""
    assert content_range(range(2, 6), 10) == ("Content-Range", "bytes 2-5/10")


@given(
    st.one_of(st.text(st.characters(max_codepoint=255)), st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}")),
    st.integers(0, 300),
)
def test_any_range_is_within_the_file(value: str, size: int) -> None:
    """Never empty, never beyond the end, or it is refused."""
    with contextlib.suppress(Refused):
        part = asked(value, size=size)
        assert part is None or 0 <= part.start < part.stop <= size
