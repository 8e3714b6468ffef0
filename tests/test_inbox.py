"""Messages waiting for the handler: in order, bounded, the end behind them, and one task woken."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trioecho._protocol.endings import PEER_CLOSED, PEER_VANISHED, SERVER_STOPPING
from trioecho._websocket.inbox import WAITING_BYTES, Inbox


async def wait(inbox: Inbox) -> None:
    """As `WebSocket` does it, with Trio's own way of parking."""
    if inbox.begin_wait():
        await inbox.park()
    else:
        await trio.lowlevel.checkpoint()


async def take(inbox: Inbox) -> str | bytes:
    """The next message; there has to be one some time."""
    while not inbox.messages:
        await wait(inbox)
    return inbox.messages.popleft()


async def test_messages_are_taken_in_order() -> None:
    """However they were put in."""
    inbox = Inbox()
    inbox.put(["a", b"b"], 14)
    inbox.put(["c"], 7)
    assert [await take(inbox) for _ in range(3)] == ["a", b"b", "c"]


async def test_a_message_wakes_the_task_that_waits() -> None:
    """It sleeps until there is one."""
    inbox = Inbox()
    taken: list[str | bytes] = []
    async with trio.open_nursery() as nursery:

        async def handler() -> None:
            taken.append(await take(inbox))

        nursery.start_soon(handler)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == []
        inbox.put(["at last"], 13)
    assert taken == ["at last"]


async def test_the_end_wakes_the_task_that_waits() -> None:
    """It is woken, and there is no message: that is the end."""
    inbox = Inbox()
    async with trio.open_nursery() as nursery:

        async def handler() -> None:
            await wait(inbox)
            assert not inbox.messages
            assert inbox.ending is PEER_CLOSED

        nursery.start_soon(handler)
        await trio.testing.wait_all_tasks_blocked()
        inbox.end(PEER_CLOSED)


async def test_the_end_stands_behind_the_messages_and_the_first_end_stands() -> None:
    """What has come is there to be taken; a second ending changes nothing."""
    inbox = Inbox()
    inbox.put(["before"], 12)
    inbox.end(PEER_CLOSED)
    inbox.end(SERVER_STOPPING)
    inbox.end(PEER_VANISHED)
    assert await take(inbox) == "before"
    await wait(inbox)
    assert (list(inbox.messages), inbox.ending) == ([], PEER_CLOSED)


async def test_a_full_inbox_is_shut_until_the_handler_has_caught_up() -> None:
    """Full at `WAITING_BYTES`; open again when everything has been taken and the handler waits; then it says so."""
    caught_up: list[int] = []
    inbox = Inbox()
    inbox.on_caught_up = lambda: caught_up.append(len(inbox.messages))
    inbox.put(["x"], WAITING_BYTES - 1)
    assert not inbox.shut
    inbox.put(["y"], 1)
    assert inbox.shut
    assert [await take(inbox), await take(inbox)] == ["x", "y"]
    assert (inbox.shut, caught_up) == (True, [])
    with trio.move_on_after(0):
        await wait(inbox)
    assert (inbox.shut, caught_up) == (False, [0])


async def test_what_is_read_on_catching_up_is_there_at_once() -> None:
    """on_caught_up may put messages in; then nobody waits."""
    inbox = Inbox()
    inbox.on_caught_up = lambda: inbox.put(["fresh"], 11)
    with trio.fail_after(1):
        assert await take(inbox) == "fresh"


async def test_an_ended_inbox_is_shut() -> None:
    """Nothing more should be put in."""
    inbox = Inbox()
    inbox.end(PEER_CLOSED)
    assert inbox.shut
    await wait(inbox)
    assert inbox.shut


async def test_a_handler_that_asks_again_and_again_has_taken_nothing() -> None:
    """on_emptied is called when it waits after having taken something, and only once for that."""
    emptied: list[int] = []
    inbox = Inbox()
    inbox.on_emptied = lambda: emptied.append(1)
    inbox.put(["x"], 7)
    assert await take(inbox) == "x"
    for _ in range(3):
        with trio.move_on_after(0):
            await wait(inbox)
        assert emptied == [1]


async def test_a_cancelled_wait_leaves_no_trace() -> None:
    """The next task may wait, and gets the message."""
    inbox = Inbox()
    with trio.move_on_after(0) as scope:
        await wait(inbox)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, inbox)
        await trio.testing.wait_all_tasks_blocked()
        inbox.put(["for the next"], 18)
    assert not inbox.messages


async def test_a_second_task_may_not_wait() -> None:
    """BusyResourceError, and the first is not disturbed."""
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, inbox)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await wait(inbox)
        inbox.put(["for the first"], 19)


def test_what_is_discarded_is_counted() -> None:
    """For the record."""
    inbox = Inbox()
    inbox.put(["a", "b"], 14)
    assert inbox.discard() == 2
    assert inbox.discard() == 0
    assert not inbox.messages
