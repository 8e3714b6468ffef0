"""At which addresses, and by which URLs, a listening TCP socket can be reached."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


def addresses(host: str) -> tuple[str, ...]:
    """The addresses at which a listener on `host`, an address, can be reached: itself, if it is no wildcard.

    For ``0.0.0.0`` and ``::`` those of this machine's interfaces, the loopback first; IPv6 without the
    link-local ones, which cannot stand in a URL. Only the loopback where the system does not tell.
    """
    if host == "0.0.0.0":
        return tuple(dict.fromkeys(("127.0.0.1", *_quietly(_ipv4_addresses))))
    if host == "::":
        return tuple(dict.fromkeys(("::1", *_quietly(_ipv6_addresses))))
    return (host,)


def _quietly(interfaces: Callable[[], Iterator[str]]) -> list[str]:
    try:
        return list(interfaces())
    except (OSError, ValueError):
        return []


def _ipv4_addresses() -> Iterator[str]:
    """The first IPv4 address of each interface (ioctl SIOCGIFADDR); elsewhere than on Linux the outward one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if sys.platform != "linux":
            # A datagram socket is only told its destination by this; nothing is sent.
            probe.connect(("192.0.2.1", 9))
            yield probe.getsockname()[0]
            return
        import fcntl

        for _, name in socket.if_nameindex():
            request = struct.pack("256s", os.fsencode(name)[:15])
            try:
                answer = fcntl.ioctl(probe, 0x8915, request)
            except OSError:
                continue  # an interface without an IPv4 address
            yield socket.inet_ntoa(answer[20:24])


def _ipv6_addresses() -> Iterator[str]:
    """The IPv6 addresses of all interfaces as Linux lists them; elsewhere the outward one."""
    if sys.platform != "linux":
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 9))
            yield probe.getsockname()[0]
        return
    for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
        address = ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))
        if not address.is_link_local:
            yield str(address)


def authority(host: str, port: int) -> str:
    """Address and port as they stand in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def urls(places: Iterable[tuple[str, int]], scheme: str) -> tuple[str, ...]:
    """The URL of every address at which sockets bound to `places` can be reached, in their order, each once."""
    found = {
        f"{scheme}://{authority(address, port)}": None for host, port in places for address in addresses(host)
    }
    return tuple(found)
