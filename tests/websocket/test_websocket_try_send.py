"""Sending without waiting: at once, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from serving import connected, one_way, reset, serving, until
from serving import way_of_reading as way_of_reading
from slow_client import fill, hold, joined, read

import trioecho
from trioecho import Prepared


@pytest.mark.parametrize("message", ["text", b"bytes", Prepared("prepared"), "x" * 100_000, b""])
async def test_what_can_be_sent_is_sent(message: Any) -> None:
    """In order behind what was sent before, and counted."""
    async with serving(hold) as server, joined(server) as (client, ws):
        await ws.send("before")
        assert ws.try_send(message) is True
        await ws.send("behind")
        heard = "prepared" if isinstance(message, Prepared) else message
        assert [await client.receive() for _ in range(3)] == ["before", heard, "behind"]
        await until(lambda: ws.record.messages_sent == 3)


async def test_to_who_does_not_read_nothing_is_sent() -> None:
    """False, and nothing is queued, however often it is tried; when the client has read, it goes on."""
    async with serving(hold) as server, joined(server) as (client, ws):
        pieces = await fill(ws)
        waits, sent = ws._outgoing.size, ws._outgoing.messages
        for message in ("x", b"x" * 1_000_000, Prepared("x")):
            assert ws.try_send(message) is False
        assert (ws._outgoing.size, ws._outgoing.messages) == (waits, sent)
        await read(client, pieces)
        await until(lambda: not ws._outgoing.blocked)
        assert ws.try_send("at last")
        assert await client.receive() == "at last"
        await until(lambda: ws.record.messages_sent == pieces + 1)


async def test_nobody_who_waits_is_overtaken() -> None:
    """From the moment at which there is room until the sender that waits for it has used it, too."""
    async with serving(hold) as server, joined(server) as (client, ws):
        pieces = await fill(ws)
        tried = []

        async def try_always() -> None:
            while not ws.try_send("tried"):
                tried.append(False)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ws.send, f"{number}")
                await trio.testing.wait_all_tasks_blocked(0.002)
            nursery.start_soon(try_always)
            await read(client, pieces)
            assert [await client.receive() for _ in range(21)] == [*map(str, range(20)), "tried"]
        assert tried


async def test_it_is_bounded_as_send_is() -> None:
    """Sent in a loop without a checkpoint, it stops when the client's kernel takes no more."""
    async with serving(hold) as server, joined(server) as (_, ws):
        count = 0
        while ws.try_send(b"x" * 10_000):
            count += 1
            assert count < 10_000, "it never stopped"
        assert ws._outgoing.size <= 100_000


async def test_when_the_connection_has_ended_it_raises_as_send_does() -> None:
    """Broken where the peer has gone, closed where we have; also for who waited to read."""
    async with serving(hold) as server:
        async with joined(server) as (client, ws):
            await fill(ws)
            reset(client)
            await until(lambda: server.records)
            for message in ("x", Prepared("x")):
                with pytest.raises(trio.BrokenResourceError):
                    ws.try_send(message)
        async with joined(server) as (client, ws), trio.open_nursery() as nursery:
            nursery.start_soon(ws.aclose)
            assert await client.receive_close() == (1000, "")
            for message in ("x", Prepared("x")):
                with pytest.raises(trio.ClosedResourceError):
                    ws.try_send(message)
            await client.close()


async def test_an_answer_that_is_owed_is_sent() -> None:
    """After the peer's Close, as by `send`; and no more when the time for it is over."""
    answered, raised = [], []

    async def handler(ws: trioecho.WebSocket) -> None:
        message = await ws.receive()
        await ws.closing.wait()
        answered.append(ws.try_send(f"answer to {message!r}"))
        answered.append(ws.try_send(Prepared("and more")))
        await trio.sleep(0.3)
        try:
            ws.try_send("too late")
        except trio.BrokenResourceError as error:
            raised.append(error)

    async with serving(handler, answer_timeout=0.2) as server, connected(server) as client:
        await client.send("question")
        await client.close(4000)
        assert await client.receive() == "answer to 'question'"
        assert await client.receive() == "and more"
        assert await client.receive_close() == (4000, "")
    assert (answered, len(raised)) == ([True, True], 1)


@one_way
@pytest.mark.parametrize(
    ("message", "error", "sentence"),
    [
        (3, TypeError, "a message is str or bytes, not int"),
        ("\ud800", ValueError, "text is sent as UTF-8, which has no surrogates"),
    ],
)
async def test_a_mistake_is_answered_by_a_sentence(
    message: Any, error: type[Exception], sentence: str
) -> None:
    """Also where the client is slow, so that it is found before that happens."""
    async with serving(hold) as server, joined(server) as (_, ws):
        with pytest.raises(error, match=sentence):
            ws.try_send(message)
        await fill(ws)
        with pytest.raises(error, match=sentence):
            ws.try_send(message)
