"""Sec-WebSocket-Extensions: what is an offer, what is none, and what it costs to find out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.extensions import Offer, parse_offers
from trioecho._protocol.tokens import TOKEN

DEFLATE = Offer("permessage-deflate")


@pytest.mark.parametrize(
    ("lines", "offers"),
    [
        ([], []),
        ([""], []),
        (["permessage-deflate"], [DEFLATE]),
        ([", permessage-deflate ,, x-other ,"], [DEFLATE, Offer("x-other")]),
        (["x-other", "permessage-deflate"], [Offer("x-other"), DEFLATE]),
        (
            ["permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate"],
            [
                Offer(
                    "permessage-deflate",
                    (("client_max_window_bits", None), ("server_max_window_bits", "10")),
                ),
                DEFLATE,
            ],
        ),
        (['a;b="10"'], [Offer("a", (("b", "10"),))]),
        (['a;b="1\\0"'], [Offer("a", (("b", "10"),))]),
        (["a \t;\t b = 10\t, c"], [Offer("a", (("b", "10"),)), Offer("c")]),
        (["a;b;b"], [Offer("a", (("b", None), ("b", None)))]),
    ],
)
def test_offers_are_found_in_order(lines: list[str], offers: list[Offer]) -> None:
    """On one line or several, with white space and empty elements; a quoted value is as good as a bare one."""
    assert parse_offers(lines) == offers


@pytest.mark.parametrize(
    "text",
    [
        "a;;b",
        "a;",
        "bad@",
        "a b",
        "a=1",
        "a;b=",
        'a;b="x y"',
        'a;b=""',
        'a;b="10',
        "a;=1",
        ";a",
        "permessage-deflate; server_max_window_bits=1@0",
        "ä",
    ],
)
def test_what_the_grammar_does_not_have_is_told(text: str) -> None:
    """It is the offer that cannot be understood, from its beginning."""
    with pytest.raises(ValueError, match=r".*") as refused:
        parse_offers(["good", text])
    assert refused.value.args == (text,)


@pytest.mark.parametrize(
    "text", ["a" * 16_000, ";a" * 8000, "a;" * 8000, "," * 16_000, 'a;b="' + "\\" * 16_000, " " * 16_000]
)
def test_no_header_takes_long_to_read(text: str) -> None:
    """What fits into a head of 16 KiB takes milliseconds, whatever it is."""
    begun = time.process_time()
    for value in (text, "x;" + text, "x;y=" + text):
        try:
            parse_offers([value])
        except ValueError:
            pass
    assert time.process_time() - begun < 0.5


TOKENS = st.text("abz019-_!", min_size=1, max_size=4)
OFFERS = st.builds(Offer, TOKENS, st.lists(st.tuples(TOKENS, TOKENS | st.none()), max_size=3).map(tuple))


@given(st.lists(OFFERS, max_size=4), st.sampled_from(["", '"']), st.sampled_from(["", " ", " \t"]))
def test_what_a_client_writes_is_what_it_offers(offers: list[Offer], quote: str, space: str) -> None:
    """Quoted or not, and with white space wherever HTTP allows it."""

    def written(name: str, value: str | None) -> str:
        return name if value is None else f"{name}{space}={space}{quote}{value}{quote}"

    text = f"{space},{space}".join(
        f"{space};{space}".join([offer.name, *(written(*each) for each in offer.parameters)])
        for offer in offers
    )
    assert parse_offers([text]) == offers


@given(st.lists(st.text() | st.text('a;,="\\ \t'), max_size=3))
def test_any_lines_are_offers_or_are_not_understood(lines: list[str]) -> None:
    """Nothing else is raised, and what is not understood is told."""
    offers: list[Offer] = []
    unclear = ""
    try:
        offers = parse_offers(lines)
    except ValueError as error:
        (unclear,) = error.args
    assert unclear in ",".join(lines)
    for offer in offers:
        for each in (offer.name, *(text for pair in offer.parameters for text in pair if text is not None)):
            assert TOKEN.fullmatch(each)
