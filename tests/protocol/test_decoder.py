"""Bytes into messages: wsproto is the oracle, any cut gives the same, garbage gives `FrameError` and nothing else."""

from __future__ import annotations

import codecs
import itertools
import sys
import tracemalloc
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameError,
    encode_frame,
    parse_close,
)

KEY = b"\x37\xfa\x21\x3d"

UNKNOWN_TO_WSPROTO = 1014
"""Bad Gateway, the one close code that IANA has registered and wsproto refuses."""

Event = tuple[object, ...]


class Outcome(NamedTuple):
    """What a decoder made of some bytes: messages in order, perhaps a Close or an error behind them, and what Pings and
    Pongs carried."""

    events: list[Event]
    pings: list[bytes]
    pongs: list[bytes]
    pending_bytes: int = 0


def decoded(pieces: list[bytes], *, max_message_size: int = 2**63, max_fragments: int = 1_000_000) -> Outcome:
    """What `FrameDecoder` makes of `pieces`; it stops at a Close, as a connection does."""
    decoder = FrameDecoder(max_message_size=max_message_size, max_fragments=max_fragments)
    events: list[Event] = []
    pings: list[bytes] = []
    pongs: list[bytes] = []
    for piece in pieces:
        messages: list[str | bytes] = []
        end: Event | None = None
        try:
            close = decoder.decode(piece, messages)
            if close is not None:
                end = ("close", *parse_close(close))
        except FrameError as error:
            end = ("error", error.close_code)
        events += [("message", message) for message in messages]
        pings += decoder.pings
        pongs += decoder.pongs
        decoder.pings.clear()
        decoder.pongs.clear()
        if end is not None:
            return Outcome([*events, end], pings, pongs)
    return Outcome(events, pings, pongs, decoder.pending_bytes)


def oracle(data: bytes) -> Outcome:
    """What wsproto makes of `data`, in the same words."""
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(data)
    events: list[Event] = []
    controls: dict[Opcode, list[bytes]] = {Opcode.PING: [], Opcode.PONG: []}
    assembled: list[str] | list[bytes] = []
    try:
        for frame in protocol.received_frames():
            if frame.opcode is Opcode.CLOSE:
                code, reason = frame.payload
                events.append(("close", int(code), reason))
                break
            if frame.opcode in controls:
                controls[frame.opcode].append(bytes(frame.payload))
                continue
            assembled.append(frame.payload)
            if frame.message_finished:
                empty = "" if isinstance(frame.payload, str) else b""
                events.append(("message", empty.join(assembled)))
                assembled = []
    except ParseFailed as failed:
        events.append(("error", int(failed.code)))
    return Outcome(events, controls[Opcode.PING], controls[Opcode.PONG])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at `places`."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


def awkward_frame(first: int, payload: bytes, key: bytes | None, width: int) -> bytes:
    """One frame with any first byte, its length written in `width` bytes whether or not that is the fewest."""
    size = len(payload)
    masked = 0x80 if key is not None else 0
    if width == 0 and size < 126:
        head = bytes((first, masked | size))
    elif width <= 2 and size < 65_536:
        head = bytes((first, masked | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8)
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))


texts = st.text(max_size=40).map(str.encode)
broken_texts = st.builds(lambda text, byte: text + bytes([byte]), texts, st.integers(0x80, 0xFF))
payloads = st.one_of(
    texts, texts, broken_texts, st.binary(max_size=40), st.binary(min_size=120, max_size=140)
)
close_payloads = st.one_of(
    st.just(b""),
    st.binary(max_size=3),
    st.builds(
        lambda code, reason: code.to_bytes(2) + reason,
        st.integers(0, 5100).filter(lambda code: code != UNKNOWN_TO_WSPROTO),
        st.one_of(
            texts.filter(lambda text: len(text) < 124), broken_texts.filter(lambda text: len(text) < 124)
        ),
    ),
)
keys = st.binary(min_size=4, max_size=4)

right_frames = st.one_of(
    st.builds(
        lambda opcode, fin, payload, key: encode_frame(opcode, payload, fin=fin, key=key),
        st.sampled_from([CONTINUATION, TEXT, BINARY]),
        st.booleans(),
        payloads,
        keys,
    ),
    st.builds(
        lambda opcode, payload, key: encode_frame(opcode, payload, key=key),
        st.sampled_from([PING, PONG]),
        st.binary(max_size=125),
        keys,
    ),
    st.builds(lambda payload, key: encode_frame(CLOSE, payload, key=key), close_payloads, keys),
)
# Whatever is wrong with it, it is whole: neither decoder has to wait for more in order to see that.
wrong_frames = st.builds(
    awkward_frame,
    st.integers(0, 255),
    payloads,
    st.one_of(keys, keys, keys, st.none()),
    st.sampled_from([0, 0, 2, 8]),
)


@st.composite
def fragmented_messages(draw: st.DrawFn) -> bytes:
    """A whole message in fragments cut anywhere, inside a character too, with Pings and Pongs between them."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    payload = draw(payloads)
    pieces = cut(payload, draw(st.lists(st.integers(0, 200), max_size=4)))
    frames = b""
    for index, piece in enumerate(pieces):
        frames += encode_frame(
            opcode if index == 0 else CONTINUATION, piece, fin=index == len(pieces) - 1, key=draw(keys)
        )
        if index < len(pieces) - 1 and draw(st.booleans()):
            frames += encode_frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=9)), key=KEY)
    return frames


conversations = st.lists(
    st.one_of(fragmented_messages(), fragmented_messages(), right_frames, wrong_frames), max_size=8
).map(b"".join)
places = st.lists(st.integers(0, 10_000), max_size=12)


@settings(max_examples=500, deadline=None)
@given(conversations, places)
def test_any_frames_mean_what_they_mean_to_wsproto(data: bytes, places: list[int]) -> None:
    """Right and wrong frames in any order, cut anywhere: the same messages, control frames and error as wsproto's."""
    assert decoded(cut(data, places))._replace(pending_bytes=0) == oracle(data)


@settings(max_examples=200, deadline=None)
@given(conversations)
def test_byte_by_byte_is_the_same_as_in_one_piece(data: bytes) -> None:
    """The same bytes one at a time: the same events, and the same bytes left over."""
    assert decoded([data[i : i + 1] for i in range(len(data))]) == decoded([data])


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), places)
@example(b"\x81\xfe", [])
@example(b"\xff" * 20, [1])
def test_garbage_gives_a_frame_error_or_nothing(data: bytes, places: list[int]) -> None:
    """Whatever the bytes: messages, control frames or `FrameError`, the same however they are cut."""
    whole = decoded([data], max_message_size=100, max_fragments=3)
    assert decoded(cut(data, places), max_message_size=100, max_fragments=3) == whole


@settings(max_examples=200, deadline=None)
@given(conversations, places, st.integers(1, 50), st.integers(1, 3))
def test_limits_do_not_depend_on_the_cut(data: bytes, places: list[int], size: int, fragments: int) -> None:
    """With small limits, too, any cut gives what one piece gives."""
    limits = {"max_message_size": size, "max_fragments": fragments}
    assert decoded(cut(data, places), **limits) == decoded([data], **limits)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_text_is_refused_as_soon_as_it_cannot_be_utf_8(payload: bytes, unseen: int) -> None:
    """Inside an unfinished frame: each byte is judged when it comes, not when the frame or message is whole."""
    frame = encode_frame(TEXT, payload + bytes(unseen), fin=False, key=KEY)
    start = len(frame) - unseen - len(payload)
    decoder = FrameDecoder(max_message_size=1000, max_fragments=10)
    decoder.decode(frame[:start], [])
    judge = codecs.getincrementaldecoder("utf-8")()
    for index in range(len(payload)):
        try:
            judge.decode(payload[index : index + 1])
        except UnicodeDecodeError:
            with pytest.raises(FrameError, match="1007 text is not UTF-8"):
                decoder.decode(frame[start + index : start + index + 1], [])
            return
        assert decoder.decode(frame[start + index : start + index + 1], []) is None


long_texts = st.lists(
    st.builds(lambda unit, count: unit * count, st.sampled_from(["x", "é", "€", "😀"]), st.integers(1, 2500)),
    max_size=4,
).map(lambda parts: "".join(parts).encode())


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([TEXT, BINARY]),
    st.one_of(
        long_texts, st.builds(lambda a, b, c: a + b + c, long_texts, st.binary(max_size=2), long_texts)
    ),
    st.lists(st.integers(0, 10_000), max_size=6),
    places,
)
def test_a_long_message_is_itself_in_any_fragments(
    opcode: int, payload: bytes, fragments: list[int], places: list[int]
) -> None:
    """Characters of one to four bytes, some of them broken, cut anywhere by frames and by chunks."""
    pieces = cut(payload, fragments)
    frames = [
        encode_frame(0 if index else opcode, piece, fin=index == len(pieces) - 1, key=KEY)
        for index, piece in enumerate(pieces)
    ]
    try:
        expected: Event = ("message", payload.decode() if opcode == TEXT else payload)
    except UnicodeDecodeError:
        expected = ("error", 1007)
    assert decoded(cut(b"".join(frames), places)).events == [expected]


# Limits.


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_every_length_encoding_passes_when_it_is_just_small_enough(
    size: int, opcode: int
) -> None:
    """Exactly `max_message_size` bytes are accepted; one more is refused."""
    frame = encode_frame(opcode, b"x" * size, key=KEY)
    expected = "x" * size if opcode == TEXT else b"x" * size
    assert decoded([frame], max_message_size=max(size, 1)).events == [("message", expected)]
    if size > 1:
        assert decoded([frame], max_message_size=size - 1).events == [("error", 1009)]


@pytest.mark.parametrize("announced", [101, 126, 65_536, 2**62])
def test_a_message_too_big_is_refused_by_its_header(announced: int) -> None:
    """What a header announces is judged before a byte of it has come."""
    if announced < 126:
        head = bytes((0x82, 0x80 | announced))
    elif announced < 65_536:
        head = bytes((0x82, 0x80 | 126)) + announced.to_bytes(2)
    else:
        head = bytes((0x82, 0x80 | 127)) + announced.to_bytes(8)
    decoder = FrameDecoder(max_message_size=100, max_fragments=10)
    with pytest.raises(FrameError, match=f"1009 message has at least {announced} bytes; at most 100 are"):
        decoder.decode(head + KEY, [])


def test_the_size_of_all_fragments_counts() -> None:
    """A message that grows by fragments is refused by the header that makes it too big."""
    begun = encode_frame(BINARY, b"x" * 60, fin=False, key=KEY) + encode_frame(PING, b"x" * 100, key=KEY)
    just = encode_frame(CONTINUATION, b"x" * 40, key=KEY)
    over = encode_frame(CONTINUATION, b"x" * 41, key=KEY)[:6]
    fits = decoded([begun, just], max_message_size=100)
    assert fits == Outcome([("message", b"x" * 100)], [b"x" * 100], [])
    refused = decoded([begun, over], max_message_size=100)
    assert refused == Outcome([("error", 1009)], [b"x" * 100], [])


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_one_fragment_too_many_is_refused_by_its_header(payload: bytes) -> None:
    """`max_fragments` frames make a message, one more does not, however small they are."""
    first = encode_frame(TEXT, payload, fin=False, key=KEY)
    middle = encode_frame(CONTINUATION, payload, fin=False, key=KEY)
    last = encode_frame(CONTINUATION, payload, key=KEY)
    fits = decoded([first + middle * 8 + last], max_fragments=10).events
    assert fits == [("message", (payload * 10).decode())]
    header = last[:6]
    assert decoded([first + middle * 9, header], max_fragments=10).events == [("error", 1009)]


def test_the_next_message_has_the_whole_limit_again() -> None:
    """Size and fragments are counted per message."""
    message = encode_frame(TEXT, b"x" * 5, fin=False, key=KEY) + encode_frame(CONTINUATION, b"x" * 5, key=KEY)
    outcome = decoded([message * 50], max_message_size=10, max_fragments=2)
    assert outcome == Outcome([("message", "x" * 10)] * 50, [], [])


# Memory.


EMOJI = "😀".encode()


@pytest.mark.parametrize("chunk", [1, 65_536])
@pytest.mark.parametrize("fragment", [1, 1023, 5000, None])
@pytest.mark.parametrize(
    ("opcode", "unit"),
    [
        (BINARY, b"x"),
        (TEXT, b"x"),
        (TEXT, EMOJI),
        (TEXT, b"x" * 1020 + EMOJI),
        (TEXT, b"x" * 9 + "é€".encode()),
        (TEXT, "é".encode() * 3 + b"xx"),
    ],
    ids=["binary", "ASCII", "emoji", "an emoji per KiB", "a few wide characters", "Latin"],
)
def test_half_a_message_costs_its_bytes(opcode: int, unit: bytes, fragment: int | None, chunk: int) -> None:
    """However it is cut and whatever it says: not an object per byte, not four bytes per character of text."""
    size = 40_000 if chunk == 1 or fragment == 1 else 500_000
    payload = unit * (size // len(unit))
    fragment = fragment or len(payload) + 1
    parts = [payload[start : start + fragment] for start in range(0, len(payload), fragment)]
    if len(parts) == 1:
        data = encode_frame(opcode, payload + b"!", key=KEY)[:-1]
        end = encode_frame(opcode, payload + b"!", key=KEY)[-1:]
    else:
        data = encode_frame(opcode, b"", fin=False, key=KEY)
        data += b"".join(encode_frame(CONTINUATION, part, fin=False, key=KEY) for part in parts)
        end = encode_frame(CONTINUATION, b"!", key=KEY)
    chunks = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    decoder = FrameDecoder(max_message_size=len(payload) + 1, max_fragments=len(parts) + 2)
    messages: list[str | bytes] = []
    tracemalloc.start()
    try:
        for each in chunks:
            decoder.decode(each, messages)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= 1.5 * len(payload) + 65_536
    assert decoder.pending_bytes == len(payload)
    decoder.decode(end, messages)
    whole = payload + b"!"
    assert messages == [whole.decode() if opcode == TEXT else whole]
    assert decoder.pending_bytes == 0


def test_a_header_that_announces_a_lot_costs_nothing() -> None:
    """Memory is taken for what has come, not for what will."""
    header = b"\x82\xff" + (2**62).to_bytes(8) + KEY
    decoder = FrameDecoder(max_message_size=2**63, max_fragments=10)
    tracemalloc.start()
    try:
        decoder.decode(header, [])
        decoder.decode(b"x" * 10, [])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4096


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_no_more_than_one_control_frame_is_left_over(step: int) -> None:
    """So that no cut makes the decoder copy the same bytes again and again."""
    frames = [encode_frame(PING, b"x" * 125, key=KEY), encode_frame(BINARY, b"x" * 300, fin=False, key=KEY)]
    frames += [encode_frame(CONTINUATION, b"", fin=False, key=KEY)] * 20
    frames += [encode_frame(PONG, b"", key=KEY)] * 20 + [encode_frame(CONTINUATION, b"", key=KEY)]
    data = b"".join(frames) * 10
    decoder = FrameDecoder(max_message_size=1000, max_fragments=30)
    for start in range(0, len(data), step):
        decoder.decode(data[start : start + step], [])
        assert decoder.pending_bytes <= 130 + 300


def test_a_decoder_at_rest_has_nothing_but_itself() -> None:
    """Most connections are idle most of the time."""
    tracemalloc.start()
    try:
        decoders = [FrameDecoder(max_message_size=1000, max_fragments=10) for _ in range(1000)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A pointer in the list, and what the list has in reserve.
    assert held / 1000 <= sys.getsizeof(decoders[0]) + 16


# Work.


def calls(first: bytes, frame: bytes) -> float:
    """Calls of functions, in Python and in C, that 8 KiB of `frame` after `first` take."""
    decoder = FrameDecoder(max_message_size=100_000, max_fragments=100_000)
    decoder.decode(first, [])
    chunk = frame * (8192 // len(frame))
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        decoder.decode(chunk, [])
    finally:
        sys.setprofile(before)
    return count


BEGUN = {opcode: encode_frame(opcode, b"x", fin=False, key=KEY) for opcode in (TEXT, BINARY)}
PING_OF_NOTHING = encode_frame(PING, b"", key=KEY)


def fragments(payload: bytes, size: int) -> bytes:
    """Frames in the midst of a message, of `size` bytes each."""
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    return b"".join(encode_frame(CONTINUATION, part, fin=False, key=KEY) for part in parts)


@pytest.mark.parametrize(
    ("first", "frame"),
    [
        (b"", PING_OF_NOTHING),
        (b"", encode_frame(PONG, b"", key=KEY)),
        (b"", encode_frame(PONG, b"", key=bytes(4))),
        (b"", encode_frame(PONG, b"1234", key=KEY)),
        (b"", encode_frame(PING, b"x" * 125, key=KEY)),
        (b"", encode_frame(PONG, b"x" * 125, key=KEY)),
        (b"", PING_OF_NOTHING + encode_frame(PONG, b"", key=KEY)),
        (BEGUN[TEXT], encode_frame(CONTINUATION, b"", fin=False, key=KEY)),
        (BEGUN[BINARY], encode_frame(CONTINUATION, b"", fin=False, key=KEY)),
        (BEGUN[TEXT], fragments(b"x", 1)),
        (BEGUN[BINARY], fragments(b"x", 1)),
        (BEGUN[TEXT], fragments(EMOJI, 1)),
        (BEGUN[TEXT], fragments(EMOJI, 4)),
        (BEGUN[TEXT], fragments(b"x", 1) + PING_OF_NOTHING),
        (BEGUN[TEXT], encode_frame(CONTINUATION, b"", fin=False, key=KEY) + PING_OF_NOTHING),
        (b"", encode_frame(TEXT, b"", fin=False, key=KEY) + encode_frame(CONTINUATION, b"", key=KEY)),
        (b"", encode_frame(TEXT, b"x", fin=False, key=KEY) + encode_frame(CONTINUATION, b"x", key=KEY)),
        (b"", encode_frame(TEXT, b"\xc3", fin=False, key=KEY) + encode_frame(CONTINUATION, b"\xa9", key=KEY)),
        (b"", encode_frame(BINARY, b"x", fin=False, key=KEY) + encode_frame(CONTINUATION, b"x", key=KEY)),
    ],
)
def test_no_frames_take_more_than_twice_the_calls_of_small_messages(first: bytes, frame: bytes) -> None:
    """Nobody holds the loop for longer with Pings, Pongs or fragments than with a chunk full of small messages.

    Calls are what the decoder's time goes into, and their number is the same in each run.
    """
    messages = [
        encode_frame(opcode, b"x" * size, key=KEY) for opcode in (TEXT, BINARY) for size in (0, 1, 64)
    ]
    assert calls(first, frame) <= 2 * max(calls(b"", message) for message in messages)


# Counters.


def test_messages_are_counted() -> None:
    """`messages` and `payload_bytes` count whole messages, fragmented or not, also those before an error."""
    decoder = FrameDecoder(max_message_size=1000, max_fragments=10)
    data = encode_frame(TEXT, "é".encode(), key=KEY) + encode_frame(BINARY, bytes(300), key=KEY)
    data += encode_frame(TEXT, b"ab", fin=False, key=KEY) + encode_frame(CONTINUATION, b"c", key=KEY)
    with pytest.raises(FrameError):
        decoder.decode(data + encode_frame(3, b"", key=KEY), [])
    assert (decoder.messages, decoder.payload_bytes) == (3, 305)


# Control frames.


def test_pings_and_pongs_are_collected_in_order_beside_the_messages() -> None:
    """Also between the fragments of a message; the caller clears them, and each call adds to what is there."""
    ping = encode_frame(PING, b"1", key=KEY) + encode_frame(PONG, b"one", key=KEY)
    data = encode_frame(TEXT, b"before", key=KEY) + ping + encode_frame(TEXT, b"af", fin=False, key=KEY)
    data += encode_frame(PING, b"", key=KEY) + encode_frame(CONTINUATION, b"ter", key=KEY)
    decoder = FrameDecoder(max_message_size=100, max_fragments=10)
    messages: list[str | bytes] = []
    assert decoder.decode(data, messages) is None
    assert decoder.decode(ping, messages) is None
    assert messages == ["before", "after"]
    assert (decoder.pings, decoder.pongs) == ([b"1", b"", b"1"], [b"one", b"one"])
    decoder.pings.clear()
    assert decoder.decode(ping, messages) is None
    assert (decoder.pings, decoder.pongs) == ([b"1"], [b"one"] * 3)


def test_what_one_decoder_collects_is_not_seen_by_another() -> None:
    """They have the same empty list only until the first Ping or Pong."""
    decoder, other = (FrameDecoder(max_message_size=100, max_fragments=10) for _ in range(2))
    decoder.decode(encode_frame(PING, b"?", key=KEY) + encode_frame(PONG, b"!", key=KEY), [])
    assert (other.pings, other.pongs) == ([], [])


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8bye", b"\x03"])
@pytest.mark.parametrize("behind", [b"", b"\xff" * 20, encode_frame(TEXT, b"x", key=KEY)])
def test_a_close_gives_its_payload_and_nothing_behind_it_is_decoded(payload: bytes, behind: bytes) -> None:
    """Inside a fragmented message, too; whether the payload is right is `parse_close`'s business."""
    ping = encode_frame(PING, b"?", key=KEY)
    data = encode_frame(TEXT, b"a", key=KEY) + encode_frame(TEXT, b"b", fin=False, key=KEY) + ping
    decoder = FrameDecoder(max_message_size=100, max_fragments=10)
    messages: list[str | bytes] = []
    assert decoder.decode(data + encode_frame(CLOSE, payload, key=KEY) + behind, messages) == payload
    assert decoder.decode_one(encode_frame(TEXT, b"c", key=KEY)) is None
    assert decoder.decode(encode_frame(TEXT, b"c", key=KEY), messages) == payload
    assert messages == ["a"]
    assert decoder.pings == [b"?"]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_an_error_comes_before_what_stands_behind_it(opcode: int) -> None:
    """Broken text in a fragment is noticed before the control frame behind it, as if they had come apart."""
    data = encode_frame(TEXT, b"a", fin=False, key=KEY) + encode_frame(
        CONTINUATION, b"\xff", fin=False, key=KEY
    )
    outcome = decoded([data + encode_frame(opcode, b"", key=KEY)])
    assert (
        outcome == Outcome([("error", 1007)], [], []) == decoded([data, encode_frame(opcode, b"", key=KEY)])
    )


def test_what_came_before_an_error_is_there() -> None:
    """Messages, Pings and Pongs of the same chunk."""
    data = encode_frame(PING, b"1", key=KEY) + encode_frame(PONG, b"2", key=KEY)
    data += encode_frame(TEXT, b"a", key=KEY) + encode_frame(TEXT, b"\xff", key=KEY)
    decoder = FrameDecoder(max_message_size=100, max_fragments=10)
    messages: list[str | bytes] = []
    with pytest.raises(FrameError, match="1007 text is not UTF-8: invalid start byte"):
        decoder.decode(data, messages)
    assert (messages, decoder.pings, decoder.pongs) == (["a"], [b"1"], [b"2"])
    assert (decoder.messages, decoder.payload_bytes) == (1, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1\x80" + KEY, "reserved bits are set"),
        (b"\x83\x80" + KEY, "opcode 0x3 is reserved"),
        (b"\x8b\x80" + KEY, "opcode 0xb is reserved"),
        (b"\x81\x00", "not masked"),
        (b"\x80\x80" + KEY, "continuation frame without a message"),
        (b"\x01\x80" + KEY + b"\x82\x80" + KEY, "binary frame inside a fragmented message"),
        (b"\x09\x80" + KEY, "Ping frame is fragmented"),
        (b"\x88\xfe\x00\x7e" + KEY, "Close frame is longer than 125 bytes"),
        (b"\x82\xfe\x00\x7d" + KEY, "length 125 is not encoded in the fewest bytes"),
        (b"\x82\xff" + (65_535).to_bytes(8) + KEY, "length 65535 is not encoded in the fewest bytes"),
        (b"\x82\xff" + (1 << 63).to_bytes(8) + KEY, "highest bit"),
    ],
)
def test_a_broken_frame_is_told_what_is_wrong_with_it(data: bytes, reason: str) -> None:
    """1002, and a reason that names what was received."""
    decoder = FrameDecoder(max_message_size=1000, max_fragments=10)
    with pytest.raises(FrameError) as caught:
        decoder.decode(data, [])
    assert caught.value.close_code == 1002
    assert reason in caught.value.reason
    assert str(caught.value) == f"1002 {caught.value.reason}"
    assert len(caught.value.reason.encode()) <= 123
