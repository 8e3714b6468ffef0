"""The open sockets of a server: their number is bounded, and who asks for something finds room."""

from __future__ import annotations

import contextlib
import logging
import resource
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from serving import (
    connected,
    open_stream,
    plain_tcp,
    serving,
    someone_else_is_served,
    until,
    way_of_reading,
)

import trioecho
from trioecho import AddressLimits, WebSocketOptions
from trioecho._http.networks import Networks
from trioecho._server import sockets
from trioecho._server.sockets import Sockets, Visit, most_sockets
from trioecho._server.turned_away import TurnedAway

__all__ = ["way_of_reading"]


@contextlib.asynccontextmanager
async def silent(
    server: trioecho.Server, number: int, address: str = "127.0.0.1"
) -> AsyncIterator[list[trio.SocketStream]]:
    """Connections from one address that say nothing, accepted in this order."""
    streams: list[trio.SocketStream] = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(number):
            before = server.open_sockets + sum(server.turned_away.values())
            stream = await trio.open_tcp_stream("127.0.0.1", server.port, local_address=address)
            streams.append(await stack.enter_async_context(stream))
            await until(lambda before=before: server.open_sockets + sum(server.turned_away.values()) > before)
        yield streams


async def closed(stream: trio.abc.ReceiveStream) -> bool:
    """Whether the server has closed a connection: it is waited for if it is about to."""
    with trio.move_on_after(0.1):
        try:
            return not await stream.receive_some(1)
        except trio.BrokenResourceError:
            return True
    return False


async def test_the_one_that_has_said_nothing_for_longest_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    """For each that comes, one goes; it is counted, and one line a second tells."""
    async with serving(max_sockets=4) as server:
        async with silent(server, 7) as streams:
            assert [await closed(stream) for stream in streams] == [True] * 3 + [False] * 4
            assert (server.open_sockets, server.max_sockets) == (4, 4)
            assert server.turned_away == {"no room": 3}
            await someone_else_is_served(server)
        await until(lambda: server.open_sockets == 0)
    first, *more = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert first.endswith("of which no request had come for the longest time: all 4 sockets are open")
    assert len(more) <= 1


async def test_who_is_served_is_never_closed_for_who_comes() -> None:
    """Neither a WebSocket nor a request that is being answered, however long ago it came."""
    go_on = trio.Event()

    async def slow(request: trioecho.Request) -> trioecho.Response:
        await go_on.wait()
        return trioecho.Response("done")

    routes: trioecho.Routes = {"/ws": trioecho.echo, "/slow": trioecho.HttpRoute(slow)}
    async with serving(routes, max_sockets=5) as server, connected(server) as client:
        stream = await open_stream(server)
        await stream.send_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: server._service.sockets.served == 2)
        async with silent(server, 20) as streams:
            assert [await closed(each) for each in streams[-3:]] == [False] * 3
            go_on.set()
            assert b"done" in await stream.receive_some()
            await client.send("still there")
            assert await client.receive() == "still there"
        await trio.aclose_forcefully(stream)


async def test_one_that_is_kept_alive_waits_like_one_that_has_said_nothing() -> None:
    """From its last answer on; so it goes after those that came before that."""
    async with serving({"/": trioecho.HttpRoute(trioecho.healthz)}, max_sockets=3) as server:
        kept_alive = await open_stream(server)
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        async with silent(server, 1) as (before,):
            await kept_alive.send_all(request)
            assert (await kept_alive.receive_some()).startswith(b"HTTP/1.1 200 ")
            async with silent(server, 2):
                assert await closed(before)
                await kept_alive.send_all(request)
                assert (await kept_alive.receive_some()).startswith(b"HTTP/1.1 200 ")
                async with silent(server, 3):
                    assert await closed(kept_alive)
        await trio.aclose_forcefully(kept_alive)


async def test_an_address_that_holds_much_makes_room_among_its_own() -> None:
    """So that whoever opens very many ends no other's connections, even if they are older."""
    async with serving(max_sockets=60) as server:
        async with silent(server, 2, "127.0.0.2") as others, silent(server, 100, "127.0.0.3") as many:
            assert not await closed(others[0])
            assert await closed(many[0])
            assert server.open_sockets == 60


async def test_websockets_leave_room_for_who_has_to_be_told_so() -> None:
    """The one that would take the last sockets is a 503; plain HTTP is answered as long as there are any."""
    routes: trioecho.Routes = {"/ws": trioecho.echo, "/": trioecho.HttpRoute(trioecho.healthz)}
    async with serving(routes, max_sockets=3) as server, connected(server), connected(server):
        with pytest.raises(AssertionError, match="503") as refused:
            async with connected(server):
                pass
        assert "All 3 sockets of this server are open; try again in 5 seconds." in str(refused.value)
        assert "Retry-After: 5" in str(refused.value)
        stream = await open_stream(server)
        await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        await trio.aclose_forcefully(stream)


async def test_where_all_are_served_who_comes_is_closed() -> None:
    """Nobody is left who waits, so there is no room to be made."""

    async def never(request: trioecho.Request) -> trioecho.Response:
        await trio.sleep_forever()
        raise AssertionError

    async with serving({"/": trioecho.HttpRoute(never)}, max_sockets=2) as server:
        served = [await open_stream(server) for _ in range(2)]
        for stream in served:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: server._service.sockets.served == 2)
        async with silent(server, 1) as (late,):
            assert await closed(late)
            assert server.open_sockets == 2
        for stream in served:
            await trio.aclose_forcefully(stream)


async def test_an_address_has_no_more_in_progress_than_it_may() -> None:
    """Its own longest silent connection is closed for one more; another address has as many."""
    limits = AddressLimits(in_progress=2)
    async with serving(limits_per_address=limits, host="127.0.0.1") as server:
        async with silent(server, 2, "127.0.0.2") as others, silent(server, 3, "127.0.0.3") as streams:
            assert [await closed(stream) for stream in (*streams, *others)] == [True] + [False] * 4
            assert server.turned_away == {"in_progress": 1}
        await until(lambda: not server.open_sockets)
        assert not server._service.sockets._by_group


async def test_the_rest_of_a_request_that_was_answered_is_no_reason_to_stay() -> None:
    """It is waited for only for the sake of the next one."""
    async with serving({"/": trioecho.HttpRoute(trioecho.healthz)}, max_sockets=3) as server:
        stream = await open_stream(server)
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 405 ")
        async with silent(server, 3):
            assert await closed(stream)
        await trio.aclose_forcefully(stream)


@plain_tcp
async def test_half_a_request_is_none() -> None:
    """Who sends a byte now and then waits as long as who sends nothing."""
    async with serving(max_sockets=3) as server, silent(server, 3) as streams:
        await streams[0].send_all(b"GET / HTTP/1.1\r\nHost")
        async with silent(server, 1):
            assert await closed(streams[0])


async def test_when_this_process_can_open_no_more_some_are_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A sixteenth of those who wait, whatever the limit; the first of them waits longest, and has for a second."""
    turned_away = TurnedAway()
    pool = Sockets(Networks(), None, turned_away)
    visits = [Visit(trio.testing.memory_stream_pair()[0]) for _ in range(40)]
    for visit in visits:
        pool.enter(visit)
    pool.relieve()
    assert pool.open == 40
    await trio.sleep(sockets.STALE)
    pool.relieve()
    assert [visit.scope is not None and visit.scope.cancel_called for visit in visits] == [True] * 3 + [
        False
    ] * 37
    assert (pool.open, turned_away.counts) == (37, {"no room": 3})
    for visit in visits:
        pool.leave(visit)
    pool.relieve()
    assert pool.open == 0


@pytest.mark.parametrize(
    ("soft", "used", "settings", "expected"),
    [
        (1024, 24, {}, 898),
        (100, 20, {}, 64),
        (10, 8, {}, 2),
        (1024, 24, {"max_sockets": 5000}, 5000),
        (1024, 24, {"max_connections": 10}, 266),
        (100_000, 0, {"max_connections": 1000}, 2000),
        (resource.RLIM_INFINITY, 24, {}, None),
        (resource.RLIM_INFINITY, 24, {"max_connections": 300}, 600),
    ],
)
def test_the_limit_on_open_files_says_how_many_there_may_be(
    monkeypatch: pytest.MonkeyPatch, soft: int, used: int, settings: dict[str, int], expected: int | None
) -> None:
    """Less what is open, and room for files and logs, unless it is said; `max_connections` makes it fewer."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, soft))
    monkeypatch.setattr(sockets, "_open_files", lambda: used)
    assert most_sockets(WebSocketOptions(**settings)) == expected  # type: ignore[arg-type]


def test_more_connections_than_sockets_are_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the server starts, not when the clients come."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 1024))
    monkeypatch.setattr(sockets, "_open_files", lambda: 24)
    most_sockets(WebSocketOptions(max_connections=5000))
    (line,) = caplog.messages
    assert line == (
        "max_connections is 5000, but the limit on open files leaves room for 842: raise it (ulimit -n)"
    )


@plain_tcp
async def test_a_filter_that_raises_ends_no_server(caplog: pytest.LogCaptureFixture) -> None:
    """Where it is told that somebody had to make room."""

    def raises(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            raise RuntimeError("a filter of the application's")
        return True

    told = logging.getLogger("trioecho")
    async with serving(max_sockets=2) as server:
        told.addFilter(raises)
        try:
            streams = [await open_stream(server) for _ in range(3)]
            assert await closed(streams[0])
        finally:
            told.removeFilter(raises)
        for stream in streams:
            await trio.aclose_forcefully(stream)
        await until(lambda: not server.open_sockets)
        await someone_else_is_served(server)


async def test_nothing_is_left_of_who_has_gone() -> None:
    """Whatever it did: sockets, groups and accounts are as before."""
    async with serving(limits_per_address=True) as server:
        async with silent(server, 3), connected(server):
            await someone_else_is_served(server)
        service = server._service
        await until(lambda: not service.sockets.open)
        assert not service.sockets._waiting
        assert not service.sockets._by_group
        assert not service.accounts._held
