"""trio-websocket for one connection: it answers the peer's Pings, and sleeps as long as there are none.

It runs on a stream of its own making: `FrameStream` shows it a handshake, always the same, and then one Ping at a time.
Everything else is sorted away before (`sorter.py`) and is the connection's own business.

Why asleep: awake it takes some 10 KiB (a task, wsproto, h11, a memory channel), in each of perhaps thousands of
connections that say nothing for minutes. When it was awake from the handshake to the end, a connection took 26 KiB
instead of 14, and a handshake half as long again.

Why awake at all: trioecho is built on trio-websocket, and this is what is left to it. It has its price: a Ping that
finds it asleep takes 480 µs of CPU, one that finds it awake 90, and an echo 40 (both ends together).

Why it does not say Close as well: it did. But a server that stops says Close to all at once, and waking takes 0.2 ms:
of 10,000 clients not one got its Close in time. Said by `goodbye.py`, all have it within 2 s.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
import trio_websocket

from trioecho._websocket.frame_stream import FrameStream
from trioecho._websocket.outbox import Outbox
from trioecho._websocket.reading import Reading
from trioecho._websocket.sorter import Sorter


class Engine:
    """One connection's trio-websocket. `start` starts a task in its outer nursery."""

    __slots__ = ("_outbox", "_reading", "_sorter", "_start", "_stream")

    def __init__(
        self, sorter: Sorter, reading: Reading, outbox: Outbox, start: Callable[..., object]
    ) -> None:
        self._sorter = sorter
        self._reading = reading
        self._outbox = outbox
        self._start: Callable[..., object] | None = start
        self._stream: FrameStream | None = None
        sorter.on_ping = self._wake

    async def answer(self) -> None:
        """The task that is awake while Pings come."""
        try:
            while self._sorter.ping is not None:
                async with trio.open_nursery() as nursery:
                    self._stream = FrameStream(
                        self._sorter, self._reading, self._outbox, awake=nursery.cancel_scope
                    )
                    request = await trio_websocket.wrap_server_stream(
                        nursery, self._stream, receive_buffer_size=None
                    )
                    await request.accept()
        finally:
            self._stream = None

    def finish(self) -> None:
        """Start no task any more: the nursery is about to close."""
        self._start = None

    def part(self) -> None:
        """Be called by nobody any more, after `finish`."""
        self._sorter.on_ping = bool

    def _wake(self) -> None:
        if self._stream is not None:
            self._stream.wake()
        elif self._start is not None:
            self._start(self.answer)
