"""One connection: the order of its phases, who is cancelled by what, and which ending is said.

    request head ── refused, or plain HTTP ──> one response, linger, close
        │
    handshake (trio-websocket says 101)
        │
    ┌───┴── engine nursery ────────────────────────────────────────────┐
    │ trio-websocket's reader (Ping, Pong), the outbox's drain task    │
    │   ┌── the connection's nursery, `ws.nursery` ─────────────────┐  │
    │   │ the handler, its children, keep-alive                     │  │
    │   └───────────────────────────────────────────────────────────┘  │
    └───┬──────────────────────────────────────────────────────────────┘
        │   everything above has finished
    goodbye: Close by its row in `endings`, the peer's answer, linger, close: one shielded deadline
        │
    record, one log line

Laws:
- Nobody who could send is left when the goodbye is said, so nothing comes after it and nothing owed is cut off.
- The inner nursery is cancelled by: the handler's return, an exception in it, keep-alive, the server's `stop`, the
  cancellation of `serve`, and the deadline that starts when the peer is gone and restarts with each message taken.
- trio-websocket's reader may die with a cancellation; every goodbye therefore reads on in the connection's own task.
- An exception of one connection ends in its log line. Only `BaseException` that is no `Exception` goes up.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
import trio_websocket

from trioecho import endings, farewell
from trioecho.endings import Ending, Farewell
from trioecho.frame_stream import FrameStream
from trioecho.frames import FrameDecoder
from trioecho.front_door import read_request, send_response
from trioecho.handshake import Handshake, RequestRefused, judge, vetted_request, wants_websocket
from trioecho.inbox import Inbox
from trioecho.keep_alive import Activity, keep_alive
from trioecho.outbox import Outbox
from trioecho.record import ConnectionRecord
from trioecho.responses import refusal, respond
from trioecho.websocket import OWN_ENDINGS, WebSocket

if TYPE_CHECKING:
    from trioecho.handlers import Handler
    from trioecho.options import WebSocketOptions
    from trioecho.poller import Poller

logger = logging.getLogger("trioecho")

ABORT_GRACE = 0.5
"""Seconds for a last Close to leave, where nobody is expected to answer it."""


@dataclass(slots=True)
class Service:
    """What the connections of one server share."""

    handlers: Mapping[str, Handler]
    options: WebSocketOptions
    poller: Poller | None = None
    connections: dict[WebSocket, Connection] = field(default_factory=dict)
    records: deque[ConnectionRecord] = field(default_factory=lambda: deque(maxlen=1000))
    stopping: bool = False
    phases: set[trio.CancelScope] = field(default_factory=set)

    @property
    def room(self) -> bool:
        """Whether one more connection may be accepted."""
        limit = self.options.max_connections
        return not self.stopping and (limit is None or len(self.connections) < limit)

    @contextlib.contextmanager
    def phase(self, seconds: float) -> Iterator[trio.CancelScope]:
        """Bound what happens before a WebSocket is open, or instead of it; the server's stop can shorten it."""
        with trio.move_on_after(seconds) as scope:
            self.phases.add(scope)
            try:
                yield scope
            finally:
                self.phases.discard(scope)

    def stop(self, deadline: float) -> None:
        """Accept nobody any more; let everybody end, at `deadline` at the latest."""
        self.stopping = True
        for scope in self.phases:
            scope.deadline = min(scope.deadline, deadline)
        for connection in tuple(self.connections.values()):
            connection.stop(deadline)


async def serve_connection(transport: trio.abc.Stream, service: Service) -> None:
    """Serve one accepted stream from its first byte to its last, and close it.

    Raises nothing of its own: what goes wrong is logged. Cancelled: the peer is sent 1001 and has
    ``close_timeout`` seconds to answer; then the cancellation goes on.
    """
    try:
        accepted = await _greet(transport, service)
        if accepted is not None:
            await Connection(transport, service, *accepted).run()
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        logger.debug("connection lost before a WebSocket was opened: %s", error)
    except Exception:
        logger.exception("a connection failed")
    finally:
        await trio.aclose_forcefully(transport)


async def _greet(transport: trio.abc.Stream, service: Service) -> tuple[Handshake, bytes] | None:
    """Read one request under `handshake_timeout`; returns the accepted handshake, or None when it was answered."""
    request = None
    encrypted = not isinstance(transport, trio.SSLStream)
    try:
        with service.phase(service.options.handshake_timeout) as scope:
            if isinstance(transport, trio.SSLStream):
                await transport.do_handshake()
                encrypted = True
            request, rest = await read_request(transport)
        if request is None:
            if not encrypted:
                return None
            seconds = service.options.handshake_timeout
            assert scope.cancelled_caught
            if service.stopping:
                return None
            raise RequestRefused(408, f"No complete request came within {seconds:g} seconds.")
        if wants_websocket(request):
            return judge(request, service.options, service.handlers, room=service.room), rest
        response = respond(request, service.handlers)
    except RequestRefused as refused:
        logger.info("%s refused: %d %s", farewell.address(transport), refused.status, refused.sentence)
        response = refusal(refused)
    with service.phase(service.options.close_timeout):
        head_only = request is not None and request.method == b"HEAD"
        await send_response(transport, response, head_only=head_only)
        await farewell.linger(transport)
    return None


class Connection:
    """One WebSocket connection, from the accepted handshake to its record."""

    def __init__(
        self, transport: trio.abc.Stream, service: Service, handshake: Handshake, received: bytes
    ) -> None:
        self._service = service
        self._options = service.options
        self._handshake = handshake
        self._handler = service.handlers[handshake.path]
        self._transport = transport
        plain = service.poller is not None and isinstance(transport, trio.SocketStream)
        fd = transport.socket.fileno() if plain and isinstance(transport, trio.SocketStream) else None
        self._opened_at = trio.current_time()
        self._activity = Activity(self._opened_at)
        self._inbox = Inbox()
        self._outbox = Outbox(transport, fd, self._start_drain)
        self._decoder = FrameDecoder(
            max_message_size=self._options.max_message_size, max_fragments=self._options.max_fragments
        )
        self._stream = FrameStream(
            transport,
            vetted=vetted_request(handshake),
            received=received,
            decoder=self._decoder,
            inbox=self._inbox,
            outbox=self._outbox,
            activity=self._activity,
            poller=service.poller if plain else None,
            fd=fd if fd is not None else -1,
        )
        self._stream.on_ended = self._nothing_more_comes
        self._record = ConnectionRecord(
            peer=farewell.address(transport),
            path=handshake.path,
            origin=handshake.origin,
            subprotocol=handshake.subprotocol,
        )
        self._engine_nursery: trio.Nursery | None = None
        self._nursery: trio.Nursery | None = None
        self._protocol: trio_websocket.WebSocketConnection | None = None
        self._websocket: WebSocket | None = None
        self._decided: Ending | None = None
        self._failure: BaseException | None = None
        self._application_close = (1000, "")
        self._latest = math.inf
        self._farewell_scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Open, let the handler have it, say goodbye, record. Never raises an `Exception`."""
        cancelled = True
        try:
            async with trio.open_nursery() as self._engine_nursery:
                try:
                    request = await trio_websocket.wrap_server_stream(
                        self._engine_nursery, self._stream, receive_buffer_size=None
                    )
                    self._protocol = await request.accept(subprotocol=self._handshake.subprotocol)
                    await self._let_handler_run()
                    cancelled = False
                finally:
                    # The drain task is shielded and writes what is owed; this bounds it, also when we are cancelled.
                    self._end_by(trio.current_time() + self._options.close_timeout)
                    self._engine_nursery.cancel_scope.cancel()
        except* Exception as group:
            # trio-websocket failed, or its peer was gone before it could say 101.
            cancelled = False
            if self._failure is None and not self._outbox.broken:
                self._failure = group
        finally:
            ending = self._decide(cancelled=cancelled)
            if ending.farewell is Farewell.ABORT:
                self._end_by(trio.current_time() + ABORT_GRACE)
            with self._farewell_scope:
                await self._say_goodbye(ending)
            self._stream.forget()
            self._write_record(ending)

    async def _let_handler_run(self) -> None:
        """Run the handler in the connection's nursery; returns when nothing in it runs any more."""
        options = self._options
        left = False
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._websocket = ws = WebSocket(
                    handshake=self._handshake,
                    remote_address=self._record.peer,
                    inbox=self._inbox,
                    outbox=self._outbox,
                    activity=self._activity,
                    nursery=nursery,
                    record=self._record,
                    refresh=self._refresh_record,
                    close=self._close_for_application,
                )
                self._service.connections[ws] = self
                if self._service.stopping:
                    self._inbox.end(endings.SERVER_STOPPING)
                if min(options.keep_alive_interval, options.idle_timeout) < float("inf"):
                    nursery.start_soon(self._keep_alive)
                await self._handler(ws)
                left = True
                nursery.cancel_scope.cancel()
        except* OWN_ENDINGS:
            left = True
            # That the client went away is an ending, not a failure of the handler. Own endings of *another*
            # WebSocket do not come this way unless a handler holds one; then they end this one just as quietly.
        except* Exception as group:
            self._failure = group
        self._record.handler_cancelled = (
            not left
            and self._failure is None
            and self._decided is None
            and self._inbox.ending is not None
            and self._inbox.ending is not endings.SERVER_STOPPING
        )

    async def _keep_alive(self) -> None:
        options = self._options
        ending = await keep_alive(
            self._activity,
            self._ping,
            interval=options.keep_alive_interval,
            patience=options.keep_alive_timeout,
            idle_timeout=options.idle_timeout,
        )
        assert self._nursery is not None
        if self._decided is None:
            self._decided = ending
        self._nursery.cancel_scope.cancel()

    async def _ping(self) -> None:
        assert self._protocol is not None
        try:
            await self._protocol.ping()
        except trio_websocket.ConnectionClosed:
            # The connection is ending by another way; wait for that to cancel us.
            await trio.sleep_forever()

    # What others decide.

    def stop(self, deadline: float) -> None:
        """The server stops: end the conversation behind what waits; cancel the handler at `deadline`."""
        self._inbox.end(endings.SERVER_STOPPING)
        self._latest = min(self._latest, deadline)
        if self._nursery is not None:
            scope = self._nursery.cancel_scope
            scope.deadline = min(scope.deadline, deadline)

    def abort(self) -> None:
        """The server stops at once: whatever this connection waits for, it does not wait any longer."""
        self._decided = endings.SERVER_ABORTED
        self._end_by(trio.current_time() + ABORT_GRACE)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _end_by(self, deadline: float) -> None:
        """Whatever is still to be written or awaited at the end, it is over at `deadline`."""
        scope = self._farewell_scope
        scope.deadline = min(scope.deadline, deadline)
        self._outbox.finish(scope.deadline)

    def _nothing_more_comes(self) -> None:
        """The peer closed, vanished or erred: the handler has `close_timeout` from here, and from each message."""
        self._extend_deadline()
        self._inbox.on_taken = self._extend_deadline
        if not self._inbox.messages and not self._inbox.taken_any and self._websocket is not None:
            self._websocket.refuse_sends()

    def _extend_deadline(self) -> None:
        if self._nursery is not None:
            deadline = trio.current_time() + self._options.close_timeout
            self._nursery.cancel_scope.deadline = min(deadline, self._latest)

    def _start_drain(self) -> None:
        assert self._engine_nursery is not None
        self._engine_nursery.start_soon(self._outbox.drain)

    async def _close_for_application(self, code: int, reason: str) -> None:
        """`WebSocket.aclose`."""
        self._decided = endings.APPLICATION_CLOSED
        self._application_close = (code, reason)
        with trio.move_on_after(self._options.close_timeout):
            await self._send_close(code, reason)
            self._inbox.end(endings.APPLICATION_CLOSED)
            await self._stream.peer_done.wait()
        self._inbox.end(endings.APPLICATION_CLOSED)

    # The end.

    def _decide(self, *, cancelled: bool) -> Ending:
        """Which row of the table this ending is. What the application or a timeout decided comes first."""
        if self._decided is not None and self._decided is not endings.APPLICATION_CLOSED:
            return self._decided
        if self._failure is not None:
            return endings.HANDLER_RAISED
        if self._decided is not None:
            return self._decided
        if self._inbox.ending is not None and self._inbox.ending is not endings.SERVER_STOPPING:
            return self._inbox.ending
        if self._outbox.broken:
            return endings.PEER_VANISHED
        if cancelled or self._inbox.ending is endings.SERVER_STOPPING:
            return endings.SERVER_STOPPING
        return endings.HANDLER_RETURNED

    async def _say_goodbye(self, ending: Ending) -> None:
        """Say what the table says. Ends by itself, or at the deadline of the farewell scope."""
        if self._record.code_sent is None and ending.farewell is not Farewell.SILENT:
            code, reason = self._code_and_reason(ending)
            await self._send_close(code, reason)
        else:
            self._stream.begin_goodbye()
        await self._outbox.flush()
        if ending.farewell is Farewell.ABORT or self._outbox.broken:
            return
        if ending.farewell is Farewell.HANDSHAKE:
            await self._stream.read_on(self._stream.peer_done)
            if self._stream.peer_close is not None:
                # Both sides have said all, so the server closes TCP now (RFC 6455 §7.1.1). Lingering here until the
                # client hangs up was tried: trio-websocket's client never does.
                self._stream.discard_unread()
                self._stream.forget()
                await self._transport.aclose()
                return
        await farewell.half_close(self._transport)
        await self._stream.read_on(self._stream.hung_up)

    def _code_and_reason(self, ending: Ending) -> tuple[int, str]:
        code, reason = ending.code, ending.reason
        if ending is endings.APPLICATION_CLOSED:
            return self._application_close
        if ending is endings.PEER_CLOSED:
            assert self._stream.peer_close is not None
            code, reason = self._stream.peer_close
            if code == 1005:
                code = 1000
        assert code is not None
        return code, reason if reason is not None else (self._stream.error or "")

    async def _send_close(self, code: int, reason: str) -> None:
        """Have trio-websocket say Close. Its own waiting for the answer is cut short: it never sees the peer's."""
        self._record.messages_discarded += self._inbox.discard()
        self._stream.begin_goodbye()
        if self._protocol is None:
            return
        if self._record.closed_first is None:
            self._record.closed_first = "client" if self._stream.peer_done.is_set() else "server"
        with trio.CancelScope() as sent:

            def close_sent() -> None:
                self._record.code_sent = code
                self._record.reason_sent = farewell.shortened(reason)
                sent.cancel()

            self._stream.on_close_sent = close_sent
            await self._protocol.aclose(code, farewell.shortened(reason))

    def _refresh_record(self) -> None:
        record = self._record
        if record.cause is not None:
            return
        record.messages_received = self._decoder.messages
        record.bytes_received = self._decoder.payload_bytes
        record.messages_sent = self._outbox.sent_messages
        record.bytes_sent = self._outbox.sent_bytes
        record.duration = trio.current_time() - self._opened_at

    def _write_record(self, ending: Ending) -> None:
        record = self._record
        self._refresh_record()
        record.messages_discarded += self._inbox.discard() + self._stream.discarded
        if self._stream.peer_close is not None:
            record.code_received, record.reason_received = self._stream.peer_close
        if record.closed_first is None:
            record.closed_first = "client" if self._inbox.ending is ending else "server"
        record.clean = ending.clean and record.code_sent is not None and record.code_received is not None
        if self._failure is not None:
            record.error = farewell.summary(self._failure)
        elif self._stream.error is not None:
            record.error = self._stream.error
        record.cause = ending.cause
        if self._websocket is not None:
            self._service.connections.pop(self._websocket, None)
        self._service.records.append(record)
        logger.log(
            ending.log_level,
            "%s",
            record,
            exc_info=self._failure if ending is endings.HANDLER_RAISED else None,
            extra={"record": record},
        )
