"""One connection: the order of its phases, who is cancelled by what, and which ending is said.

    request head ── refused, or plain HTTP ──> one response, linger, close
        │
    handshake (101)
        │
    ┌───┴── service nursery ───────────────────────────────────────────┐
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
- None of the connection's tasks is left when the goodbye is said, and the outbox is shut: nothing comes after it.
- The inner nursery is cancelled by: the handler's return, an exception in it, keep-alive, the server's `stop`, the
  cancellation of `serve`, and the deadline that starts when the peer is gone and restarts with each message taken.
- The task that reads may die with a cancellation; a goodbye therefore reads on in the connection's own task.
- An exception of one connection ends in its log line.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import trio

from trioecho import endings
from trioecho.endings import Ending
from trioecho.engine import Engine
from trioecho.frame_decoder import FrameDecoder
from trioecho.goodbye import Goodbye
from trioecho.greeting import address
from trioecho.handshake import Handshake, accepting_response
from trioecho.inbox import Inbox
from trioecho.keep_alive import Activity, keep_alive
from trioecho.linger import tcp_of
from trioecho.outbox import Outbox
from trioecho.reading import Reading
from trioecho.record import ConnectionRecord, summary
from trioecho.service import Service
from trioecho.sorter import Sorter
from trioecho.tls import TlsStream
from trioecho.websocket import WebSocket

logger = logging.getLogger("trioecho")


class Connection:
    """One WebSocket connection, from the accepted handshake to its record."""

    __slots__ = (
        "_activity",
        "_decided",
        "_decoder",
        "_early",
        "_engine",
        "_failure",
        "_goodbye",
        "_handshake",
        "_inbox",
        "_latest",
        "_nursery",
        "_opened_at",
        "_options",
        "_outbox",
        "_reading",
        "_record",
        "_service",
        "_sorter",
        "_tasks",
        "websocket",
    )

    def __init__(
        self, transport: trio.abc.Stream, service: Service, handshake: Handshake, received: bytes
    ) -> None:
        options = service.options
        self._service = service
        self._options = options
        self._handshake: Handshake | None = handshake
        self._opened_at = trio.current_time()
        self._activity = Activity(self._opened_at)
        self._inbox = Inbox()
        tls = transport if isinstance(transport, TlsStream) else None
        tcp = tcp_of(transport)
        poller, fd = None, -1
        if service.poller and isinstance(tcp, trio.SocketStream) and (tls or tcp is transport):
            poller, fd = service.poller, tcp.socket.fileno()
        start = self._start
        self._outbox = Outbox(transport, poller, fd, start, None if tls is None else tls.seal)
        self._decoder = FrameDecoder(
            max_message_size=options.max_message_size, max_fragments=options.max_fragments
        )
        self._sorter = Sorter(self._decoder, self._inbox, self._activity)
        self._outbox.on_progress = self._activity.heard
        if options.idle_timeout < math.inf:
            self._inbox.on_emptied = self._activity.answered
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
        self._early = received
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
        # Both are there before anything else of this connection can run: opening a nursery is no checkpoint.
        self._tasks: trio.Nursery
        self._nursery: trio.Nursery
        self.websocket: WebSocket | None = None
        """What the handler holds; None until it is there."""
        self._decided: Ending | None = None
        self._failure: BaseException | None = None
        self._latest = math.inf
        # In the tick in which there was room for it: nothing waits from there until the handler runs.
        service.connections[self] = None

    async def run(self) -> None:
        """Open, let the handler have it, say goodbye, record. Raises no `Exception`."""
        cancelled, broken = True, False
        try:
            async with trio.open_nursery() as self._tasks:
                try:
                    await self._let_handler_run()
                    cancelled = False
                finally:
                    # Asked before the deadline that bounds the shielded drain task can cut a frame off.
                    broken = self._outbox.broken
                    self._engine.finish()
                    self._goodbye.end_by(trio.current_time() + self._options.close_timeout)
                    self._tasks.cancel_scope.cancel()
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
            self._goodbye.part()
            self.websocket = None

    def _open(self) -> None:
        """Accept the handshake, and read what comes behind it."""
        assert self._handshake is not None
        self._outbox.put(accepting_response(self._handshake))
        # A request is not kept for as long as its connection lives.
        self._handshake, early, self._early = None, self._early, b""
        self._reading.start(early)
        if self._reading.poller is None:
            self._start(self._reading.run)

    async def _let_handler_run(self) -> None:
        """Run the handler in the connection's nursery; returns when nothing in it runs any more."""
        options, handler = self._options, self._service.handlers[self._record.path]
        left = False
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                assert self._handshake is not None
                self.websocket = ws = WebSocket(
                    handshake=self._handshake,
                    inbox=self._inbox,
                    outbox=self._outbox,
                    activity=self._activity,
                    nursery=nursery,
                    record=self._record,
                    connection=self,
                )
                self._open()
                if min(options.keep_alive_interval, options.idle_timeout) < math.inf:
                    waiting, end = self._inbox.messages, self._cancel_handler
                    nursery.start_soon(keep_alive, self._activity, self._outbox, waiting, options, end)
                await handler(ws)
                left = True
                nursery.cancel_scope.cancel()
        except* Exception as group:
            # That this client went away is an ending, not a failure of the handler; another's is one.
            self._failure = group.split(lambda error: getattr(error, "websocket", None) is ws)[1]
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
        try:
            with trio.move_on_after(self._options.close_timeout):
                self._goodbye.say_close(code, reason)
                self._inbox.end(endings.APPLICATION_CLOSED)
                await self._sorter.peer_done.wait()
        finally:
            self._inbox.end(endings.APPLICATION_CLOSED)

    # What ends the handler.

    def stop(self, deadline: float) -> None:
        """The server stops: end the conversation behind what waits; cancel the handler at `deadline`."""
        self._sorter.sort_past_pings()
        self._inbox.end(endings.SERVER_STOPPING)
        self._latest = min(self._latest, deadline)
        self._nursery.cancel_scope.deadline = min(self._nursery.cancel_scope.deadline, deadline)

    def abort(self) -> None:
        """The server stops at once: whatever this connection waits for, it does not wait any longer."""
        self._cancel_handler(endings.SERVER_ABORTED)
        self._goodbye.abort()

    def _cancel_handler(self, ending: Ending) -> None:
        self._decided = self._decided or ending
        self._nursery.cancel_scope.cancel()

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
        self._nursery.cancel_scope.deadline = min(trio.current_time() + patience, self._latest)

    def _start(self, task: Callable[[], Awaitable[None]]) -> None:
        self._tasks.start_soon(task)

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
        self._goodbye.complete(record, ending)
        record.error = summary(self._failure) if self._failure is not None else self._sorter.error
        record.cause = ending.cause
        self._service.connections.pop(self)
        self._service.records.append(record)
        raised = self._failure if ending is endings.HANDLER_RAISED else None
        logger.log(ending.log_level, "%s", record, exc_info=raised, extra={"record": record})
