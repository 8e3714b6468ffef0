"""Faults of a connection's end: Closes with any code, none, late or twice, and TCP that ends without one."""

from __future__ import annotations

from typing import Final

import trio

from trioecho._protocol.frames import CLOSE, PING, TEXT
from trioecho.faults.session import AFTER_FIN, Session

CLOSE_THEN: Final = {
    "data": "a text message behind the Close",
    "ping": "a Ping behind the Close",
    "second": "a second Close, with code 1001",
    "open": "TCP is kept open for 30 seconds, though a server ends it first (RFC 6455 §7.1.1)",
}
"""What `/close-then/{what}` does once it has sent its Close, which RFC 6455 §5.5.1 does not allow."""


async def echo(session: Session) -> None:
    """Nothing wrong: an echo of which `/seen` tells."""
    await session.accept()
    await session.echo()


async def close_empty(session: Session, *, after: int, delay: float) -> None:
    """A Close without a code."""
    await session.accept()
    if await session.echo_then_wait(after, delay):
        await session.close(None)


async def close(session: Session, *, code: int, reason: str, after: int, delay: float) -> None:
    """A Close with any code, allowed on the wire or not."""
    await session.accept()
    if await session.echo_then_wait(after, delay):
        await session.close(code, reason)


async def drop(session: Session, *, after: int, delay: float) -> None:
    """FIN without Close."""
    await session.accept()
    if await session.echo_then_wait(after, delay):
        await session.hang_up()


async def reset(session: Session, *, after: int, delay: float) -> None:
    """RST."""
    await session.accept()
    if await session.echo_then_wait(after, delay):
        await session.reset()


async def silent(session: Session) -> None:
    """Neither reads nor writes."""
    await session.accept()
    session.shrink_window()
    await session.until_gone()


async def no_close(session: Session) -> None:
    """Echoes, and never answers a Close; TCP stays open until the client ends it."""
    await session.accept()
    await session.echo()
    if session.close_received is not None:
        await session.until_gone()


async def late_close(session: Session, *, delay: float) -> None:
    """Echoes, and answers a Close late."""
    await session.accept()
    await session.echo()
    if session.close_received is not None:
        await trio.sleep(delay)


async def close_then(session: Session, *, what: str, after: int) -> None:
    """What RFC 6455 does not allow behind a Close."""
    await session.accept()
    if not await session.echo_then_wait(after, 0):
        return
    await session.send_frame(CLOSE, (1000).to_bytes(2))
    if what == "data":
        await session.send_frame(TEXT, b"behind the Close", note="behind the Close")
    elif what == "ping":
        await session.send_frame(PING, b"behind the Close", note="behind the Close")
    elif what == "second":
        await session.send_frame(CLOSE, (1001).to_bytes(2), note="a second Close")
    await session.await_close()
    if what == "open" and session.close_received is not None:
        with trio.move_on_after(AFTER_FIN):
            await session.until_gone()
        session.ended = False
