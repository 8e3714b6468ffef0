"""What people may call themselves and a room, and what they may say."""

from __future__ import annotations

import json

import pytest

from trioecho.chat.words import LONGEST_TEXT, check_seconds, name_of, text_of
from trioecho.hubs import HubException, HubOptions


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Ada", "Ada"),
        ("  Ada\t Lovelace ", "Ada Lovelace"),
        ("Zoe\u0308", "Zoë"),
        ("x" * 32, "x" * 32),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("<b>", "<b>"),
    ],
)
def test_a_name_is_shown_in_one_spelling(given: str, name: str) -> None:
    assert name_of("a person", given) == name


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "The name of a room has 1 to 32 characters; this has 0."),
        (" \n ", "The name of a room has 1 to 32 characters; this has 0."),
        ("x" * 33, "The name of a room has 1 to 32 characters; this has 33."),
        ("\u202eadA", "The name of a room has an invisible character in it: write it anew."),
        ("A\x00", "The name of a room has an invisible character in it: write it anew."),
        ("\ud800", "The name of a room has an invisible character in it: write it anew."),
    ],
)
def test_what_is_no_name_is_refused_with_one_sentence(given: str, sentence: str) -> None:
    with pytest.raises(HubException) as refused:
        name_of("a room", given)
    assert str(refused.value) == sentence


def test_a_message_is_something_and_not_too_much() -> None:
    assert text_of("  two\nlines ") == "two\nlines"
    assert text_of("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
    with pytest.raises(HubException, match="There is nothing in this message"):
        text_of("\n ")
    with pytest.raises(HubException, match="at most 2,000 characters; this has 2,001"):
        text_of("x" * (LONGEST_TEXT + 1))


def test_the_longest_message_fits_into_what_the_hub_receives() -> None:
    assert len(json.dumps("😀" * LONGEST_TEXT)) + 200 < HubOptions().max_receive_size


@pytest.mark.parametrize("seconds", [0, -1, 61, 10**30])
def test_a_countdown_has_an_end_in_sight(seconds: int) -> None:
    check_seconds(1)
    check_seconds(60)
    with pytest.raises(HubException, match="takes 1 to 60 seconds"):
        check_seconds(seconds)
