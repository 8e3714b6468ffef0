"""What the peer sends is sorted: messages, Pings one at a time, the end behind all, and nothing behind the end."""

from __future__ import annotations

import pytest
import trio

from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.endings import PEER_CLOSED, PROTOCOL_ERROR, Ending
from trioecho._protocol.frames import CLOSE, PING, PONG, TEXT, encode_frame
from trioecho._websocket.inbox import Inbox
from trioecho._websocket.keep_alive import Activity, Ping
from trioecho._websocket.sorter import Sorter

RESERVED = b"\xff" * 7
"""No frame."""


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """One frame, as a client sends it."""
    return encode_frame(opcode, payload, key=b"abcd")


class Sorted(Sorter):
    """A sorter with an inbox of its own; `calls` tells who was called."""

    __slots__ = ("activity", "calls", "inbox")

    def __init__(self) -> None:
        self.inbox, self.activity = Inbox(), Activity(0.0)
        decoder = FrameDecoder(max_message_size=1000, max_fragments=10)
        super().__init__(decoder, self.inbox, self.activity)
        self.calls: list[str] = []
        self.on_ping = lambda: self.calls.append("ping")
        self.on_ended = lambda: self.calls.append("ended")


@pytest.mark.parametrize(
    ("last", "ending"),
    [(RESERVED, PROTOCOL_ERROR), (frame(CLOSE, b"\x03"), PROTOCOL_ERROR), (frame(CLOSE), PEER_CLOSED)],
)
@pytest.mark.parametrize("apart", [True, False])
async def test_nothing_behind_the_end_is_understood(last: bytes, ending: Ending, apart: bool) -> None:
    """Be it in the same chunk as the error or the Close, or in one of its own."""
    sorter = Sorted()
    chunks = [frame(TEXT, b"before"), last, frame(TEXT, b"behind"), frame(PING), frame(TEXT, b"behind")]
    for chunk in chunks if apart else [b"".join(chunks)]:
        sorter.sort(chunk, 1.0)
    assert (list(sorter.inbox.messages), sorter.inbox.ending) == (["before"], ending)
    assert sorter.calls == ["ended"]
    assert sorter.peer_done.is_set()


@pytest.mark.parametrize("apart", [True, False])
async def test_what_came_after_a_ping_waits_until_that_is_answered(apart: bool) -> None:
    """In one chunk with it or not: the next goes no further than the next Ping."""
    sorter = Sorted()
    chunks = [frame(TEXT, b"a"), frame(PING, b"1"), frame(TEXT, b"b"), frame(PING, b"2"), frame(TEXT, b"c")]
    if apart:
        sorter.sort(chunks[0], 1.0)
        sorter.sort(chunks[1], 1.0)
        chunks = chunks[2:]
    else:
        sorter.sort(b"".join(chunks), 1.0)
        chunks = []
    for payload, messages in [(b"1", ["a"]), (b"2", ["a", "b"])]:
        assert list(sorter.inbox.messages) == messages
        assert sorter.must_wait
        assert sorter.ping is not None
        assert sorter.ping.payload == payload
        sorter.ping, sorter.busy = None, False
        sorter.sort(b"".join(chunks), 2.0)
        chunks = []
    assert list(sorter.inbox.messages) == ["a", "b", "c"]
    assert (sorter.ping, sorter.must_wait) == (None, False)
    assert sorter.calls == ["ping", "ping"]


async def test_a_stop_gets_past_pings_without_calling_for_their_pongs() -> None:
    """All messages are there at once; the Ping that waits goes on waiting, and those behind it are lost."""
    sorter = Sorted()
    chunk = frame(PING, b"1") + frame(TEXT, b"a") + frame(PING, b"2") + frame(TEXT, b"b")
    sorter.sort(chunk, 1.0)
    sorter.sort_past_pings()
    assert list(sorter.inbox.messages) == ["a", "b"]
    assert sorter.ping is not None
    assert sorter.ping.payload == b"1"
    assert sorter.calls == ["ping"]


async def test_a_pong_swallows_nothing() -> None:
    """Neither the message behind it, nor the error, and it is noticed."""
    sorter = Sorted()
    ping = Ping(b"ours", trio.current_time())
    sorter.activity.ask(ping)
    sorter.sort(frame(PONG, b"ours") + frame(TEXT, b"a") + frame(PONG) + RESERVED, 1.0)
    assert ping.answered.is_set()
    latency = sorter.activity.latency
    sorter.activity.ponged(b"ours")
    assert sorter.activity.latency == latency, "a repeated Pong was taken for the answer"
    assert (list(sorter.inbox.messages), sorter.inbox.ending) == (["a"], PROTOCOL_ERROR)


async def test_at_the_goodbye_only_the_peers_close_matters() -> None:
    """Messages are counted, Pings ignored, whether they waited for the goodbye or came after it."""
    sorter = Sorted()
    sorter.sort(frame(PING) + frame(TEXT, b"a"), 1.0)
    sorter.discard()
    sorter.sort(frame(TEXT, b"b") + frame(PING), 2.0)
    assert (sorter.discarded, sorter.ping, sorter.must_wait, sorter.peer_close) == (2, None, False, None)
    sorter.sort(frame(PING) + frame(CLOSE, b"\x0f\xa0done"), 3.0)
    assert sorter.peer_close == (4000, "done")
    assert sorter.calls == ["ping", "ended"]
    assert not sorter.inbox.messages
