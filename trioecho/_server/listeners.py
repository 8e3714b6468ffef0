"""Accepting connections at all listeners until cancelled.

`accept` has the manners of `trio.serve_listeners`: what goes wrong with one client before it is accepted is no
concern of the others, and when the kernel has no descriptor or memory left, accepting waits a moment for one. But
it says so when that begins, where trio logs ten tracebacks a second. And a listener that the kernel has stopped, as it
does for an administrator (``ss --kill``) and on some phones when the network changes, listens again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import mmap
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias, TypeVar

import trio

from trioecho._protocol.shortage import Shortage

logger = logging.getLogger("trioecho")

S = TypeVar("S", bound=trio.abc.Stream)

NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
"""accept(2): the process or the machine can open no more files."""

NO_LISTENER = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
"""accept(2): what is asked does not listen, and never will."""

STOPPED = errno.EINVAL
"""accept(2): the one of these that the kernel says of a socket that did listen, and was stopped."""

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

MEMORY_LEFT = 16 * 1_048_576
"""Bytes that must be left for a connection to be begun: for what those that were begun before it still need."""

REUSED = 0.9
"""Of the connections that were open when memory ran out, how many may be again: Python keeps what those that have
ended have left, and uses it for others, but the system does not see that."""

LISTEN_AFTER = 1.0
"""Seconds until it is tried again to listen where that is not possible now."""


ListenAgain: TypeAlias = Callable[[trio.abc.Listener[S]], Awaitable[trio.abc.Listener[S] | None]]
"""What takes the place of a listener that was stopped; None if nothing can. Raises OSError if it may be possible later.

Cancelled, or when it raises, nothing is left open."""


def no_memory() -> OSError | None:
    """Why the system does not give enough memory for one more connection, or None. Takes some 10 µs, or 1 where nothing
    limits it.

    Where memory is limited such that allocating fails (ulimit -v, strict overcommit), it must not be connections that
    take the last of it: without any Trio's own tasks fail, and with them the server, and Python crashes.
    """
    if os.name != "posix" or not (_promises_no_more_than_there_is() or _limited()):
        return None
    try:
        mmap.mmap(-1, MEMORY_LEFT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        return error
    return None


def _limited() -> bool:
    """Whether this process may have so much and no more (ulimit -v, -d), which may change while it runs."""
    import resource  # not on Windows

    limits = (resource.getrlimit(each)[0] for each in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return any(limit != resource.RLIM_INFINITY for limit in limits)


@functools.cache
def _promises_no_more_than_there_is() -> bool:
    """Whether the kernel counts what it has promised (Linux: strict overcommit); true where it does not tell."""
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip() == "2"
    except OSError:
        return True


def nobody() -> int:
    """For who begins nothing that takes memory."""
    return 0


def telling() -> contextlib.AbstractContextManager[None]:
    """Around what tells the log something: a filter of the application's may raise, and memory may be what is missing;
    neither ends the accepting."""
    return contextlib.suppress(Exception)


async def never_again(listener: object) -> None:
    """For listeners of which nobody knows where they listened."""


async def accept(
    listeners: Sequence[trio.abc.Listener[S]],
    start: Callable[[S], object],
    listen_again: ListenAgain[S] = never_again,
    open_now: Callable[[], int] = nobody,
    relieve: Callable[[], object] = nobody,
) -> NoReturn:
    """Accept connections at all `listeners` for ever; each is given to `start`, a plain function, which owns it.

    `start` must not fail, and is where a task begins: ``functools.partial(nursery.start_soon, handler)``. Without
    room for one more connection (EMFILE, ENFILE, ENOMEM, ENOBUFS), or after any other failure that may pass, it is
    tried again every `RETRY_AFTER` seconds; while less than `MEMORY_LEFT` bytes of memory are left, the one accepted
    last waits for them, or until a tenth of those that are open (`open_now`) has ended. A WARNING says so at its
    beginning, at its end, and each minute between. Where descriptors are missing, `relieve`, a plain function too, is
    asked to give some back.

    A listener that the kernel has stopped is closed, and `listen_again` called with it; while that raises OSError,
    again every `LISTEN_AFTER` seconds. Where it returns None, and for a listener that is none, what said so is raised,
    as it is. The listeners are closed, however it ends. Cancelled: no connection is lost that was accepted.
    """
    shortage = Shortage("cannot accept connections, which wait", "connections are accepted again")
    failure: OSError | trio.ClosedResourceError | None = None
    # Connections that were open when memory ran out, as long as it lasts.
    most_open: int | None = None

    # A task inherits no protection: Ctrl-C would strike between the kernel's accept and `start`.
    @trio.lowlevel.enable_ki_protection
    async def accept_at(listener: trio.abc.Listener[S]) -> OSError | trio.ClosedResourceError:
        """Accept at one listener until it is none any more."""
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except trio.ClosedResourceError as error:
                    return error
                except (OSError, MemoryError) as error:
                    if isinstance(error, OSError):
                        if error.errno in NO_LISTENER:
                            return error
                        if error.errno in CLIENT_GONE:
                            continue
                        if error.errno in NO_DESCRIPTOR:
                            with telling():
                                relieve()
                    with telling():
                        shortage.met(error, trio.current_time())
                    await trio.sleep(RETRY_AFTER)
                else:
                    await wait_for_memory(stream)
                    start(stream)
                    if shortage.lasts:
                        with telling():
                            shortage.done(trio.current_time())

    async def wait_for_memory(stream: S) -> None:
        """No checkpoint where there is some. Meanwhile the connections behind this one wait in the kernel."""
        nonlocal most_open
        while (error := no_memory()) is not None:
            most_open = open_now() if most_open is None else most_open
            if open_now() < REUSED * most_open:
                return
            with telling():
                shortage.met(error, trio.current_time())
            try:
                await trio.sleep(RETRY_AFTER)
            except trio.Cancelled:
                await trio.aclose_forcefully(stream)
                raise
        most_open = None

    async def accept_on(listener: trio.abc.Listener[S]) -> None:
        """The same, and at what takes its place."""
        nonlocal failure
        following: trio.abc.Listener[S] | None = listener
        while following is not None:
            listener = following
            error = await accept_at(listener)
            stopped = isinstance(error, OSError) and error.errno == STOPPED
            following = await _following(listener, listen_again) if stopped else None
        failure = error
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(accept_on, listener)
    # Only here, outside of the nursery: it would make a group of it.
    assert failure is not None
    raise failure


async def _following(
    listener: trio.abc.Listener[S], listen_again: ListenAgain[S]
) -> trio.abc.Listener[S] | None:
    """What takes the place of a listener that was stopped, however long that takes."""
    lack = Shortage("a listening socket was stopped, and its place cannot be had", "it listens again")
    while True:
        try:
            following = await listen_again(listener)
        except (OSError, MemoryError) as why_not:
            with telling():
                lack.met(why_not, trio.current_time())
            await trio.sleep(LISTEN_AFTER)
        else:
            break
    with telling():
        if lack.lasts:
            lack.done(trio.current_time())
        elif following is not None:
            logger.warning("a listening socket was stopped by the system; it listens again")
    return following
