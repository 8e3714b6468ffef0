"""The header lines before they are parsed: their number, and what two servers would read in two ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.field_lines import MAX_FIELD_LINES, MAX_LIST_ELEMENTS, check_field_lines, check_host
from trioecho._http.hosts import is_authority
from trioecho._http.refusals import Refused


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", *lines, b""))


def refusal(of: bytes) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        check_field_lines(of)
    return refused.value.status, refused.value.sentence


def test_what_browsers_send_passes() -> None:
    """Tabs and what is beyond ASCII too, with either end of a line, and a head without any line."""
    check_field_lines(head())
    check_field_lines(head(b"Host: a", b"X: \ta\tZo\xeb", b"Cookie: " + b"," * 5_000))
    check_field_lines(head(b"Host: a", b"X: a").replace(b"\r", b""))


def test_lines_are_counted() -> None:
    """100 pass; one more is 431, and so are empty ones."""
    check_field_lines(head(*[b"X: a"] * MAX_FIELD_LINES))
    assert refusal(head(*[b"X: a"] * 101)) == (
        431,
        "The head of a request may have 100 header lines; received 101.",
    )


@pytest.mark.parametrize("name", [b"Connection", b"UPGRADE", b"if-none-match"])
def test_the_elements_of_a_list_are_counted_over_its_lines(name: bytes) -> None:
    """Where each is looked into. The commas of other lines do not count."""
    fifty = name + b": " + b"," * 49
    check_field_lines(head(b"Cookie: " + b"," * 200, fifty, fifty))
    assert refusal(head(fifty, fifty, name + b":")) == (
        431,
        f"The header {name.decode().title()} may list {MAX_LIST_ELEMENTS} elements; received 101.",
    )


@given(st.binary(max_size=30).filter(lambda value: b"\n" not in value))
def test_a_line_is_refused_for_its_controls_and_for_nothing_else(value: bytes) -> None:
    """RFC 9110 §5.5. Only the carriage return before its end is the line's own."""
    line = b"X: a" + value
    if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", value):
        status, sentence = refusal(head(line))
        assert status == 400
        assert sentence.startswith("A header has no control characters but tabs; received ")
        assert sentence.isprintable()
    else:
        check_field_lines(head(line))


@pytest.mark.parametrize("fold", [b" b", b"\tb"])
def test_a_folded_line_is_refused(fold: bytes) -> None:
    """RFC 9112 §5.2: some servers join it to the line above, others do not."""
    status, sentence = refusal(head(b"X: a", fold))
    assert status == 400
    assert sentence.startswith("A header stands on one line; received one that goes on in the line '")


def test_a_host_is_a_host_or_none_at_all() -> None:
    """The first of them counts, in any case of its name; a header that only ends alike is none."""
    for lines in ([], [b"X-Host: a b"], [b"Host:"], [b"hOsT: a:5000\t"], [b"Host: a", b"Host: b c"]):
        check_host(head(*lines))
    with pytest.raises(Refused, match=r"such as 'server.example.com:5000'; received 'a b'") as refused:
        check_host(head(b"X: a", b"host: a b"))
    assert refused.value.status == 400


@given(st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n"), max_size=8))
def test_every_value_of_host_is_judged_alike(value: str) -> None:
    """As the judge of origins and hosts judges it, without the blanks around it."""
    wrong = None
    try:
        check_host(head(b"Host: " + value.encode("latin-1")))
    except Refused as refused:
        wrong = refused.status
    assert wrong == (None if is_authority(value.strip(" \t\r")) else 400)
