"""The interface between a connection and what carries its bytes.

A wire reads and writes without waiting where it can, says when there is something to read, and knows nothing of
WebSockets. Implementations: `socket` (plain TCP on the poller), `tls` (its subclass), `stream` (any Trio stream). A
further one, an HTTP/2 stream or a test's memory, implements this class.

Who may read: `start` names one function, which the wire calls when there is something to read. In it, and in nobody
else's step, the connection calls what `reader` returned.

Who may write: the connection calls what `writer` returned, or `write_large`, each of which takes what can be taken at
once; what is left over goes through `send`, one task at a time.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Protocol

import trio

from trioecho._wire.poller import Readable, Writer

CHUNK = 65_536
"""Bytes read at once: what one connection may keep the loop busy with before the others have their turn."""

SLICE = 65_536
"""Bytes handed at once to a Trio stream, which tells of progress only when it has taken all of them."""


class Batch(Protocol):
    """Those who write together."""

    busy: bool
    """Writing can wait for the next step, since many write in it."""
    awake: bool
    """Who is in `writers` is asked to write before Trio waits for anything."""
    writers: list[Writer]


class Wire(abc.ABC):
    """One connection's bytes, both ways."""

    __slots__ = ()

    peer: str
    """The other end: address and port, or what the stream says of itself."""
    batch: Batch
    """With whom it writes."""
    seal: Callable[[bytes], bytes] | None
    """What has to be made of bytes before they are written, in the order in which they go; None: nothing."""
    immediate: bool
    """Whether it takes bytes at once where there is room, and a cancelled `send` leaves it as good as before. If not,
    all bytes go through `send`, and a cancelled one leaves it good for closing only."""

    @abc.abstractmethod
    def start(self, nursery: trio.Nursery, readable: Readable) -> None:
        """Call ``readable(events, now)`` from now on when there is something to read, until `stop`.

        `nursery` may be given a task, which ends at `stop`. Raises OSError where the kernel refuses.
        """

    @abc.abstractmethod
    def reader(self) -> tuple[Callable[[Any, int], bytes], Any]:
        """What reads a chunk without waiting, at most `CHUNK` bytes and what has been begun before, and what it has to
        be called with: ``read(source, CHUNK)``.

        Two things, and not one that can be called alone, so that the kernel's own function and a file number will do:
        an object that held both took 200 bytes of every connection. It returns b"" at the end of what the peer sends,
        and raises BlockingIOError when nothing is there, another OSError when the connection is lost.
        """

    @abc.abstractmethod
    def writer(self) -> tuple[Callable[[Any, bytes], int], Any]:
        """What writes without waiting, likewise: ``write(sink, data)`` returns how many bytes were taken. Raises
        OSError, among them BlockingIOError for none."""

    @abc.abstractmethod
    def write_large(self, header: bytes, payload: bytes) -> int:
        """Write both without waiting, and without copying them together. Returns and raises as `writer`'s."""

    @abc.abstractmethod
    async def send(self, data: memoryview) -> int:
        """Wait until some of `data` is taken; returns how many bytes. Raises OSError. Called by one task at a time."""

    @abc.abstractmethod
    def pause(self, *, lost: bool) -> None:
        """Read nothing more until `resume`. With `lost`, the loss of the connection has been told and need not be told
        again; what the kernel still holds can be read."""

    @abc.abstractmethod
    def resume(self) -> bool:
        """Read again. Whether the connection has to begin with it: no call of `readable` will come for what is there,
        as long as this, or `more`, is true."""

    @property
    @abc.abstractmethod
    def more(self) -> bool:
        """Whether there is something to read that nothing will announce."""

    @abc.abstractmethod
    def unread(self) -> bool:
        """Whether bytes of the peer lie unread, in the kernel or here, as far as that can be seen."""

    @abc.abstractmethod
    def in_flight(self) -> int:
        """Bytes written that the peer's kernel has not acknowledged; 0 where that cannot be seen."""

    @abc.abstractmethod
    def error(self) -> OSError | None:
        """What the kernel has found out about the connection without being asked to read or to write."""

    @abc.abstractmethod
    def keep_alive(self, interval: float, timeout: float) -> None:
        """Let the kernel look after a peer that we do not read from: probe it after `interval` seconds of silence,
        give it up `timeout` seconds later. Does nothing where there is no such kernel. Idempotent, and raises
        nothing."""

    @abc.abstractmethod
    async def half_close(self) -> None:
        """Tell the peer that nothing more will come, and keep reading open, where that can be done. Raises nothing
        of the peer's."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Do not call `readable` any more. Has to happen before the wire is closed. Raises nothing; idempotent."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close in good order, after `stop`. Cancelled, it is closed all the same."""
