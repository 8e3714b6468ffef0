"""Peers of all bad characters. Each is let go of in time, costs little, and another client is served meanwhile."""

from __future__ import annotations

import contextlib
import random
import socket
import struct

import pytest
import trio
import trio.testing
from allocations import memory_within
from serving import (
    PATIENCE,
    connected,
    open_stream,
    pass_time,
    plain_tcp,
    reset,
    serving,
    serving_in_memory,
    someone_else_is_served,
    until,
)
from serving import slow_clock as slow_clock
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def push(client: RawClient, data: bytes) -> None:
    """Send `data` again and again until nobody takes it any more."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await client.stream.send_all(data)


async def nobody_moves() -> None:
    """Wait until every task of this run waits for something that does not come."""
    await trio.testing.wait_all_tasks_blocked(0.05)


# In the handshake.


async def test_the_one_who_sends_half_a_head(slow_clock: trio.testing.MockClock) -> None:
    """408 after handshake_timeout, not before, and the connection is closed."""
    async with serving(handshake_timeout=0.5) as server:
        stream = await open_stream(server)
        await stream.send_all(HEAD[:60])
        await someone_else_is_served(server)
        answer: list[bytes] = []

        async def listen() -> None:
            answer.append(bytes(await stream.receive_some()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await pass_time(slow_clock, 0.3, until=lambda: answer)
            assert not answer
            slow_clock.jump(0.2)
        assert answer[0].startswith(b"HTTP/1.1 408")
        await trio.aclose_forcefully(stream)


async def test_the_one_who_sends_its_head_byte_by_byte() -> None:
    """Slow, but in time, and all the same a client."""
    async with serving() as server:
        client = RawClient(await open_stream(server))
        for index in range(len(HEAD) - 1):
            await client.stream.send_all(HEAD[index : index + 1])
        await someone_else_is_served(server)
        await client.stream.send_all(HEAD[-1:])
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += await client.stream.receive_some(1)
        assert received.startswith(b"HTTP/1.1 101")
        await client.send("hello")
        assert await client.receive() == "hello"
        await trio.aclose_forcefully(client.stream)


async def test_the_one_who_never_finishes_its_head() -> None:
    """A head without end is refused at 16 KiB, however slowly memory would have filled."""
    async with serving() as server:
        client = RawClient(await open_stream(server))
        await client.stream.send_all(HEAD[:-2])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, client, b"X-Filler: " + b"x" * 1000 + b"\r\n")
            await someone_else_is_served(server)
            assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 431")
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(client.stream)


@pytest.mark.parametrize("behind", ["close", "error", "nothing"])
async def test_the_one_who_leaves_at_once(behind: str) -> None:
    """What ends the connection comes with the handshake: a handler that only sleeps is cancelled in time."""
    cancelled = trio.Event()

    async def sleeper(ws: trioecho.WebSocket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    handlers = {"/ws": trioecho.echo, "/sleep": sleeper}
    async with serving(handlers, close_timeout=0.05) as server:
        client = RawClient(await open_stream(server))
        said = {
            "close": client.frame(CLOSE, b"\x03\xe8"),
            "error": client.frame(3),
            "nothing": b"",
        }[behind]
        await client.handshake("/sleep", behind=said)
        if behind == "nothing":
            reset(client)
        await cancelled.wait()
        await someone_else_is_served(server)
        await trio.aclose_forcefully(client.stream)


# Those who do not read.


async def test_the_one_who_never_reads() -> None:
    """It pushes as much as the server takes: its own window fills, memory does not."""
    async with serving(close_timeout=0.1) as server, connected(server) as client:
        with memory_within(4_000_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push, client, client.frame(BINARY, bytes(100_000)))
                await nobody_moves()
                await someone_else_is_served(server)
                await until(lambda: len(server.connections) == 1)
                (ws,) = server.connections
                before = ws.record.bytes_received
                await nobody_moves()
                assert ws.record.bytes_received == before, (
                    "the server goes on reading from a client that does not"
                )
                nursery.cancel_scope.cancel()


async def test_the_one_who_reads_slowly(slow_clock: trio.testing.MockClock) -> None:
    """It answers no Ping for longer than keep-alive allows, since that stands behind megabytes: it lives, and stays."""
    size = 16_000_000

    async def much(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.send(bytes(size))
        await ws.receive()

    handlers = {"/ws": trioecho.echo, "/much": much}
    options = {"keep_alive_interval": 0.6, "keep_alive_timeout": 0.6}
    async with serving(handlers, **options) as server, connected(server, path="/much") as client:
        # What the kernel has taken, nobody sees the progress of.
        tcp = client.stream.transport_stream if isinstance(client.stream, trio.SSLStream) else client.stream
        assert isinstance(tcp, trio.SocketStream)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        await client.send("go")
        received = 0
        while received < size:
            piece = await client.stream.receive_some(100_000)
            assert piece, f"the server hung up after {received} bytes"
            received += len(piece)
            slow_clock.jump(len(piece) / 8_000_000)
            await trio.testing.wait_all_tasks_blocked()
        assert [record.cause for record in server.records] == []
        await someone_else_is_served(server)


async def test_the_one_who_never_reads_small_messages() -> None:
    """The same with the smallest of messages, which cost most in objects: bytes, text, and nothing at all."""
    async with serving(close_timeout=0.1) as server, connected(server) as client:
        frames = client.frame(BINARY, b"ab") + client.frame(TEXT, b"cd") + client.frame(BINARY)
        chunk = frames * 3000
        with memory_within(8_000_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push, client, chunk)
                await nobody_moves()
                await someone_else_is_served(server)
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize("before", [PING, PONG])
async def test_the_one_who_breaks_the_protocol_right_behind_a_control_frame(before: int) -> None:
    """In one chunk with a Ping or a Pong: the Ping is answered, and the error has its goodbye."""
    async with serving() as server, connected(server) as client:
        await client.stream.send_all(client.frame(before, b"?") + b"\xff" * 7)
        frame = await client.receive_frame()
        assert frame is not None
        if before == PING:
            assert (frame.opcode, frame.payload) == (PONG, b"?")
            frame = await client.receive_frame()
            assert frame is not None
        assert frame.close == (1002, "reserved bits are set, but no extension was agreed on")
        await client.stream.aclose()
        await until(lambda: server.records)
        assert server.records[0].cause == "protocol error"


async def test_the_one_who_pings_while_the_handler_closes() -> None:
    """Pings in flight when the server says its Close are not answered and do no harm."""

    async def close_after_one(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.aclose(4000, "enough")

    handlers = {"/ws": trioecho.echo, "/once": close_after_one}
    async with serving(handlers) as server, connected(server, path="/once") as client:
        pings = client.frame(PING, b"?") * 200
        await client.stream.send_all(pings + client.frame(TEXT, b"go") + pings)
        frame = await client.receive_frame()
        while frame is not None and frame.opcode == PONG:
            frame = await client.receive_frame()
        assert frame is not None
        assert frame.close == (4000, "enough")
        await client.stream.send_all(pings)
        await client.close(4000)
        assert await client.receive_rest() == []
        await until(lambda: server.records)
        assert (server.records[0].cause, server.records[0].clean) == ("application closed", True)
        await someone_else_is_served(server)


async def test_the_one_whose_close_stands_behind_an_unanswered_ping() -> None:
    """It does not read, so its Ping waits, and its Close behind it; once it reads, the goodbye is complete."""

    async def much(ws: trioecho.WebSocket) -> None:
        await ws.send(bytes(20_000_000))

    handlers = {"/ws": trioecho.echo, "/much": much}
    # Did the server wait for a Close that it had received, it would for longer than the test.
    options = {"close_timeout": 2 * PATIENCE}
    async with serving(handlers, **options) as server, connected(server, path="/much") as client:
        await nobody_moves()
        await client.stream.send_all(client.frame(PING, b"?") + client.frame(CLOSE, b"\x0f\xa0"))
        await nobody_moves()
        frames = await client.receive_rest()
        assert frames[0].payload == bytes(20_000_000)
        assert frames[-1].opcode == CLOSE
        await until(lambda: server.records)
        assert (server.records[0].code_received, server.records[0].clean) == (4000, True)


# Those who break off.


@pytest.mark.parametrize("sent", [1, 3, 8, 50_000])
async def test_the_one_who_resets_in_the_middle_of_a_message(sent: int) -> None:
    """Cut off inside the header or the payload: what came whole before it is delivered, and the rest forgotten."""
    taken: list[str | bytes] = []

    async def collect(ws: trioecho.WebSocket) -> None:
        while True:
            taken.append(await ws.receive())

    handlers = {"/ws": trioecho.echo, "/collect": collect}
    async with serving(handlers) as server, connected(server, path="/collect") as client:
        await client.send("whole")
        await client.stream.send_all(client.frame(BINARY, bytes(100_000))[:sent])
        await until(lambda: taken)
        reset(client)
        await until(lambda: server.records)
        await someone_else_is_served(server)
    assert taken == ["whole"]
    assert (server.records[0].cause, server.records[0].messages_received) == ("peer vanished", 1)


@pytest.mark.parametrize("doing", ["send", "receive", "sleep"])
async def test_the_one_who_resets_whatever_the_handler_is_doing(
    doing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler ends: told in send or receive, cancelled in its sleep; and none of it is called a failure."""

    async def handler(ws: trioecho.WebSocket) -> None:
        while doing == "send":
            await ws.send(bytes(1_000_000))
        if doing == "receive":
            await ws.receive()
        await trio.sleep_forever()

    handlers = {"/ws": trioecho.echo, "/busy": handler}
    async with serving(handlers, close_timeout=0.05) as server, connected(server, path="/busy") as client:
        await until(lambda: server.connections)
        await nobody_moves()
        reset(client)
        await until(lambda: server.records)
        await someone_else_is_served(server)
    assert server.records[0].cause == "peer vanished"
    assert server.records[0].handler_cancelled is (doing == "sleep")
    assert not [entry for entry in caplog.records if entry.exc_info]


@plain_tcp
async def test_the_one_who_says_nothing_more_but_listens() -> None:
    """Half-closed TCP: every answer is still delivered."""
    async with serving() as server, connected(server) as client:
        assert isinstance(client.stream, trio.SocketStream)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                await client.stream.send_all(client.frame(BINARY, bytes(50_000)) * 100)
                await client.stream.send_eof()

            nursery.start_soon(ask)
            frames = await client.receive_rest()
        assert [len(frame.payload) for frame in frames] == [50_000] * 100
        await someone_else_is_served(server)


# Those who break the rules.


async def test_the_one_who_sends_a_million_empty_fragments() -> None:
    """1009 as soon as there are more than max_fragments; what comes behind is thrown away unread."""
    async with serving(max_fragments=1000) as server, connected(server) as client:
        with memory_within(4_000_000):
            async with trio.open_nursery() as nursery:
                await client.send_frame(TEXT, b"", fin=False)
                nursery.start_soon(push, client, client.frame(CONTINUATION, b"", fin=False) * 10_000)
                code, reason = await client.receive_close()
                assert (code, "more than 1000 fragments" in reason) == (1009, True)
                await someone_else_is_served(server)
                nursery.cancel_scope.cancel()
        reset(client)


@pytest.mark.parametrize("kind", ["Pings", "unasked Pongs", "empty fragments", "fragments of one byte"])
async def test_the_one_who_floods_with_frames_that_say_nothing(kind: str) -> None:
    """1008 with a sentence, when it has used up the burst that it is allowed; others are served meanwhile."""
    async with serving(flood_limit=10) as server, connected(server) as client:
        pings, pongs = client.frame(PING, b"x"), client.frame(PONG, b"x")
        empty, tiny = (client.frame(CONTINUATION, payload, fin=False) for payload in (b"", b"x"))
        flood = {"Pings": pings, "unasked Pongs": pongs, "empty fragments": empty}.get(kind, tiny)
        async with trio.open_nursery() as nursery:
            if "fragments" in kind:
                await client.send_frame(BINARY, b"", fin=False)
            nursery.start_soon(push, client, flood * 500)
            while (frame := await client.receive_frame()) is not None and frame.opcode == PONG:
                pass
            assert frame is not None
            assert frame.close == (1008, "more than 10 Pings, unasked Pongs and short fragments a second")
            await someone_else_is_served(server)
            nursery.cancel_scope.cancel()
        reset(client)
        await until(lambda: len(server.records) == 2)
        (record,) = [each for each in server.records if each.cause != "peer closed"]
        assert (record.cause, record.clean, record.code_sent) == ("flooding", False, 1008)


async def test_no_flood_is_what_honest_clients_send(autojump_clock: trio.testing.MockClock) -> None:
    """A Ping a second for an hour, a burst of them, Pongs that were asked for, a long message in long fragments, and as
    many tiny messages as they like."""

    async def ping_and_echo(ws: trioecho.WebSocket) -> None:
        for _ in range(200):
            await ws.ping()
        async for message in ws:
            await ws.send(f"{len(message)}")

    async with serving_in_memory(ping_and_echo, flood_limit=1) as stream:
        client = RawClient(stream)
        await client.handshake()
        for _ in range(200):
            frame = await client.receive_frame()
            assert frame is not None
            await client.send_frame(PONG, frame.payload)
        for _ in range(3600):
            await trio.sleep(1)
            await client.send_frame(PING)
            assert (await client.receive_frame()).opcode == PONG  # type: ignore[union-attr]
        for _ in range(100):
            await client.send_frame(PING)
            assert (await client.receive_frame()).opcode == PONG  # type: ignore[union-attr]
        await client.send_frame(TEXT, b"x" * 64, fin=False)
        for _ in range(1000):
            await client.send_frame(CONTINUATION, b"x" * 64, fin=False)
        await client.send_frame(CONTINUATION)
        assert await client.receive() == "64064"
        for _ in range(1000):
            await client.send("x")
            assert await client.receive() == "1"


@pytest.mark.parametrize("announced", [2**62, 2**20 + 1])
async def test_the_one_who_announces_too_much(announced: int) -> None:
    """1009 by the header alone."""
    async with serving() as server, connected(server) as client:
        await client.stream.send_all(b"\x82\xff" + announced.to_bytes(8) + b"\0\0\0\0")
        code, reason = await client.receive_close()
        assert (code, f"{announced} bytes" in reason) == (1009, True)
        await someone_else_is_served(server)


async def test_the_one_who_announces_a_message_and_dribbles() -> None:
    """A megabyte announced, sent in pieces of one byte: held as bytes, not as objects."""
    async with serving() as server, connected(server) as client:
        frame = client.frame(BINARY, bytes(2**20))
        with memory_within(3_000_000):
            await client.stream.send_all(frame[:1000])
            for index in range(1000, 3000):
                await client.stream.send_all(frame[index : index + 1])
            await someone_else_is_served(server)
        await client.stream.send_all(frame[3000:])
        assert await client.receive() == bytes(2**20)


async def test_the_one_who_says_close_and_goes_on() -> None:
    """Megabytes behind a Close: the mirrored Close arrives, nothing behind it is delivered or counted."""
    async with serving(close_timeout=0.5) as server, connected(server) as client:
        await client.send("before")
        assert await client.receive() == "before"
        await client.close(4000, "over")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, client, client.frame(BINARY, bytes(100_000)))
            assert await client.receive_close() == (4000, "over")
            await someone_else_is_served(server)
            nursery.cancel_scope.cancel()
        await until(lambda: server.records)
    assert [r.messages_received for r in server.records if r.reason_received == "over"] == [1]


async def test_the_one_who_says_close_twice() -> None:
    """The first one counts, and is answered once."""
    async with serving() as server, connected(server) as client:
        close = client.frame(CLOSE, b"\x0f\xa0one")
        await client.stream.send_all(close + client.frame(CLOSE, b"\x0f\xa1two") + close)
        assert [frame.close for frame in await client.receive_rest()] == [(4000, "one")]
        await until(lambda: server.records)
        assert server.records[0].code_received == 4000
        await someone_else_is_served(server)


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x00\x00", 1002), (b"\xff\xff", 1002), (b"\x03\xe8\xff", 1007)],
)
async def test_the_one_whose_close_is_no_close(payload: bytes, code: int) -> None:
    """One byte, a code that may not be sent, a reason that is not UTF-8: said by code, and recorded as an error."""
    async with serving() as server, connected(server) as client:
        await client.send_frame(CLOSE, payload)
        assert (await client.receive_close())[0] == code
        await trio.aclose_forcefully(client.stream)
        await until(lambda: server.records)
        assert (server.records[0].code_received, server.records[0].clean) == (None, False)
        await someone_else_is_served(server)


async def test_the_one_who_answers_no_close() -> None:
    """It costs close_timeout, and the record says that the goodbye was not clean."""

    async def leave(ws: trioecho.WebSocket) -> None:
        pass

    handlers = {"/ws": trioecho.echo, "/leave": leave}
    async with serving(handlers, close_timeout=0.1) as server, connected(server, path="/leave") as client:
        assert await client.receive_close() == (1000, "")
        await someone_else_is_served(server)
        assert await client.receive_rest() == []
        await until(lambda: len(server.records) == 2)
    (record,) = [record for record in server.records if record.path == "/leave"]
    assert (record.cause, record.clean, record.code_received) == ("handler returned", False, None)


@pytest.mark.parametrize("seed", range(10))
async def test_the_one_who_talks_gibberish(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Random bytes behind the handshake: some ending of the table, nothing unforeseen in the log."""
    chance = random.Random(seed)
    async with serving(close_timeout=0.05) as server, connected(server) as client:
        for _ in range(20):
            with contextlib.suppress(trio.BrokenResourceError):
                await client.stream.send_all(chance.randbytes(chance.randrange(1, 3000)))
        await someone_else_is_served(server)
        await trio.aclose_forcefully(client.stream)
        await until(lambda: len(server.records) == 2)
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_the_one_who_comes_and_goes_a_hundred_times() -> None:
    """Every way of going, one after the other: each has its record, and nothing is left of any."""
    chance = random.Random(1)
    async with serving(close_timeout=0.05) as server:
        for _ in range(100):
            async with connected(server) as client:
                for _ in range(chance.randrange(4)):
                    await client.send("x" * chance.randrange(1, 200_000))
                match chance.randrange(3):
                    case 0:
                        reset(client)
                    case 1:
                        await client.close(1000)
        await someone_else_is_served(server)
        await until(lambda: len(server.records) == 101)
        assert not server.connections


async def test_the_one_who_masks_nothing() -> None:
    """A client without a mask is told 1002 (RFC 6455 §5.1)."""
    async with serving() as server, connected(server) as client:
        client.key = None
        await client.send("plain")
        code, reason = await client.receive_close()
        assert (code, reason) == (1002, "frame is not masked; a client masks every frame")
        await someone_else_is_served(server)


async def test_the_one_who_sends_many_codes_by_the_byte() -> None:
    """A Close cut between the bytes of its code is still one Close."""
    async with serving() as server, connected(server) as client:
        frame = client.frame(CLOSE, struct.pack("!H", 3333) + "für alle".encode())
        for byte in frame:
            await client.stream.send_all(bytes([byte]))
        assert await client.receive_close() == (3333, "für alle")
        await someone_else_is_served(server)
