"""What an application's exceptions come to: the outcome of each, and that none ends anything but its own exchange."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from plain_http import PlainHttp, plain_http
from serving import one_way, plain_tcp, reset, serving, someone_else_is_served, until, way_of_reading

import trioecho
from trioecho import EventStream, HttpRoute, RawRoute, Refused, Request, Response, WebSocketRoute, echo
from trioecho._http.http1 import ClientGone, Http1
from trioecho._server.outcomes import outcome_of
from trioecho.testing import RawClient

__all__ = ["way_of_reading"]

HANDSHAKE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def nothing(request: Request) -> Response:
    """Answer."""
    return Response("nothing")


@one_way
async def test_each_exception_has_its_outcome() -> None:
    """Alone, and all of them in one group, however deep."""
    ours, theirs = (Http1(trio.testing.memory_stream_pair()[0]) for _ in range(2))
    gone, other, refused, failed = ClientGone(ours), ClientGone(theirs), Refused(403), SystemExit()
    assert outcome_of(gone, ours).gone is gone
    assert outcome_of(other, ours).failed is other
    assert outcome_of(gone, None).failed is gone
    assert outcome_of(refused, ours).refused is refused
    assert outcome_of(failed, ours).failed is failed
    passes = KeyboardInterrupt()
    assert outcome_of(passes, ours).passing is passes
    inner = BaseExceptionGroup("", [refused, failed, Refused(404)])
    outcome = outcome_of(BaseExceptionGroup("", [passes, BaseExceptionGroup("", [gone, other, inner])]), ours)
    assert isinstance(outcome.passing, BaseExceptionGroup)
    assert outcome.passing.exceptions == (passes,)
    assert (outcome.gone, outcome.refused) == (gone, refused)
    assert isinstance(outcome.failed, BaseExceptionGroup)
    assert outcome.failed.subgroup(lambda each: each in (other, failed)) is not None
    assert outcome.failed.subgroup((Refused, KeyboardInterrupt)) is None


@one_way
@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, asyncio.CancelledError])
async def test_no_exception_of_one_request_ends_the_server(
    kind: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """In a function, in admission of both kinds, in a choice of subprotocols, in a raw route."""

    async def fail(*arguments: object) -> Any:
        raise kind()

    def choose(request: Request, offered: tuple[str, ...]) -> str | None:
        raise kind()

    routes: trioecho.Routes = {
        "/function": HttpRoute(lambda request: fail()),
        "/admit": HttpRoute(nothing, admit=lambda request: fail()),
        "/websocket": WebSocketRoute(echo, admit=lambda request: fail()),
        "/choose": WebSocketRoute(echo, subprotocols=choose),
        "/raw": RawRoute(lambda request, stream: fail()),
        "/ws": echo,
    }
    async with serving(routes) as server:
        for target, headers in (
            ("/function", ()),
            ("/admit", ()),
            ("/websocket", HANDSHAKE),
            ("/choose", HANDSHAKE),
        ):
            async with plain_http(server) as client:
                assert (await client.ask(target, headers=headers)).status == 500
        async with plain_http(server) as client:
            await client.send("/raw")
            assert await client.ended()
        await someone_else_is_served(server)
    assert len(errors(caplog)) == 5


@one_way
async def test_admission_may_refuse_out_of_a_nursery(caplog: pytest.LogCaptureFixture) -> None:
    """Trio puts it into a group."""

    async def admit(request: Request) -> None:
        async with trio.open_nursery():
            raise Refused(401, "Who are you?")

    routes: trioecho.Routes = {"/": HttpRoute(nothing, admit=admit), "/ws": WebSocketRoute(echo, admit=admit)}
    async with serving(routes) as server:
        for target, headers in (("/", ()), ("/ws", HANDSHAKE)):
            async with plain_http(server) as client:
                assert (await client.ask(target, headers=headers)).status == 401
    assert errors(caplog) == []


@plain_tcp
async def test_a_client_that_goes_while_admission_reads_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise anybody could fill the log."""
    caplog.set_level(logging.INFO)
    reading = trio.Event()

    async def admit(request: Request) -> None:
        reading.set()
        await request.body()

    async with serving({"/": HttpRoute(nothing, ["POST"], admit=admit)}) as server:
        async with plain_http(server) as client:
            await client.send("/", "POST", headers=(("Content-Length", "10"),))
            await reading.wait()
            reset(RawClient(client.stream))
            await until(lambda: "the client went" in caplog.text)
    assert errors(caplog) == []


@one_way
async def test_what_fails_while_the_client_goes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """In a `finally` block of the function, or of the events that it streams."""
    started = 0

    async def fail_at_the_end() -> None:
        nonlocal started
        started += 1
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async def function(request: Request) -> Response:
        await fail_at_the_end()
        raise AssertionError

    async def events(request: Request) -> Response:
        async def two() -> Any:
            yield "first"
            await fail_at_the_end()

        return EventStream(two())

    routes: trioecho.Routes = {
        "/function": HttpRoute(function, while_client_stays=True),
        "/events": HttpRoute(events),
    }
    async with serving(routes) as server:
        for count, target in enumerate(("/function", "/events"), 1):
            async with plain_http(server) as client:
                await client.send(target)
                await until(lambda: started == count)  # noqa: B023 (called at once)
            await until(lambda: len(errors(caplog)) == count)  # noqa: B023
    assert [message.partition(",")[0].partition(" ")[2] for message in errors(caplog)] == [
        "function failed at GET /function",
        "events failed at GET /events",
    ]


@one_way
async def test_a_refusal_that_comes_too_late_stands_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """The response has begun, so it can only be cut off."""
    caplog.set_level(logging.INFO)

    async def pieces() -> Any:
        yield "first"
        raise Refused(403, "No more.")

    async with serving({"/": HttpRoute(lambda request: Response(pieces()))}) as server:
        async with plain_http(server) as client:
            await client.send("/")
            while await client.stream.receive_some():
                pass
    lines = [record.getMessage() for record in caplog.records if record.name == "trioecho.access"]
    assert len(lines) == 1
    assert lines[0].endswith("; error 'refused too late: Refused: No more.'")


@plain_tcp
async def test_a_raw_route_may_lose_its_client_in_a_nursery(caplog: pytest.LogCaptureFixture) -> None:
    """That is no failure, anything else is."""

    async def raw(request: Request, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise LookupError if request.query else trio.BrokenResourceError

    async with serving({"/": RawRoute(raw), "/ws": echo}) as server:
        for target in ("/", "/?fail"):
            async with plain_http(server) as client:
                await client.send(target)
                assert await client.ended()
    assert [message.partition(",")[0] for message in errors(caplog)] == ["raw failed"]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is left is left to reference counting."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_request_is_freed_at_once_however_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Answered, refused, failed, streamed, given up by its client; with a WebSocket, when that ends."""
    # A record of the log holds the exception's traceback.
    caplog.set_level(logging.CRITICAL)
    requests: list[weakref.ref[Request]] = []

    async def anything(request: Request) -> Response:
        requests.append(weakref.ref(request))
        match request.query.get("do"):
            case "fail":
                raise ZeroDivisionError
            case "refuse":
                raise Refused(403)
            case "child":

                async def child() -> None:
                    raise ZeroDivisionError

                assert request.nursery is not None
                request.nursery.start_soon(child)
                await trio.sleep_forever()
            case "stay":
                await trio.sleep_forever()
            case "stream":

                async def events() -> Any:
                    for _ in range(2):
                        yield "event"

                return EventStream(events())
        return Response(await request.body())

    async def admit(request: Request) -> None:
        await anything(request)

    routes: trioecho.Routes = {
        "/": HttpRoute(anything, while_client_stays=True),
        "/ws": WebSocketRoute(echo, admit=admit),
    }

    async def ask(client: PlainHttp, target: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        await client.ask(target, headers=headers)

    async with serving(routes) as server:
        for what in ("nothing", "fail", "refuse", "child", "stream"):
            async with plain_http(server) as client:
                await ask(client, f"/?do={what}")
                await ask(client, f"/?do={what}")
        for what in ("fail", "refuse", "child"):
            async with plain_http(server) as client:
                await client.ask(f"/ws?do={what}", headers=HANDSHAKE)
        async with plain_http(server) as client:
            await client.send("/?do=stay")
            await until(lambda: len(requests) == 14)
        async with plain_http(server) as client:
            raw = RawClient(client.stream)
            await raw.handshake()
            assert requests[-1]() is not None
            await raw.close(1000, "")
            await raw.receive_close()
            await raw.receive_rest()
        await until(lambda: len(requests) == 15)
        with trio.move_on_after(10):
            await until(lambda: not any(request() for request in requests))
        assert [request() for request in requests if request() is not None] == []
