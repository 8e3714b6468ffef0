"""What a handler sends where compression was agreed on: whole, in order, and as fast as others may run."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator

import pytest
import trio
from deflating import Compressor, connected_deflating, json_of
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._websocket.deflating_outgoing import SLICED
from trioecho.testing import PING

NO_CONTEXT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFERS = ["permessage-deflate; client_max_window_bits", NO_CONTEXT]


async def wait_for_end(ws: trioecho.WebSocket) -> None:
    async for _ in ws:
        pass


@pytest.mark.parametrize("offer", OFFERS)
async def test_messages_of_all_sizes_are_echoed(offer: str) -> None:
    """Text and binary, around each size at which another way is taken, and the record tells of both sizes."""
    async with serving(compression=True) as server, connected_deflating(server, offer) as client:
        sender = Compressor()
        sizes = (0, 1, 127, 128, 511, 512, 1000, SLICED - 1, SLICED, SLICED + 1, 300_000)
        for size in sizes:
            text = json_of(size)
            for message in (text, text.encode()):
                if "no_context" in offer:
                    sender = Compressor()
                await client.stream.send_all(sender.frame(message))
                assert await client.receive_inflated() == message
        least = 512 if "no_context" in offer else 128
        assert client.compressed == [size >= least for size in sizes for _ in range(2)]
        (ws,) = server.connections
        await until(lambda: ws.record.messages_sent == 2 * len(sizes))
        record = ws.record
        assert record.bytes_received == record.bytes_sent == 2 * sum(sizes)
        assert record.wire_bytes_sent == sum(map(len, client.payloads))
        assert record.wire_bytes_received < record.bytes_received / 2


async def test_what_was_agreed_on_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """By `extensions`, and in the record and its line both sizes; where nothing was agreed on, nothing of it."""
    told: list[tuple[str, ...]] = []

    async def tell(ws: trioecho.WebSocket) -> None:
        told.append(ws.extensions)
        await trioecho.echo(ws)

    caplog.set_level(logging.INFO, "trioecho")
    async with serving(tell, compression=trioecho.Deflate(threshold=0)) as server:
        async with connected_deflating(server, "permessage-deflate") as client:
            assert (
                b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12"
                in client.response
            )
            await client.send("a" * 100)
            assert await client.receive_inflated() == "a" * 100
            size = len(client.payloads[0])
        async with connected(server) as plain:
            assert b"Extensions" not in plain.response
            await plain.send("a" * 100)
            await plain.receive()
        await until(lambda: len(server.records) == 2)
    assert told == [("permessage-deflate; server_max_window_bits=12",), ()]
    assert [record.extensions for record in server.records] == [told[0][0], None]
    lines = [entry.getMessage() for entry in caplog.records]
    assert f"in 1 (100 B, 100 B on the wire), out 1 (100 B, {size} B on the wire);" in lines[0]
    assert "in 1 (100 B), out 1 (100 B);" in lines[1]
    assert server.records[1].wire_bytes_sent == 100


@one_way
async def test_a_server_that_offers_nothing_agrees_on_nothing() -> None:
    """The default: the client's offer is not even looked at, and RSV1 breaks the protocol."""
    async with serving() as server:
        async with connected(server, headers="Sec-WebSocket-Extensions: permessage-deflate;;\r\n") as client:
            assert b"Extensions" not in client.response
            await client.stream.send_all(Compressor().frame("x"))
            assert await client.receive_close() == (
                1002,
                "reserved bits are set, but no extension was agreed on",
            )


@one_way
async def test_a_secret_goes_as_it_is() -> None:
    """With ``compress=False``, in each way of sending, and the context of the others goes on."""
    words = json_of(400)

    async def tell(ws: trioecho.WebSocket) -> None:
        await ws.send(words)
        await ws.send("secret " * 100, compress=False)
        assert ws.try_send(b"secret " * 100, compress=False)
        await ws.send(["secret " * 100], compress=False)
        await ws.send("secret " * 10_000, compress=False)
        prepared = trioecho.Prepared("secret " * 100)
        await ws.send(prepared, compress=False)
        assert ws.try_send(prepared, compress=False)
        await trioecho.broadcast([ws], prepared, compress=False)
        await ws.send(words)
        await wait_for_end(ws)

    async with serving(tell, compression=True) as server, connected_deflating(server) as client:
        assert await client.receive_inflated() == words
        assert await client.receive_inflated() == "secret " * 100
        assert await client.receive_inflated() == b"secret " * 100
        assert await client.receive_inflated() == "secret " * 100
        assert await client.receive_inflated() == "secret " * 10_000
        for _ in range(3):
            assert await client.receive_inflated() == "secret " * 100
        assert await client.receive_inflated() == words
        assert client.compressed == [True, *[False] * 8, True]
        assert len(client.payloads[-1]) < len(client.payloads[0]) / 5


@one_way
async def test_compress_is_taken_where_nothing_was_agreed_on() -> None:
    """A handler need not know what the client offers."""

    async def tell(ws: trioecho.WebSocket) -> None:
        await ws.send("secret", compress=False)
        assert ws.try_send("secret", compress=False)
        await ws.send(trioecho.Prepared("secret"), compress=False)
        await trioecho.broadcast([ws], "secret", compress=False)

    async with serving(tell) as server, connected(server) as client:
        for _ in range(4):
            assert await client.receive() == "secret"


@one_way
@pytest.mark.parametrize("offer", OFFERS)
async def test_pieces_are_one_compressed_message(offer: str) -> None:
    """A fragment for each, long ones too; RSV1 in the first only; another message of the same context behind it."""
    pieces = [json_of(300), "", json_of(3 * SLICED), json_of(200)]

    async def in_pieces() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    async def tell(ws: trioecho.WebSocket) -> None:
        await ws.send(in_pieces())
        await ws.send(json_text)
        await ws.send([b"one", b"two"])
        await wait_for_end(ws)

    json_text = json_of(600)
    async with serving(tell, compression=True) as server, connected_deflating(server, offer) as client:
        whole = "".join(pieces)
        assert await client.receive_inflated() == whole
        assert client.compressed == [True, False, False, False, False]
        assert client.payloads[-1] == b"\x00"
        assert await client.receive_inflated() == json_text
        assert await client.receive_inflated() == b"onetwo"
        (ws,) = server.connections
        await until(lambda: ws.record.messages_sent == 3)
        assert ws.record.bytes_sent == len(whole) + 600 + 6
        assert ws.record.wire_bytes_sent == sum(map(len, client.payloads))


@one_way
async def test_messages_cut_off_in_pieces_end_the_connection() -> None:
    """Compressed as well as plain; but where nothing has gone out, the next message begins a new context."""

    async def fail_later() -> AsyncIterator[str]:
        yield "x" * 1000
        raise LookupError

    async def tell(ws: trioecho.WebSocket) -> None:
        await ws.send(words)
        with trio.CancelScope() as scope:

            async def cancel() -> AsyncIterator[str]:
                scope.cancel()
                yield words

            await ws.send(cancel())
        assert scope.cancelled_caught
        await ws.send(words)
        with pytest.raises(LookupError):
            await ws.send(fail_later())

    words = json_of(1000)
    async with serving(tell, compression=True) as server, connected_deflating(server) as client:
        assert await client.receive_inflated() == words
        assert await client.receive_inflated() == words
        frame = await client.receive_frame()
        assert frame is not None
        assert not frame.fin
        assert await client.receive_close() == (1011, "message cut off")
    del server


@one_way
async def test_a_cancelled_long_message_leaves_the_connection_as_it_was() -> None:
    """Cancelled after any number of slices, nothing of it has been sent, and others are understood behind it."""
    long, words = json_of(20 * SLICED), json_of(2000)

    async def tell(ws: trioecho.WebSocket) -> None:
        for rounds in range(0, 30, 3):
            await ws.send(words)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ws.send, long)
                for _ in range(rounds):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        await ws.send("over")
        await wait_for_end(ws)

    async with serving(tell, compression=True) as server, connected_deflating(server) as client:
        got = []
        while (message := await client.receive_inflated()) != "over":
            got.append(message)
        assert got == [words] * 10
        await until(lambda: server.connections[0].record.messages_sent >= 11)
        assert server.connections[0].record.messages_sent == 11


@one_way
async def test_a_long_message_keeps_its_place() -> None:
    """What other tasks send while it is compressed goes behind it, in their order; only Pongs go before."""
    long = json_of(30 * SLICED)

    async def tell(ws: trioecho.WebSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.send, long)
            while ws.try_send("before"):
                await trio.lowlevel.checkpoint()
            assert not ws.try_send("would have to wait")
            for number in range(5):
                nursery.start_soon(ws.send, f"message {number} " * 20)
                await trio.lowlevel.checkpoint()
        await wait_for_end(ws)

    async with serving(tell, compression=True) as server, connected_deflating(server) as client:
        while (message := await client.receive_inflated()) == "before":
            pass
        assert message == long
        for number in range(5):
            assert await client.receive_inflated() == f"message {number} " * 20
        await client.send_frame(PING, b"?")
        pong = await client.receive_frame()
        assert pong is not None
        assert pong.payload == b"?"


@one_way
async def test_a_long_message_holds_up_nobody() -> None:
    """While 1 MiB is compressed, other tasks run every few milliseconds: far from the 17 ms of one go."""
    long = json_of(2**20)
    lags: list[float] = []

    async def tell(ws: trioecho.WebSocket) -> None:
        await ws.send(long)
        over.set()
        await wait_for_end(ws)

    over = trio.Event()
    async with serving(tell, compression=True) as server, connected_deflating(server) as client:
        before = time.thread_time()
        while not over.is_set():
            await trio.lowlevel.checkpoint()
            now = time.thread_time()
            lags.append(now - before)
            before = now
        assert await client.receive_inflated() == long
    assert len(lags) > 60
    assert max(lags) < 0.01


@one_way
async def test_a_slow_peer_makes_a_long_message_wait_and_a_lost_one_ends_it() -> None:
    """As any other message: `send` raises when the peer is gone, and never leaves half of it."""
    ended: list[str] = []

    async def push(ws: trioecho.WebSocket) -> None:
        try:
            while True:
                await ws.send(noise)
        except trio.BrokenResourceError as error:
            ended.append(type(error).__name__)
            raise

    noise = json_of(300_000)
    async with serving(push, compression=True) as server:
        async with connected_deflating(server) as client:
            for _ in range(3):
                assert await client.receive_inflated() == noise
            await until(lambda: server.connections[0]._outgoing.stuck)
        await until(lambda: server.records)
    assert ended == ["WebSocketBroken"]


async def test_mistakes_are_told_as_without_compression() -> None:
    """Before anything is compressed."""

    async def tell(ws: trioecho.WebSocket) -> None:
        for wrong, text, error in (
            (1, None, TypeError),
            ("x", False, TypeError),
            ("\ud800", None, ValueError),
            (trioecho.Prepared("x"), True, TypeError),
        ):
            with pytest.raises(error):
                await ws.send(wrong, text=text)  # type: ignore[arg-type]
            with pytest.raises(error):
                ws.try_send(wrong, text=text)  # type: ignore[arg-type]
        await ws.send("good " * 100)
        await wait_for_end(ws)

    async with serving(tell, compression=True) as server, connected_deflating(server) as client:
        assert await client.receive_inflated() == "good " * 100
