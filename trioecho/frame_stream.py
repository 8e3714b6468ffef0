"""The stream under trio-websocket: where a connection's bytes are sorted.

trio-websocket believes that it has the peer's byte stream. What it gets to read is the handshake, as the front door
vetted it, and then Pings and Pongs one at a time, which it answers. Data frames go straight to the inbox. A Close, and
any error, goes into the inbox behind the messages before it, and is answered when the handler has got there:
`connection.py` has trio-websocket say every goodbye, so it never sees the peer's.

Who reads: with a poller, `_readable` is called for each chunk; otherwise trio-websocket's own reader task, inside
`receive_some`, reads the Trio stream. Both hand the bytes to `_received`.

What may never happen:
- a message decoded before the Ping in front of it has been answered: decoding stops at a control frame and goes on
  when trio-websocket comes back to ask for more;
- a byte read while the inbox is full: that is the backpressure, and the time until it ends counts for no timeout;
- a byte decoded after an error: the stream is out of step then.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from trioecho.endings import BY_FRAME_ERROR, PEER_CLOSED, PEER_VANISHED, Ending
from trioecho.frames import CLOSE, PING, ControlFrame, FrameDecoder, FrameError, parse_close
from trioecho.inbox import Inbox
from trioecho.keep_alive import Activity
from trioecho.outbox import Outbox
from trioecho.poller import GONE, Poller

CHUNK = 65_536
"""Bytes read at once: what one connection may keep the loop busy with before the others have their turn."""


class FrameStream(trio.abc.Stream):
    """One connection's stream as trio-websocket sees it, and the sorting behind it.

    `transport` is read and written through Trio, unless `poller` and the file number `fd` are given. `vetted` is the
    handshake that trio-websocket is shown, `received` what the client sent behind its own.
    """

    def __init__(
        self,
        transport: trio.abc.Stream,
        *,
        vetted: bytes,
        received: bytes,
        decoder: FrameDecoder,
        inbox: Inbox,
        outbox: Outbox,
        activity: Activity,
        poller: Poller | None = None,
        fd: int = -1,
    ) -> None:
        self._transport = transport
        self._vetted = vetted
        self._received_early = received
        self._decoder = decoder
        self._inbox = inbox
        self._outbox = outbox
        self._activity = activity
        self._poller = poller
        self._fd = fd
        self._open = False
        self._out_of_step = False
        self._paused = False
        self._gone = False
        self._control: ControlFrame | None = None
        self._engine: trio.lowlevel.Task | None = None
        self._engine_busy = True
        self._engine_closed = False
        self._catching_up: trio.Event | None = None
        self.on_ended: Callable[[], None] = lambda: None
        """Called when nothing more will come for the handler."""
        self.on_close_sent: Callable[[], None] = lambda: None
        """Called when trio-websocket has sent our Close."""
        self.error: str | None = None
        """What was wrong, for the reason of the goodbye and for the record."""
        self.peer_close: tuple[int, str] | None = None
        """Code and reason of the peer's Close; the code is 1005 if it was empty."""
        self.peer_done = trio.Event()
        """Set when the peer has said all it will say: Close, the end of TCP, or an error."""
        self.hung_up = trio.Event()
        """Set when TCP has ended: there is nothing left to read."""
        self.saying_goodbye = False
        self.discarded = 0
        """Messages that came after we had begun to say goodbye."""

    # What trio-websocket calls.

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The vetted handshake, then one Ping or Pong at a time."""
        if self._vetted:
            vetted, self._vetted = self._vetted, b""
            return vetted
        self._engine_busy = False
        control, self._control = self._control, None
        if control is None:
            control = self._decode(b"")
        while control is None:
            if self._engine_closed and (self._poller is not None or self.peer_done.is_set()):
                raise trio.ClosedResourceError
            if self._poller is not None or self.peer_done.is_set():
                control = await self._next_control_frame()
            else:
                control = await self._read_transport()
        self._engine_busy = True
        return control.raw

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue what trio-websocket says, and put it on the wire before anything that is sent later."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._outbox.room()
        if self._outbox.broken:
            raise trio.BrokenResourceError
        frame = bytes(data)
        self._outbox.put(frame)
        if not self._open:
            # The first thing it says is the 101. A fast client's first message may have come with the handshake.
            self._open = True
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
        self.saying_goodbye = True
        self._resume()

    async def read_on(self, until: trio.Event) -> None:
        """Read in the connection's own task until `peer_done` or `hung_up`, trio-websocket's reader being gone.

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
        for _ in range(16):
            try:
                if not os.read(self._fd, CHUNK):
                    return
            except OSError:
                return

    def forget(self) -> None:
        """Let go of the socket before it is closed."""
        if self._poller is not None:
            self._poller.forget(self._fd)
        self._hung_up()

    # Reading.

    def _start_reading(self) -> None:
        if self._poller is not None:
            self._poller.watch(self._fd, self._readable)
        early, self._received_early = self._received_early, b""
        if early:
            self._received(early, trio.current_time())
        # trio-websocket's reader may be waiting already: on a Trio stream it is the one that reads.
        if self._poller is None:
            self._wake_engine()

    def _readable(self, events: int, now: float) -> None:
        """Read one chunk: the poller's turn for this connection."""
        if self._must_wait:
            self._pause(now, gone=bool(events & GONE))
        else:
            self._read_once(now)

    def _read_once(self, now: float) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(str(error))
            return
        if data:
            self._received(data, now)
        else:
            self._ended_by_peer()

    async def _read_transport(self) -> ControlFrame | None:
        """Read one chunk from the Trio stream, once there is room for it; returns the control frame it ended at."""
        if not self._open:
            await self._next_control_frame()
            return None
        if self._inbox.full and not self.saying_goodbye:
            self._pause(trio.current_time(), gone=False)
            self._catching_up = trio.Event()
            await self._catching_up.wait()
        try:
            data = await self._transport.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lost(str(error.__cause__ or error))
            return None
        if not data:
            self._ended_by_peer()
            return None
        self._received(bytes(data), trio.current_time())
        control, self._control = self._control, None
        return control

    def _received(self, data: bytes, now: float) -> None:
        self._activity.heard(now)
        self._control = self._decode(data, now)
        if self._control is not None:
            # From now, not from when its task runs: the poller may be faster.
            self._engine_busy = True
            self._wake_engine()

    def _decode(self, data: bytes, now: float | None = None) -> ControlFrame | None:
        """Sort `data`, and what was left before it, up to the next Ping or Pong."""
        if not self._open or self._out_of_step or self.peer_close is not None:
            return None
        messages: list[str | bytes] = []
        before = self._decoder.payload_bytes
        control: ControlFrame | None = None
        try:
            control = self._decoder.decode(data, messages)
            while control is not None and self.saying_goodbye and control.opcode != CLOSE:
                # RFC 6455 §5.5.1: nothing is sent after a Close, so nothing is answered.
                control = self._decoder.decode(b"", messages)
        except FrameError as error:
            self._deliver(messages, before, now)
            self._out_of_step = True
            self._finish(BY_FRAME_ERROR[error.close_code], error.reason)
            return None
        self._deliver(messages, before, now)
        if control is None:
            return None
        if control.opcode == CLOSE:
            self._peer_closed(control)
            return None
        if control.opcode == PING:
            self._activity.message(now if now is not None else trio.current_time())
        return control

    def _deliver(self, messages: list[str | bytes], before: int, now: float | None) -> None:
        if not messages:
            return
        self._activity.message(now if now is not None else trio.current_time())
        if self.saying_goodbye:
            self.discarded += len(messages)
        else:
            self._inbox.put(messages, self._decoder.payload_bytes - before + 6 * len(messages))

    def _peer_closed(self, control: ControlFrame) -> None:
        try:
            self.peer_close = parse_close(control.payload)
        except FrameError as error:
            self._out_of_step = True
            self._finish(BY_FRAME_ERROR[error.close_code], error.reason)
        else:
            self._finish(PEER_CLOSED)

    def _ended_by_peer(self) -> None:
        if self.peer_close is None:
            self._finish(PEER_VANISHED, "TCP ended without a Close")
        self._hung_up()

    def _lost(self, why: str) -> None:
        self._outbox.break_off()
        if self.peer_close is None:
            self._finish(PEER_VANISHED, why)
        self._hung_up()

    def _hung_up(self) -> None:
        if self._poller is not None:
            self._poller.forget(self._fd)
        self.peer_done.set()
        self.hung_up.set()

    def _finish(self, ending: Ending, error: str | None = None) -> None:
        """Nothing more will come: say so behind the messages that wait."""
        if self.error is None:
            self.error = error
        self._inbox.end(ending)
        self.peer_done.set()
        self.on_ended()

    # Backpressure.

    @property
    def _must_wait(self) -> bool:
        """Whether reading has to wait for the handler, or for trio-websocket's answer to a Ping."""
        inbox = self._inbox
        return not self.saying_goodbye and (inbox.full or self._engine_busy or inbox.ending is not None)

    def _pause(self, now: float, *, gone: bool) -> None:
        if gone and self._poller is not None:
            # Reset, or ended both ways, while messages wait: what the kernel still holds is read when they are taken.
            # epoll would report it without end, so it is not asked any more.
            self._poller.forget(self._fd)
            self._gone = True
            self._outbox.break_off()
            self.on_ended()
        if self._paused:
            return
        self._paused = True
        self._activity.pause(now)
        self._inbox.on_caught_up = self._resume
        if self._poller is not None and not self._gone:
            self._poller.pause(self._fd)

    def _resume(self) -> None:
        if not self._paused or self._must_wait:
            return
        self._paused = False
        self._inbox.on_caught_up = None
        self._activity.resume(trio.current_time())
        if self._gone:
            self._read_what_is_left()
        elif self._poller is not None and not self.hung_up.is_set():
            self._poller.resume(self._fd)
        elif self._catching_up is not None:
            self._catching_up.set()
            self._catching_up = None

    def _read_what_is_left(self) -> None:
        """Take a chunk of what a lost connection's socket still holds, up to the error at its end."""
        while not self.hung_up.is_set() and not self._must_wait:
            self._read_once(trio.current_time())
        if not self.hung_up.is_set():
            self._pause(trio.current_time(), gone=False)

    # trio-websocket's reader, parked.

    async def _next_control_frame(self) -> ControlFrame | None:
        if self._control is None and not self._engine_closed:
            if self._poller is not None:
                self._resume()
            self._engine = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort_engine)
        control, self._control = self._control, None
        return control

    def _wake_engine(self) -> None:
        if self._engine is not None:
            task, self._engine = self._engine, None
            trio.lowlevel.reschedule(task)

    def _abort_engine(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._engine = None
        return trio.lowlevel.Abort.SUCCEEDED
