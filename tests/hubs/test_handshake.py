"""The handshake of the hub protocol: what is agreed on, and what is not."""

from __future__ import annotations

import pytest

from trioecho.hubs.handshake import parse_handshake, refusal
from trioecho.hubs.messages import BadMessage

BOTH = ("json", "messagepack")


def test_what_is_agreed_on_and_what_came_behind_it() -> None:
    handshake = parse_handshake(b'{"protocol":"messagepack","version":2,"more":1}\x1e\x02\x91\x06', BOTH)
    assert handshake is not None
    assert (handshake.protocol.name, handshake.version, handshake.rest) == ("messagepack", 2, b"\x02\x91\x06")


def test_one_that_is_not_whole_is_waited_for() -> None:
    assert parse_handshake(b'{"protocol":"json","ver', BOTH) is None


@pytest.mark.parametrize(
    ("received", "error"),
    [
        (b'{"protocol":"messagepack","version":1}\x1e', "The protocol 'messagepack' is not supported."),
        (b'{"protocol":"json","version":9}\x1e', "does not support version 9 of the 'json' protocol"),
        (b'{"protocol":"json"}\x1e', "no handshake"),
        (b'{"type":1}\x1e', "no handshake"),
        (b"\xff\x1e", "no handshake"),
        (b'{"more":' + b"[" * 4000 + b"\x1e", "no handshake"),
        (b"x" * 4097, "4096 bytes"),
    ],
)
def test_what_will_not_do_is_told(received: bytes, error: str) -> None:
    with pytest.raises(BadMessage, match=error):
        parse_handshake(received, ("json",))


def test_a_refusal_is_no_message() -> None:
    assert refusal('no "way"') == b'{"error":"no \\"way\\""}\x1e'
