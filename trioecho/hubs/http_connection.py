"""A connection whose client sends by POST, and is answered over whatever else: Server-Sent Events or polls."""

from __future__ import annotations

import abc

import trio

from trioecho import Prepared, Request
from trioecho.hubs.connection import Transfer
from trioecho.hubs.connection_options import ConnectionOptions
from trioecho.hubs.logical_connection import LogicalConnection
from trioecho.hubs.tokens import Claim
from trioecho.hubs.transfers import Transfers


class HttpConnection(LogicalConnection):
    """One client over HTTP. What it has sent, and what is sent to it, waits in `Transfers`, bounded each way."""

    def __init__(
        self,
        claim: Claim,
        request: Request,
        user: str | None,
        options: ConnectionOptions,
        stopping: trio.Event,
    ) -> None:
        super().__init__(claim, request, user, options, stopping)
        self._incoming = Transfers(options.max_buffered)
        self._outgoing = Transfers(options.max_buffered)
        # One body at a time is read: what others send waits in TCP, in their order.
        self._posting = trio.Lock()
        # The client has been told the end, or is past being told.
        self._told = trio.Event()

    async def take_in(self, request: Request) -> bool:
        """Read what the client posts, and hand it on when there is room. False: the connection has ended meanwhile.

        Raises as `Request.body`. Cancelled: nothing was handed on.
        """
        async with self._posting:
            body = await request.body()
            return await self._incoming.put(body) if body else not self._incoming.ended

    async def receive(self) -> bytes:
        """See `Connection`."""
        data = await self._incoming.take()
        if data is None:
            self._raise_end()
        return data

    async def send(self, data: Transfer, *, text: bool | None = None) -> None:
        """See `Connection`. When there is no room for `send_timeout`, the client counts as gone."""
        payload = self._payload(data, text)
        self.check_open()
        with trio.move_on_after(self._options.send_timeout) as scope:
            if await self._outgoing.put(payload):
                return
        if scope.cancelled_caught:
            self.lose()
        self.check_open()

    def try_send(self, data: Transfer, *, text: bool | None = None) -> bool:
        """See `Connection`."""
        payload = self._payload(data, text)
        self.check_open()
        return self._outgoing.try_put(payload)

    def stop(self) -> None:
        """See `LogicalConnection`."""
        self._incoming.end()

    def lose(self) -> None:
        """See `LogicalConnection`."""
        super().lose()
        self._incoming.end()
        self._outgoing.end(discard=True)
        self._told.set()

    @property
    @abc.abstractmethod
    def attached(self) -> bool:
        """Whether there is an answer on its way that can tell the client something."""

    async def _say_goodbye(self, error: str | None) -> None:
        # Neither transport can carry an error.
        self._incoming.end(discard=True)
        self._outgoing.end()
        if self._stopping.is_set() and not self.attached:
            # Nobody is let in any more to be told.
            return
        await self._told.wait()

    def _payload(self, data: Transfer, text: bool | None) -> bytes:
        if isinstance(data, Prepared):
            return bytes(data.payload)
        # It knows what may be sent, and what to say of anything else.
        return bytes(Prepared(data, text=text).payload)
