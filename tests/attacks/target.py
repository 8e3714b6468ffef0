"""What an attack is told of its victim, and what it has to say of itself when it is over."""

import itertools
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from opening import HOST, IP_BIND_ADDRESS_NO_PORT

#: SO_LINGER for zero seconds: closing sends a reset.
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"


class AttackError(Exception):
    """An attack could not be made or measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server on `port`, and how to attack it: from `addresses`, with `connections`, for `seconds`.

    `authority` is the PEM file of the CA that its certificate is from.
    """

    port: int
    connections: int
    seconds: float
    addresses: tuple[str, ...]
    authority: str

    def sources(self) -> Iterator[str]:
        """The addresses, in turn, for ever."""
        return itertools.cycle(self.addresses)

    def clock(self) -> "Clock":
        """A clock that begins now."""
        return Clock(time.monotonic() + self.seconds)

    def connect(self, source: str, patience: float | None = None) -> socket.socket:
        """A socket that is connecting, without blocking; or, given seconds of `patience`, one that has connected.

        Closing it sends a reset: nothing remains of it, not even its port. Raises OSError if it cannot be connected.
        """
        connection = socket.socket()
        try:
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.bind((source, 0))
            connection.settimeout(patience or 0.0)
            if patience is None:
                try:
                    connection.connect((HOST, self.port))
                except BlockingIOError:
                    pass
            else:
                connection.connect((HOST, self.port))
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass(frozen=True, slots=True)
class Clock:
    """When an attack is over, by `time.monotonic`."""

    end: float

    @property
    def left(self) -> float:
        """Seconds that are left; 0 once it is over."""
        return max(0.0, self.end - time.monotonic())


@dataclass(slots=True)
class Tally:
    """What an attack did: bytes and connections.

    `opened` are the connections that were tried, `got_through` those whose request was answered as the attack wanted,
    or that connected where it asks for nothing, `ended` those that the server ended, `failures` what went wrong
    otherwise, each sentence once.
    """

    sent: int = 0
    received: int = 0
    opened: int = 0
    got_through: int = 0
    ended: int = 0
    failures: set[str] = field(default_factory=set)
