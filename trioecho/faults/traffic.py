"""Faults of traffic: a server that reads slowly or not at all, and one that sends in pieces, much, often or at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import trio

from trioecho._protocol.frames import BINARY, CONTINUATION, PING, TEXT, long_header
from trioecho.faults.session import CLOSE_TIMEOUT, Session

PIECE: Final = 65_536
MOST_FRAGMENTS: Final = 10_000
"""Frames of one fragmented reply; of a longer message each frame has more bytes than were asked for."""


async def slow(session: Session, *, rate: int) -> None:
    """Reads slowly, and forgets what it has read: messages may be of any size."""
    await session.accept()
    session.shrink_window(rate)
    session.rate = rate
    await session.drain()
    session.rate = float("inf")


async def stall(session: Session, *, after: int) -> None:
    """Echoes, then reads nothing more."""
    await session.accept()
    session.shrink_window()
    await session.echo(most=after)
    if not session.over:
        await session.until_gone()


async def fragment(session: Session, *, size: int, ping: bool) -> None:
    """Echoes each message in fragments, Pings between them if asked for."""
    await session.accept()
    while (message := await session.receive()) is not None:
        opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        step = max(size, -(-len(payload) // MOST_FRAGMENTS))
        pieces = [payload[at : at + step] for at in range(0, len(payload), step)] or [b""]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            await session.send_frame(CONTINUATION if number else opcode, piece, fin=last)
            if ping and not last:
                await session.send_frame(PING, b"between fragments")


async def big(session: Session, *, size: int) -> None:
    """Sends one binary message, a piece at a time, and echoes."""
    await session.accept()
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield long_header(BINARY, size) if size > 125 else bytes((0x80 | BINARY, size))
        piece = bytes(PIECE)
        while sent < size and not session.over:
            yield piece[: size - sent]
            sent += min(PIECE, size - sent)

    session.trace.frame("server", 0x80 | BINARY, b"", size, masked=False)
    await _while_echoing(session, lambda: session.send_in_pieces(pieces()))
    if sent < size and not session.ended:
        # Whatever came now would be taken for a part of the message.
        await session.hang_up()


async def burst(session: Session, *, count: int, size: int) -> None:
    """Sends many messages at once, and echoes."""
    await session.accept()

    async def send() -> None:
        for number in range(count):
            if session.over:
                return
            await session.send(str(number).rjust(size, "."))

    await _while_echoing(session, send)


async def _while_echoing(session: Session, send: Callable[[], Awaitable[None]]) -> None:
    """Beside each other: a client that closes meanwhile is heard, and one that writes while it does not read cannot
    hold both. What `send` is in the middle of when the client closes has some time to be sent, for a part of a frame
    would spoil the answer to the Close."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await session.echo()
        nursery.cancel_scope.deadline = trio.current_time() + CLOSE_TIMEOUT


async def tick(session: Session, *, every: float, count: int) -> None:
    """Sends a number now and then, closes with 1000 behind the last, and echoes meanwhile."""
    await session.accept()
    begun = trio.current_time()
    for number in range(1, count + 1):
        await session.echo(until=begun + number * every)
        if session.over:
            return
        await session.send(str(number))
