"""The PROXY protocol: both versions, however the network cuts them, and nothing behind them is taken."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trioecho._wire.proxy_protocol import (
    MAX_V2,
    SIGNATURE,
    ProxyProtocolError,
    Source,
    parse_v1,
    parse_v2,
    read_source,
    v2_sizes,
)

BEHIND = b"GET / HTTP/1.1\r\n"
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 41234, 80)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "::1")
    + struct.pack("!HH", 41234, 80)
)


def v2(block: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Both ends of one connection: the server's, and the proxy's."""
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(ours) as server, trio.SocketStream(theirs) as proxy:
        yield server, proxy


HEADERS: list[tuple[bytes, Source]] = [
    (b"PROXY TCP4 192.0.2.1 10.0.0.1 41234 80\r\n", ("192.0.2.1", 41234)),
    (b"PROXY TCP6 2001:db8::1 ::1 41234 80\r\n", ("2001:db8::1", 41234)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n", ("192.0.2.1", 0)),
    (b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2) + b" 65535 65535\r\n",
     ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 whatever it says 1 2\r\n", None),
    (v2(V4), ("192.0.2.1", 41234)),
    (v2(V6, family=0x21), ("2001:db8::1", 41234)),
    (v2(bytes(10) + b"\xff\xff" + V4[:4] + bytes(20), family=0x21), ("192.0.2.1", 0)),
    # TLVs are passed over, as many as fit.
    (v2(V4 + b"\x04\x00\x03abc"), ("192.0.2.1", 41234)),
    (v2(V4 + bytes(MAX_V2 - len(V4))), ("192.0.2.1", 41234)),
    # LOCAL: a health check of the proxy's own, whatever stands behind it.
    (v2(b"", command=0x20, family=0x00), None),
    (v2(b"abc", command=0x20, family=0xFF), None),
    # What has no address that we could use: Unix sockets, and what the proxy does not know.
    (v2(bytes(216), family=0x31), None),
    (v2(b"", family=0x00), None),
]  # fmt: skip


@pytest.mark.parametrize(("header", "source"), HEADERS)
async def test_a_header_tells_who_a_connection_is_from(header: bytes, source: Source) -> None:
    """And what is behind it stays unread, for it may be TLS."""
    async with pair() as (server, proxy):
        await proxy.send_all(header + BEHIND)
        assert await read_source(server) == source
        assert await server.receive_some() == BEHIND


@pytest.mark.parametrize(("header", "source"), [each for each in HEADERS if len(each[0]) < 200])
async def test_it_may_come_byte_by_byte(header: bytes, source: Source) -> None:
    """However the network cuts it."""
    async with pair() as (server, proxy), trio.open_nursery() as nursery:

        async def send() -> None:
            for byte in header:
                await proxy.send_all(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked()
            await proxy.send_all(BEHIND)

        nursery.start_soon(send)
        assert await read_source(server) == source
        assert await server.receive_some() == BEHIND


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "it begins with b'GET / HTTP/1', as neither version does"),
        (
            b"\x16\x03\x01\x02\x00\x01",
            "it begins with b'\\x16\\x03\\x01\\x02\\x00\\x01', as neither version does",
        ),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 41234\r\n", "version 1 is a line such as"),
        (b"PROXY TCP4 192.0.2.1  10.0.0.1 41234 80\r\n", "version 1 is a line such as"),
        (b"PROXY TCP4 2001:db8::1 ::1 41234 80\r\n", "version 1 is a line such as"),
        (b"PROXY TCP6 fe80::1%1 ::1 41234 80\r\n", "version 1 is a line such as"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 041234 80\r\n", "version 1 is a line such as"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 70000 80\r\n", "version 1 is a line such as"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 \xb2 80\r\n", "version 1 is a line such as"),
        (b"PROXY UDP4 192.0.2.1 10.0.0.1 41234 80\r\n", "version 1 is a line such as"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 41234 80\n" + bytes(80), "version 1 is a line of at most 107 bytes"),
        (b"PROXY UNKNOWN" + b"x" * 200, "version 1 is a line of at most 107 bytes that ends in CRLF"),
        (SIGNATURE + b"\x11\x11\x00\x0c" + V4, "the command LOCAL or PROXY, not the byte 0x11"),
        (SIGNATURE + b"\x22\x11\x00\x0c" + V4, "the command LOCAL or PROXY, not the byte 0x22"),
        (v2(V4, family=0x12), "only TCP over IPv4 or IPv6 and Unix streams are taken, not the family 0x12"),
        (v2(V4[:11]), "the addresses of its family take 12 bytes, and it has 11"),
        (v2(V4, family=0x21), "the addresses of its family take 36 bytes, and it has 12"),
        (
            SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAX_V2 + 1),
            "version 2 may have 16384 bytes behind its first 16",
        ),
    ],
)
async def test_what_is_no_header_is_told_in_one_sentence(header: bytes, sentence: str) -> None:
    """As soon as enough of it has come."""
    async with pair() as (server, proxy):
        await proxy.send_all(header)
        with pytest.raises(ProxyProtocolError) as wrong:
            await read_source(server)
        assert sentence in str(wrong.value)


@pytest.mark.parametrize("header", [each for each, _ in HEADERS if len(each) < 200])
async def test_one_that_breaks_off_is_no_header(header: bytes) -> None:
    """Wherever it does; a connection that ends before its first byte was none, as with health checks."""
    for size in range(0, len(header), 7):
        async with pair() as (server, proxy):
            await proxy.send_all(header[:size])
            await proxy.send_eof()
            with pytest.raises(
                ProxyProtocolError if size else trio.BrokenResourceError, match="connection ended"
            ):
                await read_source(server)


@given(
    st.binary(max_size=120) | st.text(st.sampled_from("PROXYTC46 UNKW:.1f\r\n"), max_size=110).map(str.encode)
)
def test_whatever_comes_as_version_1_is_an_address_or_an_error(line: bytes) -> None:
    """And no other exception."""
    for each in (line, b"PROXY " + line + b"\r\n", b"PROXY TCP6 " + line + b" ::1 1 2\r\n"):
        try:
            source = parse_v1(each)
        except ProxyProtocolError:
            continue
        assert source is None or ipaddress.ip_address(source[0])


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=36, max_size=36))
def test_whatever_comes_as_version_2_is_an_address_or_an_error(head: bytes, block: bytes) -> None:
    """And no other exception; no more is read than may be."""
    try:
        wanted, length = v2_sizes(SIGNATURE + head)
    except ProxyProtocolError:
        return
    assert wanted <= min(36, length) <= length <= MAX_V2
    source = parse_v2(block[:wanted])
    assert source is None or ipaddress.ip_address(source[0])
