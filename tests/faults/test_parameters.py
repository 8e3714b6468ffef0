"""What a fault may be told: within limits, by its right name, once; the lesson otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from trioecho._http.messages import Request
from trioecho._http.refusals import Refused
from trioecho.faults.parameters import (
    Choice,
    Count,
    Flag,
    Pairs,
    Parameter,
    Seconds,
    Text,
    read_id,
    read_parameters,
)

COUNT = Count("count", "how many", 7, 1, 100, "messages")


def read(parameter: Parameter, query: str) -> Any:
    return read_parameters(Request("GET", "/x", f"/x?{query}"), (), (parameter,))[parameter.name]


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (COUNT, "1", 1),
        (COUNT, "100", 100),
        (Seconds("delay", "", 0.0, 60), "0.5", 0.5),
        (Seconds("delay", "", 0.0, 60), "60", 60.0),
        (Seconds("delay", "", 0.0, 60), ".25", 0.25),
        (Flag("drop", ""), "", True),
        (Flag("drop", ""), "1", True),
        (Flag("drop", ""), "no", False),
        (Choice("key", "", "a", ("a", "b")), "b", "b"),
        (Text("reason", "", "", 4), "caf%C3%A9"[:3] + "s", "cafs"),
        (Text("reason", "", "", 5), "caf%C3%A9", "café"),
        (Text("name", "", "", token=True), "chat.v1", "chat.v1"),
        (Pairs("set", ""), "a:1&set=b: 2:3 ", (("a", "1"), ("b", "2:3"))),
    ],
)
def test_what_fits_is_taken(parameter: Parameter, text: str, value: object) -> None:
    """Each kind, at the edges of its limits."""
    assert read(parameter, f"{parameter.name}={text}") == value


@pytest.mark.parametrize(
    ("parameter", "text", "sentence"),
    [
        (COUNT, "0", "count takes a whole number from 1 to 100 (messages); received '0'."),
        (COUNT, "101", "count takes a whole number from 1 to 100 (messages); received '101'."),
        (COUNT, "1e1", "count takes a whole number from 1 to 100 (messages); received '1e1'."),
        (COUNT, "%D9%A1", "count takes a whole number from 1 to 100 (messages); received '\\u0661'."),
        (COUNT, "9" * 5000, "(5000 characters)"),
        (
            Seconds("delay", "", 0.0, 60),
            "61",
            "delay takes seconds from 0 to 60, such as 2 or 0.5; received '61'.",
        ),
        (Seconds("delay", "", 0.0, 60), "nan", "received 'nan'."),
        (Seconds("delay", "", 0.0, 60), ".", "received '.'."),
        (Seconds("delay", "", 0.0, 60), "", "received ''."),
        (Seconds("every", "", 1.0, 60, 0.01), "0", "every takes seconds from 0.01 to 60"),
        (Flag("drop", ""), "perhaps", "drop takes 1 or 0; received 'perhaps'."),
        (Choice("key", "", "a", ("a", "b")), "c", "key takes one of a, b; received 'c'."),
        (
            Text("reason", "", "", 4),
            "caf%C3%A9",
            "reason takes text of at most 4 bytes; received 'caf\\xe9'.",
        ),
        (Text("ext", "", "", header=True), "a%0D%0Ab", "printable text of Latin-1"),
        (Text("name", "", "", token=True), "a b", "name takes a token of at most 100 bytes; received 'a b'."),
        (Pairs("set", ""), "a", "set takes name:value, printable, at most 10 times; received 'a'."),
        (Pairs("set", ""), "a b:1", "received 'a b:1'."),
        (Pairs("set", ""), "a:%0A", "received 'a:\\n'."),
        (Pairs("set", "", None, 1), "a:1&set=b:2", "at most 1 time; received 'b:2'."),
    ],
)
def test_what_does_not_fit_is_a_lesson(parameter: Parameter, text: str, sentence: str) -> None:
    """One sentence, with what was received and what would have been right; 400."""
    with pytest.raises(Refused) as refused:
        read(parameter, f"{parameter.name}={text}")
    assert refused.value.status == 400
    assert sentence in refused.value.sentence


def test_what_is_left_out_has_its_default() -> None:
    """Also one that is no text could stand for."""
    assert read(COUNT, "") == 7
    assert read(Pairs("set", ""), "") == ()


def test_a_mistyped_name_is_told_and_so_is_one_given_twice() -> None:
    """A parameter that is ignored would make a test that tests nothing."""
    with pytest.raises(Refused, match=r"takes the parameters 'count', 'id'; received 'cuont'\."):
        read(COUNT, "cuont=3")
    with pytest.raises(Refused, match=r"count is given once; received 2 times\."):
        read(COUNT, "count=3&count=4")


def test_parameters_of_the_path_are_read_alike() -> None:
    """They have no default."""
    request = Request("GET", "/x/500", "/x/500")
    request.path_params = {"count": "500"}
    with pytest.raises(Refused, match="received '500'"):
        read_parameters(request, (COUNT,), ())


def test_an_id_is_short_and_harmless() -> None:
    """It stands in URLs and in the log."""
    assert read_id({"id": "t-17.a~b_C"}) == "t-17.a~b_C"
    assert read_id({}) is None
    for wrong in ("", "a b", "x" * 65, "a\n"):
        with pytest.raises(Refused, match="id takes letters, digits"):
            read_id({"id": wrong})
