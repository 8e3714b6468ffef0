"""What a connection took is given back when it has ended, at once, and however it ended."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import pytest
import trio
from injection import Injection
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._protocol.endings import ENDINGS
from trioecho._server.requests import Accepted
from trioecho._wire.poller import Poller
from trioecho._wire.shares import Queue, Shares
from trioecho._wire.stream_turns import StreamTurns
from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient

AT_ONCE = 5.0
"""Seconds after which what should have been freed at once is looked for. Nothing is measured with it."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def nobody_keeps_the_log() -> Iterator[None]:
    """pytest's own handlers keep what is logged, and with it a traceback's frames and all that they hold."""
    logger = logging.getLogger("trioecho")
    logger.disabled = True
    yield
    logger.disabled = False


class Marker(bytearray):
    """Something large of the application's own, of which it can be asked whether it is still there."""


class Given:
    """What handlers were given, and what they made: seen without being held."""

    def __init__(self) -> None:
        self.all: list[weakref.ref[Any]] = []

    def remember(self, one: object) -> None:
        self.all.append(weakref.ref(one))

    @property
    def left(self) -> list[str]:
        """Types of what is still there."""
        return [type(one).__name__ for ref in self.all if (one := ref()) is not None]


def ours() -> dict[int, str]:
    """Every object of the package that has not been freed: its identity, and its type.

    Not among them: the records that a server keeps on purpose, how its streams take turns, which begins with the first
    of them, and the clients of these tests.
    """
    found = {}
    for each in gc.get_objects():
        kind = type(each)
        part = kind.__module__
        if (
            isinstance(part, str)
            and part.startswith("trioecho")
            and part != "trioecho.testing"
            and kind not in (trioecho.ConnectionRecord, StreamTurns, Shares, Queue)
        ):
            found[id(each)] = f"{part}.{kind.__qualname__}"
    return found


Say = Callable[[RawClient, trioecho.Server, Injection], Awaitable[object]]


class Story(NamedTuple):
    """How an ending comes about: what the handler does at last, what the client does, and with which options."""

    handler: Callable[[trioecho.WebSocket], Awaitable[object]]
    client: Say
    options: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)


async def leave(ws: trioecho.WebSocket) -> None:
    pass


async def take_all(ws: trioecho.WebSocket) -> None:
    async for _ in ws:
        pass


async def close(ws: trioecho.WebSocket) -> None:
    await ws.aclose(4001, "enough")


async def fail(ws: trioecho.WebSocket) -> None:
    raise LookupError("on purpose")


async def fail_in_a_child(ws: trioecho.WebSocket) -> None:
    ws.nursery.start_soon(fail, ws)
    await take_all(ws)


async def cut_off(ws: trioecho.WebSocket) -> None:
    begun = trio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"the beginning"
        begun.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ws.send, pieces())
        await begun.wait()
        nursery.cancel_scope.cancel()


async def push(ws: trioecho.WebSocket) -> None:
    while True:
        await ws.send(bytes(100_000))


async def fall_behind(ws: trioecho.WebSocket) -> None:
    while ws.try_send(bytes(100_000)):
        pass
    await trioecho.broadcast([ws], "too much", slow="close")


async def nothing(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    pass


async def say_close(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await client.close(3999, "bye")


async def ping_and_say_close(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await client.send_frame(PING, b"?")
    pong = await client.receive_frame()
    assert pong == (True, PONG, b"?")
    await client.close(3999, "bye")


async def vanish(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await trio.aclose_forcefully(client.stream)


async def break_protocol(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await client.send_frame(0x3, b"reserved")


async def send_bad_text(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await client.send_frame(CONTINUATION, b"\xff")


async def send_too_much(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await client.send_frame(CONTINUATION, bytes(200_000))


async def flood(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await client.stream.send_all(client.frame(PONG) * 200)


async def stop(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    server.stop(timeout=10)


async def abort(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    server.abort()


async def run_out_of_memory(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    injection.arm(server.port, "os.read" if Poller.available else "socket.recv")
    await client.send_frame(PING)


async def begin_too_much(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await client.send_frame(CONTINUATION, bytes(20_000), fin=False)
    await until(lambda: [each for each in server._service.connections if each.incoming.half > 120_000])
    use_up(server)


async def read_nothing(client: RawClient, server: trioecho.Server, injection: Injection) -> None:
    await until(lambda: [each for each in server._service.connections if each.outgoing.unsent])
    use_up(server)


def use_up(server: trioecho.Server) -> None:
    """Let the memory that is held be all there is, for a moment."""
    memory = server._service.memory
    before, memory.most = memory.most, memory.held
    memory.add(0)
    memory.relieve()
    memory.most = before
    memory.add(0)


STORIES = {
    "handler returned": Story(leave, nothing),
    "application closed": Story(close, nothing),
    "peer closed": Story(take_all, say_close),
    "peer closed, behind a Ping": Story(take_all, ping_and_say_close),
    "peer vanished": Story(take_all, vanish),
    "handler raised": Story(fail, nothing),
    "handler raised, in a child": Story(fail_in_a_child, nothing),
    "message cut off": Story(cut_off, nothing),
    "protocol error": Story(take_all, break_protocol),
    "invalid text": Story(take_all, send_bad_text),
    "message too big": Story(take_all, send_too_much),
    "flooding": Story(take_all, flood, {"flood_limit": 1}),
    "idle timeout": Story(take_all, nothing, {"idle_timeout": 0.1}),
    "keep-alive timeout": Story(take_all, nothing, {"keep_alive_interval": 0.05, "keep_alive_timeout": 0.05}),
    "send timeout": Story(push, nothing, {"send_timeout": 0.1}),
    "too slow": Story(fall_behind, nothing),
    "message given up": Story(take_all, begin_too_much),
    "sending given up": Story(push, read_nothing),
    "server stopping": Story(take_all, stop),
    "server aborted": Story(take_all, abort),
    "server failed": Story(take_all, run_out_of_memory),
}
"""By cause, and, behind a comma, how it comes about."""


def test_every_ending_has_its_story() -> None:
    """The table of endings, row by row."""
    assert {story.partition(",")[0] for story in STORIES} == {ending.cause for ending in ENDINGS}


async def answer_until_the_end(client: RawClient) -> None:
    """Hear everything, answer Close, and no Ping; whoever has vanished hears nothing."""
    try:
        while (frame := await client.receive_frame()) is not None:
            if frame.opcode == CLOSE:
                await client.send_frame(CLOSE, frame.payload)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


def keeping(story: Story, given: Given) -> trioecho.Handler:
    """A handler that echoes once, fills its frame, its task and a child with what it was given, and ends as told."""

    async def child(marker: Marker, ws: trioecho.WebSocket) -> None:
        await trio.sleep_forever()

    async def handler(ws: trioecho.WebSocket) -> None:
        marker = Marker(2**20)
        given.remember(ws)
        given.remember(marker)
        ws.nursery.start_soon(child, marker, ws)
        await ws.send(await ws.receive())
        await story.handler(ws)
        # Still in use, as in a handler that does something with it.
        marker.clear()

    return handler


BEGUN = {
    "nothing": lambda client: b"",
    "a fragment": lambda client: client.frame(TEXT, bytes(100_000), fin=False),
    "half a frame": lambda client: client.frame(BINARY, bytes(100_000))[:50_000],
}
"""What the client has begun to say before the end comes."""

CAN_END_WITHIN_A_FRAME = (
    "handler returned",
    "application closed",
    "peer vanished",
    "handler raised",
    "handler raised, in a child",
    "message cut off",
    "keep-alive timeout",
    "send timeout",
    "sending given up",
    "server stopping",
    "server aborted",
)
NEED_A_FRAGMENT = ("invalid text", "message too big", "message given up")

CASES = [
    pytest.param(way, story, begun, id=f"{way}-{story}-{begun}")
    for way in ("poller", "stream", "poller-tls", "stream-tls")
    for story in STORIES
    for begun in BEGUN
    if (begun != "half a frame" or story in CAN_END_WITHIN_A_FRAME)
    and (begun == "a fragment" or (story not in NEED_A_FRAGMENT and not way.endswith("tls")))
]


@pytest.mark.parametrize(("way_of_reading", "story", "begun"), CASES, indirect=["way_of_reading"])
async def test_a_connection_leaves_nothing_behind_however_it_ended(
    story: str,
    begun: str,
    monkeypatch: pytest.MonkeyPatch,
    no_collector: None,
    nobody_keeps_the_log: None,
) -> None:
    """Nothing is left for the garbage collector to stop the server for, nor is anything kept that a handler held."""
    cause, told = story.partition(",")[0], STORIES[story]
    injection, given = Injection(monkeypatch), Given()
    options = {"max_message_size": 150_000, "close_timeout": 0.2} | told.options
    async with serving(keeping(told, given), **options) as server:
        for ended in (1, 2):
            before = ours()
            async with connected(server) as client:
                await client.send("hello")
                assert await client.receive() == "hello"
                await client.stream.send_all(BEGUN[begun](client))
                await trio.testing.wait_all_tasks_blocked(0.002)
                await told.client(client, server, injection)
                if cause not in ("send timeout", "sending given up") and begun != "half a frame":
                    await answer_until_the_end(client)
                await until(lambda ended=ended: len(server.records) == ended)
            assert server.records[-1].cause == cause
            await until(lambda: not server.connections)
            left: list[str] = []
            with trio.move_on_after(AT_ONCE):
                while True:
                    left = [kind for each, kind in ours().items() if each not in before] + given.left
                    if not left:
                        break
                    await trio.sleep(0.02)
            assert not left
            if cause in ("server stopping", "server aborted"):
                break


@one_way
async def test_a_request_is_not_kept_for_as_long_as_its_connection_lives() -> None:
    """A browser's header fields take several KiB."""
    async with serving() as server, connected(server) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        assert not [each for each in gc.get_objects() if isinstance(each, Accepted)]


@one_way
async def test_a_websocket_that_is_kept_keeps_its_record_and_nothing_runs(no_collector: None) -> None:
    """Somebody may hold on to it: it still tells how it ended, and refuses everything else."""
    kept: list[trioecho.WebSocket] = []

    async def keep(ws: trioecho.WebSocket) -> None:
        kept.append(ws)
        async for message in ws:
            await ws.send(message)

    async with serving(keep) as server, connected(server) as client:
        await client.close()
        assert await client.receive_close() == (1000, "")
        await until(lambda: server.records)
        (ws,) = kept
        assert ws.record is server.records[0]
        assert (ws.record.cause, ws.record.clean) == ("peer closed", True)
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await ws.receive()
            with pytest.raises(trio.BrokenResourceError):
                await ws.send("too late")
        await ws.aclose()
        assert ws.headers[0] == ("host", "localhost")
