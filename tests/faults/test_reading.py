"""A client's bytes as frames: cut anywhere the same, judged as RFC 6455 has it."""

from __future__ import annotations

import pytest

from trioecho._protocol.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, FrameError, encode_frame
from trioecho.faults.reading import LONGEST_MESSAGE, ClientFrame, FrameReader, Messages, check_text

KEY = b"\x01\x02\x03\x04"
STREAM = (
    encode_frame(TEXT, b"hel", fin=False, key=KEY)
    + encode_frame(PING, b"there?", key=KEY)
    + encode_frame(CONTINUATION, b"lo", key=KEY)
    + encode_frame(BINARY, bytes(300), key=KEY)
    + encode_frame(BINARY, b"", key=KEY)
    + encode_frame(CLOSE, b"\x03\xe8", key=KEY)
)
OPCODES = [TEXT, PING, CONTINUATION, BINARY, BINARY, CLOSE]


def frames(reader: FrameReader, data: bytes, step: int) -> list[ClientFrame]:
    found = []
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        while (frame := reader.next()) is not None:
            found.append(frame)
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_the_same_bytes_are_the_same_frames(step: int) -> None:
    """Wherever the network has cut them."""
    found = frames(FrameReader(), STREAM, step)
    assert [frame.opcode for frame in found] == OPCODES
    assert [frame.payload for frame in found] == [b"hel", b"there?", b"lo", bytes(300), b"", b"\x03\xe8"]
    assert [frame.fin for frame in found] == [False, True, True, True, True, True]


@pytest.mark.parametrize("step", [1, 3, 64, 10_000])
def test_what_is_discarded_is_counted(step: int) -> None:
    """A message of any size takes no memory; control frames are whole."""
    reader = FrameReader(discard=4)
    found = frames(reader, STREAM + encode_frame(BINARY, bytes(3 * LONGEST_MESSAGE), key=KEY)[:50_000], step)
    assert [frame.opcode for frame in found] == OPCODES
    assert [frame.length for frame in found] == [3, 6, 2, 300, 0, 2]
    assert found[1].payload == b"there?"
    assert len(found[3].payload) <= 4
    assert len(reader._data) < 20


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (encode_frame(TEXT, b"x"), 1002, "not masked"),
        (encode_frame(3, b"x", key=KEY), 1002, "opcode 0x3"),
        (encode_frame(TEXT | 0x40, b"x", key=KEY), 1002, "reserved bits"),
        (encode_frame(PING, bytes(126), key=KEY), 1002, "control frame"),
        (encode_frame(PING, b"", fin=False, key=KEY), 1002, "control frame"),
        (encode_frame(BINARY, bytes(LONGEST_MESSAGE + 1), key=KEY)[:14], 1009, "at most 1048576"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, code: int, reason: str) -> None:
    """As soon as the header has come."""
    reader = FrameReader()
    reader.feed(data)
    with pytest.raises(FrameError, match=reason) as error:
        reader.next()
    assert error.value.close_code == code


def test_compression_allows_its_bit_only() -> None:
    """RSV1, if it was agreed on."""
    reader = FrameReader(compressed=True)
    reader.feed(encode_frame(TEXT | 0x40, b"x", key=KEY) + encode_frame(TEXT | 0x20, b"x", key=KEY))
    assert reader.next() is not None
    with pytest.raises(FrameError):
        reader.next()


def test_fragments_make_a_message() -> None:
    """In order, of bounded size, and none inside another."""
    messages = Messages()
    assert messages.add(ClientFrame(TEXT, b"hel", 3, True)) is None
    assert messages.add(ClientFrame(0x80, b"lo", 2, True)) == (TEXT, b"hello", False)
    with pytest.raises(FrameError, match="continuation"):
        messages.add(ClientFrame(0x80, b"", 0, True))
    messages.add(ClientFrame(BINARY, bytes(LONGEST_MESSAGE), LONGEST_MESSAGE, True))
    with pytest.raises(FrameError, match="data frame inside"):
        messages.add(ClientFrame(0x81, b"", 0, True))
    with pytest.raises(FrameError, match="more than"):
        messages.add(ClientFrame(0x80, b"x", 1, True))


def test_text_is_utf8() -> None:
    """Binary may be anything."""
    check_text(BINARY, b"\xff")
    with pytest.raises(FrameError) as error:
        check_text(TEXT, b"\xff")
    assert error.value.close_code == 1007
