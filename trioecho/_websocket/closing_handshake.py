"""The closing handshake: both sides' Close, how long what is awaited, and the record.

Close is said by `close` (`WebSocket.aclose`), by whatever task, or by `end` when the handler and its children
have ended; by which code, the table `endings` has, and what is awaited then, the table `closing`. All under a shielded
deadline: the exchange of Close has `close_timeout`, counted from when the peer has taken what was sent before; what is
in flight is bounded by progress; and a stop of the server bounds all of it.
"""

from __future__ import annotations

import abc
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from trioecho._protocol import endings
from trioecho._protocol.closing import CLOSING, Awaits, Ours, Sends, Theirs
from trioecho._protocol.deflate import Agreement
from trioecho._protocol.endings import Ending, Farewell
from trioecho._protocol.frames import CLOSE, encode_frame, shortened_reason
from trioecho._protocol.record import ConnectionRecord, summary
from trioecho._protocol.shortage import Shortage
from trioecho._websocket.deflating_outgoing import DeflatingOutgoing
from trioecho._websocket.incoming import Incoming, Limits
from trioecho._websocket.inflating_incoming import InflatingIncoming, InflatingStreamingIncoming
from trioecho._websocket.liveness import Liveness
from trioecho._websocket.memory import Memory
from trioecho._websocket.outgoing import Outgoing
from trioecho._websocket.parking import is_cancelled
from trioecho._websocket.streaming_incoming import StreamingIncoming
from trioecho._wire.wire import Wire

if TYPE_CHECKING:
    from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")

ABORT_GRACE = 0.5
"""Seconds for a last Close to leave, where nobody is expected to answer it."""

NO_CODE = 1005
"""Stands for that of a Close without a code (RFC 6455 §7.4.1)."""

CLOSER_GRACE = 0.1
"""Seconds by which whoever called `close` gets to know how that went before the handler is cancelled: it may be the
handler."""

LOOKS = 4
"""How often in one timeout is looked whether the peer still takes what was sent before."""


class ClosingHandshake(abc.ABC):
    """The part of a `Connection` that closes it: the four parts, what each side has said, the record."""

    __slots__ = (
        "_changed",
        "_closing",
        "_decided",
        "_ended_early",
        "_freeing",
        "_opened_at",
        "_options",
        "_ours",
        "_over",
        "_recorded",
        "_shortage",
        "_stopping",
        "_taken_at",
        "_tcp_ended",
        "_theirs",
        "_wire",
        "closing_scope",
        "finish_at",
        "incoming",
        "liveness",
        "memory",
        "outgoing",
        "own",
        "paused",
        "record",
    )

    def __init__(
        self,
        wire: Wire,
        options: WebSocketOptions,
        record: ConnectionRecord,
        agreement: Agreement | None = None,
        memory: Memory | None = None,
        shortage: Shortage | None = None,
    ) -> None:
        self.memory = memory if memory is not None else Memory()
        # Bytes of which it waits that they are freed, since they have been given up.
        self._freeing = 0
        now = trio.current_time()
        # Where the server says once for all its connections that there is none.
        self._shortage = shortage
        self._wire = wire
        self._options = options
        self._opened_at = now
        self.incoming = _incoming(now, options, agreement, self.memory)
        if agreement is None:
            self.outgoing = Outgoing(wire, options.send_timeout, self.memory)
        else:
            self.outgoing = DeflatingOutgoing(wire, options.send_timeout, agreement, self.memory)
        self.liveness = Liveness(now)
        self.record = record
        # No other task runs before it is opened, so nobody can find it missing.
        self.own: trio.Nursery
        self._ours, self._theirs = Ours.OPEN, Theirs.OPEN
        self._decided: Ending | None = None
        # The code with which the server stops; 0 as long as it does not.
        self._stopping = 0
        self._over = self._recorded = False
        self._tcp_ended = self._ended_early = self.paused = False
        # When our Close cancels the handler, on Trio's clock.
        self.finish_at = math.inf
        # When the peer last took bytes that were in flight at the closing handshake, or that was begun.
        self._taken_at = now
        self.closing_scope: trio.CancelScope | None = None
        """The scope of the closing handshake, once `end` has begun it."""
        self._closing: trio.Event | None = None
        self._changed: trio.Event | None = None

    @abc.abstractmethod
    def set_deadline(self) -> None:
        """`finish_at` has moved: the handler is to be cancelled then."""

    @abc.abstractmethod
    def read_again(self, now: float) -> None:
        """Reading was paused, or frames wait: of those, and of what comes, only the peer's Close still matters."""

    def record_failure(self, ending: Ending, error: BaseException, what: str) -> None:
        if self._decided in (None, endings.APPLICATION_CLOSED):
            self._decided = ending
        if self.record.error is None:
            self.record.error = summary(error)
        lacking = ending is endings.SERVER_FAILED and isinstance(error, MemoryError)
        if lacking and self._shortage is not None and not self._shortage.due(trio.current_time()):
            # Thousands of tracebacks in which nobody is to blame would not help: the record says what it was.
            return
        name, path, peer = self.record.id, self.record.path, self.record.peer
        logger.error(
            "%s %s at %s, for %s", name, what, path, peer, exc_info=error, extra={"connection": name}
        )

    async def close(self, code: int, reason: str) -> None:
        """For `WebSocket.aclose`: say Close now, and await the peer's; if that came first, with a code, answer it as it
        came."""
        if self._theirs is Theirs.CLOSED:
            theirs = self._code_and_reason(endings.PEER_CLOSED)
            if theirs[0] != NO_CODE:
                code, reason = theirs
        else:
            self._decided = self._decided or endings.APPLICATION_CLOSED
        self._say_close(code, reason)
        self.incoming.end(endings.APPLICATION_CLOSED)
        self.tell()
        self.finish_at = self._taken_at + self._options.close_timeout + CLOSER_GRACE
        self.set_deadline()
        await trio.lowlevel.checkpoint()
        if not await self._await(self._change, self._peer_has_ended, kick=True):
            self.finish_at = trio.current_time()
            self.set_deadline()
        self.told()

    def _say_close(self, code: int, reason: str) -> None:
        """Queue Close, after which nothing more is said. What waits for the handler is discarded, and counted."""
        record = self.record
        record.closed_first = record.closed_first or "server"
        self.incoming.throw_away()
        self.incoming.full = True
        reason = shortened_reason(reason)
        payload = b"" if code == NO_CODE else code.to_bytes(2) + reason.encode()
        self.outgoing.put_close(encode_frame(CLOSE, payload))
        now = self._taken_at = trio.current_time()
        if self.outgoing.broken:
            self._ours = Ours.LOST
        else:
            self._ours = Ours.CLOSED
            record.code_sent, record.reason_sent = code, reason
        if self.paused or self.incoming.behind:
            self.read_again(now)

    def _code_and_reason(self, ending: Ending) -> tuple[int, str]:
        """What the Close says at this ending; 1005 stands for an empty one."""
        if ending is endings.PEER_CLOSED:
            assert self.incoming.close is not None
            return self.incoming.close
        if ending is endings.SERVER_STOPPING and self._stopping == endings.RESTART[0]:
            return endings.RESTART
        assert ending.code is not None
        return ending.code, ending.reason if ending.reason is not None else (self.record.error or "")

    async def end(self, ending: Ending) -> None:
        """Say what the table of endings says, and wait as the table of closing says. Cannot be cancelled from outside;
        raises nothing."""
        try:
            self.liveness.close()
            # What a task outside the connection's nursery hears from here on.
            self.incoming.end(ending)
            self.outgoing.refuse()
            self.tell()
            if self._ours is Ours.OPEN:
                self._taken_at = trio.current_time()
            with trio.CancelScope(shield=True) as self.closing_scope:
                if ending.farewell is Farewell.ABORT:
                    self.closing_scope.deadline = trio.current_time() + ABORT_GRACE
                elif ending is endings.SERVER_STOPPING or self._stopping:
                    self.hurry()
                await self._shake(ending)
        except Exception as error:
            self.record_failure(endings.SERVER_FAILED, error, "the closing handshake failed")
        finally:
            self.outgoing.close()
            self._wire.stop()
            # Whoever still waits in `close`, a task outside, need not look at a wire that is about to be closed.
            self._tcp_ended = True
            self.notify()

    async def _shake(self, ending: Ending) -> None:
        may_send = CLOSING[self._ours, self._theirs].sends is not Sends.NOTHING
        if may_send and ending.farewell is not Farewell.SILENT:
            self._say_close(*self._code_and_reason(ending))
        self.incoming.throw_away()
        # Where it was `close` that began this, no more time is given than it gave. Nor to who was too slow before.
        kick = self._decided in (endings.APPLICATION_CLOSED, endings.TOO_SLOW)
        if not await self._await(self.outgoing.emptied, self._nothing_waits, kick=kick):
            self.outgoing.break_off()
        if self.outgoing.broken:
            self._ours = Ours.LOST
        if ending.farewell is Farewell.ABORT or self._ours is Ours.LOST:
            return
        if CLOSING[self._ours, self._theirs].awaits is Awaits.CLOSE:
            await self._await(self._change, self._peer_has_ended, kick=kick)
        if self._theirs is Theirs.CLOSED:
            # Both sides have said all, so the server closes TCP now (RFC 6455 §7.1.1). Waiting until the client
            # hangs up was tried: trio-websocket's client never does.
            self._wire.stop()
            await self._wire.close()
            return
        await self._wire.half_close()
        await self._await(self._change, lambda: self._tcp_ended, kick=True)

    def _nothing_waits(self) -> bool:
        return self.outgoing.empty or self.outgoing.broken

    def _peer_has_ended(self) -> bool:
        return self._theirs is not Theirs.OPEN or self._tcp_ended or self.outgoing.broken

    async def _await(
        self, change: Callable[[], Awaitable[None]], condition: Callable[[], bool], *, kick: bool
    ) -> bool:
        """Wait for `condition`, which holds some time when `change` returns. Whether it has come about in time.

        That is `close_timeout`, counted from when the peer has taken all that was sent before. While some of that is in
        flight, it is `send_timeout` from the last byte taken; or with `kick` only `close_timeout` from there, and no
        more than that for the handler either.
        """
        options = self._options
        left = self._in_flight()
        while not condition():
            if self.closing_scope is not None and is_cancelled(self.own):
                self.hurry()
            now = trio.current_time()
            limit = self._taken_at + (options.send_timeout if left and not kick else options.close_timeout)
            if now >= limit:
                return False
            look = min(limit, now + options.close_timeout / LOOKS) if left else limit
            with trio.CancelScope(deadline=look):
                await change()
            still = self._in_flight()
            if still < left:
                # When it was the last byte, it was taken some time after the last look.
                self._taken_at = trio.current_time() if still else max(self._taken_at, now)
                if kick and self.closing_scope is None:
                    self.finish_at = self._taken_at + options.close_timeout + CLOSER_GRACE
                    self.set_deadline()
            left = still
        return True

    async def _change(self) -> None:
        """Wait until what `_await` waits for may have come about."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _in_flight(self) -> int:
        return self.outgoing.size + self._wire.in_flight()

    def hurry(self) -> None:
        """The server stops: no closing handshake takes longer than `close_timeout` from here."""
        assert self.closing_scope is not None
        deadline = trio.current_time() + self._options.close_timeout
        self.closing_scope.deadline = min(self.closing_scope.deadline, deadline)

    def notify(self) -> None:
        """Let those who wait in `_await` look again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def tell(self) -> None:
        """The conversation is over, or about to be: let everybody know who asked to be told."""
        self._over = True
        if self._closing is not None:
            self._closing.set()
        if not self.pongs_may_come:
            self.liveness.nothing_answers()
        self.notify()

    @property
    def closing(self) -> trio.Event:
        """For `WebSocket.closing`; made when it is first asked for, since few do."""
        if self._closing is None:
            self._closing = trio.Event()
        if self._over or is_cancelled(self.own):
            self._closing.set()
        return self._closing

    @property
    def pongs_may_come(self) -> bool:
        """For `WebSocket.ping`: whether both sides still listen to each other, so that a Ping may be answered."""
        return CLOSING[self._ours, self._theirs].sends is Sends.ALL and not self.outgoing.refused

    @property
    def peer_code(self) -> int | None:
        """For `WebSocket.close_code`."""
        ending = self.incoming.ending
        if ending is None or self.incoming.messages:
            return None
        if self.incoming.close is not None:
            return self.incoming.close[0]
        return None if ending is endings.SERVER_STOPPING and self._ours is Ours.OPEN else 1006

    def refresh_record(self) -> None:
        """Bring the record up to date, as long as the connection lives."""
        if not self._recorded:
            record = self.record
            record.messages_received = self.incoming.received_messages
            record.bytes_received = self.incoming.received_bytes
            record.wire_bytes_received = self.incoming.wire_bytes
            record.messages_sent = self.outgoing.sent_messages
            record.bytes_sent = self.outgoing.sent_bytes
            record.wire_bytes_sent = self.outgoing.sent_wire_bytes
            record.messages_discarded = self.incoming.discarded
            record.messages_skipped = self.outgoing.skipped
            record.duration = trio.current_time() - self._opened_at

    def told(self) -> None:
        """For `WebSocket.receive`: the end is told to the handler, so the record tells how the peer has closed."""
        record, ending = self.record, self.incoming.ending
        assert ending is not None
        if record.cause is None and ending is not endings.SERVER_STOPPING:
            record.cause = ending.cause
        if self.incoming.close is not None:
            record.code_received, record.reason_received = self.incoming.close

    def complete(self, ending: Ending) -> None:
        """Write the last of the record: nothing in it changes any more."""
        record = self.record
        self.incoming.throw_away()
        self.incoming.give_up()
        self.refresh_record()
        self._recorded = True
        if self.incoming.close is not None:
            record.code_received, record.reason_received = self.incoming.close
        if not self.outgoing.empty:
            # Put behind bytes that the peer never took.
            record.code_sent = record.reason_sent = None
        if record.closed_first is None:
            gone = ending in (endings.PEER_CLOSED, endings.PEER_VANISHED)
            record.closed_first = "client" if gone else "server"
        both = record.code_sent is not None and record.code_received is not None
        record.clean = ending.clean and both and not self._ended_early
        record.cause = ending.cause


def _incoming(now: float, options: WebSocketOptions, agreement: Agreement | None, memory: Memory) -> Incoming:
    """What takes the peer's bytes where so much was agreed on."""
    limits: Limits = {
        "max_message_size": options.max_message_size,
        "max_fragments": options.max_fragments,
        "counts_idleness": options.idle_timeout < math.inf,
        "budget": memory,
    }
    if agreement is not None:
        kind = InflatingStreamingIncoming if options.stream_messages else InflatingIncoming
        return kind(now, **limits, agreement=agreement)
    return StreamingIncoming(now, **limits) if options.stream_messages else Incoming(now, **limits)
