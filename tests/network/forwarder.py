"""A cable between two namespaces that loses, delays and slows packets, or is pulled.

Each end is a TUN device: what a machine sends through it is read here, one IP packet at a time, and written into the
other, or not. The kernel has netem for this, but not every kernel; and a test can look at what passed.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from collections.abc import Iterator

from network.namespaces import TUN, Namespace

TUNSETIFF = 0x4004_54CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

DEVICE = "cable"
LONGEST_PACKET = 65_536

QUEUE = 200_000
"""Bytes that wait where a direction has a rate; more are dropped, as a router does."""

FASTEST_RETRANSMISSION = "20ms"
"""Linux waits 200 ms at least, made for the Internet; with less, a test of losses takes seconds and not minutes."""


class Direction:
    """What befalls packets one way. May be changed at any time, from any thread; counts what it did."""

    def __init__(self, seed: int) -> None:
        self.loss = 0.0
        """The part of all packets that is lost, from 0 to 1."""
        self.delay = 0.0
        """Seconds that each packet is on its way."""
        self.rate: float | None = None
        """Bytes a second, if they are limited."""
        self.blocked = False
        """Nothing passes, and nobody is told: a cable that is pulled."""
        self.passed = self.dropped = 0
        self._random = random.Random(seed)
        self._free_at = 0.0

    def arrival(self, size: int, now: float) -> float | None:
        """When a packet arrives that is sent now; None if it is lost."""
        free_at = max(self._free_at, now)
        full = self.rate is not None and (free_at - now) * self.rate > QUEUE
        if self.blocked or full or self._random.random() < self.loss:
            self.dropped += 1
            return None
        if self.rate is not None:
            self._free_at = free_at = free_at + size / self.rate
        return free_at + self.delay


class Cable:
    """Joins two namespaces, at the addresses `first` and `second`, until `cable` is left."""

    first, second = "10.77.0.1", "10.77.0.2"

    def __init__(self, one: Namespace, other: Namespace, seed: int) -> None:
        self.to_first, self.to_second = Direction(seed), Direction(seed + 1)
        self._ends = _plug_in(one, self.first), _plug_in(other, self.second)
        self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._forward, name="forwarder")
        self._thread.start()

    @property
    def both(self) -> tuple[Direction, Direction]:
        """The two directions."""
        return self.to_first, self.to_second

    def pull(self) -> None:
        """From now on nothing passes."""
        self.to_first.blocked = self.to_second.blocked = True

    def plug_in(self) -> None:
        """What is sent from now on passes."""
        self.to_first.blocked = self.to_second.blocked = False

    def close(self) -> None:
        """End the thread, and take both devices away."""
        os.write(self._stopping[1], b"x")
        self._thread.join()
        for descriptor in (*self._ends, *self._stopping):
            os.close(descriptor)

    def _forward(self) -> None:
        first, second = self._ends
        ways = {first: (second, self.to_second), second: (first, self.to_first)}
        ready = select.poll()
        for descriptor in (*ways, self._stopping[0]):
            ready.register(descriptor, select.POLLIN)
        # When, a number that keeps the order of those at one moment, where to, and what.
        travelling: list[tuple[float, int, int, bytes]] = []
        number = 0
        while True:
            wait = max(0.0, travelling[0][0] - time.monotonic()) if travelling else 1.0
            for descriptor, _ in ready.poll(wait * 1000):
                if descriptor not in ways:
                    return
                packet = _read(descriptor)
                target, direction = ways[descriptor]
                if (
                    packet is not None
                    and (at := direction.arrival(len(packet), time.monotonic())) is not None
                ):
                    number += 1
                    heapq.heappush(travelling, (at, number, target, packet))
            while travelling and travelling[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(travelling)
                direction = self.to_first if target == first else self.to_second
                if direction.blocked:
                    direction.dropped += 1
                    continue
                direction.passed += 1
                with contextlib.suppress(OSError):  # the interface is down
                    os.write(target, packet)


@contextlib.contextmanager
def cable(one: Namespace, other: Namespace, *, seed: int = 1) -> Iterator[Cable]:
    """Join two namespaces; OSError where that is not permitted."""
    made = Cable(one, other, seed)
    try:
        yield made
    finally:
        made.close()


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, LONGEST_PACKET)
    except OSError:  # the interface is down
        return None


def _plug_in(where: Namespace, address: str) -> int:
    """A TUN device in `where` that has `address`; its descriptor."""

    def make() -> int:
        descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
        return descriptor

    descriptor = where.do(make)
    try:
        give_address(where, address)
        # Seconds, where a minute is the kernel's most: after losses in a row the next try comes soon.
        where.set("ipv4.tcp_rto_max_ms", 1000)
        where.set("ipv6.conf.all.disable_ipv6", 1)
        where.set("ipv4.tcp_thin_linear_timeouts", 1)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def give_address(where: Namespace, address: str) -> None:
    """Give the end of the cable in `where` its address, as `take_address` leaves it without one."""
    where.run("ip", "address", "add", f"{address}/24", "dev", DEVICE)
    where.run("ip", "link", "set", DEVICE, "up")
    where.run("ip", "route", "change", "10.77.0.0/24", "dev", DEVICE, "rto_min", FASTEST_RETRANSMISSION)


def take_address(where: Namespace, address: str) -> None:
    """Take the address away from the end of the cable in `where`."""
    where.run("ip", "address", "delete", f"{address}/24", "dev", DEVICE)
