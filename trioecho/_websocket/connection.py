"""One connection: the order of its phases, who is cancelled by what, and which ending is said.

    request head ── refused, or plain HTTP ──> one response, linger, close
        │
    handshake (101)
        │
    ┌───┴── outer nursery ─────────────────────────────────────────────┐
    │ when needed: trio-websocket (Pongs), the outbox's drain task;    │
    │ where there is no poller: the task that reads                    │
    │   ┌── the connection's nursery, `ws.nursery` ─────────────────┐  │
    │   │ the handler, its children, keep-alive                     │  │
    │   └───────────────────────────────────────────────────────────┘  │
    └───┬──────────────────────────────────────────────────────────────┘
        │   everything above has finished
    goodbye: Close by its row in `endings`, the peer's answer, linger, close: one shielded deadline
        │
    record, one log line

Laws:
- A Close is said by the handler itself (`WebSocket.aclose`), or when none of the connection's tasks is left. Nothing
  comes after it.
- The inner nursery is cancelled by: the handler's return, an exception in it, keep-alive, the server's `stop`, the
  cancellation of `serve`, and the deadline that starts when the peer is gone and restarts with each message taken.
- The task that reads has ended when the goodbye is said, which therefore reads on in the connection's own task.
- An exception of one connection ends in its log line.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import trio

from trioecho._http.upgrade import Handshake, accepting_response
from trioecho._protocol import endings
from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.endings import Ending
from trioecho._protocol.record import ConnectionRecord, summary
from trioecho._server.greeting import address
from trioecho._server.service import Service
from trioecho._websocket.engine import Engine
from trioecho._websocket.goodbye import Goodbye
from trioecho._websocket.inbox import Inbox
from trioecho._websocket.keep_alive import Activity, keep_alive
from trioecho._websocket.outbox import Outbox
from trioecho._websocket.reading import Reading
from trioecho._websocket.sorter import Sorter
from trioecho._websocket.websocket import WebSocket
from trioecho._wire.linger import tcp_of
from trioecho._wire.tls import TlsStream

logger = logging.getLogger("trioecho")


class Connection:
    """One WebSocket connection, from the accepted handshake to its record."""

    __slots__ = (
        "_activity",
        "_decided",
        "_decoder",
        "_engine",
        "_failure",
        "_goodbye",
        "_inbox",
        "_latest",
        "_opened_at",
        "_opening",
        "_options",
        "_outbox",
        "_outer",
        "_reading",
        "_record",
        "_service",
        "_sorter",
        "nursery",
        "websocket",
    )

    def __init__(
        self, transport: trio.abc.Stream, service: Service, handshake: Handshake, received: bytes
    ) -> None:
        options = service.options
        self._service = service
        self._options = options
        self._opened_at = trio.current_time()
        self._activity = Activity(self._opened_at)
        self._inbox = Inbox()
        tls = transport if isinstance(transport, TlsStream) else None
        tcp = tcp_of(transport)
        poller, fd = None, -1
        if service.poller and isinstance(tcp, trio.SocketStream) and (tls or tcp is transport):
            poller, fd = service.poller, tcp.socket.fileno()
        start = self._start_outside
        self._outbox = Outbox(transport, poller, fd, start, None if tls is None else tls.seal)
        self._decoder = FrameDecoder(
            max_message_size=options.max_message_size, max_fragments=options.max_fragments
        )
        self._sorter = Sorter(self._decoder, self._inbox, self._activity)
        self._outbox.on_progress = self._activity.heard
        if options.idle_timeout < math.inf:
            self._inbox.on_emptied = self._activity.caught_up
        self._sorter.on_ended = self._nothing_more_comes
        self._reading = Reading(
            transport,
            sorter=self._sorter,
            inbox=self._inbox,
            outbox=self._outbox,
            activity=self._activity,
            poller=poller,
            fd=fd,
            tls=tls,
        )
        self._engine = Engine(self._sorter, self._reading, self._outbox, start)
        self._record = ConnectionRecord(
            peer=address(transport),
            path=handshake.path,
            origin=handshake.origin,
            subprotocol=handshake.subprotocol,
        )
        self._goodbye = Goodbye(
            transport,
            sorter=self._sorter,
            reading=self._reading,
            inbox=self._inbox,
            outbox=self._outbox,
            record=self._record,
        )
        # No other task runs between here and the opening of both nurseries, so nobody can find them missing.
        self._outer: trio.Nursery
        self.nursery: trio.Nursery
        self.websocket = WebSocket(
            handshake,
            inbox=self._inbox,
            outbox=self._outbox,
            activity=self._activity,
            record=self._record,
            owner=self,
        )
        # Not the handshake itself: a request is not kept for as long as its connection lives.
        self._opening = accepting_response(handshake), received
        self._decided: Ending | None = None
        self._failure: BaseException | None = None
        self._latest = math.inf
        # In the same step in which there was room for it: handshakes at the same time cannot overshoot the limit.
        service.connections[self] = None

    async def run(self) -> None:
        """Open, let the handler have it, say goodbye, record. Raises no `Exception`."""
        cancelled, broken = True, False
        try:
            async with trio.open_nursery() as self._outer:
                try:
                    await self._let_handler_run()
                    cancelled = False
                finally:
                    # Asked before the deadline that bounds the shielded drain task can cut a frame off.
                    broken = self._outbox.broken
                    self._engine.finish()
                    self._goodbye.end_by(trio.current_time() + self._options.close_timeout)
                    self._outer.cancel_scope.cancel()
        except* Exception as group:
            # One of our own tasks failed, which is our fault and not the peer's.
            cancelled = False
            if self._failure is None and not self._outbox.broken:
                self._failure = group
        finally:
            failed, pending = self._failure is not None, self._inbox.ending
            ending = endings.decide(self._decided, failed, pending, cancelled=cancelled, broken=broken)
            await self._goodbye.say(ending)
            self._goodbye.let_go()
            self._write_record(ending)
            self._break_cycles()

    def _open(self) -> None:
        """Accept the handshake, and read what comes behind it."""
        (response, early), self._opening = self._opening, (b"", b"")
        self._outbox.put(response)
        self._reading.start(early)
        if self._reading.poller is None:
            self._start_outside(self._reading.run)

    async def _let_handler_run(self) -> None:
        """Run the handler in the connection's nursery; returns when nothing in it runs any more."""
        options, handler = self._options, self._service.handlers[self._record.path]
        left = False
        try:
            async with trio.open_nursery() as self.nursery:
                self._open()
                if min(options.keep_alive_interval, options.idle_timeout) < math.inf:
                    waiting, end = self._inbox.messages, self._cancel_handler
                    self.nursery.start_soon(keep_alive, self._activity, self._outbox, waiting, options, end)
                await handler(self.websocket)
                left = True
                self.nursery.cancel_scope.cancel()
        except* Exception as group:
            # That this client went away is an ending, not a failure of the handler; another's is one.
            self._failure = group.split(lambda error: getattr(error, "websocket", None) is self.websocket)[1]
            left = True
        gone = self._inbox.ending not in (None, endings.SERVER_STOPPING)
        self._record.handler_cancelled = gone and self._decided is None and not left

    async def close(self, code: int, reason: str) -> None:
        """For `WebSocket.aclose`: say Close now, and await the peer's; if that came first, answer it as it wants."""
        if self._sorter.peer_close is not None:
            code, reason = self._goodbye.code_and_reason(endings.PEER_CLOSED)
        else:
            self._decided = self._decided or endings.APPLICATION_CLOSED
            self._goodbye.application_close = (code, reason)
        self._goodbye.say_close(code, reason)
        self._inbox.end(endings.APPLICATION_CLOSED)
        with trio.move_on_after(self._options.close_timeout):
            await self._sorter.peer_done.wait()

    # What ends the handler.

    def stop(self, deadline: float) -> None:
        """The server stops: end the conversation behind what waits; cancel the handler at `deadline`."""
        self._sorter.sort_past_pings()
        self._inbox.end(endings.SERVER_STOPPING)
        self._latest = min(self._latest, deadline)
        self.nursery.cancel_scope.deadline = min(self.nursery.cancel_scope.deadline, deadline)

    def abort(self) -> None:
        """The server stops at once: whatever this connection waits for, it does not wait any longer."""
        self._cancel_handler(endings.SERVER_ABORTED)
        self._goodbye.abort()

    def _cancel_handler(self, ending: Ending) -> None:
        self._decided = self._decided or ending
        self.nursery.cancel_scope.cancel()

    def _nothing_more_comes(self) -> None:
        """The peer closed, vanished or erred: the handler has `close_timeout` from here, and from each message."""
        self._activity.expect_nothing()
        self._extend_deadline()
        self._inbox.on_taken = self._extend_deadline
        if not self._decoder.messages:
            # No answer is owed: a handler that only pushes is told at its next send.
            self._outbox.refuse_messages()

    def _extend_deadline(self) -> None:
        patience = self._options.close_timeout
        self.nursery.cancel_scope.deadline = min(trio.current_time() + patience, self._latest)

    def _start_outside(self, task: Callable[[], Awaitable[None]]) -> None:
        self._outer.start_soon(task)

    # The end.

    def refresh_record(self) -> None:
        record = self._record
        if record.cause is None:
            record.messages_received = self._decoder.messages
            record.bytes_received = self._decoder.payload_bytes
            record.messages_sent = self._outbox.sent_messages
            record.bytes_sent = self._outbox.sent_bytes
            record.duration = trio.current_time() - self._opened_at

    def _write_record(self, ending: Ending) -> None:
        record = self._record
        self.refresh_record()
        self._goodbye.complete(ending)
        record.error = summary(self._failure) if self._failure is not None else self._sorter.error
        record.cause = ending.cause
        self._service.connections.pop(self)
        self._service.records.append(record)
        raised = self._failure if ending is endings.HANDLER_RAISED else None
        logger.log(ending.log_level, "%s", record, exc_info=raised, extra={"record": record})

    def _break_cycles(self) -> None:
        """Undo what `__init__` has wired, so that the connection is freed at once.

        Left to the garbage collector, ended connections made it stop the server for 2 ms again and again, 70 ms at
        times: 3,150 handshakes a second instead of 3,400.
        """
        self._sorter.on_ended = bool
        self._engine.part()
        self._inbox.part()
        del self.websocket
