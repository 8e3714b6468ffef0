"""AddressLimits: its defaults, and the sentence for each mistake."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

import trioecho
from trioecho import AddressLimits


def test_every_limit_is_documented_with_its_default() -> None:
    """In the docstring, as in the signature."""
    documentation = " ".join((inspect.getdoc(AddressLimits) or "").split())
    for each in dataclasses.fields(AddressLimits):
        assert f"`{each.name}` (default {each.default})" in documentation


def test_none_switches_a_limit_off() -> None:
    """Each but the burst, which is the other half of a rate."""
    limits = AddressLimits(connections=None, handshakes_per_second=None, in_progress=None)
    assert (limits.connections, limits.handshakes_per_second, limits.in_progress) == (None, None, None)
    assert AddressLimits(handshakes_per_second=0.1).handshakes_per_second == 0.1


@pytest.mark.parametrize(
    ("name", "value", "error", "sentence"),
    [
        ("connections", 0, ValueError, "connections takes a whole number of at least 1, or None; you gave 0"),
        (
            "connections",
            1.5,
            TypeError,
            "connections takes a whole number of at least 1, or None; you gave 1.5",
        ),
        (
            "in_progress",
            True,
            TypeError,
            "in_progress takes a whole number of at least 1, or None; you gave True",
        ),
        ("burst", None, TypeError, "burst takes a whole number of at least 1; you gave None"),
        ("burst", 0, ValueError, "burst takes a whole number of at least 1; you gave 0"),
        *(
            ("handshakes_per_second", wrong, error, None)
            for wrong, error in (
                (0, ValueError),
                (-1, ValueError),
                (float("nan"), ValueError),
                (10**400, ValueError),
                ("5", TypeError),
                (True, TypeError),
            )
        ),
    ],
)
def test_a_mistake_is_answered_with_what_would_be_right(
    name: str, value: Any, error: type[Exception], sentence: str | None
) -> None:
    """When the limits are made, in one sentence that names the limit."""
    with pytest.raises(error) as wrong:
        AddressLimits(**{name: value})
    rule = "handshakes_per_second takes a number above 0 and up to 1000000, or None; you gave"
    assert str(wrong.value) == sentence or str(wrong.value) == f"{rule} {value!r}"


@pytest.mark.parametrize("name", ["max_sockets", "limits_per_address", "trusted_proxies", "proxy_protocol"])
def test_what_is_decided_before_the_route_is_known_is_the_servers_own(name: str) -> None:
    """A route that is given it says so."""
    with pytest.raises(ValueError, match=f"{name} is the server's own option"):
        trioecho.WebSocketRoute(trioecho.echo, options={name: True})
