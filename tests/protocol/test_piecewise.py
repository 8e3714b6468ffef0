"""Bytes into pieces of messages: put together they are what the decoder of whole messages makes of the same bytes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameError, encode_frame
from trioecho._protocol.piecewise import Piece, PiecewiseDecoder

KEY = b"\x37\xfa\x21\x3d"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """One frame, as a client sends it."""
    return encode_frame(opcode, payload, fin=fin, key=KEY)


class Heard:
    """What a decoder has made of some chunks, in order, until a Close or an error."""

    def __init__(self, decoder: FrameDecoder, chunks: list[bytes]) -> None:
        self.decoder = decoder
        self.given: list[str | bytes | Piece] = []
        self.end: object = None
        for chunk in chunks:
            try:
                self.end = decoder.decode(chunk, self.given)  # type: ignore[arg-type]
            except FrameError as error:
                self.end = (error.close_code, error.reason)
            if self.end is not None:
                break
        self.controls = ([*decoder.pings], [*decoder.pongs])
        self.counts = (decoder.messages, decoder.payload_bytes)

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


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in chunks, cut at `places`."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


controls = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=5))
contents = st.one_of(
    st.tuples(st.just(TEXT), st.text(max_size=60).map(str.encode)),
    st.tuples(st.just(BINARY), st.binary(max_size=60)),
    st.tuples(st.just(BINARY), st.binary(min_size=1, max_size=3).map(lambda part: part * 3000)),
    st.tuples(st.just(TEXT), st.text(min_size=1, max_size=3).map(lambda part: (part * 3000).encode())),
    st.tuples(st.just(TEXT), st.binary(max_size=6)),
)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Messages, some in fragments with control frames between them, and perhaps something wrong, or a Close."""
    data = b""
    for opcode, content in draw(st.lists(contents, max_size=4)):
        parts = cut(content, draw(st.lists(st.integers(0, 20_000), max_size=4)))
        for number, part in enumerate(parts):
            data += frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
            if draw(st.booleans()):
                data += draw(controls)
    ends = [b"", frame(CLOSE, b"\x0f\xa0"), frame(CONTINUATION), b"\xff" * 7, frame(TEXT, b"half", fin=False)]
    return data + draw(st.sampled_from(ends))


@given(conversations(), st.lists(st.integers(0, 100_000), max_size=8))
def test_any_fragments_and_any_cuts_give_the_messages_that_were_sent(data: bytes, places: list[int]) -> None:
    """Compared with the decoder of whole messages: messages, Pings, Pongs, counts, and what is wrong, in its place."""
    chunks = cut(data, places)
    pieces = Heard(PiecewiseDecoder(), chunks)
    whole = Heard(FrameDecoder(max_message_size=2**63, max_fragments=2**63), chunks)
    assert pieces.whole == whole.given
    assert (pieces.end, pieces.controls, pieces.counts) == (whole.end, whole.controls, whole.counts)


def test_a_byte_at_a_time_is_given_a_byte_at_a_time() -> None:
    """A character's bytes wait for its last one, and nothing else does."""
    decoder = PiecewiseDecoder()
    data = frame(TEXT, "grün €".encode())
    heard: list[object] = []
    for at in range(len(data)):
        given: list[Any] = []
        decoder.decode(data[at : at + 1], given)
        heard += given
        assert decoder.pending_bytes <= 6
    assert heard == [
        *[Piece("g", 1, False), Piece("r", 1, False), Piece("ü", 2, False), Piece("n", 1, False)],
        *[Piece(" ", 1, False), Piece("€", 3, True)],
    ]
    assert (decoder.messages, decoder.payload_bytes) == (1, 9)


def test_a_message_that_is_there_whole_is_given_whole() -> None:
    """Also in fragments, also empty ones."""
    data = frame(TEXT, b"a") + frame(BINARY, b"b", fin=False) + frame(CONTINUATION, b"c")
    data += frame(TEXT, fin=False) + frame(CONTINUATION)
    assert Heard(PiecewiseDecoder(), [data]).given == ["a", b"bc", ""]
    assert Heard(PiecewiseDecoder(), cut(data, [27, 33])).given == ["a", b"bc", ""]


def test_an_end_without_bytes_is_given_as_the_last_piece() -> None:
    """The last frame of a message may be empty."""
    data = [frame(BINARY, b"b", fin=False), frame(CONTINUATION)]
    assert Heard(PiecewiseDecoder(), data).given == [Piece(b"b", 1, False), Piece(b"", 0, True)]


@pytest.mark.parametrize("cut_off", [b"\xe2\x82", b"\xf0\x9f"])
def test_text_that_ends_within_a_character_is_no_text(cut_off: bytes) -> None:
    """1007, behind the pieces that were text; and inside of a frame as soon as it cannot be text any more."""
    heard = Heard(PiecewiseDecoder(), [frame(TEXT, b"ab", fin=False), frame(CONTINUATION, cut_off)])
    assert heard.given == [Piece("ab", 2, False)]
    assert heard.end == (1007, "text is not UTF-8: unexpected end of data")
    head = frame(TEXT, b"ab" + cut_off + b"c" * 100)[: 6 + 2 + len(cut_off) + 1]
    heard = Heard(PiecewiseDecoder(), [head])
    assert heard.end == (1007, "text is not UTF-8: invalid continuation byte")


def test_nothing_is_kept_of_what_was_given() -> None:
    """A message of any size takes no memory here, in one frame or in any number of them."""
    decoder = PiecewiseDecoder()
    head = encode_frame(BINARY, bytes(2**16), key=KEY)[:14]
    head = head[:2] + (2**40).to_bytes(8) + KEY
    size = 0
    for chunk in [head, *[bytes(50_000)] * 100]:
        given: list[Any] = []
        decoder.decode(chunk, given)
        size += sum(piece.size for piece in given if isinstance(piece, Piece))
        assert decoder.pending_bytes == 0
    assert size == 5_000_000
