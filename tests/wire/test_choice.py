"""Which wire carries a connection: the poller's where it can, else that of any stream."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from serving import certificates

from trioecho._wire.choice import wire_of
from trioecho._wire.poller import Poller
from trioecho._wire.socket import SocketWire
from trioecho._wire.stream import StreamWire
from trioecho._wire.tls import TlsStream, TlsWire


@contextlib.contextmanager
def tcp_stream() -> Iterator[trio.SocketStream]:
    """One end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as one, listener.accept()[0] as other:
            yield trio.SocketStream(trio.socket.from_stdlib_socket(one))
            del other


@pytest.fixture
def poller() -> Iterator[Poller]:
    if not Poller.available:
        pytest.skip("this platform has no epoll")
    poller = Poller()
    yield poller
    poller.close()


async def test_sockets_are_the_pollers(poller: Poller) -> None:
    """Plain, and under the TLS that is made for it."""
    with tcp_stream() as tcp:
        plain = wire_of(tcp, "a peer", poller)
        encrypted = wire_of(TlsStream(tcp, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), "a peer", poller)
        assert (type(plain), type(encrypted)) == (SocketWire, TlsWire)
        assert plain.batch is encrypted.batch is poller
        assert plain.peer == encrypted.peer == "a peer"


async def test_what_has_no_socket_is_a_stream_of_trios(poller: Poller) -> None:
    """Memory in a test, and TLS of Trio's own, whose socket the poller must not read."""
    memory, _ = trio.testing.memory_stream_pair()
    with tcp_stream() as tcp:
        trios = trio.SSLStream(tcp, certificates()[0], server_side=True)
        for stream in (memory, trios):
            wire = wire_of(stream, "a peer", poller)
            assert type(wire) is StreamWire
            assert wire.peer == "a peer"


async def test_without_a_poller_everything_is_a_stream_of_trios() -> None:
    """As on macOS and Windows."""
    with tcp_stream() as tcp:
        assert type(wire_of(tcp, "a peer", None)) is StreamWire
