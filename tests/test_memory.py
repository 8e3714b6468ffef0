"""What a connection took is given back when it has ended, at once."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
import trio_websocket
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._http.upgrade import Handshake
from trioecho._protocol.decoder import FrameDecoder
from trioecho._websocket.connection import Connection
from trioecho._websocket.engine import Engine
from trioecho._websocket.frame_stream import FrameStream
from trioecho._websocket.goodbye import Goodbye
from trioecho._websocket.inbox import Inbox
from trioecho._websocket.outbox import Outbox
from trioecho._websocket.reading import Reading
from trioecho._websocket.sorter import Sorter
from trioecho.testing import PING, RawClient


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


PARTS = (
    Connection,
    Engine,
    FrameDecoder,
    FrameStream,
    Goodbye,
    Handshake,
    Inbox,
    Outbox,
    Reading,
    Sorter,
    trio_websocket.WebSocketConnection,
    trioecho.WebSocket,
)


def parts_in_memory() -> list[object]:
    """Every part of a connection that has not been freed."""
    return [each for each in gc.get_objects() if isinstance(each, PARTS)]


async def leave_in_good_order(client: RawClient) -> None:
    """Both Closes, then the end of TCP."""
    await client.send("hello")
    assert await client.receive() == "hello"
    await client.close()
    assert await client.receive_close() == (1000, "")


async def ping_before(client: RawClient) -> None:
    """trio-websocket has been awake."""
    await client.send_frame(PING, b"?")
    assert await client.receive_frame() is not None
    await leave_in_good_order(client)


@one_way
@pytest.mark.parametrize("leave", [leave_in_good_order, ping_before], ids=lambda leave: leave.__name__)
async def test_a_connection_that_ended_well_is_freed_at_once(
    leave: Callable[[RawClient], Awaitable[None]], no_collector: None
) -> None:
    """No reference leads in a circle, so nothing is left for the garbage collector to stop the server for.

    (Where an exception leaves the handler, the frames of Trio's nursery and the exception refer to each other.)
    """
    # Earlier tests may have left some in tracebacks that are kept.
    before = parts_in_memory()
    async with serving() as server:
        for _ in range(10):
            async with connected(server) as client:
                await leave(client)
        await until(lambda: len(server.records) == 10)
        await until(lambda: len(parts_in_memory()) == len(before))
        assert not server.connections


@one_way
async def test_a_request_is_not_kept_for_as_long_as_its_connection_lives() -> None:
    """A browser's header fields take several KiB."""
    async with serving() as server, connected(server) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        assert not [each for each in gc.get_objects() if isinstance(each, Handshake)]


@one_way
async def test_a_websocket_that_is_kept_keeps_its_record_and_nothing_runs(no_collector: None) -> None:
    """Somebody may hold on to it: it still tells how it ended, and refuses everything else."""
    kept: list[trioecho.WebSocket] = []

    async def keep(ws: trioecho.WebSocket) -> None:
        kept.append(ws)
        async for message in ws:
            await ws.send(message)

    async with serving(keep) as server, connected(server) as client:
        await leave_in_good_order(client)
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
