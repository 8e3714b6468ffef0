"""Bytes on their way to the peer: in order, gathered while that helps, bounded, never cut by a cancellation.

Who may write: everybody on the connection (the handler, its children, keep-alive, the closing handshake) calls `put` or
`put_message`, synchronously, so the order of the calls is the order on the wire and a frame is queued whole or not at
all.

Frames go to the wire at once, where it takes them. Small messages are gathered while more received ones wait for the
handler, or many connections are busy; the wire's batch writes them in its next step. What the wire does not take, or
is gathered while the batch sleeps, is left to the drain task, started when first needed and shielded: cancelling a
handler in the middle of a large send must not leave half a frame on the wire.

Bound: a sender waits for room *before* its frame is queued. So a cancelled send has sent nothing, and besides what the
kernel holds, at most one frame per sending task, or `GATHERED_BYTES`, waits here. While the peer does not read, only
the latest Pong waits (RFC 6455 §5.5.3).

The server's budget counts what waits while the peer does not read, a frame that many connections share once, and the
messages of those who wait for room.

Turns: who waits for room with a message gets it in the order in which they came (`turns.py`), and nobody who comes
later goes before them, also not between there being room and their being woken.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import ClassVar

import trio

from trioecho._protocol.budget import Budget
from trioecho._protocol.frames import PONG, encode_frame
from trioecho._websocket.expiring import lost
from trioecho._websocket.room import Room
from trioecho._wire.wire import Wire

LARGE = 16_384
"""Bytes of payload from which copying it behind its header costs more than writing the two as they are."""

GATHERED_BYTES = 65_536
"""Bytes after which gathered frames are written, whether or not more messages wait."""

LOOKS = 4
"""How often in one `send_timeout` the drain task looks whether the peer has taken any of what the kernel holds."""

TURN_WITHIN = 1.0
"""Seconds that a connection which is lost waits for its turn to be looked at, at most."""


class Outgoing(Room):
    """One connection's bytes to send over `wire`."""

    __slots__ = (
        "_batch",
        "_closed",
        "_deadline",
        "_emptied",
        "_finishing",
        "_frame",
        "_full",
        "_immediate",
        "_lot",
        "_nursery",
        "_pong",
        "_rest",
        "_scope",
        "_seal",
        "_send_timeout",
        "_sent_bytes",
        "_sent_messages",
        "_sink",
        "_size",
        "_stuck_since",
        "_task",
        "_waiting",
        "_wire",
        "_write",
        "failure",
        "messages",
        "payload_bytes",
        "progress_at",
        "timed_out",
    )

    deflates: ClassVar = False
    """Whether it is a `DeflatingOutgoing`."""

    def __init__(self, wire: Wire, send_timeout: float, budget: Budget | None = None) -> None:
        super().__init__(budget if budget is not None else Budget())
        # What it counts besides senders who wait: the frame of which the rest is first, and bytes behind it.
        self._frame: bytes | None = None
        self._rest = 0
        self._wire = wire
        self._write, self._sink = wire.writer()
        self._seal = wire.seal
        self._batch = wire.batch
        self._immediate = wire.immediate
        self._send_timeout = send_timeout
        self._nursery: trio.Nursery | None = None
        self._task: Callable[[], Awaitable[None]] | None = None
        self._waiting: list[bytes | memoryview] = []
        self._size = 0
        self._pong: bytes | None = None
        self._emptied: trio.Event | None = None
        self._scope: trio.CancelScope | None = None
        self._lot: trio.lowlevel.ParkingLot | None = None
        self._finishing = self._closed = False
        self._deadline = math.inf
        self._sent_messages = self._sent_bytes = 0
        # Since when the peer has taken nothing of what waits.
        self._stuck_since = 0.0
        self.progress_at = 0.0
        """When the peer last took bytes that had waited for it, on Trio's clock: a sign of life."""
        self.failure: Exception | None = None
        """What broke it, where that was no fault of the peer's."""
        self.timed_out = False
        """It is broken because the peer made no progress for `send_timeout`."""
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
    def sent_wire_bytes(self) -> int:
        """The same as they went, where they went compressed."""
        return self.sent_bytes

    @property
    def size(self) -> int:
        """Bytes that wait here."""
        return self._size

    @property
    def empty(self) -> bool:
        """Whether everything put has been handed to the kernel."""
        return not self._size

    @property
    def unsent(self) -> int:
        """Bytes that the budget counts: 0 while the peer reads; of a frame that many share, this one's share."""
        shared = 0 if self._frame is None else self._budget.share(self._frame)
        return shared + self._rest + self._senders

    @property
    def still_since(self) -> float:
        """Since when, on Trio's clock, the peer has taken nothing for sure, where bytes wait for it."""
        return self._stuck_since + self._send_timeout / LOOKS

    def start(self, nursery: trio.Nursery, task: Callable[[], Awaitable[None]]) -> None:
        """Start `task` in `nursery` when bytes have to wait for the first time: it runs `drain`, and sees to how that
        has ended."""
        self._nursery, self._task = nursery, task

    async def emptied(self) -> None:
        """Wait until nothing waits any more, or nothing can be sent. No checkpoint if that is so."""
        while self._size and not self.broken:
            if self._emptied is None:
                self._emptied = trio.Event()
            # What has gathered while the batch sleeps is the drain task's; that it runs is seen to here.
            self._wake_drain()
            await self._emptied.wait()

    def put_message(self, header: bytes, payload: bytes, gather: object) -> None:
        """Queue a data frame; if `gather` is true, more are likely to follow at once. Raises nothing."""
        size = len(payload)
        waiting = self._waiting
        if self._seal is None and size < LARGE and (gather or waiting or self._batch.busy):
            # Where most messages of a busy server go. `broken` and `refused` have been looked at.
            if not waiting:
                self._begin()
            waiting.append(header + payload)
            self._size += len(header) + size
            self.messages += 1
            self.payload_bytes += size
            if self._size >= GATHERED_BYTES:
                self.write_now()
            return
        if self._seal is not None:
            self._put(self._sealed(header + payload), gather or self._batch.busy)
        elif size >= LARGE and not waiting and self._immediate:
            self._put_large(header, payload)
        else:
            self._put(header + payload, False)
        if not self.broken:
            self.messages += 1
            self.payload_bytes += size

    def put_piece(self, header: bytes, payload: bytes) -> None:
        """Queue a fragment of a message, for the task that has the turn. Raises nothing."""
        if self._seal is not None:
            self._put(self._sealed(header + payload), False)
        elif len(payload) >= LARGE and not self._waiting and self._immediate:
            self._put_large(header, payload)
        else:
            self._put(header + payload, False)

    def count_message(self, payload_bytes: int, wire_bytes: int) -> None:
        """The last fragment of a message of so many bytes has been put, in frames of so many."""
        if not self.broken:
            self.messages += 1
            self.payload_bytes += payload_bytes

    def put_frame(self, frame: bytes, size: int, gather: object) -> bool:
        """`put_message` for a whole frame with `size` bytes of payload, which other connections may be given, too.

        Whether it is queued; if not, nothing more can be sent. Raises nothing.
        """
        # Where others are gathered, somebody has been told to write them.
        self._put(frame if self._seal is None else self._sealed(frame), gather or bool(self._waiting))
        if self.broken:
            return False
        self.messages += 1
        self.payload_bytes += size
        return True

    def put(self, frame: bytes) -> None:
        """Queue a control frame, or the response to the handshake; nothing behind what `put_close` has queued."""
        if not self._closed and not self.broken:
            self._put(frame if self._seal is None else self._sealed(frame), False)

    def put_pongs(self, payloads: list[bytes]) -> None:
        """Answer Pings: each, or, while the peer does not read, only the latest, and that when it does again."""
        if self._closed or self.broken:
            return
        if self.stuck:
            self._pong = payloads[-1]
        else:
            self.put(b"".join([encode_frame(PONG, payload) for payload in payloads]))

    def put_close(self, frame: bytes) -> None:
        """`put` what nothing may follow: Close (RFC 6455 §5.5.1)."""
        if self._pong is not None:
            pong, self._pong = self._pong, None
            self.put(encode_frame(PONG, pong))
        self.put(frame)
        self._closed = True
        self.refuse()

    def write_now(self) -> None:
        """Hand what is gathered to the wire, as far as that goes without waiting."""
        waiting = self._waiting
        if not self._immediate:
            self.stuck = self._size >= GATHERED_BYTES
            self._settle()
            self._wake_drain()
            if self.stuck:
                self._recount()
                if self._budget.over:
                    self._budget.relieve()
        elif waiting and not self.stuck:
            if len(waiting) > 1 and len(waiting[0]) < LARGE:
                waiting[:] = [b"".join(waiting)]
            data = waiting[0]
            try:
                written = self._write(self._sink, data)  # type: ignore[arg-type]
            except BlockingIOError:
                written = 0
            except (OSError, MemoryError) as error:
                self.break_off(error)
                return
            if written == self._size:
                self._size = 0
                waiting.clear()
                self._tell()
            else:
                self._left_over(data, written)

    async def drain(self) -> None:
        """The task that writes what waits, until `close`, `break_off`, or no progress for `send_timeout`."""
        self._lot = trio.lowlevel.ParkingLot()
        while not self._finishing and not self.broken:
            with trio.CancelScope(shield=True, deadline=self._deadline) as self._scope:
                if self._turns and self._may_call and not (self._waiting and self._immediate):
                    self._call_next()
                if not self._waiting:
                    await self._lot.park()
                elif self.stuck or not self._immediate:
                    await self._send()
                else:
                    self.write_now()
            if self._scope.cancelled_caught and not self._finishing:
                self.break_off()
        if self.broken and self.failure is None and not self._finishing:
            # What is left to be read comes next, of all who hung up at once.
            with trio.move_on_after(TURN_WITHIN, shield=True):
                await lost()

    async def _send(self) -> None:
        """Wait until the peer takes some of what waits, `send_timeout` at most."""
        if len(self._waiting) > 1 and len(self._waiting[0]) < LARGE:
            # A large one may be the rest of a frame that many connections share; a copy would be this one's own.
            self._waiting[:] = [b"".join(self._waiting)]
        data = memoryview(self._waiting[0])
        left = self._wire.in_flight()
        if not self._immediate:
            self._stuck_since = trio.current_time()
        while True:
            with trio.move_on_after(self._send_timeout / LOOKS if self._immediate else self._send_timeout):
                try:
                    written = await self._wire.send(data)
                except MemoryError as error:
                    self.break_off(error)
                    return
                except OSError as error:
                    try:
                        # What is let go of may be megabytes: of 300 clients that hung up at once, for a second.
                        with trio.move_on_after(TURN_WITHIN):
                            await lost()
                    finally:
                        self.break_off(error)
                    return
                break
            if self.broken:
                return
            now = trio.current_time()
            still = self._wire.in_flight()
            if still < left and self._immediate:
                left, self.progress_at, self._stuck_since = still, now, now
            elif now >= self._stuck_since + self._send_timeout or not self._immediate:
                self.timed_out = True
                self.break_off()
                return
        if self.broken or self._finishing:
            return
        self._stuck_since = trio.current_time()
        if self.stuck:
            self.progress_at = self._stuck_since
        # More may have come behind it meanwhile.
        rest = data[written:]
        self._waiting[0:1] = [rest] if len(rest) else []
        self._size -= written
        self.stuck = not self._immediate and self._size >= GATHERED_BYTES
        self._settle()
        self._recount()
        if not self.stuck:
            self._tell()

    def refuse(self) -> None:
        """Take no more messages, and tell those who wait with one."""
        self.shut = self.refused = True
        self._dismiss()
        self._wake_room()

    def finish_by(self, deadline: float) -> None:
        """Whoever waits in `room`, and the drain task, wait no longer than to `deadline`, on Trio's clock."""
        self._deadline = min(self._deadline, deadline)
        if self._scope is not None:
            self._scope.deadline = self._deadline

    def break_off(self, error: Exception | None = None) -> None:
        """Send nothing more: TCP is gone, or about to be closed."""
        self.broken = self.shut = self.refused = True
        if error is not None and not isinstance(error, OSError):
            self.failure = error
        self._waiting.clear()
        self._recount()
        self._forget_senders()
        self._pong = None
        self._dismiss()
        self._wake_room()
        self._wake_emptied()
        if error is not None or self._lot is not None:
            # Whoever looks after the drain task sees that something is to be done.
            self._wake_drain()

    def close(self) -> None:
        """End the drain task; whatever still waits is lost. Nothing is started any more."""
        self._finishing = True
        self._waiting.clear()
        self._recount()
        self._nursery = self._task = None
        if self._scope is not None:
            self._scope.cancel()

    def _put(self, data: bytes, gather: object) -> None:
        if self._waiting or gather or not self._immediate:
            if not self._waiting:
                self._begin()
            self._waiting.append(data)
            self._size += len(data)
            if self._size >= GATHERED_BYTES or not gather:
                self.write_now()
            return
        try:
            written = self._write(self._sink, data)
        except BlockingIOError:
            written = 0
        except (OSError, MemoryError) as error:
            self.break_off(error)
            return
        if written != len(data):
            self._count()
            self._left_over(data, written)

    def _put_large(self, header: bytes, payload: bytes) -> None:
        try:
            written = self._wire.write_large(header, payload)
        except BlockingIOError:
            written = 0
        except (OSError, MemoryError) as error:
            self.break_off(error)
            return
        if written < len(header):
            self._count()
            self._left_over(header + payload, written)
        elif written < len(header) + len(payload):
            self._count()
            self._left_over(payload, written - len(header))

    def _begin(self) -> None:
        """Something begins to wait: who writes it has to know."""
        self._count()
        if self._batch.awake:
            self._batch.writers.append(self)
        else:
            self._wake_drain()

    def _count(self) -> None:
        self._sent_messages, self._sent_bytes = self.messages, self.payload_bytes

    def _left_over(self, data: bytes | memoryview, written: int) -> None:
        """The wire has taken `written` bytes of `data`, the first that waits, and will not take more now."""
        if not self._waiting:
            self._waiting.append(data)
            self._size = len(data)
        self._waiting[0:1] = [memoryview(data)[written:]] if written < len(data) else []
        self._size -= written
        if not self.stuck:
            self.stuck = self.blocked = True
            self._stuck_since = trio.current_time()
        self._wake_drain()
        self._recount()
        if self._budget.over:
            # This one may be what is given up: then it is broken.
            self._budget.relieve()

    def _recount(self) -> None:
        """Let the budget count what waits, while the peer does not read."""
        frame: bytes | None = None
        rest = 0
        if self.stuck and self._waiting:
            first = self._waiting[0]
            frame = first if isinstance(first, bytes) else first.obj  # type: ignore[assignment]
            rest = self._size - len(first)
        if frame is not self._frame:
            if frame is not None:
                self._budget.hold(frame)
            if self._frame is not None:
                self._budget.release(self._frame)
            self._frame = frame
        self._budget.add(rest - self._rest)
        self._rest = rest

    def _sealed(self, frame: bytes) -> bytes:
        assert self._seal is not None
        try:
            return self._seal(frame)
        except (OSError, MemoryError) as error:
            self.break_off(error)
            return b""

    def _tell(self) -> None:
        """The wire takes bytes again, or has taken all."""
        if self._pong is not None:
            pong, self._pong = self._pong, None
            self.put_pongs([pong])
        if not self.stuck:
            if self._room is not None:
                self._wake_room()
            if self._turns is not None:
                # It is the drain task that calls whose turn it is, so that nobody puts while another does.
                self._wake_drain()
        if self._emptied is not None and not self._size:
            self._wake_emptied()

    def _wake_emptied(self) -> None:
        if self._emptied is not None:
            self._emptied.set()
            self._emptied = None

    def _wake_drain(self) -> None:
        if self._lot is not None:
            self._lot.unpark_all()
        elif self._nursery is not None and self._task is not None:
            self._nursery.start_soon(self._task)
            self._nursery = self._task = None
