"""What the connections of one server share, and how all of them are told to end; the tasks of its route groups."""

from __future__ import annotations

import contextlib
import math
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

import trio

from trioecho._protocol.endings import RESTART
from trioecho._protocol.record import ConnectionRecord
from trioecho._protocol.shortage import Shortage
from trioecho._server.accounts import Accounts
from trioecho._server.machine import memory_available
from trioecho._server.sockets import Sockets
from trioecho._server.tally import Tally
from trioecho._server.turned_away import TurnedAway
from trioecho._websocket.memory import Memory

if TYPE_CHECKING:
    from trioecho._server.routes import RouteGroup, RouteTable
    from trioecho._server.server import Server
    from trioecho._websocket.connection import Connection
    from trioecho._websocket.websocket import WebSocket
    from trioecho._wire.poller import Poller
    from trioecho.options import WebSocketOptions

RECORDS_KEPT = 1000
"""Ended connections whose records are kept: enough to look back, some hundred kB."""

STOPPING, RESTARTING = 1001, RESTART[0]
"""The codes that a stopping server may close with: it goes away, or another is about to take its place."""

STOPPING_COURTESY = 0.5
"""Seconds in which a client that has had its last answer may still hang up by itself when the server stops."""


class Bound:
    """A cancel scope that the server can find while it is entered. Each connection enters two or three, so it is no
    generator."""

    __slots__ = ("_among", "_scope")

    def __init__(self, scope: trio.CancelScope, among: set[trio.CancelScope]) -> None:
        self._scope = scope
        self._among = among

    def __enter__(self) -> trio.CancelScope:
        self._among.add(self._scope)
        return self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._among.discard(self._scope)
        return self._scope.__exit__(kind, error, trace)


@dataclass(slots=True)
class Service:
    """One server's routes, its options, its poller where there is one, and who is connected."""

    routes: RouteTable
    options: WebSocketOptions
    poller: Poller | None = None
    ssl_context: ssl.SSLContext | None = None
    """What connections that are accepted from now on get; None for a server without TLS."""
    server: Server | None = None
    """What handlers get as `WebSocket.server`; taken away at the end, since it refers to this."""
    connections: dict[Connection, WebSocket] = field(default_factory=dict)
    """The open connections and those whose handshake was accepted, oldest first."""
    records: deque[ConnectionRecord] = field(default_factory=lambda: deque(maxlen=RECORDS_KEPT))
    ready: bool = True
    """False from when the server begins to drain: whoever asks whether to send more clients here is told so."""
    refusing: bool = False
    """Whether newcomers are refused already, while those who are connected are told one by one."""
    stopping: bool = False
    stop_code: int = STOPPING
    """What the Close says when the server stops."""
    stop_begun: trio.Event = field(default_factory=trio.Event)
    """Set with `stopping`, for the route groups."""
    deadline: float = math.inf
    memory: Memory = field(init=False)
    """What is held of `max_memory`."""
    phases: set[trio.CancelScope] = field(default_factory=set)
    courtesies: set[trio.CancelScope] = field(default_factory=set)
    """Those phases in which nothing is owed any more, only the client's hanging up awaited."""
    silences: set[trio.CancelScope] = field(default_factory=set)
    """What is inside of a phase while the client has said nothing, and so is owed nothing."""
    shortage: Shortage = field(
        default_factory=lambda: Shortage("no memory for a connection", "memory suffices again")
    )
    """For what connections raise: the first traceback says it."""
    turned_away: TurnedAway = field(default_factory=TurnedAway)
    tally: Tally = field(default_factory=Tally)
    """What is counted for `Figures`, besides what others here know."""
    sockets: Sockets = field(init=False)
    """All that was accepted and is not closed, WebSockets among it."""
    accounts: Accounts = field(init=False)
    """What of that each address has."""

    def __post_init__(self) -> None:
        limits = self.options.limits_per_address
        # True and False were made one or the other when the options were checked.
        assert not isinstance(limits, bool)
        self.sockets = Sockets(self.options.proxy_networks, limits, self.turned_away)
        self.accounts = Accounts(limits)
        self.memory = Memory(_budget(self.options.max_memory), self.connections)

    @property
    def room(self) -> bool:
        """Whether one more connection may be accepted."""
        limit = self.options.max_connections
        taken = limit is not None and len(self.connections) >= limit
        return not (self.stopping or self.refusing or taken or self.memory.full)

    def phase(self, seconds: float, *, courtesy: bool = False) -> Bound:
        """Bound what happens before a WebSocket is open, or instead of it; the server's stop can shorten it, and what
        is only `courtesy` ends with it."""
        if courtesy and self.stopping:
            seconds = min(seconds, STOPPING_COURTESY)
        scope = trio.CancelScope(deadline=min(trio.current_time() + seconds, self.deadline))
        return Bound(scope, self.courtesies if courtesy else self.phases)

    def silence(self) -> Bound:
        """Bound the wait for a client's first word: the server's stop cancels it at once, as browsers keep connections
        that they have opened ahead open for minutes."""
        scope = trio.CancelScope()
        if self.stopping:
            scope.cancel()
        return Bound(scope, self.silences)

    @contextlib.asynccontextmanager
    async def groups_running(self) -> AsyncIterator[None]:
        """Run the tasks of the route groups while the block does, which serves, and until they return.

        At the deadline of the server's stop they are cancelled. What they raise cancels the block.
        """
        if not self.routes.groups:
            # Not one nursery more for everybody.
            yield
            return
        async with trio.open_nursery() as nursery:
            for group in self.routes.groups:
                await nursery.start(self._run_group, group)
            yield

    async def _run_group(self, group: RouteGroup, *, task_status: trio.TaskStatus[None]) -> None:
        with self.phase(math.inf):
            await group.run(self.stop_begun, task_status=task_status)

    def stop(self, deadline: float) -> None:
        """Accept nobody any more; let everybody end, at `deadline` (Trio's clock) at the latest."""
        self.ready = False
        self.stopping = True
        self.stop_begun.set()
        self.deadline = min(self.deadline, deadline)
        for scope in self.phases:
            scope.deadline = min(scope.deadline, deadline)
        for scope in self.silences:
            scope.cancel()
        for scope in self.courtesies:
            scope.deadline = min(scope.deadline, deadline, trio.current_time() + STOPPING_COURTESY)
        for connection in tuple(self.connections):
            connection.stop(deadline, self.stop_code)

    def abort(self) -> None:
        """Let everybody end at once."""
        self.stop(trio.current_time())
        for connection in tuple(self.connections):
            connection.abort()


def _budget(max_memory: float | None) -> float:
    """The bytes that `WebSocketOptions.max_memory` stands for."""
    if max_memory is None:
        return math.inf
    return max_memory if isinstance(max_memory, int) else memory_available() * max_memory
