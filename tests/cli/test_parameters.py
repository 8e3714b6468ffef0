"""What the command line understands as seconds, sizes and numbers, and how it says what it does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trioecho import AddressLimits
from trioecho.cli.parameters import Command, Option, Refusal, address_limits, seconds, size, whole_number


def refused(of_type: Callable[[Any], object], value: object) -> str:
    with pytest.raises(click.BadParameter) as wrong:
        of_type(value)
    return wrong.value.message


@pytest.mark.parametrize(
    ("zero", "value", "number"),
    [
        (None, "30", 30.0),
        (None, "0.5", 0.5),
        (None, 7, 7.0),
        ("off", "off", math.inf),
        ("off", "0", math.inf),
        ("off", "1e3", 1000.0),
        ("at once", "0", 0.0),
        ("at once", "0.0", 0.0),
    ],
)
def test_seconds(zero: str | None, value: object, number: float) -> None:
    """More than 0; 0 where it means something, which may be "off" and never comes."""
    assert seconds(zero=zero)(value) == number


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "-inf", "1e999", "soon", "", "off"])
def test_what_is_no_time_is_told_with_an_example(value: str) -> None:
    """As it was typed, and what would be right."""
    expected = f"{value!r} is not a time in seconds: write a number such as 30 or 0.5"
    assert refused(seconds(), value) == expected
    if value not in ("0", "off"):
        assert refused(seconds(zero="off"), value) == f"{expected}, or 0 for off"
    if value != "0":
        assert refused(seconds(zero="at once"), value) == f"{expected}, or 0 for at once"


@given(st.integers(), st.integers(0, 5))
def test_a_whole_number_is_one_between_its_bounds(value: int, least: int) -> None:
    """Both included."""
    assert whole_number(least, 10)("10") == 10
    assert whole_number(1)("9" * 15) == 999_999_999_999_999
    if least <= value <= 10:
        assert whole_number(least, 10)(str(value)) == value
    else:
        assert "does not fit: write a whole number from" in refused(whole_number(least, 10), str(value))


@pytest.mark.parametrize("value", ["", "1.0", "1e3", "+1", " 1", "1_000", "٣", "x", "9" * 16])
def test_what_is_no_whole_number_is_told_with_its_bounds(value: str) -> None:
    """Digits only, and no more of them than any number here needs."""
    assert refused(whole_number(1), value) == f"{value!r} does not fit: write a whole number of at least 1"
    assert refused(whole_number(0, 65_535), value).endswith("write a whole number from 0 to 65535")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("65536", 65_536),
        (65_536, 65_536),
        ("64KiB", 65_536),
        ("64 kib", 65_536),
        ("1MiB", 2**20),
        ("2GIB", 2**31),
        ("1", 1),
    ],
)
def test_sizes(value: object, number: int) -> None:
    """Bytes, or with a unit of 1,024, in any case of its letters."""
    assert size(value) == number


@pytest.mark.parametrize("value", ["0", "0KiB", "-1", "1MB", "1.5MiB", "KiB", "1  KiB", "", "9" * 16])
def test_what_is_no_size_is_told_with_examples(value: str) -> None:
    """A megabyte of a million bytes is none: the names of the units say which are meant."""
    assert refused(size, value) == (
        f"{value!r} is not a size in bytes: write a number such as 65536, 64KiB or 16MiB"
    )


def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was in its sentence; on standard error, behind the program's name."""
    refusal = Refusal("one\n  two\tthree", 3)
    refusal.show()
    assert capsys.readouterr() == ("", "trioecho: one two three\n")
    assert (refusal.exit_code, refusal.message) == (3, "one two three")


@click.command(cls=Command, context_settings={"auto_envvar_prefix": "TRIOECHO"})
@click.option(
    "--port", cls=Option, section="Listening", type=whole_number(0, 65_535), default=5000, help="Where."
)
@click.option("--level", cls=Option, section="The log", type=click.Choice(["info", "error"]), help="What.")
@click.argument("url")
def program(port: int, level: str | None, url: str) -> None:
    """Does nothing."""


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--port", "x", "u"], {}, "--port: 'x' does not fit: write a whole number from 0 to 65535"),
        (
            ["u"],
            {"TRIOECHO_PORT": "x"},
            "--port (from TRIOECHO_PORT): 'x' does not fit: write a whole number from 0 to 65535",
        ),
        (["--level", "loud", "u"], {}, "--level: 'loud' is not one of 'info', 'error'."),
        ([], {}, "Missing argument 'URL'. (--help lists the options)"),
        (["--prot", "1", "u"], {}, "(--help lists the options)"),
        (["u", "v"], {}, "(--help lists the options)"),
    ],
)
def test_a_mistake_says_where_it_was_made(
    arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    """One line and exit status 2; a value from the environment is easily forgotten, so the line names it."""
    done = CliRunner(env=environment).invoke(program, arguments)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert done.output.startswith("trioecho: ")
    assert sentence in done.output


def test_help_has_its_headings() -> None:
    """In the order of the options; what has none, such as --help itself, stands under the program's. Arguments are in
    the usage line, which is enough."""
    text = CliRunner().invoke(program, ["--help"]).output
    places = [text.index(part) for part in ("Listening:", "--port", "[default: 5000]", "The log:", "--level")]
    assert places == sorted(places)
    assert text.index("This program:") < text.index("--help")
    assert text.count("URL") == 1


def test_limits_of_addresses_are_numbers_by_name() -> None:
    """Those that are not named have their defaults; off switches one off, or all."""
    assert address_limits("on") == AddressLimits()
    assert address_limits("off") is None
    assert address_limits(
        "connections=20, handshakes-per-second=0.5,burst=7,in-progress=off"
    ) == AddressLimits(connections=20, handshakes_per_second=0.5, burst=7, in_progress=None)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            "yes",
            "'yes' does not fit: write on, off, or numbers such as connections=20,in-progress=10; there are",
        ),
        ("connections", "'connections' does not fit"),
        ("connections=-1", "'connections=-1' does not fit"),
        ("connections=1,connections=2", "'connections=2' does not fit"),
        ("handshakes=5", "'handshakes=5' does not fit"),
        ("in-progress=0", "in-progress takes a whole number of at least 1, or None; you gave 0"),
        ("connections=1.5", "connections takes a whole number of at least 1, or None; you gave 1.5"),
        ("burst=off", "burst takes a whole number of at least 1; you gave None"),
        ("handshakes-per-second=0", "handshakes-per-second takes a number above 0"),
        ("", "'' does not fit"),
    ],
)
def test_what_is_no_limit_of_addresses_is_told(value: str, sentence: str) -> None:
    """In the words of the command line."""
    assert refused(address_limits, value).startswith(sentence)
