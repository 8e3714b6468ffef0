"""`ConnectionOptions`: what will do, and one sentence for what will not."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from trioecho import WebSocketOptions
from trioecho.hubs import ConnectionOptions


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (
            {"transports": "websockets"},
            TypeError,
            """takes a list such as ["websockets"]; you gave 'websockets'""",
        ),
        ({"transports": {"websockets"}}, TypeError, "transports takes a list"),
        ({"transports": []}, ValueError, "transports is empty"),
        ({"transports": ["carrier-pigeon"]}, ValueError, "you gave 'carrier-pigeon'"),
        ({"transports": ["long-polling"] * 2}, ValueError, "'long-polling' is listed twice"),
        ({"poll_timeout": "90"}, TypeError, "poll_timeout takes seconds as a number; you gave '90'"),
        ({"send_timeout": True}, TypeError, "send_timeout takes seconds"),
        ({"disconnect_timeout": math.inf}, ValueError, "disconnect_timeout must be a finite number"),
        ({"negotiation_timeout": 0}, ValueError, "more than 0; you gave 0"),
        ({"close_timeout": -1}, ValueError, "more than 0; you gave -1"),
        ({"max_connections": 0}, ValueError, "max_connections must be at least 1"),
        ({"max_message_size": 1.5}, TypeError, "max_message_size takes a whole number of bytes"),
        ({"max_buffered": 0}, ValueError, "max_buffered must be at least 1 (bytes)"),
        ({"allowed_origins": "https://a.com"}, TypeError, "write ['https://a.com']"),
        ({"allowed_origins": ["*"]}, ValueError, "credentials are for listed origins only"),
        ({"allowed_headers": "x-a"}, TypeError, "write ['x-a']"),
        ({"allowed_origins": ["https://a.com"], "allowed_headers": ["x a"]}, ValueError, "'x a'"),
        ({"websocket": 30}, TypeError, "websocket takes a mapping such as"),
        ({"stateful": 1}, TypeError, "stateful takes True or False; you gave 1"),
        ({"secret": "s" * 32}, TypeError, "secret takes bytes, or None; you gave str"),
        ({"secret": b"short"}, ValueError, "at least 16 random bytes; you gave 5"),
    ],
)
def test_what_will_not_do_is_told_in_one_sentence(
    given: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=re.escape(sentence)) as raised:
        ConnectionOptions(**given)
    assert "\n" not in str(raised.value)


def test_a_secret_is_not_shown() -> None:
    """Options are printed and logged."""
    assert "sesame" not in repr(ConnectionOptions(secret=b"open sesame, please"))


def test_the_websockets_have_the_limits_of_the_route() -> None:
    """What is given for them alone goes before; a whole WebSocketOptions is taken as it is."""
    options = ConnectionOptions(
        max_message_size=5, allowed_origins=["https://a.com"], websocket={"send_timeout": 3}
    )
    assert options.websocket_overrides() == {
        "max_message_size": 5,
        "send_timeout": 3,
        "close_timeout": 5.0,
        "allowed_origins": ("https://a.com",),
    }
    whole = WebSocketOptions(keep_alive_interval=7)
    assert ConnectionOptions(websocket=whole).websocket_overrides() is whole


def test_pages_of_other_origins_need_to_be_listed() -> None:
    assert ConnectionOptions().cors() is None
    assert ConnectionOptions(allowed_origins=["https://a.com"]).cors() is not None
