"""What has come and waits for the handler: in order, bounded, the end behind it, and one task woken."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trioecho._protocol.endings import PEER_CLOSED, PEER_VANISHED, SERVER_STOPPING
from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame
from trioecho._websocket.incoming import FRAME_OVERHEAD, MIXED_CHUNK, SMALL_CHUNK, WAITING_BYTES, Incoming
from trioecho._websocket.parking import WOKEN
from trioecho._wire import wire

RESERVED = b"\xff" * 7
"""No frame."""


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """One frame, as a client sends it."""
    return encode_frame(opcode, payload, fin=fin, key=b"abcd")


def incoming(*, idleness: bool = False) -> Incoming:
    """A connection's incoming bytes, none yet, at time 0."""
    return Incoming(0.0, max_message_size=1_000_000, max_fragments=10, counts_idleness=idleness)


async def wait(inbox: Incoming) -> None:
    """Wait as `WebSocket.__anext__` does where there is no trap."""
    inbox.task = trio.lowlevel.current_task()
    await inbox.park()


CHUNK = frame(TEXT, b"a") + frame(BINARY, b"b") + frame(TEXT, b"c", fin=False) + frame(CONTINUATION, b"d")


@pytest.mark.parametrize("size", [1, 2, 7, 8, 11, len(CHUNK)])
def test_messages_wait_in_order_however_they_are_cut(size: int) -> None:
    """Whole chunks, single frames and single bytes give the same messages, and the same counts."""
    inbox = incoming()
    for at in range(0, len(CHUNK), size):
        assert not inbox.feed(CHUNK[at : at + size], 1.0)
    assert [*inbox.messages] == ["a", b"b", "cd"]
    assert (inbox.received_messages, inbox.received_bytes) == (3, 4)


@pytest.mark.parametrize("chunk", [frame(TEXT, b"x"), frame(TEXT, b"x") * 2, frame(TEXT, b"x") + frame(PING)])
async def test_a_message_wakes_the_task_that_waits(chunk: bytes) -> None:
    """Be it alone in its chunk, one of several, or one with a Ping behind it; and it is woken once."""
    inbox, woken = incoming(), []

    async def take() -> None:
        await wait(inbox)
        woken.append([*inbox.messages])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        inbox.feed(frame(PING), 1.0)
        inbox.feed(chunk[:3], 1.0)
        await trio.testing.wait_all_tasks_blocked()
        assert not woken, "it was woken before there was a message"
        inbox.feed(chunk[3:], 1.0)
        assert inbox.task is None
        inbox.feed(chunk, 1.0)
    assert len(woken) == 1
    assert set(woken[0]) == {"x"}


async def test_a_cancelled_wait_leaves_no_trace() -> None:
    """Nobody waits any more, and the message stays for the next."""
    inbox = incoming()
    with trio.move_on_after(0) as scope:
        await wait(inbox)
    assert scope.cancelled_caught
    assert inbox.task is None
    inbox.feed(frame(TEXT, b"for the next"), 1.0)
    assert [*inbox.messages] == ["for the next"]


def test_one_large_message_fills_it() -> None:
    """At `WAITING_BYTES` on the wire, header and key included, no byte before."""
    payload = bytes(WAITING_BYTES - 8)  # 4 of header, 4 of key
    inbox = incoming()
    inbox.feed(frame(BINARY, payload[:-1]), 1.0)
    assert not inbox.full
    inbox = incoming()
    inbox.feed(frame(BINARY, payload), 1.0)
    assert inbox.full


@pytest.mark.parametrize("at_once", [1, 2, 100])
@pytest.mark.parametrize("payload", [b"", b"0123456789"])
def test_many_small_messages_fill_it(payload: bytes, at_once: int) -> None:
    """Each counts its header, so that empty messages have a bound, too; alone in its chunk or not."""
    inbox, size = incoming(), FRAME_OVERHEAD + len(payload)
    while not inbox.full:
        inbox.feed(frame(TEXT, payload) * at_once, 1.0)
    waiting = len(inbox.messages)
    assert waiting * size >= WAITING_BYTES > (waiting - at_once) * size


def test_catching_up_makes_room_for_all_of_it() -> None:
    """Taking one message does not; and nothing does once the end is known."""
    inbox = incoming()
    inbox.feed(frame(BINARY, bytes(WAITING_BYTES)) + frame(TEXT, b"x"), 1.0)
    inbox.messages.popleft()
    assert inbox.full
    inbox.messages.popleft()
    inbox.caught_up(2.0)
    assert (inbox.full, inbox.size) == (False, 0)
    inbox.end(PEER_CLOSED)
    inbox.caught_up(3.0)
    assert inbox.full


async def test_the_end_stands_behind_the_messages_and_wakes() -> None:
    """What has come stays; the first ending stands; the task that waits looks again, each time."""
    inbox = incoming()
    inbox.feed(frame(TEXT, b"before"), 1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, inbox)
        await trio.testing.wait_all_tasks_blocked()
        inbox.end(SERVER_STOPPING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, inbox)
        await trio.testing.wait_all_tasks_blocked()
        inbox.end(PEER_VANISHED)
    assert ([*inbox.messages], inbox.ending, inbox.full) == (["before"], SERVER_STOPPING, True)
    assert inbox.trap is None, (
        "trap and abort function refer to each other, and wait for the garbage collector"
    )


def test_what_is_thrown_away_is_counted_once() -> None:
    """For the record, together with what came when nothing was delivered any more."""
    inbox = incoming()
    inbox.feed(frame(TEXT, b"a") * 2, 1.0)
    inbox.throw_away()
    inbox.throw_away()
    assert not inbox.discard(frame(TEXT, b"b") * 3)
    assert (inbox.discarded, [*inbox.messages], inbox.received_messages) == (5, [], 5)
    assert inbox.discard(frame(TEXT, b"c") + frame(CLOSE, b"\x0f\xa0done") + frame(TEXT, b"behind"))
    assert (inbox.discarded, inbox.close) == (6, (4000, "done"))


def test_half_a_message_goes_on_where_it_is_not_delivered_any_more() -> None:
    """`discard` goes on where `feed` stopped, in the middle of a frame."""
    inbox, data = incoming(), frame(TEXT, b"half and half")
    inbox.feed(data[:9], 1.0)
    assert not inbox.discard(data[9:])
    assert inbox.discard(frame(CLOSE))
    assert (inbox.discarded, inbox.close) == (1, (1005, ""))


def test_pings_and_pongs_are_taken_once_and_in_order() -> None:
    """They swallow no message, and feed says that they are there."""
    inbox = incoming()
    chunk = frame(PING, b"1") + frame(TEXT, b"a") + frame(PONG, b"p") + frame(PING, b"2") + frame(PONG)
    assert inbox.feed(chunk, 1.0)
    assert (inbox.take_pings(), inbox.take_pongs()) == ([b"1", b"2"], [b"p", b""])
    assert (inbox.take_pings(), inbox.take_pongs()) == ([], [])
    assert [*inbox.messages] == ["a"]
    assert not inbox.feed(frame(TEXT, b"b"), 1.0)
    other = incoming()
    assert (other.take_pings(), other.take_pongs()) == ([], []), "two connections share their Pings"


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (RESERVED, 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, b"\x03\xec"), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (encode_frame(BINARY, bytes(1_000_001), key=b"abcd")[:14], 1009),
    ],
)
@pytest.mark.parametrize("before", [b"", frame(TEXT, b"before"), frame(PING) + frame(TEXT, b"before")])
def test_what_breaks_the_protocol_is_kept_as_its_error(before: bytes, last: bytes, code: int) -> None:
    """It is not raised; what stood before it is delivered; and it holds no traceback, and so no frame of ours."""
    inbox = incoming()
    assert inbox.feed(before + last, 1.0)
    assert inbox.error is not None
    assert inbox.error.close_code == code
    assert inbox.error.reason
    assert (inbox.error.__traceback__, inbox.error.__context__) == (None, None)
    assert [*inbox.messages] == (["before"] if before else [])
    assert inbox.close is None


@pytest.mark.parametrize("discarding", [False, True])
def test_only_the_peers_faults_are_kept(monkeypatch: pytest.MonkeyPatch, discarding: bool) -> None:
    """A fault of our own is raised, for whoever owns the connection, and is not told to the peer as its own."""
    inbox = incoming()

    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("trioecho._protocol.decoder.FrameDecoder.decode", run_out)
    with pytest.raises(MemoryError):
        inbox.discard(frame(PING)) if discarding else inbox.feed(frame(PING), 1.0)
    assert inbox.error is None


@pytest.mark.parametrize(
    ("payload", "close"),
    [(b"", (1005, "")), (b"\x03\xe8", (1000, "")), (b"\x0f\xa0b\xc3\xbcy", (4000, "büy"))],
)
def test_the_peers_close_is_understood(payload: bytes, close: tuple[int, str]) -> None:
    """Code and reason; 1005 for none. What stands before it is delivered, what stands behind it is not."""
    inbox = incoming()
    assert inbox.feed(frame(TEXT, b"a") + frame(CLOSE, payload) + frame(TEXT, b"b") + RESERVED, 1.0)
    assert (inbox.close, inbox.error, [*inbox.messages]) == (close, None, ["a"])


def test_idleness_counts_from_the_last_message() -> None:
    """However it came; not from a Pong; and from when the handler has caught up with it, where that counts."""
    inbox = incoming(idleness=True)
    inbox.feed(frame(PONG), 1.0)
    assert inbox.message_at == 0.0
    inbox.feed(frame(TEXT), 2.0)
    assert inbox.message_at == 2.0
    inbox.feed(frame(TEXT) * 2, 3.0)
    assert inbox.message_at == 3.0
    inbox.messages.clear()
    inbox.caught_up(7.0)
    assert inbox.message_at == 7.0
    inbox.caught_up(8.0)
    assert inbox.message_at == 7.0, "a handler that asks again and again has taken nothing"


def test_a_handler_that_has_caught_up_does_not_count_where_nobody_asks() -> None:
    """`counts_idleness` is for an idle timeout only."""
    inbox = incoming()
    inbox.feed(frame(TEXT), 2.0)
    inbox.messages.clear()
    inbox.caught_up(7.0)
    assert inbox.message_at == 2.0


async def test_waking_nobody_does_nothing() -> None:
    """And the outcome with which a task is woken can be used for all of them."""
    inbox = incoming()
    inbox.wake()
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, inbox)
            await trio.testing.wait_all_tasks_blocked()
            inbox.wake()
            inbox.wake()
    assert WOKEN.unwrap() is None


def fed_once(inbox: Incoming, data: bytes) -> list[int]:
    """How much is read at once while a client sends `data`."""
    chunks, at = [], 0
    while at < len(data):
        chunks.append(inbox.chunk)
        inbox.feed(data[at : at + inbox.chunk], 1.0)
        at += chunks[-1]
        inbox.take_pongs()
        inbox.messages.clear()
        inbox.full = False
    return chunks


def fed(inbox: Incoming, frames: bytes, size: int) -> list[int]:
    """Likewise, while it sends `frames` again and again, until it has sent so many bytes."""
    return fed_once(inbox, frames * (1 + size // len(frames)))


def test_of_frames_that_are_all_header_little_is_read_at_once() -> None:
    """Pongs, empty fragments, empty and tiny messages: what takes time are frames, not bytes."""
    for frames in (frame(PONG), frame(PING), frame(TEXT), frame(BINARY, b"x")):
        assert max(fed(incoming(), frames, 50_000)) <= SMALL_CHUNK + 10
    fragments = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 8 + frame(CONTINUATION)
    assert max(fed(incoming(), fragments, 50_000)) <= SMALL_CHUNK + 10


def test_of_long_frames_much_is_read_at_once() -> None:
    """As much of one as can be, as soon as its header has come; and as much for the next."""
    chunks = fed(incoming(), frame(BINARY, bytes(500_000)), 1_000_000)
    assert chunks[0] == SMALL_CHUNK
    assert set(chunks[1:]) == {wire.CHUNK}
    long = frame(BINARY, bytes(4096))
    assert set(fed(incoming(), long, 50_000)[2:]) != {SMALL_CHUNK}
    assert min(fed(incoming(), long, 50_000)[2:]) >= len(long)


def test_ordinary_messages_one_behind_the_other_are_read_by_the_dozen() -> None:
    """So that a chunk costs little beside them: 100 and more of 64 bytes."""
    chunks = fed(incoming(), frame(TEXT, b"x" * 64), 1_000_000)
    assert min(chunks[10:]) > 100 * 70


def test_who_has_shown_long_frames_is_trusted_with_short_ones_once() -> None:
    """A chunk of 64 KiB of Pongs takes several milliseconds, and there is one of them in a connection's life."""
    inbox = incoming()
    largest = []
    for _ in range(5):
        assert max(fed_once(inbox, frame(BINARY, bytes(60_000)) * 3)) > 50_000
        largest.append(max(fed_once(inbox, frame(PONG) * 20_000)))
    assert largest[0] > 50_000
    assert max(largest[1:]) <= MIXED_CHUNK


def test_short_fragments_are_counted_and_long_ones_are_not() -> None:
    """Those of 32 bytes or more, headers included, cost no more than the same bytes in one frame."""
    inbox = Incoming(0.0, max_message_size=10**6, max_fragments=10**6, counts_idleness=False)
    long = frame(BINARY, bytes(26), fin=False) + frame(CONTINUATION, bytes(26), fin=False) * 1000
    assert not inbox.feed(long, 1.0)
    assert inbox.short_fragments == 0
    assert inbox.feed(frame(CONTINUATION, fin=False) * 320, 1.0)
    assert inbox.short_fragments == 320 - 60
    inbox.feed(frame(CONTINUATION), 1.0)
    inbox.short_fragments = 0
    assert not inbox.feed(frame(TEXT) * 1000, 1.0)
