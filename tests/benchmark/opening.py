"""Opening connections to a contender: TCP, TLS, the WebSocket handshake."""

import itertools
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from prebuilt import handshake_pool

HOST = "127.0.0.1"

#: Seconds that one connection may take to open or to close before the run is called off.
PATIENCE = 60.0

#: Linux: choose the source port at connect, when the kernel knows that only the whole pair of addresses must be unique.
IP_BIND_ADDRESS_NO_PORT = 24

#: Each address brings its own 28,000 or so ports, so that many connections, and those still in TIME_WAIT, find room.
SOURCES = tuple(f"127.0.0.{n}" for n in range(2, 18))


class ContenderError(Exception):
    """The contender answered wrongly, hung up, or took too long; the message says what was seen."""


class Opener:
    """Opens connections to the contender on `port`, one after the other.

    `protocol` is `ws` or `tcp` (no handshake); `authority` is the PEM file of the CA to trust, which means TLS;
    `extension` is what to offer, and has to be agreed on; `greet` is called with each behind its handshake. The
    connections come from the addresses of `sources` in turn,
    and each may take `patience` seconds.
    """

    def __init__(
        self,
        port: int,
        *,
        protocol: str,
        authority: str | None = None,
        extension: str = "",
        greet: Callable[[socket.socket], None] | None = None,
        sources: Sequence[str] = SOURCES,
        patience: float = PATIENCE,
    ) -> None:
        self._port = port
        self._extension = extension.partition(";")[0].encode()
        self._handshakes = itertools.cycle(handshake_pool(port, extension)) if protocol == "ws" else None
        self._tls = ssl.create_default_context(cafile=authority) if authority else None
        self._sources: Iterator[str] = itertools.cycle(sources)
        self._greet = greet
        self._patience = patience

    def open(self) -> socket.socket:
        """One open connection, blocking with `patience` as its timeout.

        Raises ContenderError if the handshake is refused or wrong, OSError if the connection cannot be made.
        """
        connection = socket.socket()
        try:
            connection.settimeout(self._patience)
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((next(self._sources), 0))
            connection.connect((HOST, self._port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=HOST)
            if self._handshakes is not None:
                shake_hands(connection, *next(self._handshakes), self._extension)
            if self._greet is not None:
                self._greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def shake_hands(connection: socket.socket, request: bytes, accept: bytes, extension: bytes) -> None:
    """Send `request` and read the answer: a 101 with `accept` and `extension` in it, and nothing behind it."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.recv(4096)
        if not received:
            raise ContenderError(f"hung up during the handshake after {answer!r}")
        answer += received
    if not answer.startswith(b"HTTP/1.1 101 ") or accept not in answer or not answer.endswith(b"\r\n\r\n"):
        raise ContenderError(f"wrong handshake: {answer!r}")
    if extension not in answer:
        raise ContenderError(f"did not agree on {extension.decode()}: {answer!r}")


def say_goodbye(connection: socket.socket, close_frame: bytes) -> None:
    """Close in good order: our Close, their Close, their FIN (RFC 6455, section 7.1.1: the server closes TCP first)."""
    with closing(connection):
        connection.sendall(close_frame)
        answer = b""
        while received := connection.recv(4096):
            answer += received
        if answer[:1] != b"\x88":
            raise ContenderError(f"a Close was answered by {answer!r}")
