"""Streams that clients upload."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hubs.memory_connection import settled

from trioecho.hubs import HubException
from trioecho.hubs.streams import Upload


async def test_items_come_in_order_and_then_the_end() -> None:
    upload = Upload(int, 10)
    for item in range(5):
        upload.put(item)
    upload.end()
    assert [item async for item in upload] == [0, 1, 2, 3, 4]


async def test_an_error_comes_behind_the_items() -> None:
    upload = Upload(int, 10)
    upload.put(1)
    upload.end("Something bad")
    assert await anext(upload) == 1
    with pytest.raises(HubException, match="Something bad"):
        await anext(upload)


async def test_only_so_many_items_wait(nursery: trio.Nursery) -> None:
    upload = Upload(int, 2)
    put: list[int] = []

    async def feed() -> None:
        for item in range(5):
            await upload.room()
            upload.put(item)
            put.append(item)
        upload.end()

    nursery.start_soon(feed)
    await settled()
    assert upload.full
    assert put == [0, 1]
    assert await anext(upload) == 0
    await settled()
    assert put == [0, 1, 2]
    assert [item async for item in upload] == [1, 2, 3, 4]


async def test_what_nobody_takes_any_more_is_thrown_away(nursery: trio.Nursery) -> None:
    upload = Upload(int, 1)
    upload.put(1)
    nursery.start_soon(upload.room)
    await settled()
    upload.close()
    await settled()
    assert not nursery.child_tasks
    for item in range(100):
        assert not upload.full
        upload.put(item)
    with pytest.raises(HubException):
        await anext(upload)


async def test_cancelled_while_it_waits_no_item_is_lost() -> None:
    upload = Upload(int, 1)
    with trio.move_on_after(0):
        await anext(upload)
    upload.put(1)
    await upload.aclose()
    assert await anext(upload) == 1
