"""Tokens of a negotiation: good for one path and one user, for a time, and for nobody who changes them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho.hubs.tokens import LONGEST_TOKEN, Signer, unclaimed

SIGNER = Signer(b"k" * 32, lifetime=15)


def test_a_token_says_what_was_agreed_on() -> None:
    claim = SIGNER.issue("/chat", "zoe", now=1000, stateful=True)
    assert (claim.stateful, claim.deadline) == (True, 1015)
    assert SIGNER.verify(claim.token, "/chat", "zoe", now=1014.9) == claim
    assert len(claim.token) <= LONGEST_TOKEN
    assert claim.id != claim.token


def test_version_0_has_one_name_for_both() -> None:
    claim = SIGNER.issue("/chat", None, now=1000, secret_id=True)
    assert claim.id == claim.token
    assert SIGNER.verify(claim.token, "/chat", None, now=1000) == claim


@pytest.mark.parametrize(
    ("path", "user", "now"),
    [("/chat", "eve", 1000), ("/chat", None, 1000), ("/chat2", "zoe", 1000), ("/chat", "zoe", 1015)],
)
def test_it_is_no_token_for_another_user_elsewhere_or_later(path: str, user: str | None, now: float) -> None:
    token = SIGNER.issue("/chat", "zoe", now=1000).token
    assert SIGNER.verify(token, path, user, now=now) is None


def test_another_key_has_signed_nothing_here() -> None:
    token = Signer(b"j" * 32, lifetime=15).issue("/chat", None, now=1000).token
    assert SIGNER.verify(token, "/chat", None, now=1000) is None


def test_no_two_paths_and_users_look_the_same() -> None:
    """Whatever stands in a name."""
    token = SIGNER.issue("/chat", "a', 'b", now=1000).token
    assert SIGNER.verify(token, "/chat', 'a", "b", now=1000) is None
    none = SIGNER.issue("/chat", None, now=1000).token
    assert SIGNER.verify(none, "/chat", "None", now=1000) is None
    assert SIGNER.verify(SIGNER.issue("/\udc80", "\udc80", now=0).token, "/\udc80", "\udc80", now=0)


@given(st.integers(0, 56), st.characters(codec="ascii"))
def test_a_token_with_another_character_is_none(index: int, character: str) -> None:
    claim = SIGNER.issue("/chat", None, now=1000)
    changed = claim.token[:index] + character + claim.token[index + 1 :]
    if changed != claim.token:
        assert SIGNER.verify(changed, "/chat", None, now=1000) is None


@given(st.text())
def test_anything_else_is_none(text: str) -> None:
    assert SIGNER.verify(text, "/chat", None, now=1000) is None
    assert SIGNER.verify(f"{text}.{text}", "/chat", None, now=1000) is None


def test_who_has_not_negotiated_has_names_of_its_own() -> None:
    one, other = unclaimed(), unclaimed()
    assert len({one.id, one.token, other.id, other.token}) == 4
    assert replace(one, id="", token="") == replace(other, id="", token="")
    assert not one.stateful
