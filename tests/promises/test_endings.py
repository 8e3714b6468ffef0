"""Every row of the table of endings, brought about for real: what the client hears, what the record and the log say."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
import trio
import trio.testing

import trioecho
import trioecho.testing
from trioecho._protocol import endings
from trioecho._protocol.endings import ENDINGS, Ending
from trioecho._server.routes import RouteTable
from trioecho._server.serve import serve_connection
from trioecho._server.service import Service
from trioecho.testing import CLOSE, PING, PONG, TEXT, RawClient


class Story(NamedTuple):
    """How an ending comes about: the handler, what the client does, what the service is told, and what is heard."""

    handler: trioecho.Handler
    client: Callable[[RawClient, Service], Awaitable[None]]
    heard: tuple[int, str] | None


async def wait(ws: trioecho.WebSocket) -> None:
    async for _ in ws:
        pass


async def leave(ws: trioecho.WebSocket) -> None:
    pass


async def close(ws: trioecho.WebSocket) -> None:
    await ws.aclose(4001, "enough")


async def fail(ws: trioecho.WebSocket) -> None:
    raise LookupError("on purpose")


async def cut_off(ws: trioecho.WebSocket) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "the beginning"
        await trio.sleep_forever()

    with trio.move_on_after(1):
        await ws.send(pieces())


async def hear_the_beginning(client: RawClient, service: Service) -> None:
    assert await client.receive_frame() == (False, TEXT, b"the beginning")


async def nothing(client: RawClient, service: Service) -> None:
    pass


async def say_close(client: RawClient, service: Service) -> None:
    await client.close(3999, "bye")


async def vanish(client: RawClient, service: Service) -> None:
    await client.stream.aclose()


async def break_protocol(client: RawClient, service: Service) -> None:
    await client.send_frame(TEXT, b"reserved bit", fin=True)
    await client.stream.send_all(bytes((0xF1, 0x80, 0, 0, 0, 0)))


async def send_bad_text(client: RawClient, service: Service) -> None:
    await client.send_frame(TEXT, b"\xff")


async def send_too_much(client: RawClient, service: Service) -> None:
    await client.send("x" * 2000)


async def flood(client: RawClient, service: Service) -> None:
    await client.stream.send_all(client.frame(PONG) * 150_001)


async def stop(client: RawClient, service: Service) -> None:
    service.stop(trio.current_time() + 10)


async def abort(client: RawClient, service: Service) -> None:
    service.abort()


async def push(ws: trioecho.WebSocket) -> None:
    while True:
        await ws.send("x" * 100_000)


async def fall_behind(ws: trioecho.WebSocket) -> None:
    while ws.try_send(bytes(100_000)):
        pass
    await trioecho.broadcast([ws], "too much", slow="close")


async def end_in_the_middle(client: RawClient, service: Service) -> None:
    """The client takes nothing: nobody reads at its end of the stream until the time is over."""
    await trio.sleep(60)
    with contextlib.suppress(trio.BrokenResourceError):
        while await client.stream.receive_some():
            pass


async def begin_too_much(client: RawClient, service: Service) -> None:
    await client.send_frame(TEXT, b"x" * 3000, fin=False)
    await trio.testing.wait_all_tasks_blocked()
    use_up(service)


async def read_nothing(client: RawClient, service: Service) -> None:
    await trio.testing.wait_all_tasks_blocked()
    use_up(service)
    with contextlib.suppress(trio.BrokenResourceError):
        while await client.stream.receive_some():
            pass


def use_up(service: Service) -> None:
    """Let the memory that is held be all there is."""
    service.memory.most = service.memory.held
    service.memory.add(0)
    service.memory.relieve()


async def exhaust_memory(client: RawClient, service: Service) -> None:
    await client.stream.send_all(EXHAUSTING)


EXHAUSTING = b"no memory for this"


class Fragile(trio.abc.ReceiveStream):
    """The server's end of a stream, which fails for no fault of the client's when it reads `EXHAUSTING`."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self.stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.stream.receive_some(max_bytes)
        if data == EXHAUSTING:
            raise MemoryError("on purpose")
        return data

    async def aclose(self) -> None:
        await self.stream.aclose()


STORIES: dict[Ending, Story] = {
    endings.HANDLER_RETURNED: Story(leave, nothing, (1000, "")),
    endings.APPLICATION_CLOSED: Story(close, nothing, (4001, "enough")),
    endings.PEER_CLOSED: Story(wait, say_close, (3999, "bye")),
    endings.PEER_VANISHED: Story(wait, vanish, None),
    endings.HANDLER_RAISED: Story(fail, nothing, (1011, "internal error")),
    endings.MESSAGE_CUT_OFF: Story(cut_off, hear_the_beginning, (1011, "message cut off")),
    endings.PROTOCOL_ERROR: Story(
        wait, break_protocol, (1002, "reserved bits are set, but no extension was agreed on")
    ),
    endings.INVALID_TEXT: Story(wait, send_bad_text, (1007, "text is not UTF-8: invalid start byte")),
    endings.MESSAGE_TOO_BIG: Story(
        wait, send_too_much, (1009, "message has at least 2000 bytes; at most 1000 are accepted")
    ),
    endings.FLOODING: Story(
        wait, flood, (1008, "more than 1000 Pings, unasked Pongs and short fragments a second")
    ),
    endings.IDLE_TIMEOUT: Story(wait, nothing, (1001, "idle timeout")),
    endings.KEEP_ALIVE_TIMEOUT: Story(wait, nothing, (1011, "keep-alive timeout")),
    endings.SEND_TIMEOUT: Story(push, end_in_the_middle, None),
    endings.TOO_SLOW: Story(fall_behind, nothing, (1008, "too slow")),
    endings.MESSAGE_GIVEN_UP: Story(wait, begin_too_much, (1013, "try again later")),
    endings.SENDING_GIVEN_UP: Story(push, read_nothing, None),
    endings.SERVER_STOPPING: Story(wait, stop, (1001, "server is stopping")),
    endings.SERVER_ABORTED: Story(wait, abort, (1001, "server is stopping")),
    endings.SERVER_FAILED: Story(wait, exhaust_memory, (1011, "internal error")),
}


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.cause)
async def test_each_ending_is_said_recorded_and_logged_as_its_row_has_it(
    ending: Ending, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Code and reason on the wire, cause and cleanness on the record, level in the log."""
    caplog.set_level(logging.DEBUG, "trioecho")
    story = STORIES[ending]
    options = trioecho.WebSocketOptions(
        max_message_size=5000 if ending is endings.MESSAGE_GIVEN_UP else 1000,
        idle_timeout=60 if ending is endings.IDLE_TIMEOUT else 0,
    )
    service = Service(RouteTable(story.handler, options), options)
    # The one takes everything, the other nothing that is not being read.
    pair = trio.testing.lockstep_stream_pair if story.handler is push else trio.testing.memory_stream_pair
    ours, theirs = pair()
    theirs = trio.StapledStream(theirs.send_stream, Fragile(theirs.receive_stream))
    client = RawClient(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, service)
        await client.handshake()
        await story.client(client, service)
        if story.heard is not None:
            frame = await client.receive_frame()
            while frame is not None and frame.opcode != CLOSE:
                assert frame.opcode == PING or story.handler is fall_behind
                frame = await client.receive_frame()
            assert frame is not None
            assert frame.close == story.heard
            if ending.clean and ending is not endings.PEER_CLOSED:
                await client.close(*story.heard)
            assert await client.receive_rest() == []
            await ours.aclose()
    (record,) = service.records
    assert record.cause == ending.cause
    assert record.clean is ending.clean
    said = (record.code_sent, record.reason_sent)
    assert said == (story.heard if story.heard is not None else (None, None))
    (entry,) = [entry for entry in caplog.records if getattr(entry, "record", None) is record]
    assert entry.levelno == ending.log_level
    tracebacks = [entry for entry in caplog.records if entry.exc_info]
    assert len(tracebacks) == (ending in (endings.HANDLER_RAISED, endings.SERVER_FAILED))


def test_an_empty_close_is_mirrored() -> None:
    """As every other server does, and unlike ASP.NET's sample, which answers 1000; both are on the record."""

    async def talk() -> trioecho.ConnectionRecord | None:
        async with trioecho.testing.open_client() as client:
            await client.close(None)
            assert await client.receive_close() == (1005, "")
        return client.record

    record = trio.run(talk)
    assert record is not None
    assert (record.code_received, record.code_sent, record.clean) == (1005, 1005, True)


def test_every_ending_has_its_story() -> None:
    """A new row needs one here that brings it about."""
    assert set(STORIES) == set(ENDINGS)
