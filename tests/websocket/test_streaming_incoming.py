"""What waits for a handler that takes messages while they arrive: joined, bounded, and counted once."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.endings import PEER_CLOSED
from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, encode_frame
from trioecho._websocket.incoming import WAITING_BYTES
from trioecho._websocket.streaming_incoming import SMALL, StreamingIncoming


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """One frame, as a client sends it."""
    return encode_frame(opcode, payload, fin=fin, key=b"abcd")


def incoming() -> StreamingIncoming:
    """A connection's incoming bytes, none yet, at time 0."""
    return StreamingIncoming(0.0, max_message_size=1_000_000, max_fragments=10, counts_idleness=False)


BEGIN = frame(TEXT, b"one", fin=False)
GO_ON = frame(CONTINUATION, b"two", fin=False)
END = frame(CONTINUATION, b"three")
WHOLE = frame(BINARY, b"whole")


@given(
    st.lists(st.lists(st.binary(max_size=3), min_size=1, max_size=4), max_size=5),
    st.lists(st.integers(1, 20), min_size=1, max_size=10),
    st.lists(st.booleans(), min_size=1, max_size=8),
)
def test_messages_and_pieces_come_in_order_whatever_is_taken_when(
    messages: list[list[bytes]], cuts: list[int], takes: list[bool]
) -> None:
    """Between chunks of any size, a piece is taken or not; put together, it is what was sent, and nothing is left."""
    data = b"".join(
        frame(CONTINUATION if number else BINARY, part, fin=number == len(parts) - 1)
        for parts in messages
        for number, part in enumerate(parts)
    )
    inbox = incoming()
    taken, current = [], b""
    step = 0
    while data or inbox.head is not None:
        size = cuts[step % len(cuts)]
        if data:
            inbox.feed(data[:size], 1.0)
            data = data[size:]
        if inbox.head is not None and (not data or takes[step % len(takes)]):
            payload, wire, last = inbox.take()
            assert isinstance(payload, bytes)
            assert wire == len(payload)
            current += payload
            if last:
                taken.append(current)
                current = b""
        step += 1
    assert taken == [b"".join(parts) for parts in messages]
    assert (inbox.whole, inbox.held, inbox.discarded) == (0, 0, 0)
    assert inbox.received_messages == len(messages)


@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
def test_a_message_is_whole_when_its_last_piece_is_there(cut: int) -> None:
    """Not before; and then `take_message` puts it together, with the bytes it took on the wire."""
    inbox, data = incoming(), frame(TEXT, "grün".encode(), fin=False) + frame(CONTINUATION, "€".encode())
    for at in range(0, len(data), cut):
        assert inbox.whole == 0
        inbox.feed(data[at : at + cut], 1.0)
    assert (inbox.whole, inbox.held) == (1, 0)
    assert inbox.take_message() == ("grün€", 8)


def test_only_what_has_no_end_yet_is_held() -> None:
    """Pieces of a message whose end is there do not count for the one behind it."""
    inbox = incoming()
    for chunk in (frame(BINARY, bytes(2000), fin=False), frame(CONTINUATION, bytes(2000)), BEGIN):
        inbox.feed(chunk, 1.0)
    assert (inbox.whole, inbox.held) == (1, 3)
    inbox.take()
    assert (inbox.whole, inbox.held) == (1, 3)
    inbox.take()
    assert (inbox.whole, inbox.held) == (0, 3)
    inbox.take()
    assert (inbox.whole, inbox.held) == (0, 0)


def test_what_dribbles_in_is_joined() -> None:
    """Not an object per byte: neither within a frame, nor in frames of a byte, nor with Pings between them."""
    dribbles = [
        [frame(BINARY, bytes(30_000))[at : at + 1] for at in range(30_000)],
        [frame(CONTINUATION if number else TEXT, b"x", fin=False) for number in range(9000)],
        [frame(TEXT, fin=False), (frame(CONTINUATION, b"x", fin=False) + frame(PING)) * 4000],
    ]
    for chunks, size in zip(dribbles, (30_000, 9000, 4000), strict=True):
        inbox = incoming()
        tracemalloc.start()
        try:
            for chunk in chunks:
                inbox.feed(chunk, 1.0)
                inbox.take_pings()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size - 10 <= inbox.held <= size
        assert len(inbox.messages) <= inbox.held / SMALL + 1
        assert held < 2 * inbox.held + 20_000


@pytest.mark.parametrize("size", [1000, 70_000])
def test_pieces_fill_it_like_messages(size: int) -> None:
    """At `WAITING_BYTES` since the handler last caught up."""
    inbox, fed = incoming(), 0
    inbox.feed(frame(BINARY, b"x", fin=False), 1.0)
    while not inbox.full:
        inbox.feed(frame(CONTINUATION, bytes(size), fin=False), 1.0)
        fed += size
    assert fed >= WAITING_BYTES - 1000
    assert fed - size < WAITING_BYTES
    inbox.caught_up(2.0)
    assert not inbox.full


def test_what_comes_of_a_message_is_no_silence() -> None:
    """Each piece is a sign that the client is not idle, though the message has not ended."""
    inbox = incoming()
    inbox.feed(BEGIN, 1.0)
    inbox.feed(GO_ON, 5.0)
    assert inbox.message_at == 5.0


def test_a_message_that_is_skipped_unread_is_counted_when_it_has_ended() -> None:
    """Also one of which nothing has been taken, but of which a part has come; the next one is not touched."""
    inbox = incoming()
    inbox.feed(BEGIN, 1.0)
    inbox.skip_message()
    inbox.feed(GO_ON, 1.0)
    assert (inbox.head, inbox.discarded) == (None, 0)
    inbox.feed(END + WHOLE + BEGIN + END, 1.0)
    assert (inbox.discarded, inbox.received_messages) == (1, 3)
    inbox.skip_message()
    assert inbox.discarded == 2
    assert inbox.take_message() == ("onethree", 8)


@pytest.mark.parametrize("rest", [[GO_ON + END], [GO_ON, END]])
def test_a_message_of_which_a_piece_was_taken_is_not_counted(rest: list[bytes]) -> None:
    """It was read, though not to its end: whether its end is there or has yet to come."""
    inbox = incoming()
    inbox.feed(BEGIN, 1.0)
    assert inbox.take() == ("one", 3, False)
    inbox.feed(rest[0], 1.0)
    inbox.skip_message()
    for chunk in rest[1:]:
        inbox.feed(chunk, 1.0)
    inbox.feed(WHOLE, 1.0)
    assert (inbox.take_message(), inbox.discarded) == ((b"whole", 5), 0)


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("before", ["a message waits", "nothing waits"])
def test_what_is_thrown_away_at_the_end_is_counted_once(taken: bool, before: str) -> None:
    """Whole messages at once, one that is arriving when its end comes, one that was being read not at all."""
    inbox = incoming()
    ahead = WHOLE * 2 if before == "a message waits" else b""
    inbox.feed(BEGIN if taken else ahead + BEGIN, 1.0)
    if taken:
        inbox.take()
        ahead = b""
    inbox.end(PEER_CLOSED)
    inbox.throw_away()
    inbox.throw_away()
    assert (inbox.head, inbox.discarded) == (None, 2 if ahead else 0)
    assert not inbox.discard(GO_ON)
    assert inbox.discard(END + WHOLE + BEGIN + END + frame(CLOSE))
    assert inbox.discarded == (2 if ahead else 0) + (not taken) + 2
    assert inbox.close == (1005, "")


def test_a_message_that_was_read_to_its_middle_is_not_counted_when_its_end_is_thrown_away() -> None:
    """Its end waits, or comes when nothing is delivered any more."""
    inbox = incoming()
    inbox.feed(BEGIN, 1.0)
    inbox.take()
    inbox.feed(END + WHOLE, 1.0)
    inbox.throw_away()
    assert inbox.discarded == 1
    other = incoming()
    other.feed(BEGIN, 1.0)
    other.take()
    other.discard(END + WHOLE)
    assert other.discarded == 1
