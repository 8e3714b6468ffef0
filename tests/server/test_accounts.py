"""Accounts: what an address may hold, how often it may ask, and that nobody is remembered for ever."""

from __future__ import annotations

import pytest

from trioecho import AddressLimits
from trioecho._server.accounts import MOST_BUCKETS, Accounts, OverLimit


def test_an_address_holds_no_more_than_its_connections() -> None:
    """One more is a 429; what is given back can be taken again; another address has its own."""
    accounts = Accounts(AddressLimits(connections=2))
    held = [accounts.hold("192.0.2.1") for _ in range(2)]
    with pytest.raises(OverLimit) as over:
        accounts.hold("192.0.2.1")
    assert (over.value.status, over.value.kind, over.value.headers) == (
        429,
        "connections",
        (("Retry-After", "5"),),
    )
    assert (
        over.value.sentence == "All 2 connections of an address are taken by yours; try again in 5 seconds."
    )
    accounts.hold("192.0.2.2")
    accounts.release(held[0])
    accounts.hold("192.0.2.1")


def test_a_network_of_64_bits_is_one_address() -> None:
    """Of IPv6: whoever has one has 2 to the 64."""
    accounts = Accounts(AddressLimits(connections=1))
    accounts.hold("2001:db8::1")
    with pytest.raises(OverLimit, match=r"^The one connection of an address is taken by yours"):
        accounts.hold("2001:db8::2")
    accounts.hold("2001:db8:0:1::1")


def test_handshakes_come_in_a_burst_and_then_at_their_rate() -> None:
    """A token bucket; Retry-After tells when there will be a token."""
    accounts = Accounts(AddressLimits(handshakes_per_second=0.5, burst=3))
    for _ in range(3):
        accounts.handshake("192.0.2.1", 100.0)
    for now, wait in ((100.0, "2"), (101.5, "1")):
        with pytest.raises(OverLimit) as over:
            accounts.handshake("192.0.2.1", now)
        assert (over.value.status, over.value.kind) == (429, "handshakes_per_second")
        assert over.value.headers == (("Retry-After", wait),)
    accounts.handshake("192.0.2.2", 101.5)
    accounts.handshake("192.0.2.1", 102.0)
    for _ in range(3):
        accounts.handshake("192.0.2.1", 1000.0)
    with pytest.raises(OverLimit):
        accounts.handshake("192.0.2.1", 1000.0)


def test_the_wait_has_a_bound_however_slow_the_rate() -> None:
    """An hour."""
    accounts = Accounts(AddressLimits(handshakes_per_second=1e-300, burst=1))
    accounts.handshake("192.0.2.1", 0.0)
    with pytest.raises(OverLimit, match="try again in 3600 seconds"):
        accounts.handshake("192.0.2.1", 0.0)


def test_nobody_is_remembered_for_ever() -> None:
    """Who holds nothing and has a full bucket is forgotten, two for each that comes."""
    accounts = Accounts(AddressLimits(handshakes_per_second=1, burst=1))
    for number in range(1000):
        accounts.handshake(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(accounts) == 1000
    for number in range(600):
        accounts.handshake(f"11.0.{number // 256}.{number % 256}", 10.0)
    assert len(accounts) == 600
    held = [accounts.hold(f"12.0.0.{number}") for number in range(100)]
    for key in held:
        accounts.release(key)
    assert len(accounts) == 600


def test_memory_is_bounded_whoever_comes() -> None:
    """Who asked longest ago is forgotten first, although its bucket is not full."""
    accounts = Accounts(AddressLimits(handshakes_per_second=1e-6, burst=1))
    for number in range(MOST_BUCKETS + 500):
        accounts.handshake(f"2001:db8:{number // 65536:x}:{number % 65536:x}::1", 0.0)
    assert len(accounts) <= MOST_BUCKETS
    with pytest.raises(OverLimit):
        accounts.handshake(f"2001:db8:0:{MOST_BUCKETS:x}::1", 1.0)


def test_without_limits_nothing_is_counted() -> None:
    """Nor for what has no address, nor for a limit that is off."""
    for accounts, address in (
        (Accounts(None), "192.0.2.1"),
        (Accounts(AddressLimits(connections=1, burst=1)), None),
    ):
        for _ in range(3):
            accounts.handshake(address, 0.0)
            assert accounts.hold(address) is None
        assert len(accounts) == 0
    accounts = Accounts(AddressLimits(connections=None, handshakes_per_second=None))
    for _ in range(1000):
        accounts.handshake("192.0.2.1", 0.0)
        accounts.release(accounts.hold("192.0.2.1"))
    assert len(accounts) == 0
