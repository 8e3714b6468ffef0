"""Bytes on their way to the peer: in order, gathered while that helps, bounded, never cut by a cancellation.

Who may write: everybody on the connection (the handler, its children, trio-websocket's Pongs, the goodbye) calls
`put`, synchronously, so the order of the calls is the order on the wire and a frame is queued whole or not at all.

With a poller, frames are written to the non-blocking socket at once, through TLS or not. Small messages are gathered
while more received ones wait for the handler, or many connections are busy; the poller writes them in its next step.
What the kernel does not take, or is gathered while the poller sleeps, is left to the drain task, started when first
needed and shielded: cancelling a handler in the middle of a large send must not leave half a frame on the wire. Over
a Trio stream the drain task writes everything.

Bound: a sender waits for room *before* its frame is queued. So a cancelled send has sent nothing, and besides what
the kernel holds, at most one frame per sending task, or `GATHERED_BYTES`, waits here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import trio

from trioecho._wire.poller import Poller

LARGE = 16_384
"""Bytes of payload from which copying it behind its header costs more than writing the two as they are."""

GATHERED_BYTES = 65_536
"""Bytes after which gathered frames are written, whether or not more messages wait."""


class Outbox:
    """One connection's bytes to send, over `stream`, or, with a `poller`, straight to its non-blocking socket, `fd`.

    `start_drain` is called with `drain`, once at most, to start that task in the connection's outer nursery. `seal` is
    what TLS makes of a frame before it goes to `fd`.
    """

    __slots__ = (
        "_closed",
        "_deadline",
        "_drain_lot",
        "_fd",
        "_finishing",
        "_poller",
        "_room",
        "_scope",
        "_seal",
        "_sent_bytes",
        "_sent_messages",
        "_size",
        "_start_drain",
        "_stream",
        "_waiting",
        "blocked",
        "broken",
        "messages",
        "on_progress",
        "payload_bytes",
        "shut",
    )

    def __init__(
        self,
        stream: trio.abc.SendStream,
        poller: Poller | None,
        fd: int,
        start_drain: Callable[..., object],
        seal: Callable[[bytes], bytes] | None,
    ) -> None:
        self._stream = stream
        self._poller = poller
        self._fd = fd
        self._seal = seal
        self._start_drain: Callable[..., object] | None = start_drain
        self._waiting: list[bytes | memoryview] = []
        self._size = 0
        self._room: trio.Event | None = None
        self._scope: trio.CancelScope | None = None
        self._drain_lot: trio.lowlevel.ParkingLot | None = None
        self._finishing, self._closed, self._deadline = False, False, math.inf
        self._sent_messages = self._sent_bytes = 0
        self.on_progress: Callable[[], object] = bool
        """Called when the peer has made room for bytes that waited: a sign of life."""
        self.blocked = False
        """The peer does not read as fast as we write: senders wait in `room`."""
        self.broken = False
        """Nothing more can be sent: TCP was reset, or a frame was cut off midway at a deadline."""
        self.shut = False
        """No more messages are taken: it is broken, or the WebSocket has closed or been told of its end. Control
        frames still go out."""
        self.messages = 0
        self.payload_bytes = 0

    @property
    def sent_messages(self) -> int:
        """Messages handed to the kernel whole."""
        return self.messages if self.empty else self._sent_messages

    @property
    def sent_bytes(self) -> int:
        """Payload bytes of those messages."""
        return self.payload_bytes if self.empty else self._sent_bytes

    @property
    def empty(self) -> bool:
        """Whether everything put has been handed to the kernel."""
        return not self._size

    async def room(self, *, for_message: bool = False) -> None:
        """Wait until a frame may be put, or, `for_message`, none may be any more. No checkpoint if there is room."""
        while self.blocked and not self.broken and not (for_message and self.shut):
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    def put_message(self, header: bytes, payload: bytes, gather: object) -> None:
        """Queue a data frame; if `gather` is true, more are likely to follow at once."""
        size = len(payload)
        large = size >= LARGE
        if self._seal is not None:
            header, payload, large = b"", self._sealed(header + payload), False
        poller = self._poller
        if self._waiting or poller is None or (gather and not large):
            self._append(header + payload)
        elif large:
            self._write(payload, header)
        elif poller.busy and not self.broken:
            # As in _append: a call less, where most messages of a busy server go.
            self._sent_messages, self._sent_bytes = self.messages, self.payload_bytes
            self._waiting.append(header + payload)
            self._size = len(header) + len(payload)
            poller.writers.append(self)
        else:
            self._write(header + payload)
        self.messages += 1
        self.payload_bytes += size

    def put_sealed(self, records: bytes) -> None:
        """Queue what TLS itself has to say."""
        self._append(records)
        self.write_now()

    def put(self, frame: bytes) -> None:
        """Queue a control frame, or the response to the handshake; nothing behind what `put_last` has queued."""
        if self._closed:
            return
        if self._seal is not None:
            frame = self._sealed(frame)
        if self._waiting or self._poller is None:
            self._append(frame)
            self.write_now()
        else:
            self._write(frame)

    def put_last(self, frame: bytes) -> None:
        """`put` what nothing may follow: Close (RFC 6455 §5.5.1)."""
        self.put(frame)
        self._closed = True
        self.refuse_messages()

    def write_now(self) -> None:
        """Hand what is gathered to the kernel, as far as that goes without waiting."""
        waiting = self._waiting
        if waiting and not self.blocked and self._poller is not None:
            self._write(waiting[0] if len(waiting) == 1 else b"".join(waiting))

    async def flush(self) -> None:
        """Write until nothing waits.

        Called by one task at a time: the drain task, or the connection's own when that has ended. Cancelled on a
        Trio stream, that is left in an unknown state and counts as broken.
        """
        while self._waiting and not self.broken:
            if self._poller is not None:
                # Waiting comes first where the kernel has just refused.
                if self.blocked:
                    await trio.lowlevel.wait_writable(self._fd)
                    self.blocked = False
                    self.on_progress()
                self.write_now()
                continue
            data, self._waiting = memoryview(b"".join(self._waiting)), []
            waited = self.blocked
            try:
                # In slices, so that a slow reader's progress is seen.
                for start in range(0, len(data), GATHERED_BYTES):
                    await self._stream.send_all(data[start : start + GATHERED_BYTES])
                    if waited:
                        self.on_progress()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.break_off()
            except trio.Cancelled:
                self.break_off()
                raise
            else:
                self._size -= len(data)
                if not self._waiting:
                    self.blocked = False
                    self._wake_senders()

    async def drain(self) -> None:
        """The task that writes what waits, until `finish`."""
        self._drain_lot = trio.lowlevel.ParkingLot()
        # `finish` may have come before this task's first step.
        with trio.CancelScope(shield=True, deadline=self._deadline) as self._scope:
            while True:
                await self.flush()
                if self._finishing or self.broken:
                    return
                await self._drain_lot.park()

    def refuse_messages(self) -> None:
        """Be `shut`, and tell those who wait with a message."""
        self.shut = True
        self._wake_senders()

    def finish(self, deadline: float) -> None:
        """Let the drain task write what waits, and end, at `deadline` (Trio's clock) at the latest."""
        self._finishing = True
        self._start_drain = None
        self._deadline = min(self._deadline, deadline)
        if self._scope is not None:
            self._scope.deadline = self._deadline
        self._wake_drain()

    def _sealed(self, frame: bytes) -> bytes:
        assert self._seal is not None
        try:
            return self._seal(frame)
        except OSError:
            self.break_off()
            return b""

    def _write(self, data: bytes | memoryview, header: bytes = b"") -> None:
        written = 0
        try:
            written = os.writev(self._fd, (header, data)) if header else os.write(self._fd, data)
        except BlockingIOError:
            pass
        except OSError:
            self.break_off()
        if written == len(header) + len(data):
            if self._size:
                self._size, self.blocked = 0, False
                self._waiting.clear()
                if self._room is not None:
                    self._wake_senders()
            return
        if written < len(header):
            data = header + data
        else:
            written -= len(header)
        if not self._size:
            self._sent_messages, self._sent_bytes = self.messages, self.payload_bytes
        self._size = len(data) - written
        if not self.broken:
            self._waiting = [memoryview(data)[written:]]
            self.blocked = True
            self._wake_drain()

    def _append(self, frame: bytes) -> None:
        if not self._size:
            self._sent_messages, self._sent_bytes = self.messages, self.payload_bytes
        self._size += len(frame)
        if self.broken:
            return
        self._waiting.append(frame)
        if self._poller is None:
            self.blocked = self._size >= GATHERED_BYTES
            self._wake_drain()
        elif self._size >= GATHERED_BYTES:
            self.write_now()
        elif len(self._waiting) == 1:
            if self._poller.awake:
                self._poller.writers.append(self)
            else:
                self._wake_drain()

    def break_off(self) -> None:
        """Send nothing more: TCP is gone, or about to be closed."""
        self.broken = self.shut = True
        self._waiting.clear()
        self._wake_senders()
        self._wake_drain()

    def _wake_senders(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _wake_drain(self) -> None:
        if self._drain_lot is not None:
            self._drain_lot.unpark_all()
        elif self._start_drain is not None and not self.broken:
            start, self._start_drain = self._start_drain, None
            start(self.drain)
