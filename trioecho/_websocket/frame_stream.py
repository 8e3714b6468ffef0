"""The stream under trio-websocket: a handshake, and then one Ping at a time.

trio-websocket believes that it has the peer's byte stream. The handshake that it gets to read and answer is a constant:
the client's own has been judged and answered before (`handshake.py`), and nothing that a client chose reaches it.
"""

from __future__ import annotations

import math

import trio

from trioecho._websocket.outbox import Outbox
from trioecho._websocket.reading import Reading
from trioecho._websocket.sorter import Sorter

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

REST = 1.0
"""Seconds without a Ping after which it may sleep. Picked arbitrarily: clients ping every 20 s, or as fast as they
can."""


class FrameStream(trio.abc.Stream):
    """One connection's stream as trio-websocket sees it; `awake` is cancelled when no Ping has come for `REST`."""

    __slots__ = ("_accepted", "_awake", "_handshake_read", "_outbox", "_parked", "_reading", "_sorter")

    def __init__(self, sorter: Sorter, reading: Reading, outbox: Outbox, *, awake: trio.CancelScope) -> None:
        self._sorter = sorter
        self._reading = reading
        self._outbox = outbox
        self._awake = awake
        self._handshake_read = False
        self._accepted = False
        self._parked: trio.lowlevel.Task | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The handshake, then one Ping at a time, as they come."""
        if not self._handshake_read:
            self._handshake_read = True
            return HANDSHAKE
        sorter = self._sorter
        while not self._accepted:
            await self._park()
        if sorter.ping is None:
            # It has dealt with the one that held up reading.
            sorter.busy = False
            sorter.sort(b"", trio.current_time())
        while sorter.ping is None:
            self._reading.resume()
            if sorter.ping is None:
                self._awake.deadline = trio.current_time() + REST
                await self._park()
        ping, sorter.ping = sorter.ping, None
        return ping.raw

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Swallow the response to the handshake; queue its Pongs."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._accepted:
            await self._outbox.room()
            self._outbox.put(bytes(data))
        else:
            self._accepted = True
            self.wake()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` would not wait."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._outbox.room()

    async def aclose(self) -> None:
        """trio-websocket is done with the stream; the transport belongs to the connection, which closes it."""
        await trio.lowlevel.checkpoint()

    def wake(self) -> None:
        """There is a Ping to fetch."""
        if self._parked is not None:
            task, self._parked = self._parked, None
            # Now: between here and the task's next step the time may be up, and the Pong would be lost.
            self._awake.deadline = math.inf
            trio.lowlevel.reschedule(task)

    async def _park(self) -> None:
        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED
