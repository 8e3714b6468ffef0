"""Accepting connections at all listeners until cancelled.

`accept` has the manners of `trio.serve_listeners`: what goes wrong with one client before it is accepted is no
concern of the others, and when the kernel has no descriptor or memory left, accepting waits a moment for one. But
it says so in a line a second, where trio logs ten tracebacks.
"""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import trio

logger = logging.getLogger("trioecho")

S = TypeVar("S", bound=trio.abc.Stream)

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""accept(2): the process or the machine has no descriptor or memory for one more connection."""

NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})

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


async def accept(
    listeners: Sequence[trio.abc.Listener[S]],
    start: Callable[[S], object],
    relieve: Callable[[], object] | None = None,
) -> NoReturn:
    """Accept connections at all `listeners` for ever; each is given to `start`, a plain function, which owns it.

    `start` must not fail, and is where a task begins: ``functools.partial(nursery.start_soon, handler)``. Without
    room for one more connection (EMFILE, ENFILE, ENOMEM, ENOBUFS), or after any other failure that may pass, it is
    tried again every `RETRY_AFTER` seconds, with one WARNING every `COMPLAIN_EVERY`, and where descriptors are missing
    `relieve`, a plain function too, is asked to give some back. What says that a listener does not
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
                        if relieve is not None and error.errno in NO_DESCRIPTOR:
                            relieve()
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
        if number in NO_DESCRIPTOR:
            advice = "; raise the limit (ulimit -n) or set max_sockets below it"
        logger.warning("cannot accept connections, which wait: %s%s", os.strerror(number or 0), advice)
