"""The PROXY protocol, versions 1 and 2: who a connection is really from, told by a proxy before anything else.

HAProxy's specification (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). A proxy that carries TCP, and
knows nothing of HTTP or TLS, says it once, in front of the first byte: a line of text in version 1, a block of bytes
in version 2. Both sides have to be told to expect it, and it is read from trusted proxies only: clients could say it,
too.

Nothing behind the header is read: it may be TLS.
"""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

import trio

MAX_V1: Final = 107
"""Bytes of the longest line of version 1, its end included (§2.1)."""

MAX_V2: Final = 16_384
"""Bytes of a header of version 2 behind its first 16. The addresses take 36, a client's certificate that a proxy adds
some thousand: it is as much as the head of a request may have."""

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"

Source: TypeAlias = tuple[str, int] | None
"""The address and port of the real client; None where the proxy speaks for itself (LOCAL), or does not know one."""

_LEAST: Final = 15
"""Bytes of the shortest header, ``PROXY UNKNOWN`` and the line's end: so many may be read of any."""
_V1_START: Final = b"PROXY "
_PORT = re.compile("0|[1-9][0-9]{0,4}")


class ProxyProtocolError(Exception):
    """What a proxy has sent is no header of the PROXY protocol. Its text is one sentence."""


async def read_source(stream: trio.SocketStream) -> Source:
    """Read the header off the front of a connection, and nothing behind it.

    Raises `ProxyProtocolError` for what is none, at the first byte that tells, and `trio.BrokenResourceError` when the
    peer has reset the connection. A checkpoint. Cancelled: some bytes may have been read, so close the connection.
    """
    received = b""
    while len(received) < _LEAST:
        received += await _receive(stream, _LEAST - len(received), received)
        if not (_begins(received, _V1_START) or _begins(received, SIGNATURE)):
            raise ProxyProtocolError(
                f"it begins with {received[: len(SIGNATURE)]!r}, as neither version does"
            )
    if received.startswith(_V1_START):
        return parse_v1(await _read_line(stream, received))
    while len(received) < 16:
        received += await _receive(stream, 16 - len(received), received)
    wanted, length = v2_sizes(received)
    block = b""
    while len(block) < wanted:
        block += await _receive(stream, wanted - len(block), received)
    left = length - wanted
    while left > 0:
        left -= len(await _receive(stream, left, received))
    return parse_v2(block)


def parse_v1(line: bytes) -> Source:
    """Parse a whole line of version 1, its end included. Raises `ProxyProtocolError`."""
    words = line.removesuffix(b"\r\n").decode("latin-1").split(" ")
    if len(line) > MAX_V1 or not line.endswith(b"\r\n") or words[0] != "PROXY":
        raise ProxyProtocolError(f"version 1 is a line of at most {MAX_V1} bytes that ends in CRLF")
    if words[1:2] == ["UNKNOWN"]:
        # §2.1: "the receiver must ignore anything presented before the CRLF".
        return None
    try:
        if len(words) != 6 or not all(_PORT.fullmatch(port) and int(port) < 65536 for port in words[4:]):
            raise ValueError
        kinds: dict[str, type[IPv4Address] | type[IPv6Address]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}
        kind = kinds[words[1]]
        if "%" in line.decode("latin-1"):
            raise ValueError
        source, _ = kind(words[2]), kind(words[3])
    except (KeyError, ValueError):
        raise ProxyProtocolError(
            f"version 1 is a line such as 'PROXY TCP4 192.0.2.1 192.0.2.2 41234 80', not {line!r}"
        ) from None
    return _spelled(source), int(words[4])


def v2_sizes(first: bytes) -> tuple[int, int]:
    """Of the first 16 bytes of version 2: how many bytes of what follows are looked at, and how many follow.

    What stands behind the addresses, the TLVs, is passed over. Raises `ProxyProtocolError`.
    """
    version_and_command, family, length = struct.unpack_from("!BBH", first, 12)
    if version_and_command not in (0x20, 0x21):
        raise ProxyProtocolError(
            f"version 2 has the command LOCAL or PROXY, not the byte {version_and_command:#04x}"
        )
    if length > MAX_V2:
        raise ProxyProtocolError(f"version 2 may have {MAX_V2} bytes behind its first 16, not {length}")
    # LOCAL: §2.2, "the receiver must accept this connection as valid and must use the real connection endpoints".
    needed = {0x11: 12, 0x21: 36}.get(family, 0) if version_and_command == 0x21 else 0
    if version_and_command == 0x21 and family not in (0x00, 0x11, 0x21, 0x31):
        raise ProxyProtocolError(
            f"only TCP over IPv4 or IPv6 and Unix streams are taken, not the family {family:#04x}"
        )
    if length < needed:
        raise ProxyProtocolError(f"the addresses of its family take {needed} bytes, and it has {length}")
    return needed, length


def parse_v2(block: bytes) -> Source:
    """Parse the addresses of version 2: as many bytes behind the first 16 as `v2_sizes` wants."""
    if len(block) == 12:
        source, _, port, _ = struct.unpack("!4s4sHH", block)
        return str(IPv4Address(source)), port
    if len(block) == 36:
        source, _, port, _ = struct.unpack("!16s16sHH", block)
        return _spelled(IPv6Address(source)), port
    return None


async def _read_line(stream: trio.SocketStream, received: bytes) -> bytes:
    """The whole of a line that has begun. The kernel is asked what comes before it is taken: TLS may stand behind."""
    while not received.endswith(b"\n") and len(received) < MAX_V1:
        coming = await _receive(stream, MAX_V1 - len(received), received, socket.MSG_PEEK)
        received += await _receive(stream, coming.find(b"\n") + 1 or len(coming), received)
    return received


async def _receive(stream: trio.SocketStream, size: int, before: bytes, flags: int = 0) -> bytes:
    try:
        data = await stream.socket.recv(size, flags)
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error
    if not data and not before:
        raise trio.BrokenResourceError("the connection ended before it was said who it is from")
    if not data:
        raise ProxyProtocolError(f"the connection ended after {len(before)} bytes of it")
    return data


def _spelled(address: IPv4Address | IPv6Address) -> str:
    """In one spelling: one of IPv4 within IPv6 is the former."""
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)


def _begins(received: bytes, start: bytes) -> bool:
    """Whether what was received can begin so, as far as it has come."""
    size = min(len(received), len(start))
    return received[:size] == start[:size]
