"""The decoder where compression was agreed on: its limits, its errors in order, and what it holds back."""

from __future__ import annotations

import tracemalloc

import pytest
from deflating import KEY, Compressor, agreed, alone, compressed_frame
from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, FrameError, encode_frame
from trioecho._protocol.inflating import MESSAGE_COST, TURN, InflatingDecoder


def decoder(most: int = 100_000, fragments: int = 100, **deflate: int) -> InflatingDecoder:
    return InflatingDecoder(max_message_size=most, max_fragments=fragments, agreement=agreed(**deflate))


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, fin=fin, key=KEY)


def decoded(data: bytes, **limits: int) -> tuple[list[str | bytes], object]:
    """The messages in `data`, and what ended them: a Close's payload, a FrameError, or None."""
    messages: list[str | bytes] = []
    one = decoder(**limits)
    try:
        end: object = one.decode(data, messages)
        while one.held:
            end = one.decode(b"", messages)
    except FrameError as error:
        end = (error.close_code, error.reason)
    return messages, end


@given(
    st.lists(
        st.tuples(
            st.one_of(st.text(max_size=200), st.binary(max_size=200)), st.booleans(), st.integers(0, 3)
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 50), min_size=1, max_size=10),
)
def test_messages_come_in_order_however_they_are_cut(
    messages: list[tuple[str | bytes, bool, int]], cuts: list[int]
) -> None:
    """Compressed and plain ones by turns, in fragments with Pings between them, in chunks of any size."""
    client = Compressor()
    data, pings = b"", 0
    for message, compress, more in messages:
        content = message.encode() if isinstance(message, str) else message
        payload = client.payload(content) if compress else content
        step = -(-len(payload) // (more + 1)) or 1
        parts = [payload[start : start + step] for start in range(0, len(payload), step)] or [b""]
        for number, part in enumerate(parts):
            opcode = CONTINUATION if number else TEXT if isinstance(message, str) else BINARY
            make = compressed_frame if compress and not number else frame
            data += make(opcode, part, fin=number == len(parts) - 1)
            if number:
                data += frame(PING, b"?")
                pings += 1
    one = decoder()
    got: list[str | bytes] = []
    step = 0
    while data:
        size = cuts[step % len(cuts)]
        assert one.decode(data[:size], got) is None
        data, step = data[size:], step + 1
    assert got == [message for message, _, _ in messages]
    assert len(one.pings) == pings
    assert one.messages == len(messages)
    assert one.payload_bytes == sum(
        len(message.encode() if isinstance(message, str) else message) for message, _, _ in messages
    )
    assert one.pending_bytes == 0
    assert not one.held


def test_plain_messages_between_keep_the_context() -> None:
    """The second compressed one looks back behind a plain one."""
    client = Compressor()
    first, second = client.frame("some words to remember"), client.frame("some words to remember")
    assert len(second) < len(first)
    assert decoded(first + frame(TEXT, b"plain") + second)[0] == [
        "some words to remember",
        "plain",
        "some words to remember",
    ]


def test_without_context_takeover_nothing_is_remembered() -> None:
    """A client that looks back all the same is told."""
    client = Compressor()
    data = client.frame("some words to remember") + client.frame("some words to remember")
    assert decoded(data)[1] is None
    one, messages = decoder(client_context_takeover=False), []
    with pytest.raises(FrameError, match="1007 compressed message cannot be inflated"):
        one.decode(data, messages)
    assert messages == ["some words to remember"]


def set_bits(bits: int, data: bytes) -> bytes:
    return bytes((data[0] | bits,)) + data[1:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (set_bits(0x40, frame(PING)), "RSV1 is set in a frame with opcode 0x9; it belongs in a message's first frame"),
        (set_bits(0x40, frame(CLOSE)), "RSV1 is set in a frame with opcode 0x8"),
        (
            compressed_frame(TEXT, alone(b"x")[:1], fin=False) + set_bits(0x40, frame(CONTINUATION, alone(b"x")[1:])),
            "RSV1 is set in a frame with opcode 0x0",
        ),
        (frame(TEXT, b"x", fin=False) + compressed_frame(TEXT, alone(b"x")), "text frame inside a fragmented message"),
        (set_bits(0x20, frame(TEXT)), "reserved bits are set that permessage-deflate does not use"),
        (set_bits(0x70, frame(BINARY)), "reserved bits are set that permessage-deflate does not use"),
        (set_bits(0x43, frame(0)), "RSV1 is set in a frame with opcode 0x3"),
    ],
    ids=["Ping", "Close", "continuation", "inside a plain message", "RSV2", "all", "opcode 3"],
)  # fmt: skip
def test_a_reserved_bit_in_the_wrong_place_is_1002(data: bytes, reason: str) -> None:
    """Behind what came before, and ahead of what comes behind."""
    before, behind = frame(TEXT, b"before"), compressed_frame(TEXT, alone(b"behind"))
    messages, end = decoded(before + data + behind)
    assert messages == ["before"]
    assert isinstance(end, tuple)
    assert end[0] == 1002
    assert end[1].startswith(reason)


BAD = {
    "not UTF-8": (compressed_frame(TEXT, alone(b"ab\xff")), 1007),
    "a character cut at the end": (compressed_frame(TEXT, alone("☃".encode()[:2])), 1007),
    "cannot be inflated": (compressed_frame(BINARY, b"\xff"), 1007),
    "behind a final block": (compressed_frame(BINARY, b"\x03\x00" * 2), 1007),
    "too big": (compressed_frame(BINARY, alone(bytes(100_001))), 1009),
    "RSV1": (set_bits(0x40, frame(PING)), 1002),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("chunk", [1, 7, 1_000_000])
def test_each_error_comes_behind_what_came_before_it(name: str, chunk: int) -> None:
    """However the network cuts it."""
    bad, code = BAD[name]
    client = Compressor()
    data = client.frame("one") + frame(TEXT, b"two") + bad + client.frame("three")
    messages: list[str | bytes] = []
    one = decoder()
    chunks = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    with pytest.raises(FrameError) as refused:
        [one.decode(each, messages) for each in chunks]
    assert messages == ["one", "two"]
    assert refused.value.close_code == code


def test_bad_text_is_noticed_in_an_unfinished_message() -> None:
    """Before its last fragment, and before its frame is there whole."""
    payload = alone(b"good, then bad \xff, and more " * 100)
    with pytest.raises(FrameError, match="1007 text is not UTF-8"):
        decoder().decode(compressed_frame(TEXT, payload, fin=False), [])
    with pytest.raises(FrameError, match="1007 text is not UTF-8"):
        decoder().decode(compressed_frame(TEXT, payload)[:-3], [])


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_a_message_counts_for_nothing(name: str) -> None:
    """Neither its bytes on the wire, nor what is inflated of it."""
    one = decoder()
    with pytest.raises(FrameError):
        one.decode(Compressor().frame("one") + BAD[name][0], [])
    assert (one.messages, one.payload_bytes, one.wire_bytes) == (1, 3, len(alone(b"one")))


def test_a_message_is_measured_when_it_is_inflated() -> None:
    """The limit itself is accepted, in one frame and in fragments; one byte more is 1009."""
    for size, good in ((1000, True), (1001, False)):
        payload = alone(bytes(size))
        half = len(payload) // 2
        fragments = compressed_frame(BINARY, payload[:half], fin=False) + frame(CONTINUATION, payload[half:])
        for data in (compressed_frame(BINARY, payload), fragments):
            messages, end = decoded(data, most=1000)
            assert messages == ([bytes(size)] if good else [])
            assert end == (
                None
                if good
                else (
                    1009,
                    "message has more than 1000 bytes when it is inflated, which is all that is accepted",
                )
            )


def test_a_compressed_frame_may_be_longer_than_what_it_holds() -> None:
    """By an eighth and 1 KiB. More is refused by its header, and a plain message behind it is measured as always."""
    stored = b"\x00\x00\x00\xff\xff" * 200 + alone(bytes(1000))
    assert len(stored) > 1000
    assert decoded(compressed_frame(BINARY, stored), most=1000) == ([bytes(1000)], None)
    most = 1000 + 125 + 1024
    header = compressed_frame(BINARY, bytes(most + 1))[:8]
    messages, end = decoded(header, most=1000)
    assert end == (
        1009,
        f"compressed message has at least {most + 1} bytes; at most {most} are accepted, and 1000 when it is inflated",
    )
    fragments = compressed_frame(BINARY, alone(b"x"), fin=False) + frame(CONTINUATION, bytes(most))
    assert decoded(fragments, most=1000)[1] == (
        1009,
        f"message has at least {most + len(alone(b'x'))} bytes; at most {most} are accepted",
    )
    message = compressed_frame(BINARY, alone(b"x")[:1], fin=False) + frame(CONTINUATION, alone(b"x")[1:])
    messages, end = decoded(message + frame(BINARY, bytes(1001)), most=1000)
    assert (messages, end) == ([b"x"], (1009, "message has at least 1001 bytes; at most 1000 are accepted"))


def test_fragments_are_counted() -> None:
    """As those of a plain message."""
    data = compressed_frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 99
    assert decoded(data)[1] is None
    assert decoded(data + frame(CONTINUATION, b"\x00"))[1] == (
        1009,
        "message has more than 100 fragments, which is all that is accepted",
    )


BOMB = compressed_frame(BINARY, alone(bytes(1_000_000)))


def test_decoding_stops_once_a_turn_has_been_inflated() -> None:
    """One message may go beyond it; none is begun behind it, and the rest comes with the next calls, in order."""
    client = Compressor()
    small = [client.frame(bytes(20_000)) for _ in range(10)]
    one = decoder(most=1_000_000)
    messages: list[str | bytes] = []
    one.decode(b"".join(small) + frame(TEXT, b"plain") + frame(CLOSE, b"\x03\xe8"), messages)
    assert (len(messages), one.held) == (4, True)
    assert TURN <= 4 * 20_000
    calls = 1
    end = None
    while one.held:
        end = one.decode(b"", messages)
        calls += 1
    assert messages == [bytes(20_000)] * 10 + ["plain"]
    assert (end, calls) == (b"\x03\xe8", 3)
    assert one.messages == 11


def test_short_messages_take_their_part_of_a_turn() -> None:
    """Also empty ones, of which a chunk has room for nine thousand: each takes longer than its bytes would."""
    one = decoder()
    messages: list[str | bytes] = []
    one.decode(compressed_frame(TEXT, b"\x00") * 9000, messages)
    assert one.held
    assert len(messages) == TURN // MESSAGE_COST
    assert decoded(compressed_frame(TEXT, b"\x00") * 9000) == ([""] * 9000, None)


def test_many_bombs_take_no_more_memory_than_one() -> None:
    """60 MB in one chunk of 64 KiB: a turn holds one of them."""
    data = BOMB * (65_536 // len(BOMB))
    assert data.count(BOMB) > 55
    one = decoder(most=1_000_000)
    messages: list[str | bytes] = []
    tracemalloc.start()
    one.decode(data, messages)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(messages), one.held) == (1, True)
    assert peak < 3_500_000, peak


def test_a_bomb_in_fragments_is_not_held_in_the_middle() -> None:
    """Nothing would be there for the handler to catch up with."""
    payload = alone(bytes(1_000_000))
    parts = [payload[start : start + 100] for start in range(0, len(payload), 100)]
    data = compressed_frame(BINARY, parts[0], fin=False)
    data += b"".join(frame(CONTINUATION, part, fin=False) for part in parts[1:]) + frame(CONTINUATION)
    one = decoder(most=1_000_000)
    messages: list[str | bytes] = []
    # Up to the middle of a frame, too.
    one.decode(data[:-103], messages)
    assert (messages, one.held) == ([], False)
    one.decode(data[-103:] + BOMB + frame(CONTINUATION), messages)
    assert (messages, one.held) == ([bytes(1_000_000)], True)


def test_what_is_only_counted_is_not_inflated() -> None:
    """Also in the middle of a message; a Close is still found behind it."""
    payload = alone(bytes(1_000_000))
    one = decoder(most=1_000_000)
    messages: list[str | bytes] = []
    one.decode(compressed_frame(BINARY, payload[:500], fin=False), messages)
    one.count_only()
    tracemalloc.start()
    end = one.decode(frame(CONTINUATION, payload[500:]) + BOMB * 20 + frame(CLOSE), messages)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert end == b""
    assert (len(messages), one.messages, one.held) == (21, 21, False)
    assert peak < 500_000, peak
    assert one.payload_bytes == one.wire_bytes


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1000, 100_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_one_message_alone_is_taken_in_one_step(size: int, opcode: int) -> None:
    """With the same result, the same counts and the same context behind it as by the long way."""
    content = ("ä☃x" * size).encode()[: size // 6 * 6] if size < 100_000 else b"x" * size
    short, long = decoder(), decoder()
    client = Compressor()
    for _ in range(2):
        data = compressed_frame(opcode, client.payload(content))
        messages: list[str | bytes] = []
        assert long.decode(data, messages) is None
        assert short.decode_one(data) == messages[0] == (content.decode() if opcode == TEXT else content)
    for one in (short, long):
        assert (one.messages, one.payload_bytes) == (2, 2 * len(content))
    assert short.wire_bytes == long.wire_bytes


@pytest.mark.parametrize("name", BAD)
def test_one_wrong_message_alone_is_told_as_by_the_long_way(name: str) -> None:
    """The same code and the same words."""
    bad, code = BAD[name]
    with pytest.raises(FrameError) as told:
        decoder().decode(bad, [])
    one = decoder()
    if name == "RSV1":
        assert one.decode_one(bad) is None
        return
    with pytest.raises(FrameError) as told_alone:
        one.decode_one(bad)
    assert (told_alone.value.close_code, told_alone.value.reason) == (code, told.value.reason)


def test_more_or_less_than_one_message_is_left_to_the_long_way() -> None:
    """A part of a frame, two frames, a frame behind a part, a message in fragments, one that is too long."""
    data = compressed_frame(TEXT, alone(b"hello"))
    for other in (
        data[:3],
        data[:-1],
        data * 2,
        compressed_frame(TEXT, alone(b"hello"), fin=False),
        compressed_frame(BINARY, bytes(70_000)),
        b"\xc1" + data[1:2].replace(b"\x80", b"") + b"\x05" * 8,
    ):
        assert decoder().decode_one(other) is None
    one = decoder()
    one.decode(compressed_frame(TEXT, b"", fin=False), [])
    assert one.decode_one(data) is None
    one = decoder()
    one.decode(data[:1], [])
    assert one.decode_one(data[1:]) is None
    assert decoder(most=10).decode_one(compressed_frame(BINARY, bytes(1036))) is None
