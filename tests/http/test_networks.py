"""Networks: what belongs to them, how a wrong one is answered, and which addresses are one subscriber."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.networks import Networks, address_of, subscriber

SHAPE = "a network is written as '10.0.0.0/8', '2001:db8::/32' or '127.0.0.1', and 'unix' is who comes by Unix socket"


def test_an_address_belongs_to_the_networks_that_cover_it() -> None:
    """In any spelling, one of IPv4 within IPv6 as that of IPv4."""
    networks = Networks.of(["10.0.0.0/8", "127.0.0.1", "2001:db8::/32", "::ffff:192.0.2.0/120"])
    for inside in (
        "10.255.0.1",
        "127.0.0.1",
        "::ffff:10.0.0.1",
        "2001:DB8:0::1",
        "192.0.2.7",
        "::ffff:192.0.2.7",
    ):
        assert inside in networks
    for outside in ("11.0.0.1", "127.0.0.2", "2001:db9::1", "::1", "", "localhost", "10.0.0.1:80", "unix"):
        assert outside not in networks
    assert networks
    assert not networks.unix


def test_unix_is_who_comes_by_unix_socket() -> None:
    """And no address; nothing at all is nobody."""
    assert Networks.of(["unix"]).unix
    assert Networks.of(["unix"])
    assert "127.0.0.1" not in Networks.of(["unix"])
    assert not Networks()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' is an address within a network: write '10.0.0.0/8'"),
        ("::1/64", "'::1/64' is an address within a network: write '::/64'"),
        (" 10.0.0.0/8", "' 10.0.0.0/8' has white space or brackets: write '10.0.0.0/8'"),
        ("[::1]", "'[::1]' has white space or brackets: write '::1'"),
        ("[::1]/64", "'[::1]/64' has white space or brackets: write '::/64'"),
        ("127.0.0.1:80", "'127.0.0.1:80' has a port, but every port of an address counts: write '127.0.0.1'"),
        ("[::1]:80", "'[::1]:80' has a port, but every port of an address counts: write '::1'"),
        (
            "10.0.0.1, ::1",
            "'10.0.0.1, ::1' is not a network but a list in one string: write '10.0.0.1', '::1'",
        ),
        ("*", "'*' would believe everybody: write '0.0.0.0/0' and '::/0' if only proxies can connect here"),
        ("localhost", "'localhost' is a name, and networks are numbers: write '127.0.0.1' and '::1'"),
        ("unix:/run/s", "'unix:/run/s' is not a network: peers of Unix sockets are written 'unix'"),
        ("proxy.lan", f"'proxy.lan' is not a network: {SHAPE}"),
        ("", f"'' is not a network: {SHAPE}"),
        ("10.0.0.0/33", f"'10.0.0.0/33' is not a network: {SHAPE}"),
    ],
)
def test_what_is_no_network_is_answered_with_what_would_be(text: str, sentence: str) -> None:
    """In one sentence."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Networks.of([text])


@given(st.text(max_size=60))
def test_whatever_is_configured_or_received_is_a_network_or_a_sentence(text: str) -> None:
    """No other exception comes out."""
    try:
        Networks.of([text])
    except ValueError:
        pass
    if text not in Networks.of(["0.0.0.0/0", "::/0"]):
        assert subscriber(text) == text


@given(st.ip_addresses())
def test_an_address_is_found_in_each_of_its_networks(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """However wide they are."""
    for length in (0, 8, 24, 32):
        assert str(address) in Networks.of([str(ipaddress.ip_network((address, length), strict=False))]) or (
            isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped
        )
    assert address_of(str(address)) in (address, getattr(address, "ipv4_mapped", None))


def test_a_subscriber_of_ipv6_has_64_bits() -> None:
    """Whatever its device makes of the rest; of IPv4 it is the address, also within IPv6."""
    assert subscriber("2001:db8:1:2:3::4") == subscriber("2001:DB8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert subscriber("2001:db8:1:3::4") != subscriber("2001:db8:1:2::4")
    assert subscriber("fe80::1%eth0") == "fe80::/64"
    assert subscriber("192.0.2.1") == subscriber("::ffff:192.0.2.1") == "192.0.2.1"
