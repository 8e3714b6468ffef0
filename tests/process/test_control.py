"""What a supervisor and a worker say to each other arrives whole, or is told to have ended."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from trioecho._process import control
from trioecho._process.control import Channel


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[Channel, Channel]]:
    """Both ends, the second as another process has it: by its number."""
    ours, theirs = Channel.pair()
    with theirs:
        async with ours, Channel.at(os.dup(theirs.fileno())) as other:
            theirs.close()
            yield ours, other


async def test_objects_arrive_in_order_both_ways() -> None:
    """Larger ones than the kernel takes at once, too, and from several tasks."""
    async with ends() as (one, other):
        for sender, receiver in ((one, other), (other, one)):
            messages = [{"number": number, "text": "é" * 100_000} for number in range(5)]
            async with trio.open_nursery() as nursery:
                for message in messages:
                    nursery.start_soon(sender.send, message)
                received = [await receiver.receive() for _ in messages]
            assert sorted(received, key=lambda each: each["number"] if each else -1) == messages


async def test_the_end_of_the_other_process_is_told() -> None:
    """By `receive` with None, by `send` with BrokenResourceError."""
    async with ends() as (one, other):
        await other.send({"last": "words"})
        await other.aclose()
        assert await one.receive() == {"last": "words"}
        assert await one.receive() is None
        with pytest.raises(trio.BrokenResourceError):
            await one.send({"is": "anybody there?"})


async def test_what_has_not_been_read_is_no_error_of_the_other_end() -> None:
    """A process that is killed with something unread resets the channel."""
    async with ends() as (one, other):
        await one.send({"unread": True})
        await other.aclose()
        assert await one.receive() is None


@pytest.mark.parametrize("line", [b"no JSON\n", b"[1, 2]\n", b'"text"\n', b"\xff\xfe\n", b"half a line"])
async def test_what_is_no_object_ends_it(line: bytes) -> None:
    async with ends() as (one, other):
        await other._stream.send_all(line)
        await other._stream.send_eof()
        assert await one.receive() is None


async def test_a_line_without_an_end_is_not_collected_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LONGEST", 100_000)
    async with ends() as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(other._stream.send_all, b"x" * 1_000_000)
        assert await one.receive() is None
        nursery.cancel_scope.cancel()


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with ends() as (one, other):
        await other._stream.send_all(b'{"a":')
        with trio.move_on_after(0.01):
            await one.receive()
        await other._stream.send_all(b"1}\n")
        assert await one.receive() == {"a": 1}
