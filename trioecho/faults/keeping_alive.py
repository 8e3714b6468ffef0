"""Faults of Ping and Pong: answered late, not or wrongly, and Pings of the server's own."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Final

import trio

from trioecho._protocol.frames import PING, PONG
from trioecho.faults.session import Session

MOST_LATE: Final = 100
"""Pongs that may be late at once; further Pings get none."""


async def pong(session: Session, *, delay: float, drop: bool, wrong: bool) -> None:
    """Echoes, and answers Pings in another way than it should."""
    await session.accept()
    put, take = trio.open_memory_channel[tuple[float, bytes]](MOST_LATE)

    async def answer_late() -> None:
        async for at, payload in take:
            await trio.sleep_until(at)
            await session.send_frame(PONG, payload)

    async def answer(payload: bytes) -> None:
        if drop:
            return
        payload = b"not what was sent" if wrong else payload
        if not delay:
            await session.send_frame(PONG, payload)
            return
        with contextlib.suppress(trio.WouldBlock):
            put.send_nowait((trio.current_time() + delay, payload))

    session.answer_ping = answer
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_late)
        await session.echo()
        nursery.cancel_scope.cancel()


async def ping(session: Session, *, every: float, size: int, count: int) -> None:
    """Echoes, sends Pings, and reports each in a text message: how long its Pong took, or that none came."""
    await session.accept()
    waiting: dict[bytes, tuple[int, float]] = {}
    answered: dict[int, float] = {}

    def take(payload: bytes) -> None:
        if (sent := waiting.pop(payload, None)) is not None:
            number, at = sent
            answered[number] = round(trio.current_time() - at, 4)

    async def send() -> None:
        for number in range(1, count + 1):
            # Any payload will do but one that is told from the others only by its number.
            payload = (number.to_bytes(2) + os.urandom(size))[:size]
            waiting[payload] = number, trio.current_time()
            await session.send_frame(PING, payload)
            await trio.sleep(every)
            waiting.pop(payload, None)
            await session.send(json.dumps({"ping": number, "pong": answered.pop(number, None)}))

    session.take_pong = take
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await session.echo()
        nursery.cancel_scope.cancel()
