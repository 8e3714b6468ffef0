"""The words of HTTP, character by character."""

from __future__ import annotations

import string

import pytest

from trioecho._protocol.tokens import TCHAR, TOKEN

ALLOWED = set(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")
"""RFC 9110 §5.6.2, read from the RFC and not from the expression."""


def test_a_token_consists_of_the_characters_of_the_rfc() -> None:
    """Each of them alone is one; no other character of Latin-1 is, nor one beyond."""
    assert {chr(code) for code in range(0x200) if TOKEN.fullmatch(chr(code))} == ALLOWED


@pytest.mark.parametrize("text", ["", "a b", "chat\n", "a,b", "ﬁ", '"a"', "a:"])
def test_what_is_no_token_does_not_match_whole(text: str) -> None:
    """Empty, of two words, with a line's end behind it, a list, quoted."""
    assert TOKEN.fullmatch(text) is None
    assert TOKEN.fullmatch("Sec-WebSocket-Key") is not None


def test_the_character_can_stand_in_other_expressions() -> None:
    """It is one class of characters, in its brackets, and in ASCII, for `bytes` too."""
    assert TCHAR.startswith("[")
    assert TCHAR.endswith("]")
    assert TCHAR.isascii()
