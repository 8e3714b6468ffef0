"""What has no room yet waits in order, and only so much of it."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
import trio
from hubs.memory_connection import settled

from trioecho.hubs.held import HeldMessages
from trioecho.hubs.json_protocol import JsonProtocol
from trioecho.hubs.messages import CancelInvocation, Completion, Invocation, Message, StreamItem


async def test_so_many_bytes_wait_before_whoever_reads_does(nursery: trio.Nursery) -> None:
    held = HeldMessages(350)
    messages = [
        Invocation("1", "a", msgspec.Raw(b"[" + b" " * 50 + b"]"), []),
        StreamItem("2", msgspec.Raw(b"12345678")),
        CancelInvocation("1"),
    ]
    for message in messages[:2]:
        held.add(message)
        await held.room()
    held.add(messages[2])
    nursery.start_soon(held.room)
    await settled()
    assert nursery.child_tasks
    assert list(held.messages) == messages
    held.remove_first()
    await settled()
    assert not nursery.child_tasks
    assert list(held.messages) == messages[1:]


LONG = "x" * 1000
LONG_RAW = msgspec.Raw(LONG.encode())


@pytest.mark.parametrize(
    "message",
    [
        Invocation(LONG, "a", msgspec.Raw(b"[]"), []),
        Invocation(None, LONG, msgspec.Raw(b"[]"), []),
        Invocation(None, "a", LONG_RAW, []),
        Invocation(None, "a", msgspec.Raw(b"[]"), ["1"] * 10),
        StreamItem(LONG, msgspec.Raw(b"1")),
        StreamItem("1", LONG_RAW),
        Completion(LONG),
        Completion("1", LONG),
        CancelInvocation(LONG),
    ],
)
async def test_all_that_a_message_says_counts(message: Message, nursery: trio.Nursery) -> None:
    """Else a client that is held up could have 32 KiB kept for each 100 bytes that count."""
    held = HeldMessages(1000)
    held.add(message)
    nursery.start_soon(held.room)
    await settled()
    assert nursery.child_tasks
    held.remove_first()
    await settled()
    assert not nursery.child_tasks
    assert held._size == 0


@pytest.mark.parametrize(
    "message", [b'"type":1,"target":"a","arguments"', b'"type":2,"item"', b'"type":3,"result"']
)
def test_nothing_else_of_what_it_came_in_is_kept(message: bytes) -> None:
    transfer = b'{"invocationId":"1",%b:[1],"more":"%b"}\x1e' % (message, b"x" * 1000)
    held = HeldMessages(1000)
    tracemalloc.start()
    try:
        for _ in range(100):
            (said,) = JsonProtocol().reader(2000).feed(transfer)
            held.add(said)
            del said
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 50_000
