"""What a server counts, bytes, sockets and what addresses have: nothing again, however each connection has ended."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from deflating import OFFER, Compressor
from serving import connected, one_way, open_stream, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import BINARY, TEXT

MIB = 2**20
ALL_LIMITED = trioecho.AddressLimits(
    connections=1000, handshakes_per_second=1000, burst=1000, in_progress=1000
)


def counted(server: trioecho.Server) -> tuple[int, int, int, int, int]:
    """All that is counted of connections that are open."""
    service = server._service
    held = sum(service.accounts._held.values())
    return service.memory.held, service.memory._freeing, server.open_sockets, service.sockets.served, held


async def settled(server: trioecho.Server) -> None:
    """All connections have ended, and nothing is counted any more."""
    with trio.move_on_after(3):
        await until(lambda: not server.connections and counted(server) == (0, 0, 0, 0, 0))
    assert counted(server) == (0, 0, 0, 0, 0)


async def body_of_raw(request: trioecho.Request, stream: trio.abc.Stream) -> None:
    with trio.move_on_after(0.1):
        await request.body()


async def lend(ws: trioecho.WebSocket) -> None:
    await ws.receive()
    await trio.sleep_forever()


async def push(ws: trioecho.WebSocket) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ws.send, bytes(8 * MIB))


async def fail(ws: trioecho.WebSocket) -> None:
    await ws.receive()
    raise RuntimeError("on purpose")


async def posted(request: trioecho.Request) -> trioecho.Response:
    return trioecho.Response(str(len(await request.body())))


ROUTES: trioecho.Routes = {
    "/ws": trioecho.echo,
    "/lend": lend,
    "/push": push,
    "/fail": fail,
    "/whole": trioecho.WebSocketRoute(lend, options={"compression": True}),
    "/pieces": trioecho.WebSocketRoute(lend, options={"compression": True, "stream_messages": True}),
    "/plain-pieces": trioecho.WebSocketRoute(lend, options={"stream_messages": True}),
    "/raw": trioecho.RawRoute(body_of_raw),
    "/post": trioecho.HttpRoute(posted, methods=["POST"]),
}

HEAD = "{} HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@contextlib.asynccontextmanager
async def counting(**options: object) -> AsyncIterator[trioecho.Server]:
    """A server of `ROUTES` on which everything is counted."""
    async with serving(ROUTES, max_memory=1000 * MIB, limits_per_address=ALL_LIMITED, **options) as server:
        with trio.fail_after(5):
            yield server


async def says_nothing(server: trioecho.Server) -> None:
    stream = await open_stream(server)
    await until(lambda: server.open_sockets == 1)
    await trio.aclose_forcefully(stream)


async def asks(server: trioecho.Server, request: bytes) -> None:
    stream = await open_stream(server)
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(request)
        await stream.receive_some()
    await trio.aclose_forcefully(stream)


async def half_a_request(server: trioecho.Server) -> None:
    stream = await open_stream(server)
    await stream.send_all(b"GET /ws HTTP/1.1\r\nHo")
    await until(lambda: server._service.memory.held > 100_000 or server.memory.held % 1024)
    await trio.aclose_forcefully(stream)


async def posts(server: trioecho.Server) -> None:
    await asks(server, HEAD.format("POST /post").encode() + b"\r\n" + bytes(300_000))


async def posts_half(server: trioecho.Server) -> None:
    stream = await open_stream(server)
    await stream.send_all(HEAD.format("POST /post").encode() + b"\r\n" + bytes(20_000))
    await until(lambda: server.memory.held > 20_000)
    await trio.aclose_forcefully(stream)


async def is_raw(server: trioecho.Server) -> None:
    await asks(server, HEAD.format("POST /raw").encode() + b"\r\n" + bytes(300_000))


async def is_refused(server: trioecho.Server) -> None:
    await asks(server, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n" + UPGRADE.encode() + b"\r\n")


async def closes(server: trioecho.Server) -> None:
    async with connected(server) as client:
        await client.send("x" * 100_000)
        assert await client.receive() == "x" * 100_000
        await client.close(1000, "")
        await client.receive_close()


async def is_in_the_middle(server: trioecho.Server, path: str) -> None:
    """Half a message has come, for which the handler waits."""
    async with connected(server, path=path) as client:
        await client.stream.send_all(client.frame(BINARY, bytes(MIB))[:300_000])
        await until(lambda: server.memory.held > 300_000)
        reset(client)


async def is_not_taken(server: trioecho.Server, path: str) -> None:
    """Messages wait, more than are read, and the handler takes none of them."""
    async with connected(server, path=path) as client:
        await client.send("first")
        for _ in range(5):
            await client.send("x" * 40_000)
        await until(lambda: next(iter(server.connections))._connection.paused)
        reset(client)


async def breaks_the_protocol(server: trioecho.Server) -> None:
    async with connected(server, path="/lend") as client:
        await client.send("first")
        await client.stream.send_all(client.frame(BINARY, bytes(50_000), fin=False))
        await client.send_frame(TEXT, b"in between")
        await until(lambda: server.records or not server.connections)


async def does_not_read(server: trioecho.Server) -> None:
    async with connected(server, path="/push") as client:
        await until(lambda: server.memory.held > 8 * MIB)
        reset(client)


async def is_given_up(server: trioecho.Server) -> None:
    async with connected(server, path="/push"):
        await until(lambda: server.memory.held > 8 * MIB)
        server._service.memory.most = MIB
        server._service.memory.add(0)
        server._service.memory.relieve()
        await until(lambda: not server.connections)
    server._service.memory.most = 1000 * MIB


async def inflates_to_much(server: trioecho.Server, path: str) -> None:
    """What it stands for is not all decoded when the connection is lost."""
    context = Compressor()
    async with connected(server, path=path, headers=f"Sec-WebSocket-Extensions: {OFFER}\r\n") as client:
        await client.stream.send_all(context.frame("first"))
        await client.stream.send_all(b"".join(context.frame(bytes(MIB // 4)) for _ in range(20)))
        await until(lambda: next(iter(server.connections))._connection.incoming.behind)
        reset(client)


async def has_a_failing_handler(server: trioecho.Server) -> None:
    async with connected(server, path="/fail") as client:
        await client.send("first")
        await client.receive_close()


async def finds_no_memory(server: trioecho.Server) -> None:
    memory = server._service.memory
    memory.add(1000 * MIB)
    stream = await open_stream(server)
    await until(lambda: memory.refused)
    await trio.aclose_forcefully(stream)
    memory.add(-1000 * MIB)


ENDINGS: dict[str, Callable[[trioecho.Server], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        says_nothing,
        half_a_request,
        posts,
        posts_half,
        is_raw,
        is_refused,
        closes,
        breaks_the_protocol,
        does_not_read,
        is_given_up,
        has_a_failing_handler,
        finds_no_memory,
    )
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
async def test_nothing_is_counted_when_a_connection_has_ended(
    ending: Callable[[trioecho.Server], Awaitable[None]],
) -> None:
    async with counting(close_timeout=1) as server:
        await ending(server)
        await settled(server)


@one_way
@pytest.mark.parametrize("path", ["/lend", "/plain-pieces"])
@pytest.mark.parametrize("how", [is_in_the_middle, is_not_taken])
async def test_nothing_is_counted_of_what_was_not_taken(
    how: Callable[[trioecho.Server, str], Awaitable[None]], path: str
) -> None:
    async with counting() as server:
        await how(server, path)
        await settled(server)


@one_way
@pytest.mark.parametrize("path", ["/whole", "/pieces"])
async def test_nothing_is_counted_of_what_was_not_inflated_yet(path: str) -> None:
    async with counting() as server:
        await inflates_to_much(server, path)
        await settled(server)


async def test_nothing_is_counted_when_all_are_cancelled() -> None:
    async with counting(close_timeout=0.2) as server:
        service = server._service
        stack = contextlib.AsyncExitStack()
        for path in ("/ws", "/lend", "/plain-pieces", "/push"):
            client = await stack.enter_async_context(connected(server, path=path))
            await client.stream.send_all(client.frame(BINARY, bytes(MIB))[:300_000])
        waiting = await open_stream(server)
        await until(lambda: service.memory.held > 9 * MIB and server.open_sockets == 5)
    held = sum(service.accounts._held.values())
    assert (service.memory.held, service.sockets.open, service.sockets.served, held) == (0, 0, 0, 0)
    await trio.aclose_forcefully(waiting)
    await stack.aclose()
