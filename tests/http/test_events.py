"""Server-Sent Events: what is sent for an event, heartbeats, and that nothing runs on when the response has ended."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trioecho._http.events import Event, EventBody, EventStream, last_event_id
from trioecho._http.messages import Request


async def several(*events: str | Event) -> AsyncIterator[str | Event]:
    for event in events:
        yield event


def body_of(stream: EventStream) -> EventBody:
    assert isinstance(stream.body, EventBody)
    return stream.body


async def sent(stream: EventStream) -> list[bytes]:
    async with body_of(stream) as pieces:
        return [piece async for piece in pieces]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("hello", b"data: hello\n\n"),
        ("", b"data: \n\n"),
        (" two  spaces", b"data:  two  spaces\n\n"),
        ("one\ntwo\r\nthree\rfour", b"data: one\ndata: two\ndata: three\ndata: four\n\n"),
        ("ends\n", b"data: ends\ndata: \n\n"),
        # What str.splitlines takes for a line's end is none for a reader of events.
        ("a\u2028b\x0bc\x85d", "data: a\u2028b\x0bc\x85d\n\n".encode()),
        ("für dich", "data: für dich\n\n".encode()),
        (Event("x", event="tick", id="7", retry=5000), b"event: tick\nid: 7\nretry: 5000\ndata: x\n\n"),
        (Event("x", id=""), b"id: \ndata: x\n\n"),
    ],
)
async def test_an_event_is_sent_as_the_standard_says(event: str | Event, expected: bytes) -> None:
    """Every line of the data is a field of its own, and no text can add another field."""
    assert await sent(EventStream(several(event))) == [expected]


def test_nothing_on_the_way_may_keep_an_event() -> None:
    """The headers say what it is, and that neither caches nor proxies may hold it back."""
    stream = EventStream(several(), headers={"X-Room": "7"})
    assert stream.status == 200
    assert dict(stream.headers) == {
        "X-Room": "7",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "Content-Type": "text/event-stream",
    }


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "a\r\ndata: forged"])
def test_a_line_end_or_nul_in_a_field_is_refused(field: str, bad: str) -> None:
    """What a client has chosen cannot become a field of the event."""
    with pytest.raises(ValueError, match=f"^{field} takes one line of text without NUL; you gave"):
        Event("x", **{field: bad})


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (lambda: Event(b"x"), TypeError, "the data of an event is text; you gave bytes"),
        (
            lambda: Event("\ud800"),
            ValueError,
            r"data takes text that can be sent as UTF-8; you gave '\\ud800' in",
        ),
        (lambda: Event("x", id=7), TypeError, "id takes a string, or None; you gave 7"),
        (lambda: Event("x", id="ä" * 513), ValueError, "at most 1024 bytes; you gave 1026"),
        (lambda: Event("x", retry=2.5), TypeError, "a whole number of milliseconds; you gave 2.5"),
        (lambda: Event("x", retry=True), TypeError, "a whole number of milliseconds; you gave True"),
        (lambda: Event("x", retry=-1), ValueError, "0 or more milliseconds; you gave -1"),
        (lambda: EventStream(several), TypeError, r"not the function that makes them: write several\(...\)"),
        (lambda: EventStream(["x"]), TypeError, "an async iterable of str or Event; you gave list"),
        (lambda: EventStream(several(), heartbeat=0), ValueError, "more than 0 seconds, or None; you gave 0"),
        (lambda: EventStream(several(), heartbeat=math.nan), ValueError, "more than 0 seconds, or None"),
        (
            lambda: EventStream(several(), heartbeat="15"),
            TypeError,
            "seconds as a number, or None; you gave '15'",
        ),
        (
            lambda: EventStream(several(), headers={"cache-control": "private"}),
            ValueError,
            "cache-control is the stream's own",
        ),
    ],
)
def test_what_will_not_do_is_refused_with_what_would(make, kind, sentence) -> None:
    """A mistake is told when the value is made, in one sentence."""
    with pytest.raises(kind, match=sentence):
        make()


async def test_an_event_of_another_type_ends_the_response() -> None:
    """Whoever sends the body hears of it, as of any exception in the events."""

    async def wrong() -> AsyncIterator[object]:
        yield "right"
        yield {"a": 1}

    async with body_of(EventStream(wrong())) as pieces:
        assert await anext(pieces) == b"data: right\n\n"
        with pytest.raises(TypeError, match="takes events of str or Event; got dict"):
            await anext(pieces)


async def test_an_exception_of_the_events_reaches_the_sender_as_it_was() -> None:
    """In no group, with its own cause, and once."""

    async def failing() -> AsyncIterator[str]:
        yield "one"
        raise LookupError("no more") from OSError("disk")

    with pytest.raises(LookupError) as caught:
        await sent(EventStream(failing()))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__context__ is None


async def test_a_comment_is_sent_while_no_event_comes(autojump_clock: trio.testing.MockClock) -> None:
    """After each `heartbeat` seconds of quiet there is a comment, and the events go on undisturbed."""

    async def slow() -> AsyncIterator[str]:
        yield "one"
        await trio.sleep(35)
        yield "two"

    times: list[tuple[float, bytes]] = []
    start = trio.current_time()
    async with body_of(EventStream(slow())) as pieces:
        async for piece in pieces:
            times.append((trio.current_time() - start, piece))
    assert times == [
        (0, b"data: one\n\n"),
        (15, b":\n\n"),
        (30, b":\n\n"),
        (35, b"data: two\n\n"),
    ]


async def test_none_means_no_heartbeat(autojump_clock: trio.testing.MockClock) -> None:
    """With heartbeat=None only events are sent, however long that takes."""

    async def slow() -> AsyncIterator[str]:
        await trio.sleep(80_000)
        yield "at last"

    assert await sent(EventStream(slow(), heartbeat=None)) == [b"data: at last\n\n"]


async def test_a_cancelled_wait_loses_no_event(autojump_clock: trio.testing.MockClock) -> None:
    """A sender may give up waiting, and go on later where it was."""

    async def slow() -> AsyncIterator[str]:
        for number in range(3):
            await trio.sleep(10)
            yield str(number)

    async with body_of(EventStream(slow(), heartbeat=None)) as pieces:
        got: list[bytes] = []
        while len(got) < 3:
            with trio.move_on_after(3):
                got.append(await anext(pieces))
    assert got == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


async def test_at_most_one_event_waits_for_a_slow_client() -> None:
    """The events are not collected: the one behind that which is being sent is made, and no other."""
    made: list[int] = []

    async def numbers() -> AsyncIterator[str]:
        for number in range(100):
            made.append(number)
            yield str(number)

    async with body_of(EventStream(numbers())) as pieces:
        await anext(pieces)
        await trio.testing.wait_all_tasks_blocked()
        assert made == [0, 1]


@pytest.mark.parametrize("where", ["in its own wait", "at its yield"])
async def test_the_events_are_cleaned_up_when_the_client_goes(where: str) -> None:
    """The `finally` of a generator has run when the body is left, wherever the generator was, and in the same run."""
    seen: list[str] = []

    async def endless() -> AsyncIterator[str]:
        try:
            yield "one"
            if where == "in its own wait":
                await trio.sleep_forever()
            yield "two"
            yield "three"
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            seen.append("cleaned up")

    async def send() -> None:
        async with body_of(EventStream(endless())) as pieces:
            await anext(pieces)
            await trio.testing.wait_all_tasks_blocked()
            raise trio.BrokenResourceError("the client is gone")

    with pytest.raises(trio.BrokenResourceError):
        await send()
    assert seen == ["cleaned up"]


async def test_cancelling_the_sender_ends_the_events() -> None:
    """Cancelled while it waits for an event, the sender is left at once, and so are the events."""
    seen: list[str] = []

    async def endless() -> AsyncIterator[str]:
        try:
            await trio.sleep_forever()
            yield "never"
        finally:
            seen.append("cleaned up")

    async def send() -> None:
        async with body_of(EventStream(endless())) as pieces:
            async for _ in pieces:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
    assert seen == ["cleaned up"]


async def test_an_exception_while_cleaning_up_is_not_lost() -> None:
    """What goes wrong in the `finally` of the events is raised where the body is left."""

    async def failing() -> AsyncIterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            raise LookupError("in finally")

    with pytest.raises(LookupError, match="in finally"):
        async with body_of(EventStream(failing())) as pieces:
            await anext(pieces)


async def test_events_of_a_memory_channel_close_it() -> None:
    """A channel is closed with the response, so that who sends into it is told that nobody listens."""
    send, receive = trio.open_memory_channel[str](1)
    async with body_of(EventStream(receive)) as pieces:
        await send.send("one")
        assert await anext(pieces) == b"data: one\n\n"
    with pytest.raises(trio.BrokenResourceError):
        await send.send("two")


async def test_events_that_are_never_sent_can_be_closed() -> None:
    """The answer to a HEAD closes the events without asking for one."""
    send, receive = trio.open_memory_channel[str](1)
    await body_of(EventStream(receive)).aclose()
    with pytest.raises(trio.BrokenResourceError):
        await send.send("one")


async def test_a_body_is_entered_once() -> None:
    """A stream that is answered with twice, or iterated over without being entered, is a mistake that is told."""
    body = body_of(EventStream(several("one")))
    with pytest.raises(RuntimeError, match="entered before"):
        await anext(body)
    async with body as pieces:
        assert [piece async for piece in pieces] == [b"data: one\n\n"]
    with pytest.raises(RuntimeError, match="sent once"):
        async with body:
            pass


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("7", "7"),
        ("für".encode().decode("latin-1"), "für"),
        ("\xff", None),
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, None),
    ],
)
def test_the_last_id_comes_back_when_the_browser_reconnects(header: str | None, expected: str | None) -> None:
    """It is what an Event was given; of what no Event can have had, nothing is told."""
    headers = {} if header is None else {"Last-Event-ID": header}
    assert last_event_id(Request("GET", "/events", "/events", headers)) == expected
