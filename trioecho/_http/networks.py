"""Networks: whose word about other addresses is believed, and which addresses are one client.

A proxy tells who its client is, and so can anybody: what it says counts only where it comes from an address that was
listed. Networks are written as in every firewall, ``10.0.0.0/8``; one address is a network of its own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

UNIX = "unix"
"""Stands among the networks for every peer of a Unix socket: who may connect there, its file's permissions say."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that tell its subscriber. A provider gives each at least so much (RFC 6177), and all that
follows is one device's choice, changed at will (RFC 8981)."""

_SHAPE = "a network is written as '10.0.0.0/8', '2001:db8::/32' or '127.0.0.1', and 'unix' is who comes by Unix socket"
_PORT = re.compile(r"(?P<host>[0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of addresses; `unix` is whether the peers of Unix sockets belong to it. ``address in networks`` asks."""

    parts: tuple[_Network, ...] = ()
    unix: bool = False

    @classmethod
    def of(cls, texts: Iterable[str]) -> Networks:
        """Parse what was configured. Raises ValueError with one sentence for what is no network."""
        parts: list[_Network] = []
        unix = False
        for text in texts:
            if text == UNIX:
                unix = True
                continue
            try:
                parts.append(_unmapped(ipaddress.ip_network(text)))
            except ValueError:
                raise ValueError(_lesson(text)) from None
        return cls(tuple(parts), unix)

    def __bool__(self) -> bool:
        return self.unix or bool(self.parts)

    def __contains__(self, address: str) -> bool:
        """Whether an address, as a socket or a header names it, is of these; what is no address is not."""
        if not self.parts:
            return False
        parsed = address_of(address)
        return parsed is not None and any(parsed in part for part in self.parts)


def address_of(text: str) -> _Address | None:
    """Return the address that a text is, or None. One of IPv4 within IPv6, ``::ffff:192.0.2.1``, is the former."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed


def subscriber(address: str) -> str:
    """Return what an address is counted under: itself, in one spelling; of IPv6, its network of 64 bits."""
    if ":" not in address:
        return address
    parsed = address_of(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        bits = int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)
        return f"{ipaddress.IPv6Address(bits)}/{IPV6_PREFIX}"
    return address if parsed is None else str(parsed)


def _unmapped(network: _Network) -> _Network:
    """The network of IPv4 that one within ``::ffff:0:0/96`` is: such addresses are looked at as IPv4, too."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _lesson(text: str) -> str:
    """One sentence that says what is wrong with a configured network, and how to write it."""
    stripped = text.strip()
    if "," in text:
        each = ", ".join(repr(part.strip()) for part in text.split(",") if part.strip())
        return f"{text!r} is not a network but a list in one string: write {each}"
    if stripped in ("*", "all", "any"):
        return (
            f"{text!r} would believe everybody: write '0.0.0.0/0' and '::/0' if only proxies can connect here"
        )
    if stripped.lower() == "localhost":
        return f"{text!r} is a name, and networks are numbers: write '127.0.0.1' and '::1'"
    with_port = _PORT.fullmatch(stripped)
    host = (stripped if with_port is None else with_port["host"]).replace("[", "").replace("]", "")
    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        if stripped.lower().partition(":")[0] == UNIX:
            return f"{text!r} is not a network: peers of Unix sockets are written {UNIX!r}"
        return f"{text!r} is not a network: {_SHAPE}"
    if with_port is not None:
        fault = "has a port, but every port of an address counts"
    elif host != text:
        fault = "has white space or brackets"
    else:
        fault = "is an address within a network"
    alone = network.prefixlen == network.max_prefixlen
    return f"{text!r} {fault}: write {str(network.network_address) if alone else str(network)!r}"
