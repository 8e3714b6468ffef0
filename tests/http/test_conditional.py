"""Is what the client has still current: RFC 9110 §13, and the dates of §5.6.7."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.conditional import (
    Validators,
    etag_of,
    http_date,
    parse_http_date,
    precondition,
    range_applies,
)
from trioecho._http.fields import Headers

CHANGED = 784_111_777
THEN, BEFORE, AFTER = http_date(CHANGED), http_date(CHANGED - 1), http_date(CHANGED + 1)
STRONG, WEAK = Validators('"a,b"', CHANGED), Validators('W/"a,b"', CHANGED)


def judged(*fields: tuple[str, str], method: str = "GET", validators: Validators = STRONG) -> int | None:
    return precondition(method, Headers(fields), validators)


@pytest.mark.parametrize("value", ['"a,b"', 'W/"a,b"', '"x", "a,b"', '"x",,W/"a,b" , "y"', "*", " * "])
@pytest.mark.parametrize("validators", [STRONG, WEAK])
def test_if_none_match_compares_weakly(value: str, validators: Validators) -> None:
    """304 for a GET or HEAD, 412 for what would change something."""
    assert judged(("If-None-Match", value), validators=validators) == 304
    assert judged(("If-None-Match", value), validators=validators, method="HEAD") == 304
    assert judged(("If-None-Match", value), validators=validators, method="PUT") == 412


@pytest.mark.parametrize("value", ['"a"', '"A,B"', "a,b", '"x', "", '"x", *', 'w/"A,B"', '"a, b"'])
def test_another_entity_tag_is_none_of_ours(value: str) -> None:
    """Neither is a list that cannot be read."""
    assert judged(("If-None-Match", value)) is None
    assert judged(("If-Match", value)) == 412


def test_a_list_in_several_lines_is_one_list() -> None:
    """RFC 9110 §5.3."""
    assert judged(("If-None-Match", '"x"'), ("If-None-Match", '"a,b"')) == 304


def test_if_match_compares_strongly() -> None:
    """A weak tag matches nothing, not even itself; any representation matches the asterisk."""
    assert judged(("If-Match", '"x", "a,b"')) is None
    assert judged(("If-Match", "*")) is None
    assert judged(("If-Match", 'W/"a,b"')) == 412
    assert judged(("If-Match", '"a,b"'), validators=WEAK) == 412
    assert judged(("If-Match", "*"), validators=WEAK) is None


def test_dates_are_compared_to_the_second() -> None:
    """If-Modified-Since makes a 304, If-Unmodified-Since a 412."""
    assert judged(("If-Modified-Since", THEN)) == 304
    assert judged(("If-Modified-Since", AFTER)) == 304
    assert judged(("If-Modified-Since", BEFORE)) is None
    assert judged(("If-Unmodified-Since", THEN)) is None
    assert judged(("If-Unmodified-Since", BEFORE)) == 412


def test_a_date_counts_only_where_it_may() -> None:
    """Not for other methods, not twice, not if it is none, and not against what has no date."""
    assert judged(("If-Modified-Since", THEN), method="POST") is None
    assert judged(("If-Modified-Since", THEN), ("If-Modified-Since", THEN)) is None
    assert judged(("If-Modified-Since", "yesterday")) is None
    assert judged(("If-Unmodified-Since", "yesterday")) is None
    assert judged(("If-Modified-Since", AFTER), validators=Validators('"a"')) is None
    assert judged(("If-Unmodified-Since", AFTER), validators=Validators('"a"')) == 412


def test_an_entity_tag_outranks_a_date() -> None:
    """RFC 9110 §13.2.2: the date is not looked at, and If-Match comes before If-None-Match."""
    assert judged(("If-None-Match", '"x"'), ("If-Modified-Since", AFTER)) is None
    assert judged(("If-Match", '"a,b"'), ("If-Unmodified-Since", BEFORE)) is None
    assert judged(("If-Match", '"x"'), ("If-None-Match", '"a,b"')) == 412
    assert judged(("If-Match", '"a,b"'), ("If-None-Match", '"a,b"')) == 304


def test_a_part_fits_only_the_same_entity_tag() -> None:
    """Compared strongly; a date or a list never does."""
    assert range_applies(Headers(), STRONG)
    assert range_applies(Headers([("If-Range", '"a,b"')]), STRONG)
    for other in ('W/"a,b"', '"x"', THEN, "*", '"x", "a,b"', ""):
        assert not range_applies(Headers([("If-Range", other)]), STRONG), other
    assert not range_applies(Headers([("If-Range", '"a,b"')] * 2), STRONG)
    assert not range_applies(Headers([("If-Range", 'W/"a,b"')]), WEAK)


def test_the_fields_that_tell_the_validators() -> None:
    """ETag always, Last-Modified where it is known."""
    assert STRONG.fields == (("ETag", '"a,b"'), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"))
    assert Validators('"a"').fields == (("ETag", '"a"'),)


def test_other_facts_make_another_entity_tag() -> None:
    """Even those that look alike when put together."""
    tags = {etag_of(1, 23), etag_of(12, 3), etag_of(123), etag_of(b"1", b"23"), etag_of(b""), etag_of()}
    assert len(tags) == 5, "etag_of(1, 23) is etag_of(b'1', b'23')"
    assert etag_of(1, 23) == etag_of(1, 23)
    assert judged(("If-Match", etag_of(b"content")), validators=Validators(etag_of(b"content"))) is None


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        " Sun Nov 06 08:49:37 1994 ",
    ],
)
def test_a_date_has_three_forms(text: str) -> None:
    """The standard's own examples."""
    assert parse_http_date(text) == CHANGED


def test_a_year_in_two_digits_is_at_most_fifty_years_ahead() -> None:
    """RFC 9110 §5.6.7: "more than 50 years in the future" means the past."""
    for this_year, digits, year in [
        (2026, "76", 2076),
        (2026, "77", 1977),
        (2026, "26", 2026),
        (2070, "15", 2015),
        (1999, "49", 1949),
        (2049, "99", 2099),
    ]:
        seconds = parse_http_date(f"Friday, 01-Jan-{digits} 00:00:00 GMT", this_year)
        assert seconds == datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).timestamp(), (this_year, digits)


def test_a_leap_second_is_a_time() -> None:
    """23:59:60 is the midnight that follows; 61 is none."""
    midnight = parse_http_date("Sun, 01 Jan 2017 00:00:00 GMT")
    assert midnight is not None
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == midnight
    assert parse_http_date("Sat, 31 Dec 2016 23:59:61 GMT") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "784111777",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    """No guessing."""
    assert parse_http_date(text) is None


@given(st.integers(0, 253_402_300_799))
def test_a_date_that_is_written_is_read(seconds: int) -> None:
    """For every second up to the year 9999."""
    assert parse_http_date(http_date(seconds)) == seconds


@pytest.mark.parametrize("seconds", [-1, 253_402_300_800])
def test_a_date_that_cannot_be_written_is_refused(seconds: int) -> None:
    """A year has four digits."""
    with pytest.raises(ValueError, match="from 1970 to 9999"):
        http_date(seconds)


@given(st.text(st.characters(max_codepoint=255)), st.sampled_from(["If-Match", "If-None-Match", "If-Range"]))
def test_any_header_is_judged(value: str, name: str) -> None:
    """Nothing that a client sends raises."""
    assert judged((name, value)) in (None, 304, 412)
    assert range_applies(Headers([(name, value)]), STRONG) in (True, False)
    assert judged(("If-Modified-Since", value), ("If-Unmodified-Since", value)) in (None, 304, 412)
