"""A server's memory runs short: who is not read from, who is refused, what is given up, and that others go on."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing
from plain_http import PlainHttp
from serving import connected, one_way, open_stream, plain_tcp, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._websocket import memory
from trioecho.testing import BINARY, CONTINUATION, PONG, TEXT, RawClient

MIB = 2**20
BUDGET = 4 * MIB
EMOJI = "🦊".encode()


async def echoes(client: RawClient, message: str = "hello") -> None:
    await client.send(message)
    assert await client.receive() == message


@contextlib.asynccontextmanager
async def clients(server: trioecho.Server, number: int) -> AsyncIterator[list[RawClient]]:
    """So many connected clients, each of which has heard its first echo."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(connected(server)) for _ in range(number)]
        for each in found:
            await echoes(each)
        yield found


async def settled(server: trioecho.Server) -> None:
    """All connections have ended, and nothing is held any more."""
    await until(lambda: not server.connections and server.memory.held == 0)


def ended(server: trioecho.Server, cause: str) -> int:
    return sum(record.cause == cause for record in server.records)


async def begin(client: RawClient, size: int) -> None:
    """Send `size` bytes of a message of 1 MiB that never ends; whoever is ended meanwhile does not mind."""
    with contextlib.suppress(trio.BrokenResourceError):
        await client.stream.send_all(client.frame(BINARY, bytes(MIB))[: size + 14])


async def test_the_largest_half_message_is_given_up_and_neighbours_go_on() -> None:
    """Its client hears 1013; those who hold less can still finish; and in the end everything is free again."""
    async with serving(max_memory=BUDGET) as server:
        async with clients(server, 7) as (neighbour, small, *large):
            await small.send_frame(TEXT, b"be", fin=False)
            for each in large:
                await begin(each, 900_000)
                await echoes(neighbour)
            await until(lambda: server.memory.messages_given_up)
            assert server.memory.held <= BUDGET
            await small.send_frame(CONTINUATION, b"gun")
            assert await small.receive() == "begun"
            heard = []
            for each in large:
                with trio.move_on_after(0.2):
                    heard.append(await each.receive_close())
            assert heard
            assert set(heard) == {(1013, "try again later")}
            await echoes(neighbour)
        await settled(server)
        assert ended(server, "message given up") == len(heard) == server.memory.messages_given_up


async def test_messages_before_the_half_one_are_delivered_and_answered() -> None:
    """Nothing is lost at this end, either."""
    async with serving(max_memory=BUDGET) as server, clients(server, 5) as halves:
        for each in halves:
            await each.send("before")
            await begin(each, 1_000_000)
        for each in halves:
            assert await each.receive() == "before"


@plain_tcp
async def test_who_never_reads_is_cut_off_and_neighbours_go_on() -> None:
    """Echoes of 1 MiB that nobody takes. The window stays shut, so no Close can reach them."""
    async with serving(max_memory=BUDGET) as server:
        async with clients(server, 9) as (neighbour, *deaf):
            async with trio.open_nursery() as nursery:

                async def flood(client: RawClient) -> None:
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        while True:
                            await client.send("x" * 1_000_000)

                for each in deaf:
                    nursery.start_soon(flood, each)
                # What the peers do not read has to fill the kernel's buffers first.
                await until(lambda: server.memory.connections_given_up + server.memory.messages_given_up >= 4)
                await echoes(neighbour)
                nursery.cancel_scope.cancel()
            await echoes(neighbour)
        await settled(server)


@plain_tcp
async def test_a_sender_whose_peer_is_given_up_is_told() -> None:
    """It is cancelled where it waits, and the connection is recorded with its row."""

    async def push(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        while True:
            await ws.send(bytes(MIB - 100))

    async with serving({"/ws": push, "/echo": trioecho.echo}, max_memory=BUDGET) as server:
        async with AsyncExitStack() as stack:
            neighbour = await stack.enter_async_context(connected(server, path="/echo"))
            deaf = [await stack.enter_async_context(connected(server)) for _ in range(5)]
            for each in deaf:
                await each.send("go")
            await until(lambda: ended(server, "sending given up"))
            await echoes(neighbour)
            assert server.memory.connections_given_up
        await settled(server)


@plain_tcp
async def test_a_busy_handlers_client_is_not_read_from_and_loses_nothing() -> None:
    """Those that hold most are paused, and go on when there is room: each message comes once, and in order."""
    go_on = trio.Event()
    taken: dict[str, list[int]] = {}

    async def busy(ws: trioecho.WebSocket) -> None:
        await go_on.wait()
        async for message in ws:
            taken.setdefault(ws.id, []).append(len(message))

    async with serving({"/ws": busy, "/echo": trioecho.echo}, max_memory=BUDGET) as server:
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            neighbour = await stack.enter_async_context(connected(server, path="/echo"))

            async def send(client: RawClient) -> None:
                for size in range(20_000, 20_010):
                    await client.send(bytes(size))

            holding = [await stack.enter_async_context(connected(server)) for _ in range(40)]
            for each in holding:
                nursery.start_soon(send, each)
            await until(lambda: server.memory.pauses)
            await echoes(neighbour)
            assert server.memory.held < BUDGET
            go_on.set()
            await until(lambda: sum(map(len, taken.values())) == 400)
        assert [*taken.values()] == [[*range(20_000, 20_010)]] * 40
        assert not server.memory.messages_given_up


async def test_newcomers_are_refused_with_503_and_counted() -> None:
    """WebSockets and plain requests; who is connected goes on, and when there is room, everybody is let in again."""
    async with serving(max_memory=BUDGET) as server:
        async with clients(server, 5) as (neighbour, *halves):
            for each in halves:
                await begin(each, 740_000)
            await until(lambda: server.memory.held > BUDGET * 6 / 8)
            async with await open_stream(server) as stream:
                answer = await PlainHttp(stream).ask("/")
            assert (answer.status, answer["Retry-After"]) == (503, "5")
            assert answer.text == "This server has no memory left for one more; try again in 5 seconds.\n"
            with pytest.raises(AssertionError, match="no memory left"):
                async with connected(server):
                    pass
            assert server.memory.refused == 2
            await echoes(neighbour)
        await until(lambda: server.memory.held < BUDGET / 2)
        async with connected(server) as client:
            await echoes(client)


async def test_half_messages_that_never_go_on_do_not_keep_the_door_shut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The largest of what stands still makes room for who comes again."""
    monkeypatch.setattr(memory, "STANDSTILL", -math.inf)
    async with serving(max_memory=BUDGET) as server, clients(server, 4) as halves:
        for each in halves:
            await begin(each, 740_000)
        await until(lambda: server.memory.held > BUDGET * 6 / 8)
        for _ in range(2):
            with contextlib.suppress(AssertionError):
                async with connected(server) as client:
                    await echoes(client)
                    break
        else:
            pytest.fail("nobody was let in")
        assert server.memory.messages_given_up == 1


@one_way
async def test_what_is_done_is_said_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """However often it happens."""
    caplog.set_level(logging.WARNING, "trioecho")
    async with serving(max_memory=BUDGET) as server, clients(server, 12) as halves:
        for each in halves:
            await begin(each, 1_000_000)
        await until(lambda: server.memory.messages_given_up >= 5)
    said = [line for line in caplog.messages if "half message" in line]
    assert 1 <= len(said) <= 2
    assert said[0].startswith("1 half message was given up with 1013: ")
    assert said[0].endswith(f"and max_memory is {BUDGET:,}")


@one_way
async def test_a_broadcast_that_is_not_read_counts_once() -> None:
    """However many connections have a part of it to send."""
    async with serving() as server, clients(server, 6) as deaf:
        before = server.memory.held
        for _ in range(20):
            await trioecho.broadcast(server.connections, bytes(MIB))
        held = server.memory.held - before
        # The first that did not fit may differ from one to the next.
        assert MIB <= held < len(deaf) * MIB
        assert held % (MIB + 10) == 0


@pytest.mark.parametrize(
    "options", [{}, {"stream_messages": True}, {"compression": True}], ids=["plain", "stream", "deflate"]
)
async def test_what_was_counted_is_forgotten(options: dict[str, object]) -> None:
    """Whatever a connection held when it ended: messages, half messages, unsent bytes, requests."""

    async def slow(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await trio.sleep_forever()

    routes = {"/ws": slow, "/echo": trioecho.echo}
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with serving(routes, **options) as server:
        for path in routes:
            async with connected(server, path=path, headers=offer) as client:
                await client.send("hello")
                for size in (1, 500, 5_000):
                    await client.send("x" * size)
                await client.send_frame(TEXT, EMOJI * 8_000, fin=False)
                await client.send_frame(CONTINUATION, EMOJI * 4_000, fin=False)
                await client.send_frame(PONG)
                await until(lambda: server.memory.held > 60_000)
        stream = await open_stream(server)
        await stream.send_all(b"GET / HTTP/1.1\r\nX: " + b"x" * 5000)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.aclose_forcefully(stream)
        await settled(server)


@one_way
async def test_an_echo_that_is_taken_at_once_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that counting costs it nothing."""
    async with serving() as server, connected(server) as client:
        await echoes(client)
        counted: list[int] = []
        monkeypatch.setattr(memory.Memory, "add", lambda self, size: counted.append(size))
        await echoes(client)
        await echoes(client, "x" * 10_000)
        assert not counted
        monkeypatch.undo()


@one_way
async def test_the_figures_tell_what_is_held() -> None:
    """A share of the machine's memory, in bytes; or no limit."""
    async with serving(max_memory=None) as server, connected(server) as client:
        assert server.memory.limit is None
        await client.send_frame(TEXT, EMOJI * 50_000, fin=False)
        await until(lambda: server.memory.held > 200_000)
        # Kept as bytes, not as four for each character and a piece of it.
        assert server.memory.held < 250_000
    async with serving() as server:
        limit = server.memory.limit
        assert limit is not None
        assert limit > MIB
