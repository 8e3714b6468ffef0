"""What has come and waits for the handler: messages in order, bounded, the end behind them; and the task that waits.

`feed` takes the peer's bytes and says whether anything but messages was among them. The end of the conversation (the
peer's Close, an error, the server stopping) stands behind the messages and takes effect only when the handler has taken
what came before it.

Bound: when `WAITING_BYTES` have come in since the handler last caught up, it is `full`, and the connection stops
reading the socket, so that the backpressure reaches the peer's TCP window. Counting "since it last caught up" instead
of keeping the size of every waiting message overestimates what is waiting, costs nothing per message, and makes the
reader start again with all the room free instead of one message's worth.

The server's budget counts likewise what waits since the handler last caught up, and what has come of a message that is
not there whole. A message for which somebody waits, and which is not large, is not counted: it is taken at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from sys import getsizeof
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import reschedule

from trioecho._protocol.budget import Budget
from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.frames import FrameError, parse_close
from trioecho._websocket.parking import WOKEN, trap
from trioecho._wire.wire import CHUNK

if TYPE_CHECKING:
    from trioecho._protocol.endings import Ending

WAITING_BYTES = 65_536
"""Bytes on the wire (headers included, so that empty messages count) after which reading stops: one received chunk."""

FRAME_OVERHEAD = 6
"""Bytes of the smallest header with its key: what an empty message counts."""

SMALL_CHUNK = 1024
"""Bytes read at once of a client that has yet to show what its frames are like, or whose frames are hardly more than
their headers. These are 170 Pongs or empty fragments, each 0.2 to 0.4 µs of decoding, or 140 messages of one byte, each
2 µs of an echo."""

LOOKED_AT = 2048
"""Bytes of a chunk from which its frames are always judged. Fewer are not many, and 16 short messages in flight, which
come together, need not be looked at each time."""

MIXED_CHUNK = 4096
"""Bytes read at once, at most, of a client that once sent long frames and then a chunk full of short ones."""

HEADERS = 768
"""Bytes of headers, control frames among them, that one chunk is to have at most, but for the smallest: those of 96 to
128 frames."""

LONG_FRAGMENT = 32
"""Bytes of a fragment, header included, from which it costs no more than the same bytes in a message of one frame, by
and large. Shorter ones are counted (`WebSocketOptions.flood_limit`)."""

COUNTED = 64
"""Short fragments from which the connection is told of them: a client's usual ones need not be told each time."""
PLACE = 8
"""Bytes that a place in the queue takes."""

MANY = 128
"""Messages of one chunk that count towards the budget though somebody waits for them: more than are likely to be taken
at once, and the smaller they are, the more memory they take for their bytes."""

BURST = 256
"""Messages that a handler may take before it has to let other tasks run: it does where the number that waits is a
multiple of this, which needs no counter. A received chunk of 64 KiB can hold ten thousand messages; without this, one
connection could hold the loop for all of them."""


class Incoming:
    """One connection's received bytes, on their way to its handler. No method waits, but for `park`."""

    __slots__ = (
        "_decoder",
        "_most",
        "_pace",
        "budget",
        "careful",
        "chunk",
        "close",
        "counts_idleness",
        "discarded",
        "ending",
        "error",
        "full",
        "half",
        "kept",
        "message_at",
        "messages",
        "short_fragments",
        "size",
        "stale",
        "task",
        "tells",
        "trap",
    )

    def __init__(
        self,
        now: float,
        *,
        max_message_size: int,
        max_fragments: int,
        counts_idleness: bool,
        budget: Budget | None = None,
    ) -> None:
        self.budget = budget if budget is not None else Budget()
        self.kept = 0
        """Bytes of waiting messages that the budget counts, until the handler has caught up."""
        self.stale = False
        """What is `kept` has been taken, but the handler may hold a large message until it takes another."""
        self.half = 0
        """Bytes that it counts of the message that is not there whole."""
        self._decoder = FrameDecoder(max_message_size=max_message_size, max_fragments=max_fragments)
        # What is read at once apart from a frame that is arriving, and what that may be at most.
        self._pace = SMALL_CHUNK
        self._most = CHUNK
        self.chunk = SMALL_CHUNK
        """Bytes to read at once: few where they are many frames, for what takes time are frames."""
        self.size = 0
        self.messages: deque[str | bytes] = deque()
        self.ending: Ending | None = None
        """What ends the conversation behind the waiting messages, once that is known."""
        self.full = False
        """Nothing more is delivered: until the handler has caught up, or ever, since there is an `ending`."""
        self.careful = False
        """The connection wants to know of each message taken, and each is a checkpoint."""
        self.task: trio.lowlevel.Task | None = None
        """The task that waits for a message."""
        self.trap = trap(self._abort)
        """What the task that has to wait yields to be parked (`parking.trap`); None: it awaits `park()`."""
        self.counts_idleness = counts_idleness
        self.tells = counts_idleness
        """The connection wants to know when the handler has caught up."""
        self.message_at = now
        """When the client last said something of its own accord, a data message or a Ping, or the handler caught up
        with it: idleness counts from here, on Trio's clock."""
        self.close: tuple[int, str] | None = None
        """Code and reason of the peer's Close; the code is 1005 if it was empty."""
        self.error: FrameError | None = None
        """How the peer broke the protocol."""
        self.short_fragments = 0
        """Fragments that came since this was last set to 0, beyond one for each `LONG_FRAGMENT` bytes."""
        self.discarded = 0
        """Messages that came, and were never taken."""

    @property
    def received_messages(self) -> int:
        """Whole messages that have come."""
        return self._decoder.messages

    @property
    def received_bytes(self) -> int:
        """Their payload bytes."""
        return self._decoder.payload_bytes

    @property
    def wire_bytes(self) -> int:
        """The same as they came, where they came compressed."""
        return self._decoder.wire_bytes

    @property
    def behind(self) -> bool:
        """Whether frames that have been read are decoded only when the handler has caught up; then it is `full`."""
        return False

    def feed(self, data: bytes, now: float) -> bool:
        """Take `data`, which came at `now`; must not be called when `full`.

        Returns whether there was anything but messages: then `pings` and `pongs` have them, `close` or `error` is set.
        Raises nothing of the peer's.
        """
        message = self._decoder.decode_one(data)
        if message is None:
            return self._feed_frames(data, now)
        # The one message that a client waits for an answer to takes no call further on its way.
        self.message_at = now
        self.messages.append(message)
        self.size += len(data)
        if self.size >= WAITING_BYTES:
            self.full = True
            self._keep((message,))
        task = self.task
        if task is not None:
            self.task = None
            reschedule(task, WOKEN)
        elif not self.full:
            self._keep((message,))
        return False

    def _feed_frames(self, data: bytes, now: float) -> bool:
        messages: list[str | bytes] = []
        before = self._decoder.payload_bytes
        other = self._decode(data, messages)
        if messages:
            self.message_at = now
            self.messages.extend(messages)
            self.size += self._decoder.payload_bytes - before + FRAME_OVERHEAD * len(messages)
            if self.size >= WAITING_BYTES:
                self.full = True
            if self.full or self.task is None or len(messages) > MANY:
                self._keep(messages)
            self.wake()
        return other

    def _keep(self, messages: Collection[str | bytes]) -> None:
        """Count `messages`, the last that have come, and once something is counted, all that wait."""
        counted = messages if self.kept and not self.stale else self.messages
        self._count(sum(map(getsizeof, counted)) + PLACE * len(counted))

    def _count(self, size: int) -> None:
        if self.stale:
            self._let_go()
        self.kept += size
        self.tells = True
        self.budget.add(size)

    def _count_half(self) -> None:
        # An object for each KiB, if it comes in small pieces.
        size = self._decoder.pending_bytes * 17 // 16 if self._decoder.pieces is not None else 0
        self.budget.add(size - self.half)
        self.half = size

    def give_up(self) -> None:
        """Let go of the message that is not there whole. Nothing may be fed any more; the caller sees to that."""
        self._decoder.give_up()
        self._count_half()

    def discard(self, data: bytes) -> bool:
        """`feed`, where nothing is delivered any more and only the peer's Close still matters: messages are counted."""
        messages: list[str | bytes] = []
        other = self._decode(data, messages)
        self.discarded += len(messages)
        return other

    def _decode(self, data: bytes, messages: list[str | bytes]) -> bool:
        decoder = self._decoder
        size = len(data)
        # What is much, or more than half of what was asked for: more may wait.
        looks = size > LOOKED_AT or size + size >= self.chunk or self.chunk > self._pace
        before = decoder.decoded_bytes if looks else 0
        fragments = decoder.fragments
        payload: bytes | None = None
        try:
            payload = decoder.decode(data, messages)
            if payload is not None:
                self.close = parse_close(payload)
        except FrameError as error:
            # A new one, without the traceback, and the context, that hold the frames that it came through.
            self.error = FrameError(error.close_code, error.reason)
        over = self.error is not None or payload is not None
        if over:
            decoder.give_up()
        if decoder.pieces is not None or self.half:
            self._count_half()
        if self.error is not None:
            return True
        if looks:
            self._pace_by(size, decoder.decoded_bytes - before)
        if decoder.fragments != fragments:
            self.short_fragments += max(0, decoder.fragments - fragments - size // LONG_FRAGMENT)
        return bool(over or decoder.pings or decoder.pongs or self.short_fragments > COUNTED)

    def _pace_by(self, size: int, payload: int) -> None:
        """Choose how much is read at once from here on, a chunk of `size` bytes having had so much `payload`.

        Of long frames it is much, for the next one is expected to be as long; and of a frame of which the header has
        come it is up to 64 KiB, for there is no other in it.
        """
        headers = size - payload
        if headers > HEADERS:
            if size > MIXED_CHUNK and headers > size >> 2:
                self._most = MIXED_CHUNK
            self._pace = max(SMALL_CHUNK, size * HEADERS // headers)
        elif size + size >= self._pace:
            self._pace = 2 * self._pace
        wanted = self._decoder.remaining + SMALL_CHUNK
        self._pace = min(max(self._pace, wanted), self._most)
        self.chunk = min(CHUNK, max(self._pace, wanted))

    def take_pings(self) -> list[bytes]:
        """The payloads of the Pings that came since this was last called, in order."""
        pings = self._decoder.pings
        taken = [*pings]
        pings.clear()
        return taken

    def take_pongs(self) -> list[bytes]:
        """Likewise of the Pongs."""
        pongs = self._decoder.pongs
        taken = [*pongs]
        pongs.clear()
        return taken

    def end(self, ending: Ending) -> None:
        """Say that nothing will come behind what is waiting. The first ending stands."""
        if self.ending is None:
            self.ending = ending
            self.full = True
            # Nobody is parked any more, and the trap leads back here: without it, both are freed at once.
            self.trap = None
        self.wake()

    def throw_away(self) -> None:
        """Throw away what is waiting; it is counted."""
        self.discarded += len(self.messages)
        self.messages.clear()
        self._let_go()

    def _let_go(self) -> None:
        """What was counted of whole messages is not there any more."""
        if self.kept:
            self.budget.add(-self.kept)
            self.kept = 0
            self.stale = False

    def caught_up(self, now: float) -> bool:
        """The handler has taken everything and asks for more. Returns what `feed` does, of what was `behind`."""
        if self.counts_idleness and self.size:
            self.message_at = now
        self.size = 0
        self.full = self.ending is not None
        if self.kept >= WAITING_BYTES and not self.stale and not self.budget.scarce:
            # As does ``async for``, with the last of them.
            self.stale = True
        else:
            self.tells = self.counts_idleness
            self._let_go()
        return False

    def wake(self) -> None:
        """Let the task that waits look again."""
        if self.task is not None:
            task, self.task = self.task, None
            reschedule(task, WOKEN)

    async def park(self) -> None:
        """Wait without the trap: for where there is none."""
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED
