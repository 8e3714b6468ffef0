"""What has come compressed: bounded by what it stands for, gone on with when the handler has caught up, never lost."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
import trio
from deflating import Compressor, agreed, alone, compressed_frame, connected_deflating
from hypothesis import given
from hypothesis import strategies as st
from serving import PATIENCE, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._protocol.endings import SERVER_STOPPING
from trioecho._websocket.inflating_incoming import InflatingIncoming, InflatingStreamingIncoming
from trioecho._websocket.streaming_incoming import StreamingIncoming
from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame

MIB = 2**20
BOMB = compressed_frame(BINARY, alone(bytes(MIB)))
BOMBS = 62
"""So many are one read of 64 KiB."""
assert len(BOMB) * BOMBS <= 65_536


def incoming() -> InflatingIncoming:
    """A connection's incoming bytes, none yet, at time 0."""
    return InflatingIncoming(
        0.0, max_message_size=MIB, max_fragments=10, counts_idleness=False, agreement=agreed()
    )


def test_it_is_full_by_what_it_stands_for() -> None:
    """1 KB of compressed messages fill it as 64 KiB of plain ones do."""
    inbox, client = incoming(), Compressor()
    for _ in range(3):
        assert not inbox.feed(client.frame(bytes(20_000)), 1.0)
        assert not inbox.full
    inbox.feed(client.frame(bytes(20_000)), 1.0)
    assert inbox.full
    assert not inbox.behind
    assert not inbox.caught_up(2.0)
    assert not inbox.full


def test_what_is_behind_comes_when_the_handler_has_caught_up() -> None:
    """A turn's worth each time, and what was among it is told with its turn."""
    inbox = incoming()
    assert not inbox.feed(BOMB * 3 + encode_frame(PING, b"?", key=b"abcd"), 1.0)
    for turn in range(3):
        assert (len(inbox.messages), inbox.full, inbox.behind) == (1, True, turn < 2)
        inbox.messages.clear()
        assert inbox.caught_up(2.0) is (turn == 1)
    assert inbox.take_pings() == [b"?"]
    assert not inbox.full
    assert (inbox.received_messages, inbox.received_bytes) == (3, 3 * MIB)
    assert inbox.wire_bytes == 3 * (len(BOMB) - 8)


def test_an_ending_does_not_hide_what_is_behind() -> None:
    """It was read before."""
    inbox = incoming()
    inbox.feed(BOMB * 2, 1.0)
    inbox.end(SERVER_STOPPING)
    inbox.messages.clear()
    inbox.caught_up(2.0)
    assert (len(inbox.messages), inbox.behind, inbox.full) == (1, False, True)


def test_what_is_behind_is_counted_when_nothing_is_delivered_any_more() -> None:
    """And not inflated for it; a Close in it is found."""
    inbox = incoming()
    inbox.feed(BOMB * 30 + encode_frame(CLOSE, b"\x03\xe8", key=b"abcd"), 1.0)
    inbox.throw_away()
    tracemalloc.start()
    assert inbox.discard(b"")
    assert tracemalloc.get_traced_memory()[1] < MIB // 2
    tracemalloc.stop()
    assert (inbox.close, inbox.discarded, inbox.behind) == ((1000, ""), 30, False)


async def test_bombs_in_one_read_take_the_memory_of_one() -> None:
    """62 MiB in one chunk, and a handler that sleeps: 4 MiB at most, for a message of 1 MiB is inflated in steps."""
    may_go = trio.Event()
    taken = 0

    async def sleepy(ws: trioecho.WebSocket) -> None:
        nonlocal taken
        assert await ws.receive() == "begin"
        await may_go.wait()
        async for message in ws:
            assert len(message) == MIB
            taken += 1

    async with serving(sleepy, compression=True) as server, connected_deflating(server) as client:
        await client.send("begin")
        await until(lambda: server.connections and server.connections[0].record.messages_received)
        gc.collect()
        tracemalloc.start()
        try:
            await client.stream.send_all(BOMB * BOMBS)
            (ws,) = server.connections
            await until(lambda: ws.record.messages_received > 1)
            await trio.testing.wait_all_tasks_blocked()
            assert ws.record.messages_received < 6
            may_go.set()
            # The socket is silent: that the handler asks for more is all that goes on with it.
            await until(lambda: taken == BOMBS)
            assert tracemalloc.get_traced_memory()[1] < 6 * MIB
        finally:
            tracemalloc.stop()


async def test_a_graceful_stop_delivers_what_was_read() -> None:
    """All bombs of a chunk that was read before the stop reach the handler, which is then told of it, and the client
    gets its Close behind the answers."""
    may_go, got = trio.Event(), 0

    async def count(ws: trioecho.WebSocket) -> None:
        nonlocal got
        await may_go.wait()
        async for _ in ws:
            got += 1
        await ws.send(f"{got} messages")

    async with serving(count, compression=True) as server, connected_deflating(server) as client:
        # After a message of that length, as much is read at once.
        await client.send_frame(BINARY, bytes(len(BOMB) * 12))
        await until(lambda: server.connections and server.connections[0].record.messages_received)
        await client.stream.send_all(BOMB * 10)
        await until(lambda: server.connections[0].record.messages_received > 1)
        await trio.testing.wait_all_tasks_blocked()
        server.stop()
        # What comes now is too late, and must not take the place of what was read.
        await client.send("too late")
        await trio.testing.wait_all_tasks_blocked()
        may_go.set()
        assert await client.receive_inflated() == "11 messages"
        assert (await client.receive_close())[0] == 1001
        await client.close(1001)
        await until(lambda: server.records)
        record = server.records[0]
        assert (record.messages_received, record.messages_discarded, record.cause) == (
            12,
            1,
            "server stopping",
        )


async def test_a_close_among_what_was_read_is_found() -> None:
    """A handler that leaves after the first message does not wait for a Close that has come."""

    async def leave(ws: trioecho.WebSocket) -> None:
        await ws.receive()

    # Did it look for a Close where none is any more, it would for longer than the test.
    options = {"compression": True, "close_timeout": 2 * PATIENCE}
    async with serving(leave, **options) as server, connected_deflating(server) as client:
        await client.stream.send_all(BOMB * 5 + client.frame(CLOSE, b"\x0b\xb9"))
        assert (await client.receive_close())[0] == 1000
        await until(lambda: server.records)
        record = server.records[0]
        assert (record.code_received, record.messages_received) == (3001, 5)
        assert record.messages_discarded == 4


async def test_what_was_read_is_delivered_before_an_error_and_before_the_end() -> None:
    """Each in its order: the messages, then what ended the conversation; Pings among them are answered in turn."""
    bad = compressed_frame(TEXT, b"\xff")
    got: list[str | bytes] = []

    async def take(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            got.append(message[:3])

    async with serving(take, compression=True) as server, connected_deflating(server) as client:
        await client.stream.send_all(
            BOMB * 3 + client.frame(PING, b"?") + BOMB + client.frame(TEXT, b"end") + bad
        )
        pong = await client.receive_frame()
        assert pong is not None
        assert (pong.opcode, pong.payload) == (PONG, b"?")
        code, reason = await client.receive_close()
        assert code == 1007
        assert reason.startswith("compressed message cannot be inflated")
    assert got == [b"\0\0\0"] * 4 + ["end"]


@one_way
async def test_a_lost_client_loses_nothing_that_was_read() -> None:
    """Behind bombs, the end of TCP is told when they have been taken."""
    may_go, got = trio.Event(), 0

    async def take(ws: trioecho.WebSocket) -> None:
        nonlocal got
        await may_go.wait()
        for _ in range(10):
            await ws.receive()
            got += 1
        with pytest.raises(trio.BrokenResourceError):
            await ws.receive()

    async with serving(take, compression=True) as server:
        async with connected_deflating(server) as client:
            await client.stream.send_all(BOMB * 10)
            await until(lambda: server.connections and server.connections[0].record.messages_received)
        may_go.set()
        await until(lambda: server.records)
    assert got == 10


@one_way
async def test_a_slow_handler_holds_the_loop_no_longer_than_one_message() -> None:
    """A handler that takes bombs as fast as it can lets others run between them."""
    over = False

    async def take(ws: trioecho.WebSocket) -> None:
        nonlocal over
        for _ in range(BOMBS):
            await ws.receive()
        over = True

    async with serving(take, compression=True) as server, connected_deflating(server) as client:
        await client.stream.send_all(BOMB * BOMBS)
        rounds = 0
        while not over:
            rounds += 1
            await trio.lowlevel.checkpoint()
        assert rounds >= BOMBS - 5


def test_a_wrong_message_alone_is_an_error() -> None:
    """And nothing is raised."""
    inbox = incoming()
    assert inbox.feed(compressed_frame(TEXT, alone(b"\xff")), 1.0)
    assert inbox.error is not None
    assert inbox.error.close_code == 1007
    assert not inbox.messages


def streaming() -> InflatingStreamingIncoming:
    """The same for a handler that takes messages while they arrive."""
    return InflatingStreamingIncoming(
        0.0, max_message_size=MIB, max_fragments=10, counts_idleness=False, agreement=agreed()
    )


@one_way
@given(
    st.lists(
        st.tuples(st.binary(max_size=3), st.sampled_from([1, 50, 70_000]), st.integers(1, 4), st.booleans()),
        max_size=5,
    ),
    st.lists(st.integers(1, 60), min_size=1, max_size=10),
    st.lists(st.sampled_from(["take", "wait", "skip"]), min_size=1, max_size=8),
)
def test_messages_come_in_order_whatever_is_taken_or_left(
    messages: list[tuple[bytes, int, int, bool]], cuts: list[int], steps: list[str]
) -> None:
    """In fragments, in chunks of any size, compressed or not; between them a piece is taken, or not, or the rest of the
    message is left: then it comes to nothing, and all the others are whole."""
    client, data, sent = Compressor(), b"", []
    for number, (part, times, fragments, compress) in enumerate(messages):
        content = number.to_bytes(1) + part * times
        sent.append(content)
        compress = compress or times > 1000
        payload = client.payload(content) if compress else content
        size = -(-len(payload) // fragments)
        parts = [payload[at : at + size] for at in range(0, len(payload), size)]
        for index, piece in enumerate(parts):
            make = (
                compressed_frame
                if compress and not index
                else lambda *a, **k: encode_frame(*a, **k, key=b"abcd")
            )
            data += make(CONTINUATION if index else BINARY, piece, fin=index == len(parts) - 1)
    inbox = streaming()
    got: dict[int, bytes] = {}
    left: set[int] = set()
    current, step, whole = b"", 0, 0
    while data or inbox.head is not None or inbox.behind:
        if inbox.full and inbox.head is None:
            inbox.caught_up(1.0)
        elif data and not inbox.full:
            size = cuts[step % len(cuts)]
            inbox.feed(data[:size], 1.0)
            data = data[size:]
        what = steps[step % len(steps)]
        step += 1
        if inbox.head is None:
            continue
        if what == "skip" and data:
            number = (current or inbox.head)[0]
            assert isinstance(number, int)
            left.add(number)
            current = b""
            inbox.skip_message()
        elif what == "take" or not data or inbox.full:
            payload, _, last = inbox.take()
            assert isinstance(payload, bytes)
            current += payload
            if last:
                got[current[0]] = current
                current = b""
                whole += 1
    assert got == {number: content for number, content in enumerate(sent) if number not in left}
    assert list(got) == sorted(got)
    assert inbox.received_messages == len(messages)
    assert inbox.received_bytes == sum(map(len, sent))
    assert (inbox.whole, inbox.held) == (0, 0)


def test_a_bomb_in_pieces_fills_it_and_wakes_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it stands for; also where nothing comes of it, because the message has been left."""
    inbox = streaming()
    assert not inbox.feed(BOMB[:500], 1.0)
    assert inbox.full
    while inbox.behind:
        while inbox.head is not None:
            inbox.take()
        inbox.caught_up(2.0)
    while inbox.head is not None:
        inbox.take()
    inbox.skip_message()
    woken = []
    monkeypatch.setattr(StreamingIncoming, "wake", lambda _: woken.append(True))
    inbox.caught_up(2.0)
    inbox.feed(BOMB[500:], 2.0)
    assert inbox.head is None
    assert (inbox.full, inbox.behind, woken) == (True, True, [True])
