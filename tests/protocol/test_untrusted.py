"""How text that a client may have sent stands in a line of the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.untrusted import LONGEST_IN_LINE, in_quotes, shown, told


def test_what_is_harmless_stands_as_it_is() -> None:
    """Paths, addresses, origins."""
    for text in ("/ws?a=b", "127.0.0.1:80", "[::1]:80", "https://client.com"):
        assert shown(text) == text


@given(st.text())
def test_nothing_looks_like_anything_else(text: str) -> None:
    """One line, printable, bounded; what has a space or a quote stands in quotes."""
    line = shown(text)
    assert line.isprintable()
    assert len(line) < 12 * LONGEST_IN_LINE
    assert line == text or line[0] in "'\""


def test_a_long_text_is_cut_and_says_so() -> None:
    """Its length is told."""
    assert in_quotes("x" * 1234) == f"'{'x' * 100}'… (1,234 characters)"


def test_a_sentence_stays_readable_and_one_line() -> None:
    """Only what cannot be printed is escaped, and a long one is cut."""
    assert told("Nobody called 'ü' is here.") == "Nobody called 'ü' is here."
    assert told("a\nb\x1b[31m\u202e\ud800") == "a\\nb\\x1b[31m\\u202e\\ud800"
    assert told("x" * 1000) == "x" * 1000
    assert told("\n" * 1001) == "\\n" * 1000 + "… (1,001 characters)"
