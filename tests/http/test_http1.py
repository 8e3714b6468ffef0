"""HTTP/1.1 as a server: many requests on one connection, their bodies, their responses, and who has gone."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import pairwise

import h11
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import certificates
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioecho._http import http1
from trioecho._http.http1 import BODY_GRACE, LEAST_BODY_RATE, MOST_REST, READ_AHEAD, ClientGone, Http1
from trioecho._http.messages import Request, Response, Tls, answer_to
from trioecho._http.refusals import Refused
from trioecho._wire.tls import TlsStream

PATIENCE = 60
DATE = b"Date: Tue, 24 Nov 2026 16:00:00 GMT\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSING = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Answer = Callable[[Request], Awaitable[Response]]


@pytest.fixture(autouse=True)
def at_four(monkeypatch):
    """All responses of these tests are dated alike."""
    monkeypatch.setattr(time, "time", lambda: 1_795_536_000.75)


async def echo(request: Request) -> Response:
    """What was received, so that it can be told apart."""
    return Response(f"{request.method} {request.target} ".encode() + await request.body())


async def path_only(request: Request) -> Response:
    """An answer that leaves the body where it is."""
    return Response(request.path)


async def converse(stream: trio.abc.Stream, answer: Answer = echo) -> Http1:
    """Serve a connection to its end, and close it, as a server does; returns what was left of it."""
    http = Http1(stream)
    try:
        while await http.begin():
            try:
                response = await answer(await http.receive())
            except Refused as refused:
                response = answer_to(refused)
            await http.respond(response)
            await http.take_rest()
            if not http.reusable:
                break
    finally:
        await stream.aclose()
    return http


async def said(sent: bytes | Sequence[bytes], answer: Answer = echo, *, half_close: bool = True) -> bytes:
    """All that a client hears that sends these packets and then shuts its side, or keeps it open."""
    ours, peer = memory_stream_pair()
    heard = b""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(converse, ours, answer)
            for packet in [sent] if isinstance(sent, bytes) else sent:
                await peer.send_all(packet)
                await wait_all_tasks_blocked()
            if half_close:
                await peer.send_eof()
            async for data in peer:
                heard += data
    return heard


def ok(body: bytes, kind: bytes = b"application/octet-stream", *, close: bool = False) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: " + kind + b"\r\nContent-Length: %d\r\n" % len(body)
        + (b"Connection: close\r\n" if close else b"") + b"\r\n" + body
    )  # fmt: skip


def statuses(heard: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", heard)]


async def test_requests_follow_one_another_on_a_connection():
    """Keep-alive is the rule of HTTP/1.1; who says close is answered so, and the connection ends."""
    ours, peer = memory_stream_pair()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(converse, ours)
            for _ in range(3):
                await peer.send_all(GET)
                assert await peer.receive_some() == ok(b"GET /a ")
            await peer.send_all(b"\r\n" + POST)
            assert await peer.receive_some() == ok(b"POST /b hello")
            await peer.send_all(CLOSING)
            assert b"".join([data async for data in peer]) == ok(b"GET /last ", close=True)


async def test_requests_sent_ahead_are_answered_in_order():
    """Pipelining, with bodies of both kinds between (RFC 9112 §9.3.2)."""
    chunked = CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    expected = ok(b"GET /a ") + ok(b"POST /b hello") + ok(b"POST /c abc") + ok(b"GET /last ", close=True)
    assert await said(GET + POST + chunked + CLOSING) == expected
    assert await said(GET + POST + chunked + CLOSING + GET) == expected


CUTS = st.lists(st.integers(0, 700), max_size=8)


@settings(deadline=None, max_examples=50)
@given(CUTS, st.booleans())
def test_a_conversation_does_not_depend_on_how_the_network_cuts_it(places, read):
    """Heads, bodies, unread bodies, pipelined requests and one that is refused, cut anywhere, are answered alike."""
    whole = (
        GET
        + POST
        + CHUNKED + b"3\r\nabc\r\n7;x=y\r\n, defgh\r\n0\r\nX: y\r\n\r\n\r\n"
        + POST
        + GET
        + CHUNKED + b"2\r\nok\r\nx"
    )  # fmt: skip
    edges = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    packets = [whole[start:end] for start, end in pairwise(edges)]

    async def both() -> tuple[bytes, bytes]:
        answer = echo if read else path_only
        return await said(whole, answer), await said(packets, answer)

    expected, heard = trio.run(both)
    assert heard == expected
    assert statuses(expected) == [200, 200, 200, 200, 200, 400 if read else 200]


async def test_a_request_says_where_it_came_from():
    """Address, scheme and TLS of the connection stand in each of its requests."""
    ours, peer = memory_stream_pair()
    tls = Tls("TLSv1.3", "http/1.1")
    http = Http1(ours, client=("192.0.2.1", 5), tls=tls, scheme="https")
    await peer.send_all(GET)
    request = await http.receive()
    assert (request.client, request.tls, request.scheme) == (("192.0.2.1", 5), tls, "https")
    assert await request.body() == b""


async def test_http_1_0_is_answered_and_closed():
    """An old client gets what it can read, and the end of the connection is the end of the response."""

    async def stream(_: Request) -> Response:
        return Response(pieces([b"a", "ë"]))

    old = b"GET / HTTP/1.0\r\n\r\n"
    assert await said(old, path_only, half_close=False) == ok(b"/", b"text/plain; charset=utf-8", close=True)
    assert await said(old, stream, half_close=False) == (
        b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: application/octet-stream\r\nConnection: close\r\n\r\n"
        b"a\xc3\xab"
    )


async def pieces(each: Sequence[bytes | str], closed: list[str] | None = None) -> AsyncIterator[bytes | str]:
    """A body in pieces, which notes how it ended."""
    try:
        for piece in each:
            yield piece
    except BaseException as error:
        if closed is not None:
            closed.append(type(error).__name__)
        raise
    else:
        if closed is not None:
            closed.append("whole")


async def test_a_stream_goes_out_in_chunks_and_another_request_may_follow():
    """Empty pieces would end it, and are left out; text goes as UTF-8."""

    async def stream(_: Request) -> Response:
        return Response(pieces([b"abc", b"", "ë", bytes(10)]), content_type="text/x")

    head = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: text/x\r\nTransfer-Encoding: chunked\r\n"
    body = b"\r\n3\r\nabc\r\n2\r\n\xc3\xab\r\na\r\n" + bytes(10) + b"\r\n0\r\n\r\n"
    assert await said(GET + CLOSING, stream) == head + body + head + b"Connection: close\r\n" + body


async def test_a_stream_of_a_known_length_needs_no_chunks():
    """Content-Length of a stream is its author's, and is kept to."""

    async def stream(_: Request) -> Response:
        return Response(pieces([b"abc", b"de"]), headers={"Content-Length": "5"}, content_type="text/x")

    expected = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: text/x\r\nContent-Length: 5\r\n\r\nabcde"
    assert await said(GET + GET, stream) == expected + expected


@pytest.mark.parametrize(
    ("each", "sent", "error"),
    [
        ([b"abc"], b"abc", "Content-Length of 5; its body has 3 bytes"),
        ([b"abc", b"def"], b"abc", "Content-Length of 5; its body has more bytes"),
    ],
)
async def test_a_stream_of_another_length_than_announced_ends_the_connection(each, sent, error):
    """Nobody may take what comes behind it for its end, or its rest for the next response."""
    ours, peer = memory_stream_pair()
    await peer.send_all(GET)
    http = Http1(ours)
    await http.receive()
    closed: list[str] = []
    with pytest.raises(ValueError, match=error):
        await http.respond(Response(pieces(each, closed), headers={"Content-Length": "5"}))
    assert (await peer.receive_some()).endswith(b"\r\n\r\n" + sent)
    assert (http.answered, http.reusable) == (True, False)
    assert closed == [{3: "whole", 6: "GeneratorExit"}[len(b"".join(each))]]


async def test_a_length_that_is_none_leaves_room_for_a_500():
    """What cannot be sent is found before anything is."""
    ours, peer = memory_stream_pair()
    await peer.send_all(GET)
    http = Http1(ours)
    await http.receive()
    with pytest.raises(ValueError, match="one number"):
        await http.respond(Response(pieces([b"a"]), headers={"Content-Length": "x"}))
    assert not http.answered
    await http.respond(Response("sorry", status=500))
    assert http.answered
    assert http.reusable
    assert statuses(await peer.receive_some()) == [500]
    with pytest.raises(RuntimeError, match="answered"):
        await http.respond(Response("again"))


async def test_a_stream_that_fails_is_cut_short():
    """The last chunk is not sent, so the client knows that something is missing."""

    async def failing() -> AsyncIterator[bytes | str]:
        yield b"abc"
        raise LookupError

    for bad, error in ((failing(), LookupError), (pieces([b"abc", None]), TypeError)):  # type: ignore[list-item]
        ours, peer = memory_stream_pair()
        await peer.send_all(GET)
        http = Http1(ours)
        await http.receive()
        with pytest.raises(error):
            await http.respond(Response(bad))
        assert (await peer.receive_some()).endswith(b"\r\n\r\n3\r\nabc\r\n")
        assert (http.answered, http.reusable) == (True, False)


async def test_each_piece_is_sent_before_the_next_is_asked_for():
    """A client that does not read stops the source, not after 64 KiB of ours but at once."""
    ours, peer = trio.testing.lockstep_stream_pair()
    asked: list[int] = []
    ended: list[str] = []

    async def counting() -> AsyncIterator[bytes]:
        try:
            for number in range(1_000):
                asked.append(number)
                yield b"x"
        finally:
            ended.append("yes")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_all, GET)
            http = Http1(ours)
            await http.receive()
            nursery.start_soon(http.respond, Response(counting()))
            await wait_all_tasks_blocked()
            assert asked == []
            assert (await peer.receive_some()).endswith(b"chunked\r\n\r\n")
            await wait_all_tasks_blocked()
            assert asked == [0]
            assert await peer.receive_some() == b"1\r\nx\r\n"
            await wait_all_tasks_blocked()
            assert asked == [0, 1]
            nursery.cancel_scope.cancel()
    assert ended == ["yes"]
    assert not http.reusable


async def test_head_hears_what_get_would_up_to_the_blank_line():
    """The length, or that it would come in chunks; the body is not made, and its source is closed."""
    closed: list[str] = []

    async def stream(_: Request) -> Response:
        return Response(pieces([b"abc"], closed))

    head = GET.replace(b"GET", b"HEAD")
    whole = await said(GET, path_only)
    assert await said(head + head, path_only) == whole.removesuffix(b"/a") * 2
    heard = await said(head + head, stream)
    assert heard.count(b"\r\nTransfer-Encoding: chunked\r\n\r\n") == 2
    assert b"abc" not in heard
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(GET)
    await http.receive()
    await http.respond(Response("hello"), head_only=True)
    assert (await peer.receive_some()).endswith(b"\r\nContent-Length: 5\r\n\r\n")


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_what_has_no_content_sends_none(status):
    """Whatever the body: a byte of it would be taken for the next response."""

    async def empty(_: Request) -> Response:
        return Response("not to be sent", status=status)

    heard = await said(GET + GET, empty)
    assert statuses(heard) == [status, status]
    assert b"not to be sent" not in heard


async def test_h11_understands_a_conversation():
    """A client's HTTP library reads responses of each kind as they were meant, one after the other."""
    answers = iter(
        [Response("whole"), Response(pieces(["in ", "pieces"])), Response(status=204), Response("end")]
    )

    async def next_one(_: Request) -> Response:
        return next(answers)

    heard = await said(GET * 3 + CLOSING, next_one)
    client = h11.Connection(h11.CLIENT)
    client.receive_data(heard)
    bodies = []
    for number in range(4):
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        assert isinstance(client.next_event(), h11.Response)
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        bodies.append(body)
        if number < 3:
            client.start_next_cycle()
    assert bodies == [b"whole", b"in pieces", b"", b"end"]
    assert client.their_state is h11.MUST_CLOSE


async def test_a_refused_head_is_the_last_on_its_connection():
    """Where the next request would begin is anybody's guess."""
    heard = await said(GET + b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n" + GET, half_close=False)
    assert statuses(heard) == [200, 400]
    assert b"\r\nConnection: close\r\n\r\n" in heard


@pytest.mark.parametrize("body", [b"x\r\n", b"3\r\nabcd\r\n", b"0\r\n\n", b"5;\x00\r\nhello\r\n0\r\n\r\n"])
async def test_a_body_that_is_not_right_is_the_last_on_its_connection(body):
    """Whether the handler reads it or not: what stands behind it is never taken for a request."""
    heard = await said(CHUNKED + body + GET, half_close=False)
    assert statuses(heard) == [400]
    assert b"\r\nConnection: close\r\n" in heard
    assert statuses(await said(CHUNKED + body + GET, path_only, half_close=False)) == [200]


async def test_a_body_that_breaks_off_is_refused():
    """A client that has shut its side hears what is missing."""
    heard = await said(POST[:-2])
    assert statuses(heard) == [400]
    assert heard.endswith(b"A body of 5 bytes was announced; it broke off after 3.\n")
    assert statuses(await said(CHUNKED + b"5\r\nhello\r\n")) == [400]


async def test_an_unread_body_is_read_for_the_request_behind_it():
    """Up to 64 KiB; more of it costs the connection, and the client is told where it can be."""
    length = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    fits, too_long = bytes(MOST_REST), bytes(MOST_REST + 1)
    assert statuses(await said(length % len(fits) + fits + GET, path_only)) == [200, 200]
    heard = await said(length % len(too_long) + too_long + GET, path_only)
    assert statuses(heard) == [200]
    assert b"\r\nConnection: close\r\n" in heard
    chunks = b"10000\r\n" + fits + b"\r\n0\r\n\r\n"
    assert statuses(await said(CHUNKED + chunks + GET, path_only)) == [200, 200]
    chunks = b"10001\r\n" + too_long + b"\r\n0\r\n\r\n"
    assert statuses(await said(CHUNKED + chunks + GET, path_only)) == [200]


async def test_the_deadline_for_an_unread_body_is_the_callers(autojump_clock):
    """Who does not send the rest loses the connection, and nothing else."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(POST[:-1])
    await http.receive()
    await http.respond(Response())
    assert http.reusable
    with pytest.raises(RuntimeError, match="no request can follow"):
        await http.begin()
    with trio.move_on_after(1) as scope:
        await http.take_rest()
    assert scope.cancelled_caught
    assert not http.reusable


@pytest.mark.parametrize("sent", [GET, POST, CLOSING, b"GET / HTTP/1.1\r\n\r\n"])
async def test_nothing_is_taken_for_a_request_that_may_be_none(sent):
    """Out of turn, begin and receive refuse: what arrives then may be a body, or anything."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(sent + GET)
    try:
        await http.receive()
    except Refused:
        answered = [False, True]
    else:
        answered = [False] if sent is GET else [False, True]
    for answer in answered:
        if answer:
            await http.respond(Response())
        for attempt in (http.begin, http.receive):
            with pytest.raises(RuntimeError, match="no request can follow"):
                await attempt()


async def test_a_body_can_be_read_on_after_a_cancellation():
    """Cancelled: nothing of it is lost."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(POST[:-3])
    request = await http.receive()
    taken = b""
    for packet in (b"l", b"lo"):
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(request.stream())
        assert scope.cancelled_caught
        taken += await anext(request.stream())
        with trio.move_on_after(0.01) as scope:
            await anext(request.stream())
        assert scope.cancelled_caught
        await peer.send_all(packet)
    assert taken + await request.body() == b"hello"


async def test_a_body_over_the_limit_is_refused():
    """By what it announces, before any of it is read; else when it is too long."""

    async def small(request: Request) -> Response:
        request.max_body_size = 4
        return Response(await request.body())

    heard = await said(POST, small)
    assert heard.endswith(b"A body may have 4 bytes; 5 were announced.\n")
    assert statuses(heard) == [413]
    heard = await said(EXPECTING, small, half_close=False)
    assert statuses(heard) == [413]
    heard = await said(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", small)
    assert heard.endswith(b"A body may have 4 bytes; received more.\n")


async def test_100_continue_is_said_when_the_body_is_asked_for():
    """And once; a request may follow."""
    ours, peer = memory_stream_pair()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(converse, ours)
            for _ in range(2):
                await peer.send_all(EXPECTING)
                assert await peer.receive_some() == CONTINUE
                await peer.send_all(b"he")
                await wait_all_tasks_blocked()
                await peer.send_all(b"llo")
                assert await peer.receive_some() == ok(b"POST /e hello")
            await peer.send_eof()


async def test_a_body_that_nobody_asks_for_is_not_asked_for():
    """No 100; and because the client may send it or not, the connection ends (RFC 9110 §10.1.1)."""
    heard = await said(EXPECTING, path_only, half_close=False)
    assert heard == ok(b"/e", b"text/plain; charset=utf-8", close=True)


async def test_a_body_that_comes_by_itself_needs_no_100():
    """The client did not wait."""
    assert await said(EXPECTING + b"hello" + GET) == ok(b"POST /e hello") + ok(b"GET /a ")


async def test_after_the_answer_no_100_is_said():
    """A response that reads the request while it is sent does not put an interim one into its middle."""

    async def both_ways(request: Request) -> Response:
        return Response(request.stream())

    ours, peer = memory_stream_pair()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(converse, ours, both_ways)
            await peer.send_all(EXPECTING)
            heard = bytes(await peer.receive_some())
            await peer.send_all(b"hello")
            heard += b"".join([data async for data in peer])
    assert b"100 Continue" not in heard
    assert heard.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


async def test_a_request_that_somebody_keeps_has_no_part_in_the_next():
    """Its body stays at its end, whatever comes, and nobody is told to go on by it."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(POST + EXPECTING)
    first = await http.receive()
    assert await first.body() == b"hello"
    await http.respond(Response())
    await peer.receive_some()
    await http.receive()
    assert await first.body() == b""
    await http.respond(Response())
    assert statuses(await peer.receive_some()) == [200]


async def test_a_response_waits_for_the_100_that_is_on_its_way():
    """A task that asks for the body, and a function that answers meanwhile, do not write into each other."""
    ours, peer = trio.testing.lockstep_stream_pair()
    bodies: list[bytes] = []
    heard = b""

    async def read(request: Request) -> None:
        bodies.append(await request.body())

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            http = Http1(ours)
            nursery.start_soon(peer.send_all, EXPECTING)
            request = await http.receive()
            nursery.start_soon(read, request)
            await wait_all_tasks_blocked()
            nursery.start_soon(http.respond, Response("early"))
            await wait_all_tasks_blocked()
            while not heard.endswith(b"early"):
                heard += await peer.receive_some()
            await peer.send_all(b"hello")
    assert statuses(heard) == [100, 200]
    assert heard.startswith(CONTINUE)
    assert bodies == [b"hello"]
    assert http.reusable


async def test_http_1_0_is_never_told_to_continue():
    """It would not know what that is (RFC 9110 §10.1.1)."""
    heard = await said(EXPECTING.replace(b"1.1", b"1.0") + b"hello", half_close=False)
    assert statuses(heard) == [200]


async def test_a_body_that_stands_still_is_refused(autojump_clock):
    """Nothing for ten seconds, and it is 408."""
    started = trio.current_time()
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(POST[:-2])
    request = await http.receive()
    with pytest.raises(Refused) as refused:
        await request.body()
    assert refused.value.status == 408
    assert trio.current_time() - started == pytest.approx(BODY_GRACE, abs=0.1)
    await http.respond(answer_to(refused.value))
    assert b"\r\nConnection: close\r\n" in await peer.receive_some()


@pytest.mark.parametrize(("rate", "fits"), [(LEAST_BODY_RATE * 2, True), (LEAST_BODY_RATE // 2, False)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_comes_with_a_least_rate(autojump_clock, rate, fits, chunked):
    """A slow client may be as slow as that for any time; a slower one is refused after a while."""
    seconds = 60
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    lengths = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (rate * seconds)
    await peer.send_all(CHUNKED if chunked else lengths)
    request = await http.receive()
    request.max_body_size = 10**9

    async def send() -> None:
        for _ in range(seconds):
            await trio.sleep(1)
            await peer.send_all(b"1\r\nx\r\n" * rate if chunked else bytes(rate))
        if chunked:
            await peer.send_all(b"0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        if fits:
            assert len(await request.body()) == rate * seconds
        else:
            with pytest.raises(Refused, match="500 bytes per second"):
                await request.body()
            assert trio.current_time() < 2.5 * BODY_GRACE
        nursery.cancel_scope.cancel()


async def test_a_burst_buys_no_time(autojump_clock):
    """Having sent much in a second is no reason to be waited for for hours."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n" + bytes(1_000_000))
    request = await http.receive()
    with pytest.raises(Refused, match="after 1000000 bytes"):
        await request.body()
    assert trio.current_time() < 2 * BODY_GRACE


async def test_the_handlers_own_time_is_not_the_clients(autojump_clock):
    """A handler that works for a minute between two pieces does not have its client refused."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(CHUNKED)
    request = await http.receive()
    taken = b""
    for _ in range(3):
        await peer.send_all(b"1\r\nx\r\n")
        taken += await anext(request.stream())
        await trio.sleep(60)
    await peer.send_all(b"0\r\n\r\n")
    assert taken + await request.body() == b"xxx"


async def test_bytes_behind_a_head_are_handed_over_whole():
    """For an upgrade: what arrived early is returned once, and then only the stream is read."""
    ours, peer = memory_stream_pair()
    await peer.send_all(GET + b"\x81\x80early")
    http = Http1(ours)
    await http.receive()
    assert http.take_bytes() == b"\x81\x80early"
    assert http.take_bytes() == b""
    await peer.send_all(b"later")
    assert await ours.receive_some() == b"later"


async def test_a_client_that_has_shut_its_side_is_answered():
    """`nc` and others say that they have no more to ask, and wait."""
    assert await said(GET) == ok(b"GET /a ")
    shut = await said([GET, GET])
    assert statuses(shut) == [200, 200]


async def test_close_after_is_the_last_word():
    """A server that stops says so with its next response."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(GET + GET)
    await http.receive()
    http.close_after = True
    await http.respond(Response())
    assert not http.reusable
    assert (await peer.receive_some()).endswith(b"\r\nConnection: close\r\n\r\n")


async def test_what_comes_too_late_can_be_told_so(autojump_clock):
    """A head that is not complete at the caller's deadline is answered, and the connection ends."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(GET[:-2])
    with trio.move_on_after(1):
        await http.receive()
    assert not http.answered
    await http.respond(answer_to(Refused(408)))
    assert not http.reusable
    assert b"\r\nConnection: close\r\n" in await peer.receive_some()


async def test_waiting_for_a_request_can_be_cancelled():
    """Nothing that arrived meanwhile is lost."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    for packet in (b"", b"\r", b"\n", b"\r\n\r"):
        await peer.send_all(packet)
        with trio.move_on_after(0.01) as scope:
            await http.begin()
        assert scope.cancelled_caught
    await peer.send_all(b"\n" + GET)
    assert await http.begin()
    assert (await http.receive()).path == "/a"


async def watching(http: Http1, gone: list[ClientGone]) -> None:
    try:
        await http.watch()
    except ClientGone as error:
        gone.append(error)


@pytest.mark.parametrize("end", ["close", "send_eof", "reset"])
async def test_who_watches_sees_the_client_go(end):
    """The end of its side of TCP, or a reset: at once, and it says whose client it was."""
    if end == "reset":
        streams = [trio.SocketStream(each) for each in trio.socket.socketpair()]
        ours, peer = streams
        await peer.send_all(GET)
    else:
        ours, memory = memory_stream_pair()
        peer = memory
        await peer.send_all(GET)
    http = Http1(ours)
    await http.receive()
    gone: list[ClientGone] = []
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watching, http, gone)
            await wait_all_tasks_blocked()
            assert not gone
            if end == "send_eof":
                await peer.send_eof()
            elif end == "reset":
                # Closing over what has not been read is a reset.
                await ours.send_all(b"x")
                await peer.aclose()
            else:
                await peer.aclose()
    assert gone[0].http is http
    await ours.aclose()
    await peer.aclose()


async def test_a_stream_ends_when_the_client_goes():
    """With a watch beside it, the iteration is cancelled, and its finally runs."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    closed: list[str] = []

    async def endless() -> AsyncIterator[str]:
        try:
            yield "first"
            await trio.sleep_forever()
        finally:
            closed.append("yes")

    with trio.fail_after(PATIENCE):
        await peer.send_all(GET)
        await http.receive()
        gone: list[ClientGone] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.respond, Response(endless()))
            assert b"first" in await peer.receive_some() + await peer.receive_some()
            await peer.aclose()
            await watching(http, gone)
            nursery.cancel_scope.cancel()
    assert gone
    assert closed == ["yes"]


async def test_what_is_sent_ahead_is_kept_while_somebody_watches():
    """The next request, and a body that the handler reads at the same time, lose nothing."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    bodies: list[bytes] = []
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                await peer.send_all(POST[:-4])
                request = await http.receive()
                nursery.start_soon(watching, http, [])
                with trio.CancelScope():
                    for byte in b"ello":
                        if number % 2:
                            await wait_all_tasks_blocked()
                        await peer.send_all(bytes([byte]))
                    bodies.append(await request.body())
                await http.respond(Response())
                await peer.receive_some()
            await peer.aclose()
    assert bodies == [b"hello"] * 20


async def test_a_body_and_a_watch_share_one_reader():
    """A handler that waits for its body while its client is watched gets it, and its broken end as 400."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    gone: list[ClientGone] = []
    body: list[bytes] = []

    async def read(request: Request) -> None:
        body.append(await request.body())

    with trio.fail_after(PATIENCE):
        await peer.send_all(POST[:-4])
        request = await http.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watching, http, gone)
            await wait_all_tasks_blocked()
            nursery.start_soon(read, request)
            await wait_all_tasks_blocked()
            for byte in b"ello":
                await peer.send_all(bytes([byte]))
                await wait_all_tasks_blocked()
            assert body == [b"hello"]
            await peer.send_all(GET)
            await wait_all_tasks_blocked()
            await peer.aclose()
    assert len(gone) == 1
    assert http.take_bytes() == GET


@pytest.mark.parametrize("ours_is", ["TlsStream", "SSLStream"])
async def test_a_watch_under_tls_loses_nothing(ours_is):
    """Watched and no longer watched, request for request, while both sides send."""
    server_context, client_context = certificates()
    raw_ours, raw_peer = (trio.SocketStream(each) for each in trio.socket.socketpair())
    ours: TlsStream | trio.SSLStream[trio.SocketStream]
    if ours_is == "TlsStream":
        ours = TlsStream(raw_ours, server_context)
    else:
        ours = trio.SSLStream(raw_ours, server_context, server_side=True)
    peer = trio.SSLStream(raw_peer, client_context, server_hostname="127.0.0.1")
    gone: list[ClientGone] = []
    bodies: list[bytes] = []
    heard = bytearray()

    async def ask() -> None:
        for _ in range(30):
            for part in (POST[:20], POST[20:-3], POST[-3:]):
                await peer.send_all(part)
        await peer.send_all(CLOSING)

    async def hear() -> None:
        while not heard.endswith(b"\r\n5\r\n/last\r\n0\r\n\r\n"):
            heard.extend(await peer.receive_some())

    async def answer() -> None:
        await ours.do_handshake()
        http = Http1(ours)
        while await http.begin():
            request = await http.receive()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watching, http, gone)
                bodies.append(await request.body())
                await http.respond(Response(pieces([request.target])))
                nursery.cancel_scope.cancel()
            if not http.reusable:
                break

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(hear)
            nursery.start_soon(answer)
    assert bodies == [b"hello"] * 30 + [b""]
    assert statuses(bytes(heard)) == [200] * 31
    assert not gone
    await trio.aclose_forcefully(ours)
    await trio.aclose_forcefully(peer)


async def test_what_is_sent_ahead_is_bounded():
    """Behind 64 KiB the client's own window fills up, and what was read goes on when room is made."""
    ours, peer = memory_stream_pair()
    http = Http1(ours)
    length = 3 * READ_AHEAD
    gone: list[ClientGone] = []
    with trio.fail_after(PATIENCE):
        await peer.send_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length + bytes(length)
        )
        request = await http.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watching, http, gone)
            await wait_all_tasks_blocked()
            assert len(http._received) == READ_AHEAD
            assert len(await request.body()) == length
            await wait_all_tasks_blocked()
            assert not gone
            await peer.aclose()
    assert gone


async def test_a_client_that_is_gone_is_told_by_name():
    """Whatever is tried next raises ClientGone, which is trio's BrokenResourceError."""
    for attempt in ("begin", "respond"):
        ours, peer = (trio.SocketStream(each) for each in trio.socket.socketpair())
        http = Http1(ours)
        # Closing over what has not been read is a reset.
        await ours.send_all(b"x")
        if attempt == "respond":
            await peer.send_all(GET)
            await http.receive()
        await peer.aclose()
        tried = http.respond(Response("x" * 100_000)) if attempt == "respond" else http.begin()
        with trio.fail_after(PATIENCE), pytest.raises(trio.BrokenResourceError) as caught:
            await tried
        await ours.aclose()
        assert isinstance(caught.value, ClientGone)
        assert caught.value.http is http
        assert not http.reusable


def test_a_connection_is_no_cycle():
    """A request that somebody keeps, and the connection that it came on, go without the collector."""
    import gc
    import weakref

    async def main() -> weakref.ref[Http1]:
        ours, peer = memory_stream_pair()
        http = Http1(ours)
        await peer.send_all(POST)
        request = await http.receive()
        await request.body()
        await http.respond(Response())
        return weakref.ref(http)

    gc.disable()
    try:
        assert trio.run(main)() is None
    finally:
        gc.enable()
    assert http1.PIECE_BYTES <= READ_AHEAD


async def test_ctrl_c_strikes_in_the_pieces_of_a_response():
    """They are the application's, as the function is that returned them."""

    async def pieces() -> AsyncIterator[str]:
        yield "first"
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    @trio.lowlevel.enable_ki_protection
    async def respond(http: Http1) -> None:
        await http.respond(Response(pieces()))

    ours, peer = memory_stream_pair()
    http = Http1(ours)
    await peer.send_all(GET)
    await http.receive()
    with pytest.raises(KeyboardInterrupt):
        await respond(http)
