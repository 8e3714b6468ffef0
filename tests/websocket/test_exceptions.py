"""What a WebSocket raises at the end of its connection: one base for both sides, beside Trio's own exceptions."""

from __future__ import annotations

import pytest
import trio
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho import client

pytestmark = one_way

KINDS = [
    (trioecho.WebSocketEnded, trio.EndOfChannel),
    (trioecho.WebSocketBroken, trio.BrokenResourceError),
    (trioecho.WebSocketClosed, trio.ClosedResourceError),
]


@pytest.mark.parametrize(("kind", "trios"), KINDS)
def test_each_is_a_connection_ended_and_what_a_channel_raises(
    kind: type[trioecho.ConnectionEnded], trios: type[Exception]
) -> None:
    """Whoever catches either has it."""
    assert issubclass(kind, trioecho.ConnectionEnded)
    assert issubclass(kind, trios)


async def test_a_handler_catches_every_end_by_one_name() -> None:
    """After the peer's Close, sending to it, and after a Close of its own: each knows its WebSocket."""
    caught: list[trioecho.ConnectionEnded] = []
    seen: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws)
        for step in (ws.receive, lambda: ws.send("too late"), ws.aclose, ws.receive):
            try:
                await step()
            except trioecho.ConnectionEnded as ended:
                caught.append(ended)

    async with serving(handler) as server, connected(server) as peer:
        await peer.close(4000, "enough")
        assert await peer.receive_close() == (4000, "enough")
        await until(lambda: server.records)
    assert [type(ended) for ended in caught] == [kind for kind, _ in KINDS]
    assert {ended.websocket for ended in caught} == set(seen)
    assert caught[0].websocket.close_code == 4000


async def test_the_client_raises_the_same() -> None:
    """The other end of the same conversation, with the same names."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.aclose(4000, "enough")

    caught: list[trioecho.ConnectionEnded] = []
    async with serving(handler) as server, client.connect(server.websocket_url) as ws:
        await ws.send("go")
        for step in (ws.receive, lambda: ws.send("too late"), ws.ping, ws.aclose, ws.receive):
            try:
                await step()
            except trioecho.ConnectionEnded as ended:
                caught.append(ended)
    expected = [
        trioecho.WebSocketEnded,
        trioecho.WebSocketBroken,
        trioecho.WebSocketBroken,
        trioecho.WebSocketClosed,
    ]
    assert [type(ended) for ended in caught] == expected
    assert {ended.websocket for ended in caught} == {ws}


async def test_the_end_of_a_clients_connection_is_a_failure_of_the_handler_that_holds_it() -> None:
    """A handler that talks to a server behind it: that this one has gone is not that the handler's own peer has."""

    async def behind(ws: trioecho.WebSocket) -> None:
        await ws.aclose(4000, "enough")

    async with serving(behind) as other:

        async def handler(ws: trioecho.WebSocket) -> None:
            async with client.connect(other.websocket_url) as upstream:
                await upstream.receive()

        async with serving(handler) as server, connected(server) as peer:
            assert await peer.receive_close() == (1011, "internal error")
            await peer.close(1011)
            await until(lambda: server.records)
            (record,) = server.records
    assert record.cause == "handler raised"
    assert record.error == "WebSocketEnded: the server closed the WebSocket: 4000 enough"
