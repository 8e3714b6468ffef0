"""A message read while it arrives: piece by piece, bounded, in its place among the others, and never mistaken for whole
when it is not."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from serving import connected, one_way, plain_tcp, reset, serving, until
from serving import slow_clock as slow_clock
from serving import way_of_reading as way_of_reading
from websockets.sync.client import connect

import trioecho
from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient

CHUNK = bytes(range(256)) * 256
"""64 KiB."""


@contextlib.asynccontextmanager
async def held(**options: object) -> AsyncIterator[tuple[trioecho.WebSocket, RawClient, trioecho.Server]]:
    """A connection's two ends, its WebSocket lent by a handler, and the server; the handler ends on leaving."""
    lent: list[trioecho.WebSocket] = []
    done = trio.Event()

    async def lend(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await done.wait()

    options.setdefault("stream_messages", True)
    async with serving(lend, **options) as server, connected(server) as client:
        await until(lambda: lent)
        yield lent[0], client, server
        done.set()


async def begin(client: RawClient, payload: bytes, opcode: int = TEXT) -> None:
    await client.send_frame(opcode, payload, fin=False)


async def test_each_piece_is_there_before_the_next_has_come() -> None:
    """Also a part of a frame; a character that is cut waits for its last byte; text or not is known from the start."""
    async with held() as (ws, client, _):
        await begin(client, "gr\u00fc".encode()[:3])
        async with ws.receive_stream() as stream:
            assert stream.text
            assert await anext(stream) == "gr"
            frame = client.frame(CONTINUATION, "\u00fc".encode()[1:] + b"n " + b"x" * 1000, fin=False)
            await client.stream.send_all(frame[:10])
            assert await anext(stream) == "\u00fcn"
            await client.stream.send_all(frame[10:])
            assert await anext(stream) == " " + "x" * 1000
            await client.send_frame(CONTINUATION, b"end")
            assert [piece async for piece in stream] == ["end"]
            assert [piece async for piece in stream] == []
        await client.send(b"bytes")
        async with ws.receive_stream() as stream:
            assert not stream.text
            assert [piece async for piece in stream] == [b"bytes"]
        assert (ws.record.messages_received, ws.record.messages_discarded) == (2, 0)


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("message", ["", b"", "text", b"bytes"])
async def test_a_message_has_one_piece_at_least_and_no_other_empty_one(
    message: str | bytes, cut: bool
) -> None:
    """So that sending it on sends a message of the same kind; an end without bytes is no piece."""
    async with held() as (ws, client, _):
        payload = message.encode() if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        await client.send_frame(opcode, payload, fin=not cut)
        async with trio.open_nursery() as nursery:
            if cut and payload:
                nursery.start_soon(finish_when_begun, client, ws)
            elif cut:
                await client.send_frame(CONTINUATION, b"")
            async with ws.receive_stream() as stream:
                assert stream.text is isinstance(message, str)
                assert [piece async for piece in stream] == [message]


async def finish_when_begun(client: RawClient, ws: trioecho.WebSocket) -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)
    await client.send_frame(CONTINUATION, b"")


async def test_streams_and_whole_messages_take_turns() -> None:
    """`receive` puts together what came in pieces, and waits for all of them."""
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        got: list[str | bytes] = []

        async def receive() -> None:
            got.append(await ws.receive())

        await begin(client, b"a")
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert got == []
        await client.send_frame(CONTINUATION, b"b", fin=False)
        await client.send_frame(CONTINUATION, b"c")
        await until(lambda: got)

        async def send() -> None:
            await client.send(b"x" * 200_000)
            await client.send("last")

        nursery.start_soon(send)
        async with ws.receive_stream() as stream:
            size = 0
            async for piece in stream:
                size += len(piece)
        assert size == 200_000
        assert [*got, await ws.receive()] == ["abc", "last"]


async def test_a_cancelled_receive_loses_nothing_of_a_message_in_pieces() -> None:
    """The next call gets all of it, whole or in pieces."""
    async with held() as (ws, client, _):
        await begin(client, b"a")
        for _ in range(2):
            with trio.move_on_after(0.01) as scope:
                await ws.receive()
            assert scope.cancelled_caught
        async with ws.receive_stream() as stream:
            assert await anext(stream) == "a"
            with trio.move_on_after(0.01) as scope:
                await anext(stream)
            assert scope.cancelled_caught
            await client.send_frame(CONTINUATION, b"b")
            assert await anext(stream) == "b"


async def test_leaving_early_throws_the_rest_away_and_the_next_message_comes() -> None:
    """What has come and what is still coming; counted only if nothing of it was read."""
    async with held() as (ws, client, _):
        for read in (True, False):
            await begin(client, b"begin")
            async with ws.receive_stream() as stream:
                if read:
                    await anext(stream)

            async def go_on() -> None:
                for _ in range(50):
                    await client.send_frame(CONTINUATION, CHUNK.hex().encode(), fin=False)
                await client.send_frame(CONTINUATION, b"end")
                await client.send("next")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(go_on)
                assert await ws.receive() == "next"
            assert ws.record.messages_discarded == (0 if read else 1)
        assert ws.record.messages_received == 4


async def test_leaving_early_reads_on_by_itself() -> None:
    """Though reading was paused, and nobody asks for another message: the Close behind the rest is noticed."""
    async with held() as (ws, client, _), trio.open_nursery() as nursery:

        async def upload() -> None:
            await begin(client, CHUNK, BINARY)
            for _ in range(200):
                await client.send_frame(CONTINUATION, CHUNK, fin=False)
            await client.send_frame(CONTINUATION)
            await client.close(4000)

        nursery.start_soon(upload)
        async with ws.receive_stream():
            await trio.testing.wait_all_tasks_blocked(0.1)
        with trio.fail_after(10):
            await ws.closing.wait()
        assert ws.record.messages_discarded == 1


async def test_an_exception_in_the_block_goes_on() -> None:
    """And the connection is as good as before."""
    async with held() as (ws, client, _):
        await client.send("a")
        await client.send("b")
        with pytest.raises(ZeroDivisionError):
            async with ws.receive_stream():
                raise ZeroDivisionError
        assert await ws.receive() == "b"


async def test_a_message_of_any_size_is_read_in_bounded_memory_and_the_client_has_to_wait() -> None:
    """While no piece is taken, the client's sends block; the limit for whole messages does not count."""
    count = 500
    sent = 0
    async with held(max_message_size=1000) as (ws, client, _), trio.open_nursery() as nursery:

        async def upload() -> None:
            nonlocal sent
            await begin(client, CHUNK, BINARY)
            for number in range(count):
                await client.send_frame(CONTINUATION, CHUNK, fin=number == count - 1)
                sent += 1

        nursery.start_soon(upload)
        async with ws.receive_stream() as stream:
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert sent < count / 2, "nothing held the client back"
            size = 0
            tracemalloc.start()
            try:
                async for piece in stream:
                    size += len(piece)
                assert tracemalloc.get_traced_memory()[1] < 20 * len(CHUNK)
            finally:
                tracemalloc.stop()
        assert size == (count + 1) * len(CHUNK)
        assert (ws.record.messages_received, ws.record.bytes_received) == (1, size)


@plain_tcp
async def test_an_echo_of_a_huge_message_takes_little_memory() -> None:
    """Both directions at once: 64 MiB in and out, a megabyte or two held."""
    count = 1024

    async def handler(ws: trioecho.WebSocket) -> None:
        async with ws.receive_stream() as stream:
            await ws.send(stream)

    heard = 0
    async with serving(handler, stream_messages=True) as server, connected(server) as client:
        async with trio.open_nursery() as nursery:

            async def upload() -> None:
                masked = client.frame(CONTINUATION, CHUNK, fin=False)
                await begin(client, CHUNK, BINARY)
                for _ in range(count - 2):
                    await client.stream.send_all(masked)
                await client.send_frame(CONTINUATION, CHUNK)

            tracemalloc.start()
            try:
                nursery.start_soon(upload)
                fin = False
                while not fin:
                    frame = await client.receive_frame()
                    assert frame is not None
                    assert frame.opcode == (CONTINUATION if heard else BINARY)
                    heard += len(frame.payload)
                    fin = frame.fin
                assert tracemalloc.get_traced_memory()[1] < 4_000_000
            finally:
                tracemalloc.stop()
        assert heard == count * len(CHUNK)
        await client.close(1000)
        await until(lambda: server.records)
    assert server.records[0].bytes_sent == server.records[0].bytes_received == heard


@one_way
async def test_a_real_client_has_its_fragments_echoed() -> None:
    """websockets sends an iterable as one message in fragments."""
    pieces = ["a", "gr\u00fcn", "x" * 100_000]

    async def handler(ws: trioecho.WebSocket) -> None:
        while True:
            async with ws.receive_stream() as stream:
                await ws.send(stream)

    def talk(url: str) -> list[str | bytes]:
        with connect(url, proxy=None) as ws:
            ws.send(iter(pieces))
            ws.send([piece.encode() for piece in pieces])
            ws.send("")
            return [ws.recv(10), ws.recv(10), ws.recv(10)]

    async with serving(handler, stream_messages=True) as server:
        url = server.url.replace("http", "ws", 1).rstrip("/") + "/ws"
        whole = "".join(pieces)
        assert await trio.to_thread.run_sync(talk, url) == [whole, whole.encode(), ""]
        await until(lambda: server.records)
    assert server.records[0].cause == "peer closed"


async def test_pings_between_the_fragments_are_answered() -> None:
    """While the handler waits for the next piece."""
    async with held() as (ws, client, _):
        await begin(client, b"a")
        async with ws.receive_stream() as stream:
            assert await anext(stream) == "a"
            await client.send_frame(PING, b"?")
            with trio.move_on_after(0.01):
                await anext(stream)
            assert await client.receive_frame() == (True, PONG, b"?")
            await client.send_frame(CONTINUATION, b"b")
            assert await anext(stream) == "b"


@pytest.mark.parametrize(
    ("how", "kind", "sentence"),
    [
        ("close", trioecho.WebSocketBroken, "the peer sent Close"),
        ("reset", trioecho.WebSocketBroken, "TCP ended or was reset"),
        ("bad text", trioecho.WebSocketBroken, "is not UTF-8"),
        ("stop", trioecho.WebSocketBroken, "the server stops"),
        ("aclose", trioecho.WebSocketClosed, "was called"),
    ],
)
async def test_a_message_that_breaks_off_is_not_taken_for_whole(
    how: str, kind: type[Exception], sentence: str
) -> None:
    """What has come of it is delivered; then it raises, by what has ended the connection."""
    async with held(close_timeout=0.2) as (ws, client, server), trio.open_nursery() as nursery:
        await begin(client, b"begin")
        async with ws.receive_stream() as stream:
            if how != "aclose":
                await {
                    "close": lambda: client.close(4000),
                    "reset": lambda: reset_now(client),
                    "bad text": lambda: client.send_frame(CONTINUATION, b"\xff"),
                    "stop": lambda: stop(server),
                }[how]()
                await ws.closing.wait()
                assert await anext(stream) == "begin"
            else:
                assert await anext(stream) == "begin"
                nursery.start_soon(ws.aclose, 4000)
            for _ in range(2):
                with pytest.raises(kind, match=sentence):
                    await anext(stream)
        if how == "bad text":
            assert ws.close_code == 1006
        nursery.cancel_scope.cancel()


async def reset_now(client: RawClient) -> None:
    # What is in flight would be lost with the reset.
    await trio.testing.wait_all_tasks_blocked(0.02)
    reset(client)


async def stop(server: trioecho.Server) -> None:
    await trio.testing.wait_all_tasks_blocked(0.02)
    server.stop(timeout=10)


@plain_tcp
async def test_a_half_closed_connection_delivers_the_stream_and_takes_the_answer() -> None:
    """The client has sent all, ended its half of TCP, and waits for the echo."""

    async def handler(ws: trioecho.WebSocket) -> None:
        async with ws.receive_stream() as stream:
            pieces = [piece async for piece in stream]
        await ws.send(b"".join(pieces))  # type: ignore[arg-type]

    async with serving(handler, stream_messages=True) as server, connected(server) as client:
        await begin(client, CHUNK, BINARY)
        await client.send_frame(CONTINUATION, CHUNK)
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        assert await client.receive() == CHUNK * 2


@pytest.mark.parametrize("read", ["stream", "message"])
async def test_a_message_that_breaks_off_is_nothing_for_receive(read: str) -> None:
    """Half a message is no message: `receive` tells the end, as without streams; entering a stream gives the half."""
    async with held() as (ws, client, _):
        await client.send("whole")
        await begin(client, b"half")
        await client.close(4000)
        await ws.closing.wait()
        assert await ws.receive() == "whole"
        if read == "message":
            with pytest.raises(trioecho.WebSocketEnded):
                await ws.receive()
        else:
            async with ws.receive_stream() as stream:
                assert await anext(stream) == "half"
        with pytest.raises(trioecho.WebSocketEnded, match="the peer sent Close"):
            async with ws.receive_stream():
                pass
        assert ws.close_code == 4000
        assert (ws.record.messages_received, ws.record.messages_discarded) == (1, 0)


async def test_each_piece_taken_after_the_close_leaves_time_for_answers(
    slow_clock: trio.testing.MockClock,
) -> None:
    """As each message does: sends go out until `answer_timeout` after the last piece."""
    async with held(answer_timeout=0.3) as (ws, client, _):
        await client.send("owed")
        # Too long to be joined, and read one after the other.
        await begin(client, bytes(2000), BINARY)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await client.send_frame(CONTINUATION, bytes(2000))
        await client.close(4000)
        await ws.closing.wait()
        assert await ws.receive() == "owed"
        async with ws.receive_stream() as stream:
            async for _ in stream:
                slow_clock.jump(0.2)
                await trio.testing.wait_all_tasks_blocked()
                await ws.send("answer")
        assert [await client.receive(), await client.receive()] == ["answer", "answer"]


@pytest.mark.parametrize("how", ["receive", "receive in pieces", "stream", "stream in pieces"])
async def test_a_message_that_is_too_big_ends_the_connection(how: str) -> None:
    """1009 with the sizes, by `max_message_size` for `receive` and by its own limit for a stream."""
    raised = []

    async def handler(ws: trioecho.WebSocket) -> None:
        assert await ws.receive() == "\u00fc" * 50
        try:
            if how.startswith("receive"):
                await ws.receive()
            else:
                async with ws.receive_stream(max_size=100) as stream:
                    async for _ in stream:
                        pass
        except trioecho.WebSocketBroken as error:
            raised.append(str(error))
            raise

    options = {"stream_messages": True, "max_message_size": 100}
    async with serving(handler, **options) as server, connected(server) as client:
        await client.send("\u00fc" * 50)
        if how.endswith("pieces"):
            await begin(client, b"x" * 51)
            await client.send_frame(CONTINUATION, b"\xc3\xbc" * 25, fin=False)
        else:
            await client.send("x" + "\u00fc" * 50)
        frame = await client.receive_frame()
        assert frame is not None
        assert frame.opcode == CLOSE
        assert frame.close == (1009, "message has at least 101 bytes; at most 100 are accepted")
        await client.stream.aclose()
        await until(lambda: server.records)
    (record,) = server.records
    assert (record.cause, record.closed_first, record.clean) == ("message too big", "server", False)
    assert raised == ["a message exceeds `max_message_size` or `max_fragments`"]


async def test_a_message_that_is_too_big_does_so_behind_a_close_as_well() -> None:
    """The peer has said Close behind it, and hears 1009 in answer."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.closing.wait()
        with pytest.raises(trioecho.WebSocketBroken):
            await ws.receive()

    async with (
        serving(handler, stream_messages=True, max_message_size=10) as server,
        connected(server) as client,
    ):
        await client.send("x" * 11)
        await client.close(4000)
        assert await client.receive_close() == (
            1009,
            "message has at least 11 bytes; at most 10 are accepted",
        )
        await until(lambda: server.records)
    (record,) = server.records
    assert (record.cause, record.code_sent, record.code_received) == ("message too big", 1009, 4000)
    assert (record.messages_received, record.messages_discarded) == (1, 1)


@pytest.mark.parametrize("second", ["receive", "stream", "iteration"])
async def test_one_message_is_read_at_a_time(second: str) -> None:
    """BusyResourceError for any other reader, in this task or another, and the stream goes on."""
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        await begin(client, b"a")
        async with ws.receive_stream() as stream:
            await anext(stream)
            nursery.start_soon(expect_the_end, stream)
            await trio.testing.wait_all_tasks_blocked(0.01)
            asks = {
                "receive": ws.receive,
                "stream": ws.receive_stream().__aenter__,
                "iteration": stream.__anext__,
            }
            with pytest.raises(trio.BusyResourceError):
                await asks[second]()
            await client.send_frame(CONTINUATION, b"b")
            await until(lambda: ws.record.messages_received)
            await trio.testing.wait_all_tasks_blocked(0.01)
        await client.send("next")
        assert await ws.receive() == "next"


async def expect_the_end(stream: trioecho.MessageStream) -> None:
    assert [piece async for piece in stream] == ["b"]


@one_way
async def test_a_stream_beside_a_task_in_receive_is_refused() -> None:
    """And does not take its message."""
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        got: list[str | bytes] = []

        async def receive() -> None:
            got.append(await ws.receive())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.BusyResourceError, match="another task"):
            async with ws.receive_stream():
                pass
        await client.send("mine")
        await until(lambda: got)
        assert got == ["mine"]


@one_way
async def test_a_stream_is_used_in_its_block_and_once() -> None:
    """RuntimeError with a sentence before, after, and the second time."""
    async with held() as (ws, client, _):
        await client.send("a")
        stream = ws.receive_stream()
        with pytest.raises(RuntimeError, match=r"inside of a block: async with ws\.receive_stream\(\)"):
            await anext(stream)
        with pytest.raises(RuntimeError, match=r"inside of a block: async with ws\.receive_stream\(\)"):
            _ = stream.text
        async with stream:
            pass
        assert "closed" in repr(stream)
        with pytest.raises(RuntimeError, match="has been left"):
            await anext(stream)
        with pytest.raises(RuntimeError, match="read once"):
            async with stream:
                pass


@one_way
async def test_without_the_option_it_says_which_one_is_missing() -> None:
    """And a limit that is none is refused at once."""
    async with held(stream_messages=False) as (ws, _, _):
        with pytest.raises(RuntimeError, match=r"serve with WebSocketOptions\(stream_messages=True\)"):
            ws.receive_stream()
    async with held() as (ws, _, _):
        for wrong in (1.5, True, "1"):
            with pytest.raises(TypeError, match="max_size takes a whole number of bytes, or None; you gave"):
                ws.receive_stream(max_size=wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least 1"):
            ws.receive_stream(max_size=0)


async def test_a_client_that_goes_on_with_its_message_is_not_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A long upload takes longer than `idle_timeout`, and each piece of it counts; silence in the middle of it does."""
    async with trioecho.testing.open_client(
        collect, options=trioecho.WebSocketOptions(stream_messages=True, idle_timeout=10)
    ) as client:
        await begin(client, b"a")
        for _ in range(5):
            await trio.sleep(8)
            await client.send_frame(CONTINUATION, b"a", fin=False)
        await client.send_frame(CONTINUATION, b"a")
        assert await client.receive() == "aaaaaaa"
        await begin(client, b"a")
        began = trio.current_time()
        assert await client.receive_close() == (1001, "idle timeout")
        assert trio.current_time() - began == pytest.approx(10, abs=0.5)
        await client.close(1001)


async def collect(ws: trioecho.WebSocket) -> None:
    while True:
        async with ws.receive_stream() as stream:
            await ws.send("".join([str(piece) async for piece in stream]))
