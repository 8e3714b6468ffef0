"""systemd's two protocols: listening sockets that it hands over, and what a service tells it about itself.

Sockets are sd_listen_fds(3): numbers from 3, how many in ``LISTEN_FDS``, for the process of ``LISTEN_PID``. News are
sd_notify(3): datagrams of ``NAME=value`` lines to the Unix socket of ``NOTIFY_SOCKET``. Others speak them too: podman,
s6, launchers of tests.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

import trio

logger = logging.getLogger("trioecho")

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""

MOST_DESCRIPTORS = 1024
"""More are no service's: the variable holds something else."""

STATUS_EVERY = 5.0
"""Seconds between two looks at what the status line says."""


class Handed(NamedTuple):
    """A socket that was handed over: its descriptor, and its ``FileDescriptorName=``, by default that of its unit."""

    fd: int
    name: str


def sockets_handed_over(environment: Mapping[str, str] = os.environ) -> tuple[Handed, ...]:
    """The sockets that this process was started with; none if they are another's, as the variables are inherited."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return ()
    number = environment.get("LISTEN_FDS", "")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= MOST_DESCRIPTORS:
        return ()
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    names += ["unknown"] * (int(number) - len(names))
    found = tuple(Handed(FIRST_DESCRIPTOR + place, names[place] or "unknown") for place in range(int(number)))
    for each in found:
        # A program that this one starts would keep them open.
        with contextlib.suppress(OSError):
            os.set_inheritable(each.fd, False)
    return found


class Notifier:
    """Tells whoever started this service how it is, if that asked to be told. Nothing here waits or raises."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # An abstract name begins with a zero character; anything else, such as "vsock:", is no Unix socket.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        if not self._address.startswith(("/", "\0")) or not hasattr(socket, "AF_UNIX"):
            self._address = ""
        self._told_status = ""
        self.watchdog = _watchdog(environment)
        """Seconds within which a sign of life is awaited; infinite where none is."""

    @property
    def asked(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._address)

    def tell(self, **news: object) -> None:
        """Send one datagram, ``READY=1`` for ``READY=1``. One that cannot be sent is lost, as systemd has it."""
        if not self._address:
            return
        text = "\n".join(f"{name}={' '.join(str(value).split())}" for name, value in news.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.setblocking(False)
                sending.sendto(text.encode(), self._address)
        except OSError as error:
            logger.debug("NOTIFY_SOCKET takes nothing: %s", error)

    def ready(self, status: str) -> None:
        """The service accepts connections."""
        self._told_status = status
        self.tell(READY=1, STATUS=status)

    def reloading(self) -> None:
        """It reads its certificate anew; `ready` comes behind that."""
        # Type=notify-reload compares it with when it asked.
        self.tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self, status: str, seconds: float) -> None:
        """It has begun to stop, which takes `seconds` at most: ``TimeoutStopSec=`` need not be as long."""
        news: dict[str, object] = {"STOPPING": 1, "STATUS": status}
        if seconds < math.inf:
            news["EXTEND_TIMEOUT_USEC"] = round(seconds * 1_000_000)
        self.tell(**news)

    async def watch(self, status: Callable[[], str]) -> NoReturn:
        """Give signs of life, and tell `status` when it has changed, for ever.

        A task like any other: where the event loop stands still, so does this, and systemd restarts the service.
        """
        if not self._address:
            await trio.sleep_forever()
        # sd_watchdog_enabled(3) recommends half of the time.
        pause = min(STATUS_EVERY, self.watchdog / 2)
        while True:
            news: dict[str, object] = {} if self.watchdog == math.inf else {"WATCHDOG": 1}
            if (now := status()) != self._told_status:
                self._told_status = news["STATUS"] = now
            if news:
                self.tell(**news)
            await trio.sleep(pause)


def without_systemd(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for processes of our own, of which systemd wants to know nothing."""
    ours = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    return {name: value for name, value in environment.items() if name not in ours}


def _watchdog(environment: Mapping[str, str]) -> float:
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return math.inf
    number = environment.get("WATCHDOG_USEC", "")
    if not (number.isascii() and number.isdigit()) or int(number) == 0:
        return math.inf
    return int(number) / 1_000_000
