"""Compressed bytes into pieces: put together they are what the decoder of whole messages makes of the same bytes."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import pytest
from deflating import KEY, Compressor, agreed, alone, compressed_frame
from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, FrameError, encode_frame
from trioecho._protocol.inflating import MESSAGE_COST, TURN, InflatingDecoder
from trioecho._protocol.inflating_piecewise import InflatingPiecewiseDecoder
from trioecho._protocol.piecewise import Piece


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, fin=fin, key=KEY)


def decoder(offer: str = "permessage-deflate", **deflate: Any) -> InflatingPiecewiseDecoder:
    return InflatingPiecewiseDecoder(agreed(offer, **deflate))


class Heard:
    """What a decoder makes of some chunks, each decoded to its end, until a Close or an error."""

    def __init__(self, one: InflatingPiecewiseDecoder | InflatingDecoder, chunks: list[bytes]) -> None:
        self.given: list[Any] = []
        self.end: object = None
        self.calls: list[int] = []
        for chunk in chunks:
            try:
                self._decode(one, chunk)
                while one.held:
                    assert self.end is None, "an end is told when everything before it has been given"
                    self._decode(one, b"")
            except FrameError as error:
                self.end = (error.close_code, error.reason)
            if self.end is not None:
                break
        self.pings = [*one.pings]
        self.counts = (one.messages, one.payload_bytes, one.wire_bytes)

    def _decode(self, one: InflatingPiecewiseDecoder | InflatingDecoder, chunk: bytes) -> None:
        before = len(self.given)
        try:
            self.end = one.decode(chunk, self.given)
        finally:
            self.calls.append(sum(len(each) for each in texts(self.given[before:])))
            if isinstance(one, InflatingPiecewiseDecoder):
                assert one.given_bytes == self.calls[-1]

    @property
    def whole(self) -> list[str | bytes]:
        """The messages, pieces put together, without one that has not ended."""
        messages: list[str | bytes] = []
        parts: list[Any] = []
        for each in self.given:
            if not isinstance(each, Piece):
                assert not parts, "a message within a message"
                messages.append(each)
                continue
            payload, size, last = each
            assert size == len(payload.encode() if isinstance(payload, str) else payload)
            assert payload or (last and parts), "a piece that brings nothing"
            parts.append(payload)
            if last:
                messages.append(parts[0][:0].join(parts))
                parts = []
        return messages


def texts(given: list[Any]) -> list[bytes]:
    """The bytes of messages and pieces."""
    payloads = [each.payload if isinstance(each, Piece) else each for each in given]
    return [each.encode() if isinstance(each, str) else each for each in payloads]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in chunks, cut at `places`."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


contents = st.one_of(
    st.tuples(st.just(TEXT), st.text(max_size=60).map(str.encode)),
    st.tuples(st.just(BINARY), st.binary(max_size=60)),
    st.tuples(st.just(BINARY), st.binary(min_size=1, max_size=3).map(lambda part: part * 70_000)),
    st.tuples(st.just(TEXT), st.text(min_size=1, max_size=3).map(lambda part: (part * 50_000).encode())),
    st.tuples(st.just(TEXT), st.binary(max_size=6)),
)
ENDS = [
    b"",
    frame(CLOSE, b"\x0f\xa0"),
    frame(CONTINUATION),
    compressed_frame(PING, b""),
    compressed_frame(BINARY, b"\xff" * 20),
    compressed_frame(TEXT, alone(b"half"), fin=False),
]


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Messages, compressed or not, some in fragments with Pings between, and perhaps something wrong, or a Close."""
    data, client = b"", Compressor()
    for opcode, content in draw(st.lists(contents, max_size=5)):
        compress = draw(st.booleans())
        payload = client.payload(content) if compress else content
        parts = cut(payload, draw(st.lists(st.integers(0, 300_000), max_size=4)))
        for number, part in enumerate(parts):
            make = compressed_frame if compress and not number else frame
            data += make(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
            if draw(st.booleans()):
                data += frame(PING, b"?")
    return data + draw(st.sampled_from(ENDS))


@given(conversations(), st.lists(st.integers(0, 600_000), max_size=8))
def test_any_fragments_and_any_cuts_give_the_messages_that_were_sent(data: bytes, places: list[int]) -> None:
    """Compared with the decoder of whole messages: messages, Pings, counts, and what is wrong, in its place."""
    chunks = cut(data, places)
    pieces = Heard(decoder(), chunks)
    limits = {"max_message_size": 2**40, "max_fragments": 2**40}
    whole = Heard(InflatingDecoder(**limits, agreement=agreed("permessage-deflate")), chunks)
    assert pieces.whole == whole.given
    assert pieces.end == whole.end
    assert pieces.counts == whole.counts
    # Of those behind something wrong in a compressed message, more may have been seen.
    assert pieces.pings[: len(whole.pings)] == whole.pings
    # A character that was cut may come with what is behind it.
    plain = max(map(len, chunks), default=0)
    assert max(pieces.calls, default=0) <= TURN + 3 + plain


def test_a_bomb_is_given_in_turns() -> None:
    """64 MiB of one message, in one frame of one chunk: each call gives and holds a turn of it, and no more."""
    size = 60_000_000
    data = compressed_frame(BINARY, alone(bytes(size)))
    assert len(data) < 65_536
    one = decoder()
    given: list[Any] = []
    total = turns = 0
    tracemalloc.start()
    one.decode(data, given)
    while given:
        for each in texts(given):
            assert not any(each)
            total += len(each)
        turns += 1
        given.clear()
        if one.held:
            one.decode(b"", given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (total, turns) == (size, -(-size // TURN))
    assert (one.messages, one.payload_bytes, one.wire_bytes) == (1, size, len(alone(bytes(size))))
    assert peak < 500_000, peak


def test_many_short_messages_are_given_in_turns() -> None:
    """Each costs more than its bytes, be it empty."""
    one = decoder()
    given: list[Any] = []
    one.decode(compressed_frame(TEXT, b"\x00") * 9000, given)
    assert one.held
    assert len(given) == TURN // MESSAGE_COST
    assert Heard(decoder(), [compressed_frame(TEXT, b"\x00") * 9000]).given == [""] * 9000


def test_the_end_waits_for_what_came_before_it() -> None:
    """And Pings do not."""
    bomb = compressed_frame(BINARY, alone(bytes(200_000)))
    for end, told in ((frame(CLOSE, b"\x03\xe8"), b"\x03\xe8"), (frame(CONTINUATION), 1002)):
        one = decoder()
        given: list[Any] = []
        assert one.decode(bomb + frame(PING, b"?") + end, given) is None
        assert one.pings == [b"?"]
        calls = 1
        try:
            while (found := one.decode(b"", given)) is None:
                calls += 1
        except FrameError as error:
            found = error.close_code  # type: ignore[assignment]
        assert (found, calls, one.held) == (told, 3, False)
        assert b"".join(texts(given)) == bytes(200_000)


BAD = {
    "not UTF-8": (compressed_frame(TEXT, alone(b"ab\xff")), 1007),
    "a character cut at the end": (compressed_frame(TEXT, alone("☃".encode()[:2])), 1007),
    "cannot be inflated": (compressed_frame(BINARY, b"\xff"), 1007),
    "behind a final block": (compressed_frame(BINARY, b"\x03\x00" * 2), 1007),
    "RSV1": (compressed_frame(PING, b""), 1002),
    "RSV2": (b"\xa1" + frame(TEXT)[1:], 1002),
    "RSV1 in a continuation": (
        compressed_frame(BINARY, b"", fin=False) + compressed_frame(CONTINUATION, b"\x00"),
        1002,
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("chunk", [1, 7, 1_000_000])
def test_each_error_comes_behind_what_came_before_it(name: str, chunk: int) -> None:
    """However the network cuts it; and again whenever more is decoded."""
    bad, code = BAD[name]
    client, one = Compressor(), decoder()
    data = (
        client.frame("one") + frame(TEXT, b"two") + client.frame(bytes(100_000)) + bad + client.frame("three")
    )
    heard = Heard(one, [data[start : start + chunk] for start in range(0, len(data), chunk)])
    assert heard.whole == ["one", "two", bytes(100_000)]
    assert isinstance(heard.end, tuple)
    assert heard.end[0] == code
    with pytest.raises(FrameError, match=str(code)):
        one.decode(b"", [])


def test_bad_text_is_noticed_in_an_unfinished_message() -> None:
    """Before its last fragment, and before its frame is there whole; the pieces before it are given."""
    payload = alone(b"good" * 100_000 + b", then bad \xff, and more " * 100)
    for data in (compressed_frame(TEXT, payload, fin=False), compressed_frame(TEXT, payload)[:-3]):
        heard = Heard(decoder(), [data])
        assert heard.end == (1007, "text is not UTF-8: invalid start byte")
        assert b"".join(texts(heard.given)) == (b"good" * 100_000)[: 400_000 // TURN * TURN]


def test_a_final_block_ends_the_context_and_the_message() -> None:
    """RFC 7692 §7.2.3.4: an empty block follows it, also in another fragment, and nothing else may."""
    payload = bytes.fromhex("f348cdc9c9070000")
    assert Heard(decoder(), [compressed_frame(TEXT, payload)]).given == ["Hello"]
    for at in range(1, len(payload)):
        parts = compressed_frame(TEXT, payload[:at], fin=False), frame(CONTINUATION, payload[at:])
        heard = Heard(decoder(), [*parts])
        assert heard.whole == ["Hello"]
        behind = Heard(decoder(), [b"".join(parts), compressed_frame(TEXT, bytes.fromhex("f200110000"))])
        assert behind.end == (1007, "compressed message cannot be inflated: invalid distance too far back")
    stored = (
        b"\x01" + (60_000).to_bytes(2, "little") + (0xFFFF ^ 60_000).to_bytes(2, "little") + bytes(60_000)
    )
    twice = stored[:1].replace(b"\x01", b"\x00") + stored[1:] + stored
    heard = Heard(decoder(), [compressed_frame(BINARY, twice + b"\x00")])
    assert heard.whole == [bytes(120_000)]
    heard = Heard(decoder(), [compressed_frame(BINARY, twice + b"\x03\x00" * 1000)])
    assert heard.end == (1007, "compressed message goes on behind its final block")


def test_what_ends_at_the_end_of_a_turn_is_whole() -> None:
    """Where zlib has taken all of the input, and may still have something to give."""
    for size in range(TURN - 3, TURN + 4):
        for content in (
            bytes(size),
            bytes(range(256)) * 256 + b"x" * (size - TURN) if size > TURN else b"y" * size,
        ):
            data = compressed_frame(BINARY, alone(content)) + compressed_frame(TEXT, alone(b"behind"))
            assert Heard(decoder(), [data]).whole == [content, "behind"]


def test_without_context_takeover_nothing_is_remembered() -> None:
    """A client that looks back all the same is told."""
    client = Compressor()
    data = client.frame("some words to remember") + client.frame("some words to remember")
    assert Heard(decoder(), [data]).end is None
    heard = Heard(decoder(client_context_takeover=False), [data])
    assert heard.given == ["some words to remember"]
    assert heard.end == (1007, "compressed message cannot be inflated: invalid distance too far back")


def test_what_is_only_counted_is_not_inflated() -> None:
    """Also what waited, and the rest of what has been given in part; a Close is still found behind it."""
    bomb = compressed_frame(BINARY, alone(bytes(1_000_000)))
    one = decoder()
    given: list[Any] = []
    one.decode(bomb * 3 + frame(TEXT, b"plain"), given)
    assert (one.held, one.messages) == (True, 0)
    one.count_only()
    tracemalloc.start()
    end = one.decode(bomb * 20 + frame(CLOSE), given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (end, one.held, one.messages) == (b"", False, 24)
    assert sum(not isinstance(each, Piece) or each.last for each in given) == 24
    assert peak < 500_000, peak
    assert one.payload_bytes == one.wire_bytes == 23 * len(alone(bytes(1_000_000))) + 5


def test_what_dribbles_in_is_joined_before_it_is_inflated() -> None:
    """Fragments of one byte with Pings between them take no object each."""
    payload = alone(bytes(range(256)) * 20)
    data = compressed_frame(BINARY, alone(bytes(200_000)))
    data += compressed_frame(BINARY, payload[:1], fin=False)
    data += b"".join(frame(CONTINUATION, bytes((each,)), fin=False) + frame(PING) for each in payload[1:])
    one = decoder()
    one.decode(data, [])
    assert one.held
    assert one.pending_bytes < 2000
    assert len(one._came) < 4
    assert Heard(decoder(), [data + frame(CONTINUATION)]).whole == [bytes(200_000), bytes(range(256)) * 20]
