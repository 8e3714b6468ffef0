"""Sorts what the peer sends, without I/O: messages to the inbox, Pings to trio-websocket, the end behind all.

What may never happen:
- a message delivered before the Ping in front of it has been answered: sorting stops at a Ping, and goes on when
  trio-websocket comes back for more;
- a Close, or an error, overtaking the messages before it: it ends the inbox, behind them;
- a byte understood after an error: the stream is out of step then.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from trioecho._protocol.decoder import ControlFrame, FrameDecoder
from trioecho._protocol.endings import BY_FRAME_ERROR, PEER_CLOSED, Ending
from trioecho._protocol.frames import CLOSE, PONG, FrameError, parse_close
from trioecho._websocket.inbox import Inbox
from trioecho._websocket.keep_alive import Activity

FRAME_OVERHEAD = 6
"""Bytes of the smallest header with its key: what an empty message counts in the inbox."""


class Sorter:
    """One connection's incoming bytes, sorted. All methods return at once and raise nothing."""

    __slots__ = (
        "_activity",
        "_deaf",
        "_decoder",
        "_inbox",
        "busy",
        "discarded",
        "discarding",
        "error",
        "on_ended",
        "on_ping",
        "peer_close",
        "peer_done",
        "ping",
    )

    def __init__(self, decoder: FrameDecoder, inbox: Inbox, activity: Activity) -> None:
        self._decoder = decoder
        self._inbox = inbox
        self._activity = activity
        self._deaf = False
        self.ping: ControlFrame | None = None
        """A Ping that trio-websocket has not fetched yet."""
        self.busy = False
        """trio-websocket has to come back for more before sorting may go on."""
        self.discarding = False
        """Nothing is delivered any more, only the peer's Close still matters: we are saying goodbye."""
        self.discarded = 0
        """Messages that came while discarding."""
        # bool() does nothing, and takes no argument.
        self.on_ping: Callable[[], object] = bool
        """Called when there is a Ping for trio-websocket."""
        self.on_ended: Callable[[], object] = bool
        """Called when nothing more will come for the handler."""
        self.error: str | None = None
        """What was wrong, for the reason of the goodbye and for the record."""
        self.peer_close: tuple[int, str] | None = None
        """Code and reason of the peer's Close; the code is 1005 if it was empty."""
        self.peer_done = trio.Event()
        """Set when the peer has said all it will say: Close, the end of TCP, or an error."""

    @property
    def must_wait(self) -> bool:
        """Whether reading has to wait: for the handler, for trio-websocket's answer, or for the goodbye."""
        return (self._inbox.shut or self.busy) and not self.discarding

    def sort(self, data: bytes, now: float) -> None:
        """Sort `data`, which came at `now` (Trio's clock), and what was left before it, up to the next Ping: that is
        `ping` then, and `on_ping` is called."""
        if self.discarding or self._deaf or (message := self._decoder.decode_one(data)) is None:
            self._sort_frames(data, now)
            if self.ping is not None:
                self.on_ping()
        else:
            self._activity.message_at = now
            self._inbox.put_one(message, len(data))

    def _sort_frames(self, data: bytes, now: float) -> None:
        if self._deaf:
            return
        decoder = self._decoder
        messages: list[str | bytes] = []
        before = decoder.payload_bytes
        control = error = None
        try:
            control = self._next_control(data, messages)
            if control is not None and control.opcode == CLOSE:
                self.peer_close = parse_close(control.payload)
        except FrameError as raised:
            error = raised
        if messages:
            self._activity.message_at = now
            if self.discarding:
                self.discarded += len(messages)
            else:
                size = decoder.payload_bytes - before + FRAME_OVERHEAD * len(messages)
                self._inbox.put(messages, size)
        if error is not None:
            self._deaf = True
            self.end(BY_FRAME_ERROR[error.close_code], error.reason)
        elif self.peer_close is not None:
            self._deaf = True
            self.end(PEER_CLOSED)
        elif control is not None:
            self._activity.message_at = now
            self.ping = control
            # From now, not from when trio-websocket's task runs: the poller may be faster.
            self.busy = True

    def _next_control(self, data: bytes, messages: list[str | bytes]) -> ControlFrame | None:
        """Decode up to a Ping that has to be answered, or the peer's Close; None if neither has come."""
        while (control := self._decoder.decode(data, messages)) is not None:
            if control.opcode == PONG:
                self._activity.ponged(control.payload)
            # After our Close nothing is sent, so no Ping is answered any more (RFC 6455 §5.5.1).
            elif control.opcode == CLOSE or not self.discarding:
                return control
            data = b""
        return None

    def sort_past_pings(self) -> None:
        """Deliver all that has come, now: the server stops, and who is told of the end first gets every message.

        A Ping that trio-websocket has yet to fetch stays; others among these messages are not answered.
        """
        waiting = self.ping
        while self.busy:
            self.ping, self.busy = None, False
            self._sort_frames(b"", trio.current_time())
        self.ping, self.busy = waiting, waiting is not None

    def discard(self) -> None:
        """Deliver nothing from here on: we are saying goodbye."""
        self.discarding = True
        # A Ping that trio-websocket has not got to may stand before the peer's Close.
        self.ping = None
        self.sort(b"", trio.current_time())

    def end(self, ending: Ending, error: str | None = None) -> None:
        """Nothing more will come: say so behind the messages that wait. The first ending stands."""
        if self.peer_close is None or ending is PEER_CLOSED:
            if self.error is None:
                self.error = error
            self._inbox.end(ending)
        self.peer_done.set()
        self.on_ended()
