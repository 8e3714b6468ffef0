"""What a client asks for, before it is sent: URLs taken apart, header fields that a handshake can have."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.hosts import is_authority
from trioecho.client.address import Address, HandshakeRequest, handshake_request, parse_url


@pytest.mark.parametrize(
    ("url", "address", "host_field"),
    [
        ("ws://127.0.0.1:5000/ws", Address(False, "127.0.0.1", 5000, "/ws"), "127.0.0.1:5000"),
        ("ws://example.com", Address(False, "example.com", 80, "/"), "example.com"),
        ("wss://example.com/", Address(True, "example.com", 443, "/"), "example.com"),
        ("ws://example.com:443/", Address(False, "example.com", 443, "/"), "example.com:443"),
        ("wss://example.com:443/", Address(True, "example.com", 443, "/"), "example.com"),
        ("WS://Example.COM/Ws", Address(False, "example.com", 80, "/Ws"), "example.com"),
        ("ws://a:/x?y=1&z=%20", Address(False, "a", 80, "/x?y=1&z=%20"), "a"),
        ("ws://a?y", Address(False, "a", 80, "/?y"), "a"),
        ("ws://bücher.example/", Address(False, "xn--bcher-kva.example", 80, "/"), "xn--bcher-kva.example"),
        ("ws://[::1]:5000/ws", Address(False, "::1", 5000, "/ws"), "[::1]:5000"),
        ("ws://[fe80::1%eth0]/", Address(False, "fe80::1%eth0", 80, "/"), "[fe80::1]"),
    ],
)
def test_a_url_is_taken_apart(url: str, address: Address, host_field: str) -> None:
    """Host and port to connect to, what Host says, and what is asked for."""
    assert parse_url(url) == address
    assert address.host_field == host_field


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://host/ws", "it begins with ws:// or wss://"),
        ("127.0.0.1:5000/ws", "it begins with ws:// or wss://"),
        ("", "it begins with ws:// or wss://"),
        ("ws:///ws", "names no host; write one such as ws://127.0.0.1:5000/ws"),
        ("ws://host:http/ws", "is no URL"),
        ("ws://host:70000/ws", "is no URL"),
        ("ws://[::1/ws", "is no URL"),
        ("ws://host:0/ws", "a server listens on one from 1 to 65535"),
        ("ws://me:secret@host/ws", "send an Authorization header"),
        ("ws://host/ws#part", "ends before the #"),
        ("ws://host/a b", "contains ' '; percent-encode it"),
        ("ws://host/ä", "contains 'ä'; percent-encode it"),
        ("ws://host/a\r\nX: y", "percent-encode it"),
        (f"ws://{'x' * 64}/ws", "is no name of a host"),
        ("ws://a..b/", "is no name of a host; write one such as example.com or [::1]"),
        ("ws://a<b/", "'a<b' is no name of a host"),
        ("ws://a\x7f/", "is no name of a host"),
    ],
)
def test_a_bad_url_is_a_value_error_that_says_what_would_be_right(url: str, sentence: str) -> None:
    """In one sentence, without the password in it."""
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        parse_url(url)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.text(st.characters(max_codepoint=0x17F), max_size=12))
def test_what_passes_can_stand_in_a_request(rest: str) -> None:
    """Whatever is behind ws://, nothing breaks the request line or the Host header; the rest is a ValueError."""
    with contextlib.suppress(ValueError):
        address = parse_url(f"ws://{rest}")
        assert re.fullmatch(r"/[!-~]*", address.target)
        assert is_authority(address.host_field)
        assert 1 <= address.port <= 65_535


def request(**changes: Any) -> HandshakeRequest:
    arguments = {"headers": (), "origin": None, "subprotocols": ()}
    return handshake_request(Address(False, "a", 5000, "/ws"), **{**arguments, **changes})


def test_a_request_has_what_it_was_told() -> None:
    """As bytes, in order, doubles included, and the Origin behind them."""
    assert request() == HandshakeRequest("a:5000", "/ws", (), ())
    asked = request(
        headers=[("X-A", " 1\t"), ("X-A", "Zoë")], origin="https://client.com", subprotocols=["v2", "v1"]
    )
    assert asked.subprotocols == ("v2", "v1")
    assert asked.fields == (
        (b"X-A", b"1"),
        (b"X-A", b"Zo\xeb"),
        (b"Origin", b"https://client.com"),
    )
    assert request(headers={"X-A": "1"}).fields == ((b"X-A", b"1"),)


def test_another_host_may_be_named() -> None:
    """For a Unix socket, or to reach one of several behind one address; it is said once."""
    asked = request(headers={"hOST": "other.example"})
    assert (asked.host_field, asked.fields) == ("other.example", ())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"headers": {"X Y": "z"}}, "'X Y' is no name of a header field; write one such as 'Authorization'"),
        ({"headers": {"": "z"}}, "'' is no name of a header field"),
        ({"headers": {"X": "a\r\nY: b"}}, "no line breaks"),
        ({"headers": {"Host": "a\nb"}}, "no line breaks"),
        ({"headers": {"X": "€"}}, "only Latin-1"),
        ({"headers": {"Upgrade": "x"}}, "the handshake itself writes Upgrade"),
        ({"headers": {"sec-websocket-protocol": "x"}}, "subprotocols have their own option"),
        ({"origin": "a\nb"}, "is no origin"),
        ({"subprotocols": "chat"}, "a list of names, such as ['chat']"),
        ({"subprotocols": ["a b"]}, "is no name of a subprotocol"),
        ({"subprotocols": ["a", "a"]}, "offered once each; received a, a"),
    ],
)
def test_what_cannot_be_sent_is_a_value_error(options: dict[str, Any], sentence: str) -> None:
    """In one sentence that says what would be right."""
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        request(**options)
    assert "\n" not in str(refused.value)
