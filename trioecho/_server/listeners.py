"""Listening at every address that was asked for, and accepting there until cancelled.

`accept` has the manners of `trio.serve_listeners`: what goes wrong with one client before it is accepted is no
concern of the others, and when the kernel has no descriptor or memory left, accepting waits a moment for one. But
it says so in a line a second, where trio logs ten tracebacks.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import math
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import trio

logger = logging.getLogger("trioecho")

S = TypeVar("S", bound=trio.abc.Stream)

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""accept(2): the process or the machine has no descriptor or memory for one more connection."""

NO_LISTENER = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
"""accept(2): what is asked does not listen, and never will."""

CLIENT_GONE = frozenset(
    getattr(errno, name)
    for name in (
        # accept(2), "Error handling": errors of the new connection, to be treated like EAGAIN.
        *(
            "ENETDOWN",
            "EPROTO",
            "ENOPROTOOPT",
            "EHOSTDOWN",
            "ENONET",
            "EHOSTUNREACH",
            "EOPNOTSUPP",
            "ENETUNREACH",
        ),
        # The client hung up; a firewall forbids it (Linux); it took too long (FreeBSD, macOS).
        *("ECONNABORTED", "EPERM", "ETIMEDOUT"),
    )
    if hasattr(errno, name)
)

RETRY_AFTER = 0.1
"""Seconds until a place may have become free: trio's choice."""

COMPLAIN_EVERY = 1.0
"""Seconds between two lines of the log about it, all listeners together."""


async def accept(listeners: Sequence[trio.abc.Listener[S]], start: Callable[[S], object]) -> NoReturn:
    """Accept connections at all `listeners` for ever; each is given to `start`, a plain function, which owns it.

    `start` must not fail, and is where a task begins: ``functools.partial(nursery.start_soon, handler)``. Without
    room for one more connection (EMFILE, ENFILE, ENOMEM, ENOBUFS), or after any other failure that may pass, it is
    tried again every `RETRY_AFTER` seconds, with one WARNING every `COMPLAIN_EVERY`. What says that a listener does not
    listen is raised, as it is. The listeners are closed, however it ends. Cancelled: no connection is lost that was
    accepted.
    """
    complaint = _Complaint()
    failure: OSError | trio.ClosedResourceError | None = None

    async def accept_at(listener: trio.abc.Listener[S]) -> None:
        nonlocal failure
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno in NO_LISTENER:
                        failure = error
                        break
                    if error.errno not in CLIENT_GONE:
                        complaint.about(error)
                        await trio.sleep(RETRY_AFTER)
                except MemoryError as error:
                    complaint.about(error)
                    await trio.sleep(RETRY_AFTER)
                except trio.ClosedResourceError as error:
                    failure = error
                    break
                else:
                    start(stream)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(accept_at, listener)
    # Only here, outside of the nursery: it would make a group of it.
    assert failure is not None
    raise failure


class _Complaint:
    """One line a second about connections that find no room."""

    def __init__(self) -> None:
        self._last = -math.inf

    def about(self, error: OSError | MemoryError) -> None:
        now = trio.current_time()
        if now - self._last < COMPLAIN_EVERY:
            return
        self._last = now
        number = error.errno if isinstance(error, OSError) else errno.ENOMEM
        advice = ""
        if number in (errno.EMFILE, errno.ENFILE):
            advice = "; raise the limit (ulimit -n) or set max_connections below it"
        logger.warning("cannot accept connections, which wait: %s%s", os.strerror(number or 0), advice)


async def listen(host: str | Sequence[str], port: int) -> list[trio.SocketListener]:
    """Listen at every address of every host, all on one port; `port` 0 takes one that is free.

    ``0.0.0.0`` is every IPv4 address, ``::`` every IPv6 address and no other. Raises TypeError or ValueError with
    one sentence for what cannot be an address or port, OSError if it cannot listen. Cancelled, or when it raises,
    nothing listens.
    """
    hosts = _checked_hosts(host)
    port = _checked_port(port)
    listeners: list[trio.SocketListener] = []
    try:
        for name in hosts:
            found = await trio.socket.getaddrinfo(
                name, port, type=trio.socket.SOCK_STREAM, flags=trio.socket.AI_PASSIVE
            )
            for address in dict.fromkeys(sockaddr[0] for *_, sockaddr in found):
                opened = await trio.open_tcp_listeners(port, host=str(address))
                listeners += opened
                # Port 0 takes a free port at the first address and the same one at all others.
                port = opened[0].socket.getsockname()[1]
    except BaseException:
        for listener in listeners:
            await trio.aclose_forcefully(listener)
        raise
    return listeners


def _checked_hosts(host: object) -> tuple[str, ...]:
    hosts = (host,) if isinstance(host, str) else host
    if isinstance(hosts, Iterable) and not isinstance(hosts, bytes):
        hosts = tuple(hosts)
        if not all(hosts):
            hosts = ()
        if all(isinstance(one, str) for one in hosts):
            if not hosts:
                raise ValueError("host is empty; give an address to listen at, such as '127.0.0.1'")
            return hosts
    raise TypeError(f"host takes an address such as '127.0.0.1', or several in a list; you gave {host!r}")


def _checked_port(port: object) -> int:
    sentence = f"port takes a whole number from 0 to 65535; you gave {port!r}"
    if isinstance(port, bool) or not isinstance(port, int):
        digits = isinstance(port, str) and port.isascii() and port.isdigit()
        raise TypeError(f"{sentence}: write {int(str(port))}" if digits else sentence)
    if not 0 <= port <= 65535:
        raise ValueError(sentence)
    return port


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


def urls(sockets: Iterable[Any], scheme: str) -> tuple[str, ...]:
    """The URL of every address at which these listening sockets can be reached, in their order, each once."""
    found: dict[str, None] = {}
    for host, port in (one.getsockname()[:2] for one in sockets):
        for address in addresses(host):
            found[f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"] = (
                None
            )
    return tuple(found)
