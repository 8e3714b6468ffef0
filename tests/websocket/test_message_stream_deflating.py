"""Compressed messages that are read and sent piece by piece: at once, bounded by what they stand for, in step."""

from __future__ import annotations

import contextlib
import gc
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
import trio.testing
from deflating import OFFER, TAIL, Compressor, DeflatingClient, compressed_frame, connected_deflating, json_of
from serving import one_way, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._protocol.inflating import TURN
from trioecho.testing import BINARY, CONTINUATION, PING, PONG, TEXT

MIB = 2**20
NO_CONTEXT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFERS = [OFFER, NO_CONTEXT]


class Context(Compressor):
    """A client's context that flushes within a message."""

    def flushed(self, content: bytes) -> bytes:
        return self._zlib.compress(content) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


@contextlib.asynccontextmanager
async def held(
    offer: str = OFFER, **options: Any
) -> AsyncIterator[tuple[trioecho.WebSocket, DeflatingClient, trioecho.Server]]:
    """A connection's two ends, its WebSocket lent by a handler, and the server; the handler ends on leaving."""
    lent: list[trioecho.WebSocket] = []
    done = trio.Event()

    async def lend(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await done.wait()

    options = {"stream_messages": True, "compression": True, **options}
    async with serving(lend, **options) as server, connected_deflating(server, offer) as client:
        await until(lambda: lent)
        yield lent[0], client, server
        done.set()


async def read(ws: trioecho.WebSocket, **limit: int) -> str | bytes:
    """A message, read piece by piece."""
    async with ws.receive_stream(**limit) as stream:
        pieces = [piece async for piece in stream]
    assert all(isinstance(piece, str) is stream.text for piece in pieces)
    return pieces[0][:0].join(pieces)  # type: ignore[arg-type]


async def test_each_piece_is_there_before_the_next_has_come() -> None:
    """Also a part of a frame; a character that is cut waits for its last byte."""
    async with held() as (ws, client, _):
        context = Context()
        await client.stream.send_all(
            compressed_frame(TEXT, context.flushed("gr\u00fc".encode()[:3]), fin=False)
        )
        async with ws.receive_stream() as stream:
            assert stream.text
            assert await anext(stream) == "gr"
            frame = client.frame(CONTINUATION, context.flushed("\u00fc".encode()[1:] + b"n"), fin=False)
            # What is missing is the tail of the flush.
            await client.stream.send_all(frame[:-4])
            assert await anext(stream) == "\u00fcn"
            await client.stream.send_all(frame[-4:])
            await client.send_frame(PING, b"?")
            assert await client.receive_frame() == (True, PONG, b"?")
            await client.send_frame(CONTINUATION, context.payload(b"end"))
            assert [piece async for piece in stream] == ["end"]
        await client.stream.send_all(context.frame(b"end"))
        assert await read(ws) == b"end"
        assert (ws.record.messages_received, ws.record.bytes_received) == (2, 11)


@pytest.mark.parametrize("offer", OFFERS)
async def test_each_piece_can_be_inflated_when_it_comes(offer: str) -> None:
    """RFC 7692 §7.2.1: RSV1 in the first frame only; all flushed, and of the last only the tail is left out."""
    async with held(offer) as (ws, client, _), trio.open_nursery() as nursery:
        pieces = ["{", json_of(300), "", json_of(40_000), "\u2603"]
        send, receive = trio.open_memory_channel[str](0)
        for _ in range(2):
            send, receive = trio.open_memory_channel[str](0)
            nursery.start_soon(ws.send, receive)
            before = len(client.payloads)
            for number, piece in enumerate(pieces):
                await send.send(piece)
                frame = await client.receive_frame()
                assert frame is not None
                assert frame[:2] == (False, CONTINUATION if number else TEXT)
                assert client.inflater.decompress(frame.payload).decode() == piece
                assert client.payloads[-1].endswith(TAIL) or not piece
            send.close()
            assert await client.receive_frame() == (True, CONTINUATION, b"\x00")
            assert client.inflater.decompress(b"\x00" + TAIL) == b""
            assert client.compressed[before:] == [True, *[False] * len(pieces)]
            if offer == NO_CONTEXT:
                client.begin_context_anew()
        await ws.send("behind it " * 100)
        assert await client.receive_inflated() == "behind it " * 100
        assert client.compressed[-1]


async def test_a_secret_in_pieces_goes_as_it_is() -> None:
    """With ``compress=False``, and the context of the others goes on."""
    words = json_of(500)
    async with held() as (ws, client, _):
        await ws.send([words])
        await ws.send(["secret", " " * 1000], compress=False)
        assert ws.try_send("secret" * 100, compress=False)
        await ws.send([words])
        await ws.send(words)
        assert await client.receive_inflated() == words
        assert await client.receive_inflated() == "secret" + " " * 1000
        assert await client.receive_inflated() == "secret" * 100
        assert not any(client.compressed[2:6])
        assert await client.receive_inflated() == words
        assert await client.receive_inflated() == words
        assert len(client.payloads[-1]) < len(client.payloads[0]) / 5


@pytest.mark.parametrize("offer", OFFERS)
async def test_messages_of_all_sizes_are_sent_on_as_they_come(offer: str) -> None:
    """In pieces or put together, compressed or not, and the record tells of both sizes."""

    async def handler(ws: trioecho.WebSocket) -> None:
        while True:
            async with ws.receive_stream() as stream:
                await ws.send(stream)
            await ws.send(await ws.receive())

    sizes = (0, 1, 200, 2000, 16_384, TURN - 1, TURN, TURN + 1, 300_000)
    options = {"stream_messages": True, "compression": True}
    async with serving(handler, **options) as server, connected_deflating(server, offer) as client:
        sender = Compressor()
        for size in sizes:
            text = json_of(size)
            for message in (text, text.encode()):
                for _ in range(2):
                    if offer == NO_CONTEXT:
                        sender = Compressor()
                        client.begin_context_anew()
                    await client.stream.send_all(sender.frame(message))
                    assert await client.receive_inflated() == message
        (ws,) = server.connections
        await until(lambda: ws.record.messages_sent == 4 * len(sizes))
        record = ws.record
        assert record.messages_received == 4 * len(sizes)
        assert record.bytes_received == record.bytes_sent == 4 * sum(sizes)
        assert record.wire_bytes_sent == sum(map(len, client.payloads))
        assert record.wire_bytes_received < record.bytes_received / 2


BOMB_SIZE = 4_000_000
"""Bytes that a frame of 4 KB stands for, which is read in one go where `FIRST` was received before."""

FIRST = random.Random(1).randbytes(8192)
"""A message that is as long on the wire: as much is read at once from there on."""


async def test_a_bomb_is_read_in_bounded_memory_and_holds_up_nobody() -> None:
    """While no piece is taken, a turn of it is there; then it comes turn by turn, though the socket is silent."""
    async with held(max_message_size=1000) as (ws, client, _), trio.open_nursery() as nursery:
        sender = Compressor()
        bomb = sender.frame(bytes(BOMB_SIZE))
        assert len(bomb) < 5000
        rounds = 0

        async def count() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await trio.lowlevel.checkpoint()

        await client.stream.send_all(bomb)
        async with ws.receive_stream() as stream:
            gc.collect()
            tracemalloc.start()
            try:
                await trio.testing.wait_all_tasks_blocked(0.02)
                nursery.start_soon(count)
                size = 0
                async for piece in stream:
                    size += len(piece)
                assert tracemalloc.get_traced_memory()[1] < MIB
            finally:
                tracemalloc.stop()
        nursery.cancel_scope.cancel()
        assert size == BOMB_SIZE
        assert rounds > BOMB_SIZE / TURN
        assert (ws.record.bytes_received, ws.record.wire_bytes_received) == (size, len(bomb) - 8)


@pytest.mark.parametrize("rest_comes", ["before", "after"])
@pytest.mark.parametrize("taken", [0, 1, 10])
async def test_a_bomb_that_is_left_keeps_the_context_in_step(taken: int, rest_comes: str) -> None:
    """The rest is inflated, bounded, and thrown away; the next message refers to it, and is understood."""
    words = json_of(3000).encode()
    context = Context()
    first = compressed_frame(BINARY, context.flushed(bytes(BOMB_SIZE)), fin=False)
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        rest = client.frame(CONTINUATION, context.payload(words)) + context.frame(words)
        assert len(rest) < 1.2 * len(words)
        got: list[str | bytes] = []

        async def take_next() -> None:
            got.append(await ws.receive())

        await client.stream.send_all(first + (rest if rest_comes == "before" else b""))
        async with ws.receive_stream() as stream:
            for _ in range(taken):
                await anext(stream)
        tracemalloc.start()
        try:
            nursery.start_soon(take_next)
            if rest_comes == "after":
                # It waits for more to come, though none of what comes first is for it.
                await trio.testing.wait_all_tasks_blocked(0.01)
                await client.stream.send_all(rest)
            await until(lambda: got)
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()
        assert got == [words]
        assert (ws.record.messages_received, ws.record.messages_discarded) == (2, not taken)


@one_way
async def test_who_leaves_a_bomb_is_told_of_the_close_behind_it() -> None:
    """When it asks for the next message, and by `closing` when it leaves what was thrown away behind."""
    async with held() as (ws, client, _):
        await client.stream.send_all(Compressor().frame(bytes(BOMB_SIZE)) + client.frame(8, b"\x0f\xa0"))
        async with ws.receive_stream():
            pass
        with pytest.raises(trioecho.WebSocketEnded, match="the peer sent Close"):
            await ws.receive()
        assert ws.close_code == 4000
        assert ws.record.messages_discarded == 1


@pytest.mark.parametrize("how", ["receive", "stream"])
@pytest.mark.parametrize("behind", ["", "a Close", "an error", "a message"])
async def test_a_message_that_is_too_big_when_it_is_inflated_ends_the_connection(
    how: str, behind: str
) -> None:
    """1009 in time, by `max_message_size` for `receive` and by its own limit for a stream; nothing comes after it."""
    raised: list[str] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        assert await ws.receive() == FIRST
        gc.collect()
        tracemalloc.start()
        try:
            if how == "receive":
                await ws.receive()
            else:
                await read(ws, max_size=200_000)
        except trioecho.WebSocketBroken as error:
            assert tracemalloc.get_traced_memory()[1] < 2 * MIB
            raised.append(str(error))
            with pytest.raises(trioecho.WebSocketBroken):
                await ws.receive()
            raise
        finally:
            tracemalloc.stop()

    options: dict[str, Any] = {
        "stream_messages": True,
        "compression": True,
        "max_message_size": 200_000,
        "close_timeout": 0.2,
    }
    async with serving(handler, **options) as server, connected_deflating(server) as client:
        sender = Compressor()
        first, data = sender.frame(FIRST), sender.frame(bytes(BOMB_SIZE))
        if behind == "a message":
            data += sender.frame(b"behind")
        elif behind:
            data += client.frame(8, b"\x0f\xa0") if behind == "a Close" else client.frame(CONTINUATION)
        await client.stream.send_all(first)
        await until(lambda: server.connections and server.connections[0].record.messages_received)
        await client.stream.send_all(data)
        code, reason = await client.receive_close()
        assert (code, raised != []) == (1009, True)
        if behind != "an error":
            assert reason.startswith("message has at least 262")
            assert reason.endswith("bytes; at most 200000 are accepted")
        await client.close(1009)
        await until(lambda: server.records)
    record = server.records[0]
    assert record.cause == "message too big"
    assert record.messages_received == 2 + (behind == "a message")


@pytest.mark.parametrize("read_as", ["receive", "stream"])
@pytest.mark.parametrize(
    ("bad", "code", "reason"),
    [
        (b"\xff\xff", 1007, "compressed message cannot be inflated"),
        (b"\x03\x00\x03\x00", 1007, "compressed message goes on behind its final block"),
        (Compressor().payload(b"\xff"), 1007, "text is not UTF-8"),
        (Compressor().payload("\u2603".encode()[:2]), 1007, "text is not UTF-8"),
    ],
    ids=["undecodable", "behind the final block", "not UTF-8", "cut within a character"],
)
async def test_what_cannot_be_inflated_is_told_behind_what_came_before_it(
    read_as: str, bad: bytes, code: int, reason: str
) -> None:
    """The message before it, and the pieces before it; then 1007."""
    got: list[str | bytes] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        got.append(await ws.receive())
        if read_as == "receive":
            with pytest.raises(trioecho.WebSocketBroken):
                await ws.receive()
            return
        async with ws.receive_stream() as stream:
            got.append(await anext(stream))
            begun.set()
            with pytest.raises(trioecho.WebSocketBroken):
                await anext(stream)

    begun = trio.Event()
    options: dict[str, Any] = {"stream_messages": True, "compression": True}
    async with serving(handler, **options) as server, connected_deflating(server) as client:
        context = Context()
        await client.stream.send_all(context.frame("before " * 50_000))
        await client.stream.send_all(compressed_frame(TEXT, context.flushed(b"begin"), fin=False))
        if read_as == "stream":
            await begun.wait()
        await client.send_frame(CONTINUATION, bad)
        found, said = await client.receive_close()
        assert found == code
        assert said.startswith(reason)
    assert got == ["before " * 50_000, *(["begin"] if read_as == "stream" else [])]


@pytest.mark.parametrize("how", ["receive", "stream"])
async def test_a_graceful_stop_delivers_what_was_read(how: str) -> None:
    """All of a bomb that was read before the stop, and the message behind it."""
    may_go = trio.Event()
    sizes: list[int] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        await may_go.wait()
        for _ in range(3):
            sizes.append(len(await (ws.receive() if how == "receive" else read(ws))))
        with pytest.raises(trioecho.WebSocketEnded, match="stops"):
            await ws.receive()
        await ws.send("understood")

    options = {"stream_messages": True, "compression": True, "max_message_size": BOMB_SIZE}
    async with serving(handler, **options) as server, connected_deflating(server) as client:
        sender = Compressor()
        await client.stream.send_all(sender.frame(FIRST))
        await until(lambda: server.connections and server.connections[0].record.messages_received)
        await client.stream.send_all(sender.frame(bytes(BOMB_SIZE)) + sender.frame("behind"))
        await until(lambda: server.connections[0]._incoming.behind)
        server.stop()
        await client.send("too late")
        await trio.testing.wait_all_tasks_blocked(0.01)
        may_go.set()
        assert await client.receive_inflated() == "understood"
        assert (await client.receive_close())[0] == 1001
        await client.close(1001)
        await until(lambda: server.records)
    record = server.records[0]
    assert sizes == [len(FIRST), BOMB_SIZE, 6]
    assert (record.messages_received, record.messages_discarded, record.cause) == (4, 1, "server stopping")


@pytest.mark.parametrize("taken", [False, True])
async def test_a_close_among_what_was_read_is_found(taken: bool) -> None:
    """A handler that leaves in the middle does not wait for a Close that has come; messages are counted once."""

    async def leave(ws: trioecho.WebSocket) -> None:
        async with ws.receive_stream() as stream:
            if taken:
                await anext(stream)

    options: dict[str, Any] = {"stream_messages": True, "compression": True}
    async with serving(leave, **options) as server, connected_deflating(server) as client:
        begun = trio.current_time()
        sender = Compressor()
        data = sender.frame(bytes(BOMB_SIZE)) + sender.frame("another") + client.frame(8, b"\x0b\xb9")
        await client.stream.send_all(data)
        assert (await client.receive_close())[0] == 1000
        await until(lambda: server.records)
        assert trio.current_time() - begun < 4, "close_timeout is 5 seconds"
    record = server.records[0]
    assert (record.code_received, record.messages_received) == (3001, 2)
    assert record.messages_discarded == 2 - taken


@one_way
async def test_a_lost_client_loses_nothing_that_was_read() -> None:
    """Behind a bomb, the reset is told when it has been taken."""
    async with held() as (ws, client, _):
        await client.stream.send_all(Compressor().frame(bytes(BOMB_SIZE)))
        await until(lambda: ws._incoming.behind)
        reset(client)
        size = 0
        async with ws.receive_stream() as stream:
            async for piece in stream:
                size += len(piece)
        assert size == BOMB_SIZE
        with pytest.raises(trioecho.WebSocketBroken):
            await ws.receive()


@pytest.mark.parametrize("how", ["cancelled", "raised"])
async def test_pieces_that_are_cut_off_end_the_connection_and_others_leave_it_in_step(how: str) -> None:
    """Before the first fragment nothing has been sent, and the next message is understood; after it 1011."""
    words = json_of(1000)

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send([words])
        for before in (True, False):
            with trio.CancelScope() as scope:

                async def pieces(
                    scope: trio.CancelScope = scope, before: bool = before
                ) -> AsyncIterator[str]:
                    if not before:
                        yield words
                    if how == "raised":
                        raise LookupError
                    scope.cancel()
                    yield words

                with contextlib.suppress(LookupError):
                    await ws.send(pieces())
            if before:
                await ws.send(words)

    options: dict[str, Any] = {"stream_messages": True, "compression": True}
    async with serving(handler, **options) as server, connected_deflating(server) as client:
        assert await client.receive_inflated() == words
        assert await client.receive_inflated() == words
        frame = await client.receive_frame()
        assert frame is not None
        assert not frame.fin
        assert client.inflater.decompress(frame.payload).decode() == words
        assert await client.receive_close() == (1011, "message cut off")
        await client.close(1011)
        await until(lambda: server.records)
    assert server.records[0].messages_sent == 2


@one_way
async def test_an_endless_message_waits_for_its_reader() -> None:
    """The pieces that are sent are compressed as the peer takes them: memory holds one."""
    asked = 0

    def pieces() -> Iterator[bytes]:
        nonlocal asked
        for _ in range(150):
            asked += 1
            yield noise

    noise = random.Random(13).randbytes(100_000)
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        nursery.start_soon(ws.send, pieces())
        await until(lambda: ws._outgoing.stuck)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert asked < 140
        total = 0
        fin = False
        while not fin:
            frame = await client.receive_frame()
            assert frame is not None
            total += len(client.inflater.decompress(frame.payload + (TAIL if frame.fin else b"")))
            fin = frame.fin
        assert total == 150 * len(noise)
