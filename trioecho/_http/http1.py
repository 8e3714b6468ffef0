"""HTTP/1.1 as a server speaks it, over any `trio.abc.Stream`: requests one after the other, and their responses.

One task leads the exchange: `begin`, `receive`, `respond`, `take_rest`, and again. Beside it, another may `watch`. What
arrives is kept in one buffer, so it does not matter who reads: a request that is sent ahead (RFC 9112 §9.3.2) waits
there until the one before it is answered, and what follows an upgrade is taken out of it whole (`take_bytes`).

Deadlines are the caller's: put a cancel scope around each call. Only the pace of a body is judged here, because the
handler that reads it should not have to.

A client that has ended its side of TCP may still read, and is answered; then the connection ends. Only who calls
`watch` wants to know of it: there the end of TCP is taken for the client's going.
"""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, NoReturn

import trio

from trioecho._http.bodies import PIECE_BYTES, Body, ChunkedBody, LengthBody
from trioecho._http.messages import Request, Response, Tls
from trioecho._http.refusals import Refused
from trioecho._http.request_head import MAX_HEAD_BYTES, HeadSearch, RequestHead, parse_head
from trioecho._http.response_head import WITHOUT_CONTENT, announced_length, response_head
from trioecho._protocol.budget import Budget
from trioecho._protocol.counted import counted

READ_AHEAD: Final = 65_536
"""Bytes that are kept of what arrives before it is asked for. The rest waits in the kernel, and in the client."""

MOST_REST: Final = 65_536
"""Bytes of an unread body that are read and dropped for the sake of the request behind it. More of them cost more than
a new connection."""

BODY_GRACE: Final = 10.0
"""Seconds that a body is waited for while nothing of it comes."""

LEAST_BODY_RATE: Final = 500
"""Bytes per second in which a body must come for longer than that. A modem of 1998 sent ten times as many."""

# Joined with the head, or the framing of a chunk, to be sent in one piece. Larger ones are not worth their copy.
_JOINED_BYTES = 65_536
_NO_MORE: Final = object()
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientGone(trio.BrokenResourceError):
    """The client has gone: nobody will read an answer. `http` is the `Http1` whose client it was."""

    def __init__(self, http: Http1, reason: str = "") -> None:
        super().__init__(reason or "the client has gone")
        self.http = http


class Http1:
    """One connection.

    `client`, `tls` and `scheme` are what each `Request` says of the connection. A client that takes longer than
    `send_timeout` seconds for 64 KiB of a response counts as gone. `budget` counts what has arrived, until it
    is taken or `forget` is called.
    """

    __slots__ = (
        "__weakref__",
        "_awaits_continue",
        "_body",
        "_broken",
        "_budget",
        "_client",
        "_counted",
        "_drained",
        "_ended",
        "_filled",
        "_filling",
        "_head",
        "_patience",
        "_received",
        "_scheme",
        "_search",
        "_send_timeout",
        "_sending",
        "_sent",
        "_stream",
        "_tls",
        "answered",
        "body_bytes",
        "close_after",
        "reusable",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        client: tuple[str, int] | None = None,
        tls: Tls | None = None,
        scheme: str = "http",
        send_timeout: float = math.inf,
        budget: Budget | None = None,
    ) -> None:
        self._stream = stream
        self._budget = budget if budget is not None else Budget()
        # Bytes of `_received` that it counts.
        self._counted = 0
        self._send_timeout = send_timeout
        self._client = client
        self._tls = tls
        self._scheme = scheme
        self._received = bytearray()
        # The client has ended its side of TCP.
        self._ended = False
        self._filling = self._sending = False
        self._filled = trio.lowlevel.ParkingLot()
        self._sent = trio.lowlevel.ParkingLot()
        self._drained = trio.lowlevel.ParkingLot()
        self._search = HeadSearch()
        self._head: RequestHead | None = None
        self._body: Body | None = None
        self._awaits_continue = False
        self._patience = 0.0
        # Where the next request would begin is not known.
        self._broken = False
        self.answered = False
        """The head of the response to the current request has been handed to the stream: no other can be sent."""
        self.body_bytes = 0
        """Bytes of the body that the response to the current request has, as far as it has come."""
        self.reusable = False
        """After `respond`: another request may follow."""
        self.close_after = False
        """Set by the caller: the next response says Connection: close, and is the last."""

    @property
    def has_bytes(self) -> bool:
        """Whether bytes wait that were read behind the last request."""
        return bool(self._received)

    async def begin(self) -> bool:
        """Wait for the first byte of the next request; empty lines are skipped (RFC 9112 §2.2).

        False: the peer has ended TCP before one. Raises `ClientGone` if it has reset the connection, and RuntimeError
        if no request can follow here: the one before is not answered, its body not read, or `reusable` is False. A
        checkpoint; cancelled, nothing is lost.
        """
        self._check_order()
        waited = False
        while not (begun := self._search.begun(self._received)) and not self._ended:
            await self._fill(MAX_HEAD_BYTES)
            waited = True
        if not waited:
            await trio.lowlevel.checkpoint()
        return begun

    async def receive(self) -> Request:
        """Read the head of the request that has begun; its body comes when it is asked for.

        Raises `Refused` for what is not HTTP/1 (400, a TLS hello is named as such; 505 for HTTP/2 and other versions),
        for a head that breaks off (400), is longer than 16 KiB or of too many lines (431), and for one that two
        servers may read differently (400); `ClientGone` if there is none. After any of them the connection is not
        reusable. RuntimeError as from `begin`. A checkpoint at every read. Cancelled: answer that it took too long, or
        close the stream.
        """
        self._check_order()
        if not self._search.begun(self._received) and not await self.begin():
            raise ClientGone(self, "the peer closed the connection before sending a request")
        self.answered = self.reusable = False
        self.body_bytes = 0
        self._head = self._body = None
        self._awaits_continue = False
        self._broken = True
        while (head := self._search.head(self._received)) is None:
            if self._ended:
                raise Refused(
                    400,
                    "A request head ends with a blank line; "
                    f"received {counted(len(self._received), 'byte')} without one.",
                )
            await self._fill(MAX_HEAD_BYTES)
        self._took()
        self._search = HeadSearch()
        self._head = parsed = parse_head(head)
        self._broken = False
        receive = None
        if parsed.length != 0:
            self._body = body = ChunkedBody() if parsed.length is None else LengthBody(parsed.length)
            self._awaits_continue = parsed.expects_continue
            self._patience = BODY_GRACE
            receive = functools.partial(self._receive_body, body)
        return Request(
            parsed.method,
            parsed.path,
            parsed.target,
            parsed.fields,
            http_version=parsed.http_version,
            scheme=self._scheme,
            client=self._client,
            tls=self._tls,
            receive=receive,
            budget=self._budget,
        )

    async def respond(self, response: Response, *, head_only: bool = False) -> None:
        """Send the response to the current request, or to what was refused before it was one.

        A body that is an async iterable goes out piece by piece, in chunks, or to HTTP/1.0 up to the end of the
        connection; each piece is handed to the stream before the next is asked for, and the iterator is always closed
        at the end. To HEAD, or with `head_only`, goes what a GET would hear, up to the blank line.

        Raises `ClientGone` if the peer has reset the connection; ValueError, before anything is sent, for a
        Content-Length that is none; TypeError, ValueError and whatever the iterator raises while its pieces are sent.
        `reusable` is False then. A checkpoint. Cancelled: some part may have been sent, and the stream is good for
        closing only. A slow reader is waited for: the deadline is the caller's.
        """
        if self.answered:
            raise RuntimeError("this request has been answered")
        body = response.body
        iterator = aiter(body) if isinstance(body, AsyncIterable) else None
        self.reusable = False
        try:
            length = announced_length(response)
            head_only = head_only or (self._head is not None and self._head.method == "HEAD")
            old = self._head is None or self._head.http_version < "1.1"
            close = self._is_last()
            head = response_head(response, length, chunked=length is None and not old, close=close)
            self.answered = True
            if head_only or response.status in WITHOUT_CONTENT:
                await self._send(head)
            elif iterator is None:
                assert isinstance(body, bytes)
                self.body_bytes = len(body)
                await self._send(head, body)
            else:
                await self._send(head)
                async with body if isinstance(body, AbstractAsyncContextManager) else nullcontext():
                    await self._send_pieces(iterator, length, chunked=length is None and not old)
            self.reusable = not close
        finally:
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()

    async def watch(self) -> NoReturn:
        """Wait until the client has gone, and raise `ClientGone` at once.

        It has gone when it has reset the connection, or ended its side of TCP: one that waits for its answer with its
        side shut cannot be told from one that has left, so watch only where a client is expected to stay, as for a
        stream of events. Requests that are sent ahead meanwhile are kept, up to 64 KiB; behind those nothing is read,
        and that the client has gone is seen when something is sent to it. A checkpoint; cancelled, nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self._ended:
            if len(self._received) < READ_AHEAD:
                await self._fill(READ_AHEAD)
            else:
                await self._drained.park()
        raise ClientGone(self)

    async def take_rest(self) -> None:
        """After `respond`: read what is left of the request's body, so that the next request can be found.

        `reusable` is False afterwards if more than 64 KiB are left, if the body is not right, or if the caller's
        deadline has cancelled this. Raises `ClientGone` if the peer has reset the connection. A checkpoint if anything
        is left.
        """
        body = self._body
        if body is None or body.ended or not self.reusable:
            return
        self.reusable = False
        most = body.taken + MOST_REST
        try:
            while not body.ended:
                await self._receive_body(body)
                if body.taken > most:
                    return
        except Refused:
            return
        self.reusable = True

    def take_bytes(self) -> bytes:
        """Return what has arrived behind the head, for an upgrade or a raw route; then only the stream is used."""
        received = bytes(self._received)
        self._received.clear()
        self._count()
        return received

    def forget(self) -> None:
        """The connection is over: what is left of what has arrived does not count any more."""
        self._received.clear()
        self._count()

    def _check_order(self) -> None:
        """Nothing but what follows a whole request that has been answered may be taken for the next one."""
        first = self._head is None and not self._broken
        unread = self._body is not None and not self._body.ended
        if unread or not (first or self.reusable):
            raise RuntimeError("no request can follow: respond, take_rest, and go on only if reusable")

    def _is_last(self) -> bool:
        """Whether the connection ends with the response to the current request."""
        if self.close_after or self._broken or self._head is None or not self._head.persistent:
            return True
        body = self._body
        if body is None or body.ended:
            return False
        # A client that waits for a 100 that never came may send the body, or not (RFC 9110 §10.1.1).
        return self._awaits_continue or (body.left is not None and body.left > MOST_REST)

    async def _receive_body(self, body: Body) -> bytes:
        """The next piece of a body; b"" at its end. See `Request.stream`."""
        await trio.lowlevel.checkpoint()
        if body.ended:
            return b""
        if self._awaits_continue:
            await self._say_continue()
        try:
            while not (piece := body.take(self._received)) and not body.ended:
                if self._ended:
                    raise Refused(400, body.broken_off())
                await self._wait_for(body)
        except Refused:
            self._broken = True
            self.reusable = False
            raise
        self._took()
        self._patience = min(BODY_GRACE, self._patience + len(piece) / LEAST_BODY_RATE)
        return piece

    async def _wait_for(self, body: Body) -> None:
        """Let more of a body arrive. The time is counted only while it is waited for: the handler may take its own."""
        began = trio.current_time()
        with trio.move_on_after(self._patience) as scope:
            await self._fill(PIECE_BYTES)
        self._patience = max(0.0, self._patience - (trio.current_time() - began))
        if scope.cancelled_caught:
            raise Refused(
                408,
                f"A body has to come with {LEAST_BODY_RATE} bytes per second; "
                f"after {counted(body.taken, 'byte')} too little came for {BODY_GRACE:g} seconds.",
            )

    async def _say_continue(self) -> None:
        """Let the client send the body (RFC 9110 §10.1.1), unless it has begun, or has its answer already."""
        self._awaits_continue = False
        if not self._received and not self.answered:
            await self._send(_CONTINUE)

    async def _send_pieces(
        self, iterator: AsyncIterator[str | bytes], length: int | None, *, chunked: bool
    ) -> None:
        sent = 0
        while (each := await _next(iterator)) is not _NO_MORE:
            if isinstance(each, str):
                piece = each.encode()
            elif isinstance(each, (bytes, bytearray, memoryview)):
                piece = bytes(each)
            else:
                raise TypeError(f"a piece of a body is str or bytes; got {type(each).__name__}")
            if not piece:
                # An empty chunk would be the last one.
                continue
            sent += len(piece)
            self.body_bytes = sent
            if length is not None and sent > length:
                raise ValueError(f"the response has a Content-Length of {length}; its body has more bytes")
            if chunked:
                await self._send(b"%x\r\n" % len(piece), piece, b"\r\n")
            else:
                await self._send(piece)
        if length is not None and sent < length:
            raise ValueError(
                f"the response has a Content-Length of {length}; its body has {counted(sent, 'byte')}"
            )
        if chunked:
            await self._send(b"0\r\n\r\n")

    async def _send(self, *parts: bytes) -> None:
        """Hand bytes to the stream, each stretch of 64 KiB in its own time."""
        while self._sending:
            # A task that has asked for the body is saying that it may come.
            await self._sent.park()
        self._sending = True
        try:
            if sum(map(len, parts)) <= _JOINED_BYTES:
                parts = (b"".join(parts),)
            for part in parts:
                whole = memoryview(part)
                for start in range(0, len(part), _JOINED_BYTES):
                    await self._send_stretch(whole[start : start + _JOINED_BYTES])
        finally:
            self._sending = False
            if self._sent:
                self._sent.unpark_all()

    async def _send_stretch(self, stretch: memoryview) -> None:
        try:
            with trio.move_on_after(self._send_timeout) as scope:
                await self._stream.send_all(stretch)
        except trio.BrokenResourceError as error:
            raise ClientGone(self, str(error)) from error
        if scope.cancelled_caught:
            raise ClientGone(
                self, f"the client took less than 64 KiB in {counted(self._send_timeout, 'second')}"
            )

    async def _fill(self, most: int) -> None:
        """Wait until something has arrived, at most `most` bytes, or the peer has ended TCP: `_ended`.

        Of two tasks that ask, one reads, and the other wakes with it; so it may find that nothing is there for it.
        """
        if self._filling:
            await self._filled.park()
            return
        self._filling = True
        try:
            data = await self._stream.receive_some(min(most, READ_AHEAD - len(self._received)))
        except trio.BrokenResourceError as error:
            raise ClientGone(self, str(error)) from error
        finally:
            self._filling = False
            if self._filled:
                self._filled.unpark_all()
        if data:
            self._received += data
            self._count()
        else:
            self._ended = True

    def _count(self) -> None:
        received = len(self._received)
        if received != self._counted:
            self._budget.add(received - self._counted)
            self._counted = received

    def _took(self) -> None:
        self._count()
        if self._drained:
            self._drained.unpark_all()


@trio.lowlevel.disable_ki_protection
async def _next(iterator: AsyncIterator[object]) -> object:
    """The next piece, or `_NO_MORE`. Ctrl-C may strike in the iterator, which is not ours."""
    return await anext(iterator, _NO_MORE)
