"""Reading one connection's socket: chunk by chunk, in its turn, and not at all while the inbox is full.

Who reads: with a poller, `_readable` is called for each chunk, TLS or not; otherwise a task of the connection, `run`,
reads the Trio stream. At the goodbye that task is gone, and the connection's own reads on.

What may never happen: a byte read while the inbox is full. That is the backpressure, and the time until it ends counts
for no timeout.
"""

from __future__ import annotations

import os

import trio

from trioecho._protocol.endings import PEER_VANISHED
from trioecho._websocket.inbox import Inbox
from trioecho._websocket.keep_alive import Activity
from trioecho._websocket.outbox import Outbox
from trioecho._websocket.sorter import Sorter
from trioecho._wire.poller import GONE, Poller
from trioecho._wire.tls import TlsStream

CHUNK = 65_536
"""Bytes read at once: what one connection may keep the loop busy with before the others have their turn."""

UNREAD_CHUNKS = 16
"""Chunks behind the peer's Close that are read before TCP is closed over the rest."""


class Reading:
    """The reading of one connection's bytes, which are handed to its `sorter`.

    `transport` is read through Trio, unless there is a `poller`, which watches the file number `fd`; the bytes that
    come there go through `tls` where that is given.
    """

    __slots__ = (
        "_activity",
        "_fd",
        "_inbox",
        "_lost",
        "_outbox",
        "_paused",
        "_resumed",
        "_sorter",
        "_tls",
        "_transport",
        "hung_up",
        "poller",
    )

    def __init__(
        self,
        transport: trio.abc.Stream,
        *,
        sorter: Sorter,
        inbox: Inbox,
        outbox: Outbox,
        activity: Activity,
        poller: Poller | None,
        fd: int,
        tls: TlsStream | None,
    ) -> None:
        self._transport = transport
        self._sorter = sorter
        self._inbox = inbox
        self._outbox = outbox
        self._activity = activity
        self.poller = poller
        self._fd = fd
        self._tls = tls
        self._paused = False
        self._lost = False
        self._resumed: trio.Event | None = None
        self.hung_up = trio.Event()
        """Set when TCP has ended: there is nothing left to read."""

    def start(self, early: bytes) -> None:
        """Read from now on; `early` came with the handshake. Without a poller, `run` has to be started."""
        if self.poller is not None:
            self.poller.watch(self._fd, self._readable)
        if self._tls is not None:
            # A record may have carried more than the request.
            early += self._opened(b"")
        now = trio.current_time()
        if early:
            self._sorter.sort(early, now)
        if self._tls is not None and self._tls.ended:
            self._end_of_tls(now)

    def begin_goodbye(self) -> None:
        """From here on nothing is delivered: only the peer's Close and the end of TCP still matter."""
        self._sorter.discard()
        self.resume()

    async def run(self) -> None:
        """The task that reads where there is no poller, until nothing more will come."""
        await self.read_on(self._sorter.peer_done)

    async def read_on(self, until: trio.Event) -> None:
        """Read in the calling task until the sorter's `peer_done`, or `hung_up`.

        With a poller, whose task goes on reading by itself, this only waits.
        """
        if self.poller is not None:
            await until.wait()
        while not until.is_set():
            await self.read_transport()

    def discard_unread(self) -> None:
        """Read what a peer has sent behind its Close: closing TCP over it would answer with a reset (RFC 9112 §9.6),
        and that could destroy our own Close on its way."""
        if self.poller is None or self.hung_up.is_set():
            return
        for _ in range(UNREAD_CHUNKS):
            try:
                if not os.read(self._fd, CHUNK):
                    return
            except OSError:
                return

    def forget(self) -> None:
        """Let go of the socket. Has to happen before it is closed."""
        if self.poller is not None:
            self.poller.forget(self._fd)
        self._sorter.peer_done.set()
        self.hung_up.set()

    async def read_transport(self) -> None:
        """Read one chunk from the Trio stream, once there is room for it."""
        if self._sorter.must_wait:
            self._pause(trio.current_time(), lost=False)
            self._resumed = trio.Event()
            await self._resumed.wait()
        try:
            data = await self._transport.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose(str(error.__cause__ or error))
            return
        if data:
            now = trio.current_time()
            self._activity.heard_at = now
            self._sorter.sort(bytes(data), now)
        else:
            self._end_of_tcp()

    def _readable(self, events: int, now: float) -> None:
        """The poller's turn for this connection: read one chunk."""
        sorter = self._sorter
        # The property `must_wait`, written out: this is done for each message.
        if (self._inbox.shut or sorter.busy) and not sorter.discarding:
            self._pause(now, lost=bool(events & GONE))
            return
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(str(error))
            return
        if data:
            self._activity.heard_at = now
            if self._tls is not None:
                data = self._opened(data)
            sorter.sort(data, now)
            if self._tls is not None and self._tls.ended:
                self._end_of_tls(now)
        else:
            self._end_of_tcp()

    def _opened(self, data: bytes) -> bytes:
        """The plain text in what came over TLS; b"" if there is none yet, or none any more."""
        assert self._tls is not None
        try:
            plain = self._tls.open(data)
        except OSError as error:
            self._lose(str(error))
            return b""
        if self._tls.unsaid and not self._outbox.blocked:
            # TLS answers for itself (a KeyUpdate asks for one): at most what one chunk calls for waits unsent.
            self._outbox.put_sealed(self._tls.seal(b""))
        elif self._tls.unsaid > CHUNK:
            self._lose("the peer asks for more TLS answers than it reads")
        return plain

    def _end_of_tls(self, now: float) -> None:
        """TLS's goodbye came, perhaps behind messages that wait; TCP may stay open for it to be answered."""
        if self._sorter.must_wait:
            self._pause(now, lost=False)
        else:
            self._end_of_tcp()

    def _end_of_tcp(self) -> None:
        self._sorter.end(PEER_VANISHED, "TCP ended without a Close")
        self.forget()

    def _lose(self, why: str) -> None:
        self._outbox.break_off()
        self._sorter.end(PEER_VANISHED, why)
        self.forget()

    def _pause(self, now: float, *, lost: bool) -> None:
        """Read nothing more until the handler has caught up; `lost`: TCP was reset, or has ended in both directions.

        Of a lost connection, what the kernel still holds is read when there is room. epoll would report the loss
        without end, so it is not asked any more.
        """
        if lost and self.poller is not None:
            self.poller.forget(self._fd)
            self._lost = True
            self._outbox.break_off()
            self._sorter.on_ended()
        if self._paused:
            return
        self._paused = True
        self._activity.pause(now)
        self._inbox.on_caught_up = self.resume
        if self.poller is not None and not self._lost:
            self.poller.pause(self._fd)

    def resume(self) -> None:
        """Read again, if reading was paused and what it waited for has come."""
        if not self._paused or self._sorter.must_wait:
            return
        self._paused = False
        self._inbox.on_caught_up = None
        now = trio.current_time()
        self._activity.resume(now)
        if self._tls is not None and self._tls.ended:
            self._end_of_tcp()
        elif self._lost:
            while not self.hung_up.is_set() and not self._sorter.must_wait:
                self._readable(0, now)
            if not self.hung_up.is_set():
                self._pause(now, lost=False)
        elif self.poller is not None and not self.hung_up.is_set():
            self.poller.resume(self._fd)
        elif self._resumed is not None:
            self._resumed.set()
            self._resumed = None
