"""Refusing a request: what the exception takes, and how received values stand in its sentence."""

from __future__ import annotations

import http
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.refusals import LONGEST_QUOTE, Refused, listed, phrase, quoted


def test_a_refusal_has_what_it_was_given() -> None:
    """Its text is the sentence; a status of the standard library becomes a number."""
    refused = Refused(503, "Full; try again later.", {"Retry-After": "5"}, b"full")
    assert (refused.status, refused.sentence, refused.body) == (503, "Full; try again later.", b"full")
    assert refused.headers == (("Retry-After", "5"),)
    assert str(refused) == "Full; try again later."
    assert type(Refused(http.HTTPStatus.FORBIDDEN).status) is int


@pytest.mark.parametrize(("status", "sentence"), [(401, "Unauthorized"), (302, "Found"), (599, "")])
def test_without_a_sentence_it_says_the_statuss_own(status: int, sentence: str) -> None:
    """And nothing for a status that HTTP does not define."""
    refused = Refused(status)
    assert (refused.sentence, refused.headers, refused.body) == (sentence, (), None)
    assert phrase(status) == sentence


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("403",), TypeError, "Refused takes a status such as 403; you gave '403'"),
        ((True,), TypeError, "Refused takes a status such as 403; you gave True"),
        ((200,), ValueError, "Refused takes a status from 300 to 599; you gave 200"),
        ((299,), ValueError, "you gave 299"),
        ((600,), ValueError, "you gave 600"),
        (
            (403, "", {"Connection": "close"}),
            ValueError,
            "the header Connection is the server's own: leave it out of Refused",
        ),
        ((403, "", {"content-length": "3"}), ValueError, "the header content-length is the server's own"),
        ((403, "\ud800"), ValueError, "Refused takes text that can be sent as UTF-8; you gave '\\ud800'"),
        ((403, "", (), "\ud800"), ValueError, "text that can be sent as UTF-8"),
        ((403, None), TypeError, "Refused takes a sentence as a string; you gave None"),
        ((403, "No.", {"X": "a\nb"}), ValueError, "you gave X: 'a\\nb'"),
        ((403, "No.", (), ["no"]), TypeError, "Refused takes a body of str or bytes; you gave list"),
    ],
)
def test_what_is_no_refusal_gets_a_lesson(
    arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    """At once, where it is made: the place that sends it could not tell whose mistake it was."""
    with pytest.raises(error) as wrong:
        Refused(*arguments)
    assert sentence in str(wrong.value)


def test_a_long_value_is_cut_and_its_length_is_told() -> None:
    """The 100th character is still there."""
    assert quoted("x" * LONGEST_QUOTE) == f"'{'x' * 100}'"
    assert quoted("x" * 101) == f"'{'x' * 100}'... (101 characters)"
    assert quoted("<b>ü") == r"'\x3cb\x3e\xfc'"


@given(st.text())
def test_a_quoted_value_is_printable_and_no_html(value: str) -> None:
    """Whatever was received, its quotation is a short piece of printable ASCII without angle brackets."""
    shown = quoted(value)
    assert shown.isascii()
    assert shown.isprintable()
    assert not {"<", ">"} & set(shown)
    assert len(shown) < 1_100


def test_a_long_list_names_five() -> None:
    """Of many values five are named, and the others counted."""
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed([str(number) for number in range(9)]) == "'0', '1', '2', '3', '4' and 4 more"
