"""One connection's life: who is cancelled by what, what each side has said, and which ending is told.

    ┌── `own` ─────────────────────────────────────────────────────────┐
    │ keep-alive; when needed: the drain task; where there is no       │
    │ poller: the task that reads                                      │
    │   ┌── `nursery`, the handler's: `ws.nursery` ─────────────────┐  │
    │   │ the handler, in a cancel scope of its own; its children   │  │
    │   └───────────────────────────────────────────────────────────┘  │
    │ the closing handshake: Close by its row in `endings`, then what  │
    │ table `closing` awaits; shielded, under a deadline               │
    └──────────────────────────────────────────────────────────────────┘
    the record is complete

Laws:
- The connection owns four parts, its wire, `incoming`, `outgoing` and `liveness`, and calls them; they return what
  happened and know nothing of it.
- A Close is said by `close` (`WebSocket.aclose`), or when the handler and its children have ended. Nothing comes after
  it.
- The handler is cancelled by: a timeout, the server's stop or abort, a message that it cut off, `close_timeout` after
  `close`, the cancellation of `serve`, or the deadline that starts when the peer is gone and starts again with each
  message taken.
- What the connection runs itself is shielded, and ended by the connection. So it goes on through the closing handshake.
- An exception of one connection ends in its log line. Only KeyboardInterrupt and Trio's Cancelled pass.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from trioecho._protocol import endings
from trioecho._protocol.closing import CLOSING, Delivers, Ours, Sends, Theirs
from trioecho._protocol.endings import Ending
from trioecho._protocol.record import ConnectionRecord
from trioecho._websocket.closing_handshake import ABORT_GRACE, ClosingHandshake
from trioecho._websocket.flooding import Allowance
from trioecho._websocket.handlers import call, divided
from trioecho._websocket.incoming import WAITING_BYTES
from trioecho._websocket.liveness import watches
from trioecho._websocket.memory import Memory
from trioecho._websocket.parking import is_cancelled
from trioecho._wire.poller import GONE
from trioecho._wire.wire import Wire

if TYPE_CHECKING:
    from trioecho._protocol.deflate import Agreement
    from trioecho._protocol.shortage import Shortage
    from trioecho._websocket.websocket import WebSocket
    from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")


class Connection(ClosingHandshake):
    """One WebSocket connection, from the accepted handshake to its record."""

    __slots__ = (
        "_allowance",
        "_answers_until",
        "_begin",
        "_lost_unread",
        "_read",
        "_scope",
        "_source",
        "_stop_at",
        "nursery",
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
        super().__init__(wire, options, record, agreement, memory, shortage)
        self._read, self._source = wire.reader()
        # As with `own`.
        self.nursery: trio.Nursery
        self._scope = trio.CancelScope()
        # What else cancels the handler: the stop of the server, the end of the time for answers.
        self._stop_at = self._answers_until = math.inf
        self._lost_unread = False
        self._begin = (b"", b"")
        self._allowance = Allowance(options.flood_limit, self._opened_at)

    def begin_with(self, opening: bytes, early: bytes) -> None:
        """For whoever calls `run`: it is to say `opening`, the response to the handshake, and `early` came behind that.
        Not arguments of it, which would be kept for as long as the connection lives."""
        self._begin = opening, early

    @trio.lowlevel.enable_ki_protection
    async def run(self, handler: Callable[[WebSocket], Awaitable[Any]], websocket: WebSocket) -> None:
        """Begin as `begin_with` says; let the handler have `websocket`; close.

        Afterwards `record` is complete, whatever has happened. Raises no
        `Exception`. Cancelled: the peer is sent 1001 and has `close_timeout` to answer; then the cancellation goes on.
        """
        ending = endings.SERVER_FAILED
        try:
            async with trio.open_nursery() as self.own:
                left = False
                try:
                    left = await self._hold(handler, websocket)
                finally:
                    ending = self._ending(cancelled=not left)
                    await self.end(ending)
        finally:
            self.complete(ending)
            self.memory.forget(self, self._freeing)

    async def _hold(self, handler: Callable[[WebSocket], Awaitable[Any]], websocket: WebSocket) -> bool:
        """Open, and run the handler in its nursery until nothing in it runs any more. True, unless cancelled from
        outside."""
        passing: BaseException | None = None
        try:
            async with trio.open_nursery() as self.nursery:
                try:
                    self._open()
                except Exception as error:
                    self._fail(error)
                    return True
                with self._scope:
                    # The handler's exceptions end here, in a scope of its own. Where they, or a Cancelled of a timeout,
                    # crossed the nursery, its frames and the exception group referred to each other, and a
                    # connection with half a message in it waited for the garbage collector.
                    try:
                        await call(handler, websocket)
                    except BaseException as error:
                        passing = self._judge(error, websocket)
                    if passing is not None:
                        try:
                            raise passing
                        finally:
                            passing = None
                self.nursery.cancel_scope.cancel()
        except BaseException as error:
            passing = self._judge(error, websocket)
        if passing is not None:
            try:
                raise passing
            finally:
                passing = None
        return True

    def _judge(self, error: BaseException, websocket: WebSocket) -> BaseException | None:
        """What of `error`, which came from the handler or its children, has to pass: KeyboardInterrupt and Cancelled.

        The rest is the handler's failure and is logged now, when it happened; but that this client went away is an
        ending and no failure. Another's is one.
        """
        passing, failed = divided(error, websocket)
        if failed is not None:
            self.record_failure(endings.HANDLER_RAISED, failed, "the handler raised")
        return passing

    def _fail(self, error: Exception) -> None:
        """Something of our own has failed: end this connection, and no other."""
        self.record_failure(endings.SERVER_FAILED, error, "the server failed")
        # It has been logged. The Cancelled of the handler would hold it, and it the frames that it came through.
        error.__traceback__ = None
        self._scope.cancel()

    def _open(self) -> None:
        """Accept the handshake, and read what comes behind it."""
        (opening, early), self._begin = self._begin, (b"", b"")
        self.outgoing.start(self.own, self._drain)
        self.outgoing.put(opening)
        self._wire.start(self.own, self.readable)
        if watches(self._options):
            self.own.start_soon(self._watch)
        now = trio.current_time()
        if early and self.incoming.feed(early, now):
            self._act(now)
        if self._wire.more:
            self._read_on(now)

    # The connection's own tasks.

    @trio.lowlevel.enable_ki_protection
    async def _watch(self) -> None:
        try:
            found = await self.liveness.watch(self.incoming, self.outgoing, self._wire, self._options)
        except Exception as error:
            self._fail(error)
            return
        if isinstance(found, OSError):
            self._lose(found)
        elif found is not None:
            self._end_with(found)

    @trio.lowlevel.enable_ki_protection
    async def _drain(self) -> None:
        try:
            await self.outgoing.drain()
        except Exception as error:
            self.outgoing.break_off(error)
        try:
            self._look_at_outgoing()
        except Exception as error:
            self._fail(error)
        self.notify()

    def _look_at_outgoing(self) -> None:
        """Nothing can be sent any more, which was not the peer's doing: then it is we who end."""
        if self.outgoing.timed_out:
            self._end_with(endings.SEND_TIMEOUT)
        elif self.outgoing.failure is not None and self._decided is not endings.SERVER_FAILED:
            self._fail(self.outgoing.failure)
        elif self.outgoing.broken and self._theirs is Theirs.OPEN and not self._lost_unread:
            now = trio.current_time()
            self._pause(now, lost=True)
            if not self.incoming.full:
                self.read_again(now)

    # What comes in.

    def readable(self, events: int, now: float) -> bool:
        """For the wire: there is something to read. Reads one chunk; whether there was one. Raises nothing."""
        incoming = self.incoming
        try:
            memory = self.memory
            if incoming.full or (memory.tight and memory.must_wait(self)):
                return self._readable_when_full(events, now)
            try:
                size = incoming.chunk
                data = self._read(self._source, size if size < memory.chunk else memory.chunk)
            except OSError as error:
                self._not_read(error)
                return False
            if data:
                self.liveness.heard_at = now
                if incoming.feed(data, now):
                    self._act(now)
                return True
            self._end_of_tcp()
        except Exception as error:
            self._fail(error)
            self._wire.stop()
        return False

    def room_again(self) -> None:
        """For `Memory`: there is room again. Raises nothing."""
        incoming = self.incoming
        try:
            if incoming.ending is None and incoming.size < WAITING_BYTES and not incoming.behind:
                incoming.full = False
                self.read_again(trio.current_time())
        except Exception as error:
            self._fail(error)

    def _readable_when_full(self, events: int, now: float) -> bool:
        """`readable`, while nothing is delivered: for now, or any more."""
        rule = CLOSING[self._ours, self._theirs]
        if rule.delivers is Delivers.MESSAGES and (not self._stopping or self.incoming.behind):
            self._pause(now, lost=bool(events & GONE))
            return False
        try:
            data = self._read(self._source, self.incoming.chunk)
        except OSError as error:
            self._not_read(error)
            return False
        if not data:
            self._end_of_tcp()
            return False
        self.liveness.heard_at = now
        if rule.delivers is not Delivers.NOTHING and self.incoming.discard(data):
            self._act(now)
        return True

    def _not_read(self, error: OSError) -> None:
        """Nothing was there to be read, or TCP is lost."""
        if not isinstance(error, BlockingIOError):
            self._lose(error)
        elif self._lost_unread and self._wire.more:
            # All that the kernel still held has been read. A wire that reads by itself says so when it is.
            self._lose(OSError("TCP was lost"))

    def _act(self, now: float) -> None:
        """See to what came besides messages."""
        incoming = self.incoming
        if incoming.short_fragments:
            self._allowance.left -= incoming.short_fragments
            incoming.short_fragments = 0
        if pings := incoming.take_pings():
            self._allowance.left -= len(pings)
            incoming.message_at = now
            if CLOSING[self._ours, self._theirs].sends is not Sends.NOTHING:
                self.outgoing.put_pongs(pings)
                self._look_at_outgoing()
        if pongs := incoming.take_pongs():
            self._allowance.left -= self.liveness.ponged(pongs, now)
        if incoming.error is not None:
            error = incoming.error
            self._peer_done(Theirs.FAILED, endings.BY_FRAME_ERROR[error.close_code], error.reason)
        elif incoming.close is not None:
            self._peer_done(Theirs.CLOSED, endings.PEER_CLOSED)
        elif self._allowance.left < 0 and self._theirs is Theirs.OPEN and self._allowance.used_up(now):
            self._peer_done(Theirs.FAILED, endings.FLOODING, str(self._allowance))

    def _peer_done(self, theirs: Theirs, ending: Ending, error: str | None = None) -> None:
        """The peer has said all it will say. What waits is delivered; for answers there is time, but not for ever."""
        self._theirs = theirs
        if self.record.error is None:
            self.record.error = error
        if self.record.closed_first is None:
            self.record.closed_first = "server" if theirs is Theirs.FAILED else "client"
        self.incoming.end(ending)
        self.liveness.expect_nothing()
        self.incoming.careful = self.outgoing.shut = True
        if not self.incoming.received_messages:
            # No answer is owed: a handler that only pushes is told at its next send.
            self.outgoing.refuse()
        if self._ours is not Ours.CLOSED:
            self.extend()
        self.tell()

    def _end_of_tcp(self) -> None:
        """The peer has ended TCP; perhaps only its half of it, so that answers still arrive."""
        self._tcp_ended = True
        self._ended_early = self._ended_early or self._ours is Ours.OPEN
        self._wire.stop()
        if self._theirs is Theirs.OPEN:
            self._peer_done(Theirs.ENDED, endings.PEER_VANISHED, "TCP ended without a Close")
        self.notify()

    def _lose(self, error: OSError) -> None:
        """TCP was reset, or given up by the kernel, or TLS makes no sense."""
        said = self._theirs is Theirs.CLOSED and self._ours is Ours.OPEN
        self._ended_early = self._ended_early or self._ours is Ours.OPEN
        self._ours = Ours.LOST
        self.outgoing.break_off()
        if self._theirs is Theirs.OPEN:
            self._peer_done(Theirs.ENDED, endings.PEER_VANISHED, str(error))
        self._end_of_tcp()
        if said and not self.incoming.messages:
            # It has said Close, everything before that has been taken, and it is gone: nobody waits for anything.
            self._scope.cancel()

    def _pause(self, now: float, *, lost: bool) -> None:
        """Read nothing more until the handler has caught up; `lost`: TCP was reset, or has ended in both directions.

        Of a lost connection, what the kernel still holds is read when there is room.
        """
        if lost and not self._lost_unread:
            self._lost_unread = self._ended_early = True
            self._ours = Ours.LOST
            self.outgoing.break_off()
            self.incoming.careful = True
            self._wire.pause(lost=True)
            self.extend()
            self.tell()
        if not self.paused:
            self.paused = True
            self.liveness.pause(now)
            if not self._lost_unread:
                options = self._options
                self._wire.keep_alive(options.keep_alive_interval, options.keep_alive_timeout)
            # Of a lost connection too, and each time: a wire that reads by itself would read on without end.
            self._wire.pause(lost=self._lost_unread)

    def caught_up(self) -> None:
        """For `WebSocket.receive`: the handler has taken everything, and asks for more. Raises nothing."""
        now = trio.current_time()
        try:
            if self.incoming.caught_up(now):
                self._act(now)
            if self.paused and not self.incoming.behind:
                self.read_again(now)
        except Exception as error:
            self._fail(error)

    def message_too_big(self, size: int, most: int) -> None:
        """For a handler that takes a message as it arrives: it has at least `size` bytes, and `most` is less."""
        reason = f"message has at least {size} bytes; at most {most} are accepted"
        self.incoming.throw_away()
        if self.incoming.behind and self.incoming.discard(b""):
            self._act(trio.current_time())
        # What else has ended the conversation meanwhile stood behind this.
        self.incoming.ending = None
        if self._theirs is Theirs.OPEN:
            self._peer_done(Theirs.FAILED, endings.MESSAGE_TOO_BIG, reason)
        else:
            self.record.error = self.record.error or reason
            self.incoming.end(endings.MESSAGE_TOO_BIG)

    def read_again(self, now: float) -> None:
        """Read again, where reading was paused. What has been read and is not decoded yet counts as read now."""
        if self.incoming.behind and self.incoming.discard(b""):
            self._act(now)
        if self.paused:
            self.paused = False
            self.liveness.resume(now, self.incoming)
            if self._wire.resume():
                self._read_on(now)

    def _read_on(self, now: float) -> None:
        """Read what nothing will announce, until there is no more of it, or no room."""
        while self._wire.more and not self.paused and self.readable(0, now):
            pass

    # What goes out.

    def owes_answers(self) -> bool:
        """For `WebSocket.send`, when the peer has closed: whether a message is still taken."""
        if self.outgoing.refused or CLOSING[self._ours, self._theirs].sends is Sends.NOTHING:
            self._look_at_outgoing()
            return False
        if trio.current_time() < self._answers_until:
            return True
        self.outgoing.refuse()
        return False

    def cut_off(self) -> None:
        """For `WebSocket.send`: a message has begun to go out in pieces, and its end will not come. What has gone
        cannot be taken back, so nothing can be sent behind it."""
        self.outgoing.refuse()
        if self.incoming.ending is None and not self.outgoing.broken and not is_cancelled(self.own):
            self._end_with(endings.MESSAGE_CUT_OFF)

    def extend(self) -> None:
        """From here, and from each message that `WebSocket.receive` takes though nothing more will come, there is
        `answer_timeout` for answers, and as long again for the handler to end by itself."""
        self._answers_until = trio.current_time() + self._options.answer_timeout
        self.set_deadline()

    def set_deadline(self) -> None:
        told = self._answers_until + self._options.answer_timeout
        self._scope.deadline = min(told, self.finish_at, self._stop_at)

    # What ends the handler.

    def stop(self, deadline: float, code: int) -> None:
        """The server stops with `code`: end the conversation behind what waits; cancel the handler at `deadline`."""
        self._stopping = code
        self.incoming.end(endings.SERVER_STOPPING)
        if self.paused and not self._lost_unread and not self.incoming.behind:
            # From here on what comes is counted, and a Close noticed.
            self.read_again(trio.current_time())
        self._stop_at = min(self._stop_at, deadline)
        self.set_deadline()
        self.outgoing.finish_by(self._stop_at + self._options.close_timeout)
        self.tell()
        if self.closing_scope is not None:
            self.hurry()

    def abort(self) -> None:
        """The server stops at once: whatever this connection waits for, it does not wait any longer."""
        self._end_with(endings.SERVER_ABORTED)
        if self.outgoing.stuck:
            self.outgoing.break_off()
        if self.closing_scope is not None:
            self.closing_scope.deadline = min(self.closing_scope.deadline, trio.current_time() + ABORT_GRACE)
        self.notify()

    def end_slow(self) -> None:
        """For `broadcast`: the peer does not read what it is sent. Returns at once; no message is taken any more."""
        self.outgoing.refuse()
        self._end_with(endings.TOO_SLOW)

    def give_up_message(self) -> None:
        """For `Memory`: there is no room for the half message. What came before it is delivered."""
        self.incoming.give_up()
        if self._theirs is Theirs.OPEN:
            self._peer_done(Theirs.FAILED, endings.MESSAGE_GIVEN_UP, "max_memory was used up")
            # What comes is thrown away, and the end of TCP noticed.
            self.read_again(trio.current_time())

    def give_up_sending(self) -> None:
        """For `Memory`: there is no room for what the peer does not read, nor for what waits behind it."""
        held = self.memory.held
        self.incoming.throw_away()
        self.incoming.give_up()
        if self._theirs is Theirs.OPEN:
            self._peer_done(Theirs.FAILED, endings.SENDING_GIVEN_UP, "max_memory was used up")
        self._end_with(endings.SENDING_GIVEN_UP)
        self.outgoing.break_off()
        # The handler, and the drain task, hold it until they have been cancelled.
        self._freeing += self.memory.free_later(held - self.memory.held)
        self.notify()

    def _end_with(self, ending: Ending) -> None:
        if self._decided in (None, endings.APPLICATION_CLOSED):
            self._decided = ending
        self._scope.cancel()
        self.tell()

    def _ending(self, *, cancelled: bool) -> Ending:
        """Which row of `endings` it is, now that the handler has ended."""
        self._look_at_outgoing()
        pending = self.incoming.ending
        gone = pending not in (None, endings.SERVER_STOPPING) or self._lost_unread
        self.record.handler_cancelled = gone and self._scope.cancelled_caught
        return endings.decide(self._decided, pending, cancelled=cancelled, broken=self.outgoing.broken)
