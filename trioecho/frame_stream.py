"""The stream under trio-websocket.

trio-websocket believes that it has the peer's byte stream. What it gets to read is the handshake, as the front door
vetted it, and then Pings and Pongs one at a time, which it answers. Everything else is sorted away before
(`sorter.py`). The peer's Close it never sees: `goodbye.py` has it say every goodbye.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from trioecho.frames import CLOSE
from trioecho.outbox import Outbox
from trioecho.reading import Reading
from trioecho.sorter import Sorter


class FrameStream(trio.abc.Stream):
    """One connection's stream as trio-websocket sees it.

    `vetted` is the handshake that it is shown, `received` what the client sent behind its own. Reading starts when
    the 101 is handed over for sending, not when ``accept()`` returns: a fast client's message arrives in between.
    """

    __slots__ = (
        "_close_said",
        "_closed",
        "_early",
        "_outbox",
        "_parked",
        "_reading",
        "_sorter",
        "_vetted",
        "on_close_sent",
        "opened",
    )

    def __init__(
        self, vetted: bytes, received: bytes, sorter: Sorter, reading: Reading, outbox: Outbox
    ) -> None:
        self._vetted = vetted
        self._early = received
        self._sorter = sorter
        self._reading = reading
        self._outbox = outbox
        self.opened = False
        """Whether the 101 has been handed over, so that frames may follow."""
        self._closed = False
        self._close_said = False
        self._parked: trio.lowlevel.Task | None = None
        self.on_close_sent: Callable[[], object] = bool
        """Called when trio-websocket has sent our Close."""
        reading.on_control = self._wake

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The vetted handshake, then one Ping or Pong at a time."""
        if self._vetted:
            vetted, self._vetted = self._vetted, b""
            return vetted
        sorter = self._sorter
        if sorter.control is None and self.opened:
            sorter.busy = False
            sorter.sort(b"", trio.current_time())
        while sorter.control is None:
            if self._reading.poller is None and self.opened and not sorter.peer_done.is_set():
                await self._reading.read_transport()
            elif self._closed:
                raise trio.ClosedResourceError
            else:
                await self._park()
        control, sorter.control = sorter.control, None
        return control.raw

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue what trio-websocket says, in order before anything that is sent later."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._outbox.room()
        self.say(bytes(data))

    def say(self, frame: bytes) -> None:
        """Queue the 101, a control frame, or Close, after which nothing more is said."""
        if self._close_said:
            return
        self._outbox.put(frame)
        closing = self.opened and frame[0] & 0x0F == CLOSE
        if self._outbox.broken and (closing or not self.opened):
            raise trio.BrokenResourceError
        # A Pong that cannot be sent is no reason to stop reading: what came before the loss is still to be delivered.
        if not self.opened:
            self.opened = True
            # trio-websocket's reader waits in receive_some, unless it is yet to come there.
            self._sorter.busy = self._parked is None
            early, self._early = self._early, b""
            self._reading.start(early)
            if self._reading.poller is None:
                self._wake()
        elif closing:
            self._close_said = True
            self.on_close_sent()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` would not wait."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._outbox.room()

    async def aclose(self) -> None:
        """trio-websocket is done with the stream; the transport belongs to the connection, which closes it."""
        self._closed = True
        self._wake()
        await trio.lowlevel.checkpoint()

    async def _park(self) -> None:
        if self.opened:
            # It has dealt with the Ping that held up reading.
            self._reading.resume()
            if self._sorter.control is not None:
                return
        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _wake(self) -> None:
        if self._parked is not None:
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED
