"""One connection to a hub, from the handshake to the goodbye.

Its own task enters `Hub.life`, and it and a second one read and run the calls (`invocations.py`). What ends it is
written down in `_goodbye` and said last, in bounded time.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from trioecho import Prepared
from trioecho._protocol.counted import counted
from trioecho._protocol.untrusted import in_quotes
from trioecho.hubs.backplane import BackplaneError, NoConnection, Result
from trioecho.hubs.call import Worker
from trioecho.hubs.connection import Connection, Reattached
from trioecho.hubs.exceptions import HubException, cause_of, connection_failed
from trioecho.hubs.handshake import ACCEPTED, STATEFUL_VERSION, Handshake, parse_handshake, refusal
from trioecho.hubs.held import HeldMessages
from trioecho.hubs.invocations import Invocations
from trioecho.hubs.messages import (
    ABSENT,
    Ack,
    BadMessage,
    CancelInvocation,
    Close,
    Completion,
    HubProtocol,
    Invocation,
    Message,
    Reader,
    StreamItem,
)
from trioecho.hubs.stateful import ReceivedMessages, SentMessages
from trioecho.hubs.websocket_transport import WebSocketConnection

if TYPE_CHECKING:
    from trioecho.hubs.hub import Hub
    from trioecho.hubs.server import HubServer

logger = logging.getLogger("trioecho.hubs")

GOODBYE_TIMEOUT = 2.0
"""Seconds in which the last message may go out, whatever cancels the connection."""

TEXT_TRANSPORTS = ("ServerSentEvents",)
"""Transports that carry text alone."""

BURST = 256
"""Messages that are read before other tasks have their turn."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """What the client is told at the end."""

    error: str | None = None
    allow_reconnect: bool = False


@dataclass(slots=True, eq=False)
class Awaited:
    """A result that the client owes."""

    answered: trio.Event = field(default_factory=trio.Event)
    result: Result | None = None


class HubConnection:
    """One client of a hub."""

    __slots__ = (
        "_awaited",
        "_connection",
        "_goodbye",
        "_heard",
        "_heard_at",
        "_held",
        "_invocations",
        "_lock",
        "_messages",
        "_number",
        "_reader",
        "_received",
        "_said",
        "_said_at",
        "_scope",
        "_sent",
        "_server",
        "_text",
        "_waits",
        "_work",
        "groups",
        "hub",
        "id",
        "nursery",
        "over",
        "protocol",
        "user",
    )

    protocol: HubProtocol
    hub: Hub[Any]
    nursery: trio.Nursery
    _invocations: Invocations
    _reader: Reader
    _messages: Iterator[Message]

    def __init__(self, connection: Connection, server: HubServer[Any]) -> None:
        self.id = connection.id
        self.user = connection.user
        self.groups: set[str] = set()
        self.over = False
        """Whether the conversation has ended, or is about to."""
        self._connection = connection
        self._server = server
        self._text: bool | None = None
        self._goodbye: Goodbye | None = None
        self._scope = trio.CancelScope()
        self._work = trio.CancelScope()
        self._awaited: dict[str, Awaited] = {}
        self._number = 0
        self._sent: SentMessages | None = None
        self._received: ReceivedMessages | None = None
        self._lock: trio.Lock | None = None
        self._said = self._heard = False
        self._said_at = self._heard_at = 0.0
        self._waits = False
        self._held = HeldMessages(server.options.max_held)

    @property
    def connection(self) -> Connection:
        """What carries its bytes."""
        return self._connection

    async def run(self) -> None:
        """Live, from the handshake to the goodbye. Raises nothing but what cancels it, or is no `Exception`."""
        try:
            handshake = await self._shake_hands()
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        if handshake is None:
            return
        failure = self._make_hub()
        await self._server.subscribe(self)
        try:
            # Whoever reads the answer finds the connection, and nothing is said before it.
            self._server.members.connect(self)
            try:
                if not self._connection.try_send(ACCEPTED, text=self._text):
                    return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if failure is not None:
                raise failure
            with self._scope:
                await self._converse(handshake.rest)
        except Exception as error:
            self._fail(error)
        except BaseException:
            # The server stops: another one may be there soon.
            self._goodbye = self._goodbye or Goodbye(allow_reconnect=True)
            raise
        finally:
            self._end()
            self._server.forget(self)
            await self._say_goodbye()

    async def _shake_hands(self) -> Handshake | None:
        """Agree on a protocol; None, and the client has been told, where that fails. Nothing is answered yet."""
        options = self._server.options
        received = b""
        handshake: Handshake | None = None
        error = f"No handshake came within {counted(options.handshake_timeout, 'second')}."
        try:
            with trio.move_on_after(options.handshake_timeout):
                while handshake is None:
                    received += await self._connection.receive()
                    handshake = parse_handshake(received, options.protocols)
        except BadMessage as bad:
            error = str(bad)
        if handshake is not None and not handshake.protocol.text and self._is_text():
            error = f"The '{handshake.protocol.name}' protocol needs a transport that carries bytes."
            handshake = None
        if handshake is None:
            with trio.move_on_after(GOODBYE_TIMEOUT):
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._connection.send(refusal(error), text=True)
                await self._connection.aclose()
            return None
        self.protocol = handshake.protocol
        self._text = True if handshake.protocol.text else None
        self._heard_at = self._said_at = trio.current_time()
        if self._connection.stateful and handshake.version >= STATEFUL_VERSION:
            self._sent = SentMessages(options.stateful_buffer)
            self._received = ReceivedMessages()
            self._lock = trio.Lock()
        return handshake

    def _is_text(self) -> bool:
        return self._connection.transport in TEXT_TRANSPORTS

    def _make_hub(self) -> Exception | None:
        """Make the hub; returns what went wrong, which the client is told only behind the handshake's answer."""
        try:
            self.hub = self._server.make_hub(self)
        except Exception as error:
            return error
        self._invocations = Invocations(self, self.hub, self._server.methods, self._server.options)
        return None

    async def _converse(self, rest: bytes) -> None:
        self._reader = self.protocol.reader(self._server.options.max_receive_size)
        self._messages = iter(self._reader.feed(rest) if rest else ())
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            nursery.start_soon(self._invocations.attend)
            async with self.hub.life():
                with self._work:
                    self._invocations.begin()
                    await self._invocations.attend()
            nursery.cancel_scope.cancel()

    async def read(self, worker: Worker) -> bool:
        """Read until the end, or until another task does: a call has run in this one and waited meanwhile.

        Returns False where that call was cancelled. Raises nothing but what cancels it.
        """
        invocations, held, receive = self._invocations, self._held, self._connection.receive
        try:
            while True:
                count = 0
                for message in self._messages:
                    if self._received is not None and not self._received.take(message):
                        continue
                    if type(message) is Invocation and not held.messages:
                        running = invocations.run_now(worker, message)
                        if running is False:
                            if not invocations.add(message):
                                await self._hold(message)
                        elif running is not True:
                            if not await running:
                                return False
                            if invocations.reader is not worker:
                                return True
                    elif not self._taken_at_once(message) and (
                        held.messages or not self._taken_in_turn(message)
                    ):
                        await self._hold(message)
                    count += 1
                    if not count % BURST:
                        await trio.lowlevel.checkpoint()
                try:
                    transfer = await receive()
                except Reattached:
                    self._reader = self.protocol.reader(self._server.options.max_receive_size)
                    self._heard = True
                    await self._send_again()
                    continue
                self._heard = True
                self._messages = iter(self._reader.feed(transfer))
        except BadMessage as bad:
            self.end(str(bad))
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            own = self._connection
            if self._server.stopping or (isinstance(own, WebSocketConnection) and own.dismissed):
                # Its end is not the client's doing: another server may be there soon.
                self._goodbye = self._goodbye or Goodbye(allow_reconnect=True)
            self._end()
        return True

    def _taken_at_once(self, message: Message) -> bool:
        """Take a message that need not wait for those before it; False for one that is no such."""
        if isinstance(message, CancelInvocation):
            return self._invocations.cancel(message.id)
        if isinstance(message, Completion):
            return self._answered(message)
        if isinstance(message, Ack):
            if self._sent is not None:
                self._sent.acknowledged(message.sequence)
        elif isinstance(message, Close):
            self._goodbye = self._goodbye or Goodbye()
            self._end()
        return not isinstance(message, (Invocation, StreamItem))

    def _taken_in_turn(self, message: Message) -> bool:
        """Take a message whose turn it is; False where there is no room for it."""
        if isinstance(message, Invocation):
            return self._invocations.add(message)
        if isinstance(message, StreamItem):
            return self._invocations.uploads.item(message.id, message.item)
        if isinstance(message, Completion):
            self._invocations.uploads.end(message.id, message.error)
        elif isinstance(message, CancelInvocation):
            self._invocations.cancel(message.id)
        return True

    async def _hold(self, message: Message) -> None:
        """Let a message wait until those before it have had their turn. What need not wait is still read meanwhile."""
        if not self._held.messages:
            self.nursery.start_soon(self._catch_up)
        self._held.add(message)
        self._waits = True
        await self._held.room()
        self._waits = False

    async def _catch_up(self) -> None:
        """Take what is held, as there is room."""
        held = self._held
        try:
            while held.messages:
                message = held.messages[0]
                while not self._taken_in_turn(message):
                    if isinstance(message, StreamItem):
                        await self._invocations.uploads.room(message.id)
                    else:
                        await self._invocations.room()
                held.remove_first()
        except BadMessage as bad:
            self.end(str(bad))

    async def send(self, data: bytes | Prepared) -> None:
        """Send one whole message, which is counted where the client can reconnect with its state.

        Waits for room. Raises `trio.BrokenResourceError` or `trio.ClosedResourceError` where the client has gone.
        Cancelled: it has not been sent.
        """
        self._said = True
        text = None if isinstance(data, Prepared) else self._text
        if self._sent is None:
            await self._connection.send(data, text=text)
            return
        assert self._lock is not None
        while True:
            async with self._lock:
                if not self._sent.full:
                    self._sent.add(data)
                    try:
                        await self._connection.send(data, text=text)
                    except trio.Cancelled:
                        self._sent.take_back()
                        raise
                    return
            await self._sent.room()

    def try_send(self, data: Prepared) -> bool:
        """`send` without waiting: False where it would have to, and nothing has been sent. Raises as `send`."""
        self._said = True
        if self._sent is None:
            return self._connection.try_send(data)
        assert self._lock is not None
        if self._sent.full or self._lock.locked() or not self._connection.try_send(data):
            return False
        self._sent.add(data)
        return True

    def answered_at_once(self, data: bytes) -> bool:
        """`answer` where that need not wait, or nobody is there any more; else False, and nothing has been sent."""
        if self._sent is not None:
            return False
        self._said = True
        try:
            return self._connection.try_send(data, text=self._text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return True

    async def answer(self, data: bytes) -> bool:
        """`send`; False where the client has gone."""
        try:
            await self.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def invoke(self, target: str, arguments: Mapping[str, bytes]) -> Result:
        """Call a method of the client and wait for what it answers. Raises `NoConnection` where it goes, and
        `HubException` where too much is awaited of it already. Cancelled: what it answers is ignored."""
        if len(self._awaited) >= self._server.options.max_client_results:
            raise HubException(f"{len(self._awaited)} results of this client are awaited already")
        self._number += 1
        id = f"s{self._number}"
        awaited = self._awaited[id] = Awaited()
        try:
            await self.send(self.protocol.invocation(target, arguments[self.protocol.name], id))
            if not self.over:
                await awaited.answered.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._awaited.pop(id, None)
        if awaited.result is None:
            raise NoConnection(f"the connection {self.id!r} has ended before it answered")
        return awaited.result

    def _answered(self, completion: Completion) -> bool:
        """Take a result that is awaited; False where none is, by this id."""
        awaited = self._awaited.pop(completion.id, None)
        if awaited is None:
            return False
        value = self.protocol.value(None) if completion.result is ABSENT else bytes(completion.result)
        awaited.result = Result(self.protocol.name, value, completion.error)
        awaited.answered.set()
        return True

    async def _send_again(self) -> None:
        """Say over a new WebSocket what may not have arrived over the one before. Nothing else is counted meanwhile."""
        if self._sent is None or self._received is None or self._lock is None:
            return
        self._received.reattached()
        async with self._lock:
            await self._connection.send(self.protocol.sequence(self._sent.first), text=self._text)
            for data in self._sent.again():
                await self._connection.send(data, text=None if isinstance(data, Prepared) else self._text)

    def look(self, now: float) -> None:
        """Do what is due at this time: a ping, an acknowledgement, or an end where nothing comes any more."""
        options = self._server.options
        if self._heard or self._waits:
            self._heard = False
            self._heard_at = now
        elif now - self._heard_at >= options.client_timeout:
            seconds = counted(options.client_timeout, "second")
            self.end(f"Nothing has come from the client for {seconds}.", allow_reconnect=True)
            return
        due = None
        if self._said:
            self._said = False
            self._said_at = now
        elif now - self._said_at >= options.keep_alive:
            due = self.protocol.ping
            self._said_at = now
        if self._received is not None and (number := self._received.acknowledge()) is not None:
            due = self.protocol.ack(number)
        if due is not None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                self._connection.try_send(due, text=self._text)

    def end(self, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """End it, telling the client why and whether it may come again. The first reason counts."""
        self._goodbye = self._goodbye or Goodbye(error, allow_reconnect)
        self._end()

    def _end(self) -> None:
        """Let the calls end, and `life`, for which there is `leave_timeout`."""
        if self.over:
            return
        self.over = True
        self._scope.deadline = trio.current_time() + self._server.options.leave_timeout
        self._work.cancel()
        if hasattr(self, "_invocations"):
            self._invocations.close()
        for awaited in tuple(self._awaited.values()):
            awaited.answered.set()

    def _fail(self, error: Exception) -> None:
        cause = cause_of(error)
        if not isinstance(cause, HubException | BackplaneError):
            # A backplane tells by itself that it is away, once.
            logger.error(
                "%s failed for the connection %s", self._server.name, in_quotes(self.id), exc_info=error
            )
        self._goodbye = self._goodbye or Goodbye(
            connection_failed(cause, self._server.options.detailed_errors)
        )

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(GOODBYE_TIMEOUT, shield=True):
            goodbye = self._goodbye
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if goodbye is not None:
                    close = self.protocol.close(goodbye.error, goodbye.allow_reconnect)
                    await self._connection.send(close, text=self._text)
            await self._connection.aclose(None if goodbye is None else goodbye.error)
