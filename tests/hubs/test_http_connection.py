"""What a client sends by POST: in order, bounded, and one body at a time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hubs.clients_of_transports import receive_all, serving_route
from serving import until

from trioecho.hubs import Connection


async def test_posts_come_as_they_were_cut_and_in_order() -> None:
    received: list[bytes] = []

    async def handler(connection: Connection) -> None:
        while True:
            received.append(await connection.receive())

    async with serving_route(handler) as served:
        target = await served.begin_polling()
        for body in (b"half a mess", b"", b"age\x1eand another\x1e"):
            assert (await served.ask(target, "POST", body=body)).status == 200
        await until(lambda: len(received) == 2)
        assert received == [b"half a mess", b"age\x1eand another\x1e"]


async def test_a_body_that_is_too_large_is_refused() -> None:
    """413, and the connection goes on."""
    async with serving_route(max_message_size=1000) as served:
        target = await served.begin_polling()
        assert (await served.ask(target, "POST", body=bytes(1001))).status == 413
        await served.ask(target, "POST", body=bytes(1000))
        assert (await served.ask(target)).body == bytes(1000)


async def test_posts_wait_while_the_handler_does_not_take_them() -> None:
    """So what waits in the server is bounded; they go on in their order."""
    taking = trio.Event()
    received: list[bytes] = []

    async def slow(connection: Connection) -> None:
        await taking.wait()
        received.extend(await receive_all(connection))

    async with serving_route(slow, max_buffered=1000) as served:
        target = await served.begin_polling()
        answered: list[int] = []

        async def post(number: int) -> None:
            await served.ask(target, "POST", body=b"%d" % number + bytes(999))
            answered.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(post, number)
                await trio.testing.wait_all_tasks_blocked(0.03)
            assert answered == [0]
            taking.set()
        assert (await served.ask(target, "DELETE")).status == 202
        await until(lambda: served.ended)
        assert [each[:1] for each in received] == [b"0", b"1", b"2"]


async def test_a_post_that_waits_ends_with_the_connection() -> None:
    async def deaf(connection: Connection) -> None:
        await trio.sleep_forever()

    async with serving_route(deaf, max_buffered=1, close_timeout=0.05) as served:
        target = await served.begin_polling()
        await served.ask(target, "POST", body=b"1")
        async with served.http() as client:
            await client.send(target, "POST", body=b"2")
            await trio.testing.wait_all_tasks_blocked(0.02)
            await served.ask(target, "DELETE")
            assert (await client.answer()).status == 404


async def test_what_cannot_be_sent_is_told_to_who_sends_it() -> None:
    """And the connection is as good as before."""

    async def handler(connection: Connection) -> None:
        wrong: Any
        for wrong, error in ((1, TypeError), ("\ud800", ValueError)):
            with pytest.raises(error):
                await connection.send(wrong)
            with pytest.raises(error):
                connection.try_send(wrong)
        await connection.send("good")
        await receive_all(connection)

    async with serving_route(handler) as served:
        assert (await served.ask(await served.begin_polling())).body == b"good"
