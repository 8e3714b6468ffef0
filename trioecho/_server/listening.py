"""What to listen at: addresses with a port, a Unix socket, an inherited descriptor, ready listeners."""

from __future__ import annotations

import enum
import errno
import os
import shlex
import socket
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import trio

from trioecho._server.listeners import ListenAgain
from trioecho._server.unix import MOST_BACKLOG, UnixListener, UnixSocket, name_of, shown


class NotGiven(enum.Enum):
    """The type of `NOT_GIVEN`."""

    NOT_GIVEN = enum.auto()

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN
"""Stands for an argument that was left out, where None means something else and the default depends on the others."""

Host: TypeAlias = str | Sequence[str] | None
Unix: TypeAlias = str | os.PathLike[str] | UnixSocket
Listening: TypeAlias = trio.SocketListener | UnixListener

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5000

EVERY_ADDRESS = ("0.0.0.0", "::")
"""IPv4 first, because the first is what `Server.url` names, and every machine can open that."""

FREE_PORTS_TRIED = 10
"""Free ports tried until one is free at every address. Picked arbitrarily: a second try is rare already."""

NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""socket(2) and bind(2) at ``::``: the kernel has no IPv6, or it is switched off."""

FAMILIES = {family for name in ("AF_INET", "AF_INET6", "AF_UNIX") if (family := getattr(socket, name, None))}


@dataclass(frozen=True, slots=True)
class ListenAt:
    """Where a server listens; made and checked by `of`. Equal ones ask for the same places."""

    hosts: tuple[str, ...] | None
    """Addresses or names for TCP; None is every address of the machine, empty is no TCP."""
    port: int
    unix: UnixSocket | None
    fds: tuple[int, ...]
    listeners: tuple[trio.SocketListener, ...]
    backlog: int | None

    @classmethod
    def of(
        cls,
        host: Host | NotGiven = NOT_GIVEN,
        port: int | NotGiven = NOT_GIVEN,
        *,
        unix: Unix | None = None,
        fd: int | Sequence[int] | None = None,
        listeners: Iterable[trio.SocketListener] | None = None,
        backlog: int | None = None,
        default_port: int = DEFAULT_PORT,
    ) -> ListenAt:
        """What `serve` was asked for. Raises TypeError or ValueError with one sentence for what cannot be right."""
        ready = () if listeners is None else _checked_listeners(listeners)
        elsewhere = unix is not None or fd is not None or bool(ready)
        tcp = not elsewhere or not isinstance(host, NotGiven) or not isinstance(port, NotGiven)
        if isinstance(host, NotGiven):
            host = DEFAULT_HOST
        if isinstance(port, NotGiven):
            port = default_port
        if backlog is not None:
            _check_backlog(backlog, opens=tcp or unix is not None)
        return cls(
            hosts=_checked_hosts(host) if tcp else (),
            port=_checked_port(port),
            unix=unix if unix is None or isinstance(unix, UnixSocket) else UnixSocket(unix),
            fds=() if fd is None else _checked_fds(fd),
            listeners=ready,
            backlog=backlog,
        )

    @property
    def tcp(self) -> bool:
        """Whether the server opens TCP sockets of its own."""
        return self.hosts is None or bool(self.hosts)

    @property
    def inherited(self) -> bool:
        """Whether every socket was there before, so that others may accept at the same ones."""
        return not self.tcp and self.unix is None

    async def open(self) -> list[Listening]:
        """Listen everywhere: the TCP sockets first, all on one port, then the others.

        Raises OSError if it cannot listen; `blame` tells where. Cancelled, or when it raises, nothing listens: the
        `listeners` that were given are closed, too.
        """
        opened: list[Listening] = []
        try:
            if self.tcp:
                opened += await _listen_tcp(self.hosts, self.port, self.backlog)
            if self.unix is not None:
                opened.append(await self.unix.listen(self.backlog))
            for fd in self.fds:
                opened.append(_inherited(fd))
        except BaseException:
            for listener in (*opened, *self.listeners):
                await trio.aclose_forcefully(listener)
            raise
        return [*opened, *self.listeners]

    def listen_again(self, opened: Sequence[Listening]) -> ListenAgain[trio.SocketStream]:
        """For what `open` has returned: a function for `accept` that opens anew what the system has stopped.

        That is TCP of our own. Whoever gave `fd` or `listeners` may have stopped them, and may share them with others.
        """
        own = opened[: len(opened) - len(self.listeners) - len(self.fds)]
        # A socket that was stopped does not always know any more.
        places = {each: each.socket.getsockname() for each in own if isinstance(each, trio.SocketListener)}

        async def again(listener: trio.abc.Listener[trio.SocketStream]) -> trio.SocketListener | None:
            if not isinstance(listener, trio.SocketListener) or listener not in places:
                return None
            host, port = places[listener][:2]
            (following,) = await trio.open_tcp_listeners(port, host=host, backlog=self.backlog)
            places[following] = places.pop(listener)
            return following

        return again

    def blame(self, error: Exception) -> str:
        """Where it could not listen, if `open` raised `error`: ``127.0.0.1 port 5000``."""
        name = error.filename if isinstance(error, OSError) else None
        if name is None:
            return f"{shlex.join(EVERY_ADDRESS if self.hosts is None else self.hosts)} port {self.port}"
        return f"unix:{shown(name)}" if self.unix is not None and name == self.unix.path else str(name)


async def _listen_tcp(
    hosts: tuple[str, ...] | None, port: int, backlog: int | None
) -> list[trio.SocketListener]:
    """Listen at every address of every host, on one port; 0 takes one that is free at all of them."""
    addresses = EVERY_ADDRESS if hosts is None else await _addresses(hosts, port)
    for attempt in range(FREE_PORTS_TRIED):
        listeners: list[trio.SocketListener] = []
        try:
            for address in addresses:
                # The free port of the first address is asked for at the others.
                chosen = listeners[0].socket.getsockname()[1] if listeners else port
                try:
                    listeners += await trio.open_tcp_listeners(chosen, host=address, backlog=backlog)
                except OSError as error:
                    if not (hosts is None and address == "::" and error.errno in NO_IPV6):
                        raise
        except BaseException as error:
            for listener in listeners:
                await trio.aclose_forcefully(listener)
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            if not (taken and port == 0 and listeners and attempt < FREE_PORTS_TRIED - 1):
                raise
        else:
            return listeners
    raise AssertionError("the last attempt returns or raises")


async def _addresses(hosts: tuple[str, ...], port: int) -> tuple[str, ...]:
    """The addresses of all hosts, each once."""
    found: dict[str, None] = {}
    for name in hosts:
        for *_, sockaddr in await trio.socket.getaddrinfo(
            name, port, type=trio.socket.SOCK_STREAM, flags=trio.socket.AI_PASSIVE
        ):
            found[str(sockaddr[0])] = None
    return tuple(found)


def _inherited(fd: int) -> trio.SocketListener:
    """A listener at a duplicate of `fd`, a listening stream socket; OSError, with ``fd N`` as its filename, for others.

    A duplicate, because only the caller knows who else holds the number: a socket object that closes it when it is
    thrown away, or a supervisor's table. What both share becomes non-blocking.
    """
    name = f"fd {fd}"
    try:
        is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        raise OSError(errno.EBADF, "this process has no such descriptor", name) from None
    if not is_socket:
        raise OSError(errno.ENOTSOCK, "it is no socket", name)
    number = os.dup(fd)
    try:
        duplicate = socket.socket(fileno=number)
    except OSError:
        os.close(number)
        raise
    try:
        if problem := _not_accepting(duplicate):
            raise OSError(errno.EINVAL, problem, name)
        return trio.SocketListener(trio.socket.from_stdlib_socket(duplicate))
    except BaseException:
        duplicate.close()
        raise


def _not_accepting(listening: socket.socket | trio.socket.SocketType) -> str:
    """Why connections cannot be accepted at this socket; empty if they can."""
    if listening.type != socket.SOCK_STREAM:
        return "it is no stream socket"
    if listening.family not in FAMILIES:
        return "it is a socket of neither TCP nor Unix"
    try:
        listens = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:  # macOS does not tell
        return ""
    return "" if listens else "it does not listen: whoever opens it has to call listen() on it"


def addresses_of(listeners: Iterable[Listening]) -> tuple[tuple[str, int], ...]:
    """Address and port of each listening TCP socket; of one at ``::`` that takes IPv4, too, as systemd's, both."""
    found: list[tuple[str, int]] = []
    for listening in (one.socket for one in listeners):
        if listening.family in (socket.AF_INET, socket.AF_INET6):
            host, port = listening.getsockname()[:2]
            found.append((host, port))
            if host == "::" and not listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                found.append(("0.0.0.0", port))
    return tuple(found)


def paths_of(listeners: Iterable[Listening]) -> tuple[str, ...]:
    """The name of each listening Unix socket."""
    family = getattr(socket, "AF_UNIX", None)
    return tuple(name_of(one.socket.getsockname()) for one in listeners if one.socket.family == family)


def _checked_hosts(host: object) -> tuple[str, ...] | None:
    if host is None:
        return None
    hosts = (host,) if isinstance(host, str) else host
    if isinstance(hosts, Iterable) and not isinstance(hosts, bytes):
        hosts = tuple(hosts)
        if not all(hosts):
            hosts = ()
        if all(isinstance(one, str) for one in hosts):
            if not hosts:
                raise ValueError("host is empty; give an address to listen at, such as '127.0.0.1'")
            return hosts
    raise TypeError(
        f"host takes an address such as '127.0.0.1', several in a list, or None for all; you gave {host!r}"
    )


def _checked_port(port: object) -> int:
    sentence = f"port takes a whole number from 0 to 65535; you gave {port!r}"
    if isinstance(port, bool) or not isinstance(port, int):
        digits = isinstance(port, str) and port.isascii() and port.isdigit()
        raise TypeError(f"{sentence}: write {int(str(port))}" if digits else sentence)
    if not 0 <= port <= 65535:
        raise ValueError(sentence)
    return port


def _checked_fds(fd: object) -> tuple[int, ...]:
    if not isinstance(fd, (list, tuple)):
        return (_checked_fd(fd),)
    if not fd:
        raise ValueError("fd is empty; give the number of an open descriptor, such as 3, or leave it out")
    numbers = tuple(_checked_fd(each) for each in fd)
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"fd takes each descriptor once; you gave {fd!r}")
    return numbers


def _checked_fd(fd: object) -> int:
    sentence = f"fd takes the number of an open descriptor, such as 3; you gave {fd!r}"
    if isinstance(fd, bool) or not isinstance(fd, int):
        hint = ": write fileno() behind it" if hasattr(fd, "fileno") else ""
        raise TypeError(sentence + hint)
    if not 0 <= fd < 2**31:
        raise ValueError(sentence)
    return fd


def _check_backlog(backlog: object, *, opens: bool) -> None:
    sentence = f"backlog takes a whole number from 1 to {MOST_BACKLOG}; you gave {backlog!r}"
    if isinstance(backlog, bool) or not isinstance(backlog, int):
        raise TypeError(sentence)
    if not 1 <= backlog <= MOST_BACKLOG:
        raise ValueError(sentence)
    if not opens:
        raise ValueError("backlog is for host, port and unix; what fd and listeners name listens already")


def _checked_listeners(listeners: object) -> tuple[trio.SocketListener, ...]:
    sentence = f"listeners takes a list of trio.SocketListener; you gave {listeners!r}"
    if not isinstance(listeners, Iterable) or isinstance(listeners, (str, bytes)):
        raise TypeError(sentence)
    given = tuple(listeners)
    if not given:
        raise ValueError(
            "listeners is empty; give a trio.SocketListener, or leave it out to listen at host and port"
        )
    for one in given:
        if isinstance(one, trio.SSLListener):
            raise TypeError(
                f"{sentence}: give the listener under the trio.SSLListener, and its context as ssl_context"
            )
        if not isinstance(one, trio.SocketListener):
            raise TypeError(sentence)
        if one.socket.fileno() < 0:
            raise ValueError(f"{sentence}, of which one is closed: a server closes those that it was given")
        if problem := _not_accepting(one.socket):
            raise ValueError(f"{sentence}, of which one is of no use: {problem}")
    if len(set(given)) < len(given):
        raise ValueError(f"{sentence}, which has one twice")
    return given
