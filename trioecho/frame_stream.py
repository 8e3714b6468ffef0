"""The stream under trio-websocket, and the reading of the socket.

trio-websocket believes that it has the peer's byte stream. What it gets to read is the handshake, as the front door
vetted it, and then Pings and Pongs one at a time, which it answers. Everything else is sorted away before
(`sorter.py`). The peer's Close it never sees: `connection.py` has it say every goodbye.

Who reads: with a poller, `_readable` is called for each chunk; otherwise trio-websocket's own reader task, inside
`receive_some`, reads the Trio stream. At the goodbye that task may be gone, and the connection's own reads on.

What may never happen: a byte read while the inbox is full. That is the backpressure, and the time until it ends counts
for no timeout.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from trioecho.endings import PEER_VANISHED
from trioecho.frames import CLOSE
from trioecho.inbox import Inbox
from trioecho.keep_alive import Activity
from trioecho.outbox import Outbox
from trioecho.poller import GONE, Poller
from trioecho.sorter import Sorter

CHUNK = 65_536
"""Bytes read at once: what one connection may keep the loop busy with before the others have their turn."""

UNREAD_CHUNKS = 16
"""Chunks behind the peer's Close that are read before TCP is closed over the rest."""


class FrameStream(trio.abc.Stream):
    """One connection's stream as trio-websocket sees it, and the reading behind it.

    `transport` is read through Trio, unless `poller` and the file number `fd` are given. `vetted` is the handshake
    that trio-websocket is shown, `received` what the client sent behind its own.
    """

    __slots__ = (
        "_activity",
        "_early",
        "_engine",
        "_engine_closed",
        "_fd",
        "_inbox",
        "_lost",
        "_open",
        "_outbox",
        "_paused",
        "_poller",
        "_resumed",
        "_sorter",
        "_transport",
        "_vetted",
        "hung_up",
        "on_close_sent",
    )

    def __init__(
        self,
        transport: trio.abc.Stream,
        *,
        vetted: bytes,
        received: bytes,
        sorter: Sorter,
        inbox: Inbox,
        outbox: Outbox,
        activity: Activity,
        poller: Poller | None = None,
        fd: int = -1,
    ) -> None:
        self._transport = transport
        self._vetted = vetted
        self._early = received
        self._sorter = sorter
        self._inbox = inbox
        self._outbox = outbox
        self._activity = activity
        self._poller = poller
        self._fd = fd
        self._open = False
        self._paused = False
        self._lost = False
        self._engine: trio.lowlevel.Task | None = None
        self._engine_closed = False
        self._resumed: trio.Event | None = None
        self.on_close_sent: Callable[[], object] = bool
        """Called when trio-websocket has sent our Close."""
        self.hung_up = trio.Event()
        """Set when TCP has ended: there is nothing left to read."""

    # What trio-websocket calls.

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The vetted handshake, then one Ping or Pong at a time."""
        if self._vetted:
            vetted, self._vetted = self._vetted, b""
            return vetted
        sorter = self._sorter
        if sorter.control is None and self._open:
            sorter.busy = False
            sorter.sort(b"", trio.current_time())
        while sorter.control is None:
            if self._poller is not None or not self._open or sorter.peer_done.is_set():
                if self._engine_closed:
                    raise trio.ClosedResourceError
                await self._park()
            else:
                await self._read_transport()
        control, sorter.control = sorter.control, None
        return control.raw

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue what trio-websocket says, in order before anything that is sent later."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._outbox.room()
        if self._outbox.broken:
            raise trio.BrokenResourceError
        frame = bytes(data)
        self._outbox.put(frame)
        if not self._open:
            # The first thing it says is the 101. A fast client's first message may have come with the handshake.
            self._start_reading()
        elif frame[0] & 0x0F == CLOSE:
            self.on_close_sent()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` would not wait."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._outbox.room()

    async def aclose(self) -> None:
        """trio-websocket is done with the stream; the transport belongs to the connection, which closes it."""
        self._engine_closed = True
        self._wake_engine()
        await trio.lowlevel.checkpoint()

    # What the connection calls.

    def begin_goodbye(self) -> None:
        """From here on nothing is delivered: only the peer's Close and the end of TCP still matter."""
        self._sorter.discarding = True
        self._resume()

    async def read_on(self, until: trio.Event) -> None:
        """Read in the connection's own task until the sorter's `peer_done`, or `hung_up`.

        With a poller, whose task goes on reading by itself, this only waits.
        """
        if self._poller is not None:
            await until.wait()
        while not until.is_set():
            await self._read_transport()

    def discard_unread(self) -> None:
        """Read what a peer has sent behind its Close: closing TCP over it would answer with a reset (RFC 9112 §9.6),
        and that could destroy our own Close on its way."""
        if self._poller is None or self.hung_up.is_set():
            return
        for _ in range(UNREAD_CHUNKS):
            try:
                if not os.read(self._fd, CHUNK):
                    return
            except OSError:
                return

    def forget(self) -> None:
        """Let go of the socket. Has to happen before it is closed."""
        if self._poller is not None:
            self._poller.forget(self._fd)
        self._sorter.peer_done.set()
        self.hung_up.set()

    # Reading.

    def _start_reading(self) -> None:
        self._open = True
        # trio-websocket's reader waits in receive_some, unless it is yet to come there.
        self._sorter.busy = self._engine is None
        if self._poller is not None:
            self._poller.watch(self._fd, self._readable)
        early, self._early = self._early, b""
        if early:
            self._sorter.sort(early, trio.current_time())
        if self._poller is None or self._sorter.control is not None:
            self._wake_engine()

    def _readable(self, events: int, now: float) -> None:
        """The poller's turn for this connection: read one chunk."""
        sorter = self._sorter
        # The property `must_wait`, written out: this is done for each message.
        if (self._inbox.shut or sorter.busy) and not sorter.discarding:
            self._pause(now, lost=bool(events & GONE))
            return
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(str(error))
            return
        if data:
            self._activity.heard_at = now
            sorter.sort(data, now)
            if sorter.control is not None:
                self._wake_engine()
        else:
            self._end_of_tcp()

    async def _read_transport(self) -> None:
        """Read one chunk from the Trio stream, once there is room for it."""
        if self._sorter.must_wait:
            self._pause(trio.current_time(), lost=False)
            self._resumed = trio.Event()
            await self._resumed.wait()
        try:
            data = await self._transport.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose(str(error.__cause__ or error))
            return
        if data:
            now = trio.current_time()
            self._activity.heard_at = now
            self._sorter.sort(bytes(data), now)
        else:
            self._end_of_tcp()

    def _end_of_tcp(self) -> None:
        self._sorter.end(PEER_VANISHED, "TCP ended without a Close")
        self.forget()

    def _lose(self, why: str) -> None:
        self._outbox.break_off()
        self._sorter.end(PEER_VANISHED, why)
        self.forget()

    # Backpressure.

    def _pause(self, now: float, *, lost: bool) -> None:
        """Read nothing more until the handler has caught up; `lost`: TCP was reset, or has ended in both directions.

        Of a lost connection, what the kernel still holds is read when there is room. epoll would report the loss
        without end, so it is not asked any more.
        """
        if lost and self._poller is not None:
            self._poller.forget(self._fd)
            self._lost = True
            self._outbox.break_off()
            self._sorter.on_ended()
        if self._paused:
            return
        self._paused = True
        self._activity.pause(now)
        self._inbox.on_caught_up = self._resume
        if self._poller is not None and not self._lost:
            self._poller.pause(self._fd)

    def _resume(self) -> None:
        if not self._paused or self._sorter.must_wait:
            return
        self._paused = False
        self._inbox.on_caught_up = None
        now = trio.current_time()
        self._activity.resume(now)
        if self._lost:
            while not self.hung_up.is_set() and not self._sorter.must_wait:
                self._readable(0, now)
            if not self.hung_up.is_set():
                self._pause(now, lost=False)
        elif self._poller is not None and not self.hung_up.is_set():
            self._poller.resume(self._fd)
        elif self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    # trio-websocket's reader, parked.

    async def _park(self) -> None:
        if self._open:
            # It has dealt with the Ping that held up reading.
            self._resume()
            if self._sorter.control is not None:
                return
        self._engine = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_parking)

    def _wake_engine(self) -> None:
        if self._engine is not None:
            task, self._engine = self._engine, None
            trio.lowlevel.reschedule(task)

    def _abort_parking(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._engine = None
        return trio.lowlevel.Abort.SUCCEEDED
