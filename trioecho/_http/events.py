"""Server-Sent Events (WHATWG HTML §9.2): a response that never needs to end, one event after the other.

A quiet stream is kept alive by comments. What brings the events cannot be interrupted for that: a cancelled async
generator is finished. So it runs in a task of its own, in a nursery that is open while the response is being sent.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeAlias

import trio

from trioecho._http.fields import checked_fields
from trioecho._http.messages import Request, Response
from trioecho._http.refusals import HeadersLike

LONGEST_ID = 1024
"""Bytes of an event's id in UTF-8. It comes back in a header of every reconnection."""

_HEARTBEAT = b":\n\n"
_LINE_END = re.compile(r"\r\n|\r|\n")
_OWN_HEADERS = (
    ("Cache-Control", "no-store"),
    # nginx would otherwise collect some KiB before it passes them on.
    ("X-Accel-Buffering", "no"),
)


class Event:
    """One event of an `EventStream`.

    `data` is the text that the page's listener gets; it may have several lines, which arrive separated by LF. `event`
    is the name that it listens to, by default "message". `id` is what the browser sends in Last-Event-ID when it
    reconnects, at most 1,024 bytes; "" makes it forget the one before. `retry` is how many milliseconds it then waits
    before it does.

    Raises TypeError or ValueError with one sentence for what cannot be sent: a line's end or NUL in `event` or `id`.
    """

    __slots__ = ("data", "event", "id", "retry")

    def __init__(
        self, data: str, *, event: str | None = None, id: str | None = None, retry: int | None = None
    ) -> None:
        if not isinstance(data, str):
            raise TypeError(f"the data of an event is text; you gave {type(data).__name__}")
        _check_unicode("data", data)
        if event is not None:
            _check_line("event", event)
        if id is not None:
            _check_line("id", id)
            if len(id.encode()) > LONGEST_ID:
                raise ValueError(
                    f"the id of an event has at most {LONGEST_ID} bytes; you gave {len(id.encode())}"
                )
        if retry is not None:
            if isinstance(retry, bool) or not isinstance(retry, int):
                raise TypeError(f"retry takes a whole number of milliseconds; you gave {retry!r}")
            if retry < 0:
                raise ValueError(f"retry takes 0 or more milliseconds; you gave {retry}")
        self.data = data
        self.event = event
        self.id = id
        self.retry = retry

    def __repr__(self) -> str:
        return f"Event({self.data!r}, event={self.event!r}, id={self.id!r}, retry={self.retry!r})"

    def encode(self) -> bytes:
        """Return the event as it is sent (WHATWG HTML §9.2.5)."""
        # A reader takes one space away behind the colon, so there is always one.
        lines = [] if self.event is None else [f"event: {self.event}\n"]
        if self.id is not None:
            lines.append(f"id: {self.id}\n")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}\n")
        lines += [f"data: {line}\n" for line in _LINE_END.split(self.data)]
        return "".join([*lines, "\n"]).encode()


Events: TypeAlias = AsyncIterable[str | Event]


class EventStream(Response):
    """A response of Server-Sent Events: what `EventSource` in a browser reads.

    `events` is an async iterable, such as an async generator, of `Event`, or of ``str`` for one that has only data.
    The response ends with it; the browser then reconnects. When the client goes, the iteration is cancelled, and its
    ``finally`` blocks run. It runs in a task of its own, and is asked for the next event while one is being sent, so
    at most one waits for a slow client. An exception in it ends the response.

    After `heartbeat` seconds without an event a comment is sent, which no listener sees: proxies keep the connection
    open, and a client that has gone is noticed. None: never.

    `headers` are added; Content-Type, Cache-Control and X-Accel-Buffering are the stream's own.

    Example:

        async def news(request: trioecho.Request) -> trioecho.EventStream:
            async def events():
                number = int(trioecho.last_event_id(request) or 0)
                while True:
                    number += 1
                    yield trioecho.Event(f"news, number {number}", id=str(number))
                    await trio.sleep(60)

            return trioecho.EventStream(events())

        routes = {"/news": trioecho.HttpRoute(news)}

    Raises TypeError or ValueError with one sentence for what will not do.
    """

    __slots__ = ()

    def __init__(self, events: Events, *, heartbeat: float | None = 15.0, headers: HeadersLike = ()) -> None:
        if inspect.isasyncgenfunction(events):
            name = events.__name__
            raise TypeError(
                f"EventStream takes the events, not the function that makes them: write {name}(...)"
            )
        if not isinstance(events, AsyncIterable):
            raise TypeError(
                f"EventStream takes an async iterable of str or Event; you gave {type(events).__name__}"
            )
        if heartbeat is not None:
            if isinstance(heartbeat, bool) or not isinstance(heartbeat, (int, float)):
                raise TypeError(f"heartbeat takes seconds as a number, or None; you gave {heartbeat!r}")
            if not heartbeat > 0:
                raise ValueError(f"heartbeat must be more than 0 seconds, or None; you gave {heartbeat!r}")
        fields = checked_fields(headers)
        for name, _ in fields:
            if name.lower() in ("content-type", "cache-control", "x-accel-buffering"):
                raise ValueError(f"the header {name} is the stream's own: leave it out of an EventStream")
        super().__init__(
            EventBody(events, math.inf if heartbeat is None else heartbeat),
            headers=(*fields, *_OWN_HEADERS),
            content_type="text/event-stream",
        )


class EventBody:
    """The body of an `EventStream`. Enter it to iterate over it; when it is left, nothing of it runs any more.

    Both are done by whoever sends it, in one task. A plain iterator would not do: the task that brings the events has
    to end with the block that sends the response, whatever happens there.
    """

    def __init__(self, events: Events, heartbeat: float) -> None:
        self._events = events
        self._heartbeat = heartbeat
        self._used = False
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._received: trio.MemoryReceiveChannel[bytes] | None = None
        self._failure: Exception | None = None

    async def __aenter__(self) -> EventBody:
        """Start the iteration. Raises RuntimeError if it has been before: events come once. Not a checkpoint."""
        if self._used:
            raise RuntimeError("the events of an EventStream are sent once: make a new one for each request")
        self._used = True
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        send, self._received = trio.open_memory_channel[bytes](0)
        self._nursery.start_soon(self._feed, send)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel the iteration and wait for its end. Raises what went wrong in it and has not been told yet.

        Other tasks run meanwhile; it cannot be cancelled itself, but the ``finally`` blocks of the events are.
        """
        assert self._manager is not None
        assert self._nursery is not None
        assert self._received is not None
        self._nursery.cancel_scope.cancel()
        # The error stays out of the nursery, which would put it into a group.
        await self._manager.__aexit__(None, None, None)
        self._received.close()
        self._raise_failure()

    def __aiter__(self) -> EventBody:
        return self

    async def __anext__(self) -> bytes:
        """Return the next event, or a comment when none came for so long. Raises what the events raise.

        A checkpoint; cancelled, no event is lost.
        """
        if self._received is None:
            raise RuntimeError("the body of an EventStream is entered before it is iterated over")
        ended = False
        with trio.move_on_after(self._heartbeat):
            try:
                return await self._received.receive()
            except trio.EndOfChannel:
                ended = True
        if not ended:
            return _HEARTBEAT
        self._raise_failure()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the events if they were never asked for, as when a HEAD is answered. Else it does nothing."""
        if not self._used:
            self._used = True
            await _close(self._events)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def _feed(self, channel: trio.MemorySendChannel[bytes]) -> None:
        # What goes wrong is told to whoever iterates, as by any iterator, and not by way of the nursery.
        with channel:
            try:
                iterator = aiter(self._events)
                try:
                    async for event in iterator:
                        await channel.send(_encoded(event))
                finally:
                    # Cancelled while its event waits, a generator has to be told, for its `finally` to run here.
                    await _close(iterator)
            except Exception as error:
                self._failure = error


def last_event_id(request: Request) -> str | None:
    """Return the id of the last event that the client has got before it reconnected (WHATWG HTML §9.2.4).

    None for a new client, and for what no `Event` can have had as its id. The client may send any other.
    """
    sent = request.headers.get("last-event-id")
    if sent is None or len(sent) > LONGEST_ID:
        return None
    try:
        return sent.encode("latin-1").decode()
    except UnicodeError:
        return None


def _encoded(event: object) -> bytes:
    if isinstance(event, str):
        event = Event(event)
    if not isinstance(event, Event):
        raise TypeError(f"an EventStream takes events of str or Event; got {type(event).__name__}")
    return event.encode()


async def _close(events: Events) -> None:
    aclose = getattr(events, "aclose", None)
    if aclose is not None:
        await aclose()


def _check_line(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} takes a string, or None; you gave {value!r}")
    if any(each in value for each in "\r\n\0"):
        raise ValueError(f"{name} takes one line of text without NUL; you gave {value!r}")
    _check_unicode(name, value)


def _check_unicode(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} takes text that can be sent as UTF-8; you gave {value[error.start]!r} in it"
        ) from None
