"""What has no room yet waits in order, and only so much of it."""

from __future__ import annotations

import msgspec
import trio
from hubs.memory_connection import settled

from trioecho.hubs.held import HeldMessages
from trioecho.hubs.messages import CancelInvocation, Invocation, StreamItem


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
