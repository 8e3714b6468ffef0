"""A connection that outlives its requests: its task, which runs the handler, and how that ends.

    ┌── the route's nursery ───────────────────────────────────────────┐
    │   ┌── `nursery` ──────────────────────────────────────────────┐  │
    │   │ the handler, in a cancel scope of its own; its children   │  │
    │   └───────────────────────────────────────────────────────────┘  │
    │   `aclose`: the goodbye, which whatever carries the bytes says   │
    └──────────────────────────────────────────────────────────────────┘

The handler is cancelled by the end of the server only, and `close_timeout` after the client has gone or the connection
was closed: until then it may end by itself. What it raises ends here, in the log.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import trio

from trioecho import Request
from trioecho._protocol.untrusted import shown
from trioecho._server.handlers import call
from trioecho._server.outcomes import outcome_of
from trioecho._websocket.handlers import name_of
from trioecho.hubs.connection import Connection, Transfer
from trioecho.hubs.tokens import Claim

if TYPE_CHECKING:
    from trioecho.hubs.connection_options import ConnectionOptions

logger = logging.getLogger("trioecho")

ConnectionHandler: TypeAlias = Callable[[Connection], Awaitable[Any]]
"""An async function of one `Connection`."""


class _OfConnection(Exception):  # noqa: N818 (the end of a connection is no error)
    """The connection has ended: leaving its own handler this is no failure."""

    def __init__(self, connection: LogicalConnection, what: str) -> None:
        super().__init__(what)
        self.connection = connection


class ConnectionEnded(_OfConnection, trio.EndOfChannel):
    """`receive`: nothing more will come."""


class ConnectionBroken(_OfConnection, trio.BrokenResourceError):
    """`send`: the client has gone."""


class ConnectionClosed(_OfConnection, trio.ClosedResourceError):
    """`send`: this side has closed the connection."""


class LogicalConnection(abc.ABC):
    """One client, as `Connection` has it, whatever carries its bytes for now."""

    transport: str
    stateful = False
    nursery: trio.Nursery

    def __init__(
        self,
        claim: Claim,
        request: Request,
        user: str | None,
        options: ConnectionOptions,
        stopping: trio.Event,
    ) -> None:
        self.id = claim.id
        self.token = claim.token
        self.claim = claim
        self.request = request
        self.user = user
        self.state: dict[str, Any] = {}
        self.gone = False
        """The client has gone: none of its requests finds this connection any more."""
        self.closed = False
        """This side has closed it; what was sent before still goes out."""
        self._options = options
        self._stopping = stopping
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<trioecho.hubs.Connection over {self.transport} at {self.request.path}>"

    @abc.abstractmethod
    async def receive(self) -> bytes:
        """See `Connection`."""

    @abc.abstractmethod
    async def send(self, data: Transfer, *, text: bool | None = None) -> None:
        """See `Connection`."""

    @abc.abstractmethod
    def try_send(self, data: Transfer, *, text: bool | None = None) -> bool:
        """See `Connection`."""

    @abc.abstractmethod
    async def _say_goodbye(self, error: str | None) -> None:
        """End what carries the bytes, behind what was sent before. Cancelled by its deadline."""

    @abc.abstractmethod
    def stop(self) -> None:
        """The server stops: nothing more will come behind what waits; what is sent still goes out."""

    def lose(self) -> None:
        """The client has gone: nothing more comes, and nothing more can be sent. Calling it again does nothing."""
        if not self.gone:
            self.gone = True
            self._limit()

    async def aclose(self, error: str | None = None) -> None:
        """Say goodbye, and end; see `Connection`. Calling it again does nothing more. A checkpoint."""
        if not self.closed and not self.gone:
            self.closed = True
            self._limit()
            with trio.move_on_after(self._options.close_timeout):
                await self._say_goodbye(error)
            self.lose()
        await trio.lowlevel.checkpoint()

    async def run(self, handler: ConnectionHandler) -> None:
        """Run `handler`, and say goodbye. Raises no `Exception`. Cancelled: the handler is, and nobody is awaited."""
        try:
            try:
                async with trio.open_nursery() as self.nursery:
                    with self._scope:
                        await call(handler, self)
                    self.nursery.cancel_scope.cancel()
            except BaseException as error:
                self._judge(error, handler)
            await self.aclose()
        finally:
            self.lose()

    def check_open(self) -> None:
        """Raise what `send` raises where nothing can be sent."""
        if self.closed:
            raise ConnectionClosed(self, "this side has closed the connection")
        if self.gone:
            raise ConnectionBroken(self, "the client has gone")

    def _raise_end(self) -> NoReturn:
        raise ConnectionEnded(self, "nothing more will come over this connection")

    def _limit(self) -> None:
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._options.close_timeout)

    def _judge(self, error: BaseException, handler: ConnectionHandler) -> None:
        """Log what has failed; raise what has to pass."""
        outcome = outcome_of(error, None)
        try:
            failed = outcome.failed or outcome.refused
            if isinstance(failed, BaseExceptionGroup):
                failed = failed.split(lambda each: self._is_own_end(each))[1]
            elif failed is not None and self._is_own_end(failed):
                failed = None
            if failed is not None:
                logger.error(
                    "%s failed, for a client over %s at %s",
                    name_of(handler),
                    self.transport,
                    shown(self.request.path),
                    exc_info=failed,
                )
            if outcome.passing is not None:
                raise outcome.passing
        finally:
            # The traceback of what they hold holds this frame.
            del outcome, failed

    def _is_own_end(self, error: BaseException) -> bool:
        return isinstance(error, _OfConnection) and error.connection is self
