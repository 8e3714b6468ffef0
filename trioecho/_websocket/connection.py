"""One connection's life: who is cancelled by what, what each side has said, and which ending is told.

    ┌── `own` ─────────────────────────────────────────────────────────┐
    │ keep-alive; when needed: the drain task; where there is no       │
    │ poller: the task that reads                                      │
    │   ┌── `nursery`, the handler's: `ws.nursery` ─────────────────┐  │
    │   │ the handler, in a cancel scope of its own; its children   │  │
    │   └───────────────────────────────────────────────────────────┘  │
    │ the goodbye: Close by its row in `endings`, then what the        │
    │ table `closing` awaits; shielded, under a deadline               │
    └──────────────────────────────────────────────────────────────────┘
    the record is complete

Laws:
- The connection owns four parts, its wire, `incoming`, `outgoing` and `liveness`, and calls them; they return what
  happened and know nothing of it.
- A Close is said by `close` (`WebSocket.aclose`), or when the handler and its children have ended. Nothing comes after
  it.
- The handler is cancelled by: a timeout, the server's stop or abort, `close_timeout` after `close`, the cancellation of
  `serve`, or the deadline that starts when the peer is gone and starts again with each message taken.
- What the connection runs itself is shielded, and ended by the connection. So it goes on through the goodbye.
- An exception of one connection ends in its log line. Only KeyboardInterrupt and Trio's Cancelled pass.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from trioecho._protocol import endings
from trioecho._protocol.closing import CLOSING, Awaits, Delivers, Ours, Theirs
from trioecho._protocol.endings import Ending, Farewell
from trioecho._protocol.frames import CLOSE, encode_frame, shortened_reason
from trioecho._protocol.record import ConnectionRecord, summary
from trioecho._websocket.incoming import Incoming
from trioecho._websocket.liveness import Liveness, watches
from trioecho._websocket.outgoing import Outgoing
from trioecho._websocket.parking import is_cancelled
from trioecho._wire.poller import GONE
from trioecho._wire.wire import Wire

if TYPE_CHECKING:
    from trioecho._websocket.websocket import WebSocket
    from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")

ABORT_GRACE = 0.5
"""Seconds for a last Close to leave, where nobody is expected to answer it."""

CLOSER_GRACE = 0.1
"""Seconds by which whoever called `close` gets to know how that went before the handler is cancelled: it may be the
handler."""

LOOKS = 4
"""How often in one timeout a goodbye looks whether the peer still takes what was sent before."""


class Connection:
    """One WebSocket connection, from the accepted handshake to its record."""

    __slots__ = (
        "_answers_until",
        "_changed",
        "_closing",
        "_decided",
        "_ended_early",
        "_finish_at",
        "_goodbye",
        "_lost_unread",
        "_opened_at",
        "_options",
        "_ours",
        "_over",
        "_paused",
        "_read",
        "_recorded",
        "_scope",
        "_stop_at",
        "_stopping",
        "_taken_at",
        "_tcp_ended",
        "_theirs",
        "_wire",
        "incoming",
        "liveness",
        "nursery",
        "outgoing",
        "own",
        "record",
    )

    def __init__(self, wire: Wire, options: WebSocketOptions, record: ConnectionRecord) -> None:
        now = trio.current_time()
        self._wire = wire
        self._read = wire.reader()
        self._options = options
        self._opened_at = now
        self.incoming = Incoming(
            now,
            max_message_size=options.max_message_size,
            max_fragments=options.max_fragments,
            counts_idleness=options.idle_timeout < math.inf,
        )
        self.outgoing = Outgoing(wire, options.send_timeout)
        self.liveness = Liveness(now)
        self.record = record
        # No other task runs before both are opened, so nobody can find them missing.
        self.own: trio.Nursery
        self.nursery: trio.Nursery
        self._scope = trio.CancelScope()
        self._goodbye: trio.CancelScope | None = None
        self._ours, self._theirs = Ours.OPEN, Theirs.OPEN
        self._decided: Ending | None = None
        # What cancels the handler, on Trio's clock: the stop of the server, our Close, the end of the time for answers.
        self._stop_at = self._finish_at = self._answers_until = math.inf
        # When the peer last took bytes that were in flight at the goodbye, or that was begun.
        self._taken_at = now
        self._paused = self._lost_unread = self._tcp_ended = self._ended_early = False
        self._stopping = self._over = self._recorded = False
        self._closing: trio.Event | None = None
        self._changed: trio.Event | None = None

    @trio.lowlevel.enable_ki_protection
    async def run(
        self,
        handler: Callable[[WebSocket], Awaitable[Any]],
        websocket: WebSocket,
        opening: bytes,
        early: bytes,
    ) -> None:
        """Say `opening`, the response to the handshake; let the handler have `websocket`; say goodbye.

        `early` is what came behind the handshake. Afterwards `record` is complete, whatever has happened. Raises no
        `Exception`. Cancelled: the peer is sent 1001 and has `close_timeout` to answer; then the cancellation goes on.
        """
        ending = endings.SERVER_FAILED
        try:
            async with trio.open_nursery() as self.own:
                left = False
                try:
                    left = await self._hold(handler, websocket, opening, early)
                finally:
                    ending = self._ending(cancelled=not left)
                    await self._say_goodbye(ending)
        finally:
            self._complete(ending)

    async def _hold(
        self,
        handler: Callable[[WebSocket], Awaitable[Any]],
        websocket: WebSocket,
        opening: bytes,
        early: bytes,
    ) -> bool:
        """Open, and run the handler in its nursery until nothing in it runs any more. True, unless cancelled from
        outside."""
        passing: BaseException | None = None
        try:
            async with trio.open_nursery() as self.nursery:
                try:
                    self._open(opening, early)
                except Exception as error:
                    self._fail(error)
                    return True
                with self._scope:
                    # The handler's exceptions end here, in a scope of its own. Where they, or a Cancelled of a timeout,
                    # crossed the nursery, its frames and the exception group referred to each other, and a
                    # connection with half a message in it waited for the garbage collector.
                    try:
                        await _call(handler, websocket)
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
        passing: BaseException | None
        failed: BaseException | None
        if isinstance(error, BaseExceptionGroup):
            passing, failed = error.split((KeyboardInterrupt, trio.Cancelled))
        else:
            passes = isinstance(error, (KeyboardInterrupt, trio.Cancelled))
            passing, failed = (error, None) if passes else (None, error)
        if isinstance(failed, BaseExceptionGroup):
            failed = failed.split(lambda each: getattr(each, "websocket", None) is websocket)[1]
        elif getattr(failed, "websocket", None) is websocket:
            failed = None
        if failed is not None:
            self._record_failure(endings.HANDLER_RAISED, failed, "the handler raised")
        return passing

    def _fail(self, error: Exception) -> None:
        """Something of our own has failed: end this connection, and no other."""
        self._record_failure(endings.SERVER_FAILED, error, "the server failed")
        # It has been logged. The Cancelled of the handler would hold it, and it the frames that it came through.
        error.__traceback__ = None
        self._scope.cancel()

    def _record_failure(self, ending: Ending, error: BaseException, what: str) -> None:
        if self._decided in (None, endings.APPLICATION_CLOSED):
            self._decided = ending
        if self.record.error is None:
            self.record.error = summary(error)
        logger.error("%s at %s, for %s", what, self.record.path, self.record.peer, exc_info=error)

    def _open(self, opening: bytes, early: bytes) -> None:
        """Accept the handshake, and read what comes behind it."""
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
        self._notify()

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
                self._resume(now)

    # What comes in.

    def readable(self, events: int, now: float) -> bool:
        """For the wire: there is something to read. Reads one chunk; whether there was one. Raises nothing."""
        incoming = self.incoming
        try:
            if incoming.full:
                return self._readable_when_full(events, now)
            try:
                data = self._read()
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

    def _readable_when_full(self, events: int, now: float) -> bool:
        """`readable`, while nothing is delivered: for now, or any more."""
        rule = CLOSING[self._ours, self._theirs]
        if rule.delivers is Delivers.MESSAGES and not self._stopping:
            self._pause(now, lost=bool(events & GONE))
            return False
        try:
            data = self._read()
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
        elif self._lost_unread:
            # All that the kernel still held has been read.
            self._lose(OSError("TCP was lost"))

    def _act(self, now: float) -> None:
        """See to what came besides messages."""
        incoming = self.incoming
        if pings := incoming.take_pings():
            incoming.message_at = now
            if self._ours is Ours.OPEN:
                self.outgoing.put_pongs(pings)
                self._look_at_outgoing()
        if pongs := incoming.take_pongs():
            self.liveness.ponged(pongs, now)
        if incoming.error is not None:
            error = incoming.error
            self._peer_done(Theirs.FAILED, endings.BY_FRAME_ERROR[error.close_code], error.reason)
        elif incoming.close is not None:
            self._peer_done(Theirs.CLOSED, endings.PEER_CLOSED)

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
            self._extend()
        self._tell()

    def _end_of_tcp(self) -> None:
        """The peer has ended TCP; perhaps only its half of it, so that answers still arrive."""
        self._tcp_ended = True
        self._ended_early = self._ended_early or self._ours is Ours.OPEN
        self._wire.stop()
        if self._theirs is Theirs.OPEN:
            self._peer_done(Theirs.ENDED, endings.PEER_VANISHED, "TCP ended without a Close")
        self._notify()

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
            self._extend()
            self._tell()
        if not self._paused:
            self._paused = True
            self.liveness.pause(now)
            if not self._lost_unread:
                options = self._options
                self._wire.keep_alive(options.keep_alive_interval, options.keep_alive_timeout)
                self._wire.pause(lost=False)

    def caught_up(self) -> None:
        """For `WebSocket.receive`: the handler has taken everything, and asks for more. Raises nothing."""
        now = trio.current_time()
        self.incoming.caught_up(now)
        if self._paused:
            try:
                self._resume(now)
            except Exception as error:
                self._fail(error)

    def _resume(self, now: float) -> None:
        """Read again, where reading was paused."""
        self._paused = False
        self.liveness.resume(now, self.incoming)
        if self._wire.resume():
            self._read_on(now)

    def _read_on(self, now: float) -> None:
        """Read what nothing will announce, until there is no more of it, or no room."""
        while self._wire.more and not self._paused and self.readable(0, now):
            pass

    def taken(self) -> None:
        """For `WebSocket.receive`: a message is taken, though nothing more will come."""
        self._extend()

    # What goes out.

    def owes_answers(self) -> bool:
        """For `WebSocket.send`, when the peer has closed: whether a message is still taken."""
        if self.outgoing.refused:
            self._look_at_outgoing()
            return False
        if trio.current_time() < self._answers_until:
            return True
        self.outgoing.refuse()
        return False

    def _extend(self) -> None:
        """From here, and from each message taken, there is `answer_timeout` for answers, and as long again for the
        handler to end by itself."""
        self._answers_until = trio.current_time() + self._options.answer_timeout
        self._set_deadline()

    def _set_deadline(self) -> None:
        told = self._answers_until + self._options.answer_timeout
        self._scope.deadline = min(told, self._finish_at, self._stop_at)

    async def close(self, code: int, reason: str) -> None:
        """For `WebSocket.aclose`: say Close now, and await the peer's; if that came first, answer it as it came."""
        if self._theirs is Theirs.CLOSED:
            code, reason = self._code_and_reason(endings.PEER_CLOSED)
        else:
            self._decided = self._decided or endings.APPLICATION_CLOSED
        self._say_close(code, reason)
        self.incoming.end(endings.APPLICATION_CLOSED)
        self._tell()
        self._finish_at = self._taken_at + self._options.close_timeout + CLOSER_GRACE
        self._set_deadline()
        await trio.lowlevel.checkpoint()
        if not await self._await(self._change, self._peer_has_ended, kick=True):
            self._finish_at = trio.current_time()
            self._set_deadline()
        self.told()

    def _say_close(self, code: int, reason: str) -> None:
        """Queue Close, after which nothing more is said. What waits for the handler is discarded, and counted."""
        record = self.record
        record.closed_first = record.closed_first or "server"
        self.incoming.throw_away()
        self.incoming.full = True
        reason = shortened_reason(reason)
        payload = b"" if code == 1005 else code.to_bytes(2) + reason.encode()
        self.outgoing.put_close(encode_frame(CLOSE, payload))
        now = self._taken_at = trio.current_time()
        if self.outgoing.broken:
            self._ours = Ours.LOST
        else:
            self._ours = Ours.CLOSED
            record.code_sent, record.reason_sent = code, reason
        if self._paused:
            self._resume(now)

    def _code_and_reason(self, ending: Ending) -> tuple[int, str]:
        """What the Close says at this ending; 1005 stands for an empty one."""
        if ending is endings.PEER_CLOSED:
            assert self.incoming.close is not None
            return self.incoming.close
        assert ending.code is not None
        return ending.code, ending.reason if ending.reason is not None else (self.record.error or "")

    # What ends the handler.

    def stop(self, deadline: float) -> None:
        """The server stops: end the conversation behind what waits; cancel the handler at `deadline`."""
        self._stopping = True
        self.incoming.end(endings.SERVER_STOPPING)
        if self._paused and not self._lost_unread:
            # From here on what comes is counted, and a Close noticed.
            self._resume(trio.current_time())
        self._stop_at = min(self._stop_at, deadline)
        self._set_deadline()
        self.outgoing.finish_by(self._stop_at + self._options.close_timeout)
        self._tell()
        if self._goodbye is not None:
            self._hurry()

    def abort(self) -> None:
        """The server stops at once: whatever this connection waits for, it does not wait any longer."""
        self._end_with(endings.SERVER_ABORTED)
        if self.outgoing.blocked:
            self.outgoing.break_off()
        if self._goodbye is not None:
            self._goodbye.deadline = min(self._goodbye.deadline, trio.current_time() + ABORT_GRACE)
        self._notify()

    def _end_with(self, ending: Ending) -> None:
        if self._decided in (None, endings.APPLICATION_CLOSED):
            self._decided = ending
        self._scope.cancel()
        self._tell()

    def _ending(self, *, cancelled: bool) -> Ending:
        """Which row of `endings` it is, now that the handler has ended."""
        self._look_at_outgoing()
        pending = self.incoming.ending
        gone = pending not in (None, endings.SERVER_STOPPING) or self._lost_unread
        self.record.handler_cancelled = gone and self._scope.cancelled_caught
        return endings.decide(self._decided, pending, cancelled=cancelled, broken=self.outgoing.broken)

    # The goodbye.

    async def _say_goodbye(self, ending: Ending) -> None:
        """Say what the table of endings says, and wait as the table of closing says. Cannot be cancelled from outside;
        raises nothing."""
        try:
            self.liveness.close()
            # What a task outside the connection's nursery hears from here on.
            self.incoming.end(ending)
            self.outgoing.refuse()
            self._tell()
            if self._ours is Ours.OPEN:
                self._taken_at = trio.current_time()
            with trio.CancelScope(shield=True) as self._goodbye:
                if ending.farewell is Farewell.ABORT:
                    self._goodbye.deadline = trio.current_time() + ABORT_GRACE
                elif ending is endings.SERVER_STOPPING or self._stopping:
                    self._hurry()
                await self._part(ending)
        except Exception as error:
            self._record_failure(endings.SERVER_FAILED, error, "the goodbye failed")
        finally:
            self.outgoing.close()
            self._wire.stop()
            # Whoever still waits in `close`, a task outside, need not look at a wire that is about to be closed.
            self._tcp_ended = True
            self._notify()

    async def _part(self, ending: Ending) -> None:
        if self._ours is Ours.OPEN and ending.farewell is not Farewell.SILENT:
            self._say_close(*self._code_and_reason(ending))
        self.incoming.throw_away()
        # Where it was `close` that began this, no more time is given than it gave.
        kick = self._decided is endings.APPLICATION_CLOSED
        if not await self._await(self.outgoing.emptied, self._nothing_waits, kick=kick):
            self.outgoing.break_off()
        if self.outgoing.broken:
            self._ours = Ours.LOST
        if ending.farewell is Farewell.ABORT or self._ours is Ours.LOST:
            return
        if CLOSING[self._ours, self._theirs].awaits is Awaits.CLOSE:
            await self._await(self._change, self._peer_has_ended, kick=kick)
        if self._theirs is Theirs.CLOSED:
            # Both sides have said all, so the server closes TCP now (RFC 6455 §7.1.1). Lingering until the client
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
            if self._goodbye is not None and is_cancelled(self.own):
                self._hurry()
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
                if kick and self._goodbye is None:
                    self._finish_at = self._taken_at + options.close_timeout + CLOSER_GRACE
                    self._set_deadline()
            left = still
        return True

    async def _change(self) -> None:
        """Wait until what `_await` waits for may have come about."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _in_flight(self) -> int:
        return self.outgoing.size + self._wire.in_flight()

    def _hurry(self) -> None:
        """The server stops: no goodbye takes longer than `close_timeout` from here."""
        assert self._goodbye is not None
        deadline = trio.current_time() + self._options.close_timeout
        self._goodbye.deadline = min(self._goodbye.deadline, deadline)

    def _notify(self) -> None:
        """Let those who wait in `_await` look again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _tell(self) -> None:
        """The conversation is over, or about to be: let everybody know who asked to be told."""
        self._over = True
        if self._closing is not None:
            self._closing.set()
        self._notify()

    @property
    def closing(self) -> trio.Event:
        """For `WebSocket.closing`; made when it is first asked for, since few do."""
        if self._closing is None:
            self._closing = trio.Event()
        if self._over or is_cancelled(self.own):
            self._closing.set()
        return self._closing

    # The record.

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
            record.messages_sent = self.outgoing.sent_messages
            record.bytes_sent = self.outgoing.sent_bytes
            record.messages_discarded = self.incoming.discarded
            record.duration = trio.current_time() - self._opened_at

    def told(self) -> None:
        """For `WebSocket.receive`: the end is told to the handler, so the record tells how the peer has closed."""
        record, ending = self.record, self.incoming.ending
        assert ending is not None
        if record.cause is None and ending is not endings.SERVER_STOPPING:
            record.cause = ending.cause
        if self.incoming.close is not None:
            record.code_received, record.reason_received = self.incoming.close

    def _complete(self, ending: Ending) -> None:
        """Write the last of the record: nothing in it changes any more."""
        record = self.record
        self.incoming.throw_away()
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


@trio.lowlevel.disable_ki_protection
async def _call(handler: Callable[[WebSocket], Awaitable[Any]], websocket: WebSocket) -> None:
    """Ctrl-C may strike in the handler, which is not ours."""
    await handler(websocket)
