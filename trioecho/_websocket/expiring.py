"""A few at a time: connections whose timers have gone off, such as thousands that fell silent in the same second.

What each of them does then, a Ping, a refusal, its end, takes a tenth of a millisecond or two, and Trio wakes them all
in one round of its loop. So each waits here for its turn before it goes on, and everybody else is served in between.
"""

from __future__ import annotations

import trio

AT_ONCE = 4
"""Connections that are let through in two rounds of Trio's loop: one to be told, and one to do something about it. Of
5,000 the last has its turn after a second, and each round is longer by half a millisecond at most."""

_expired: trio.lowlevel.RunVar[trio.Semaphore] = trio.lowlevel.RunVar("expired")
_lost: trio.lowlevel.RunVar[trio.Semaphore] = trio.lowlevel.RunVar("lost")


async def expired() -> None:
    """Wait for the turn of one whose timer has gone off; in the order in which they came. A checkpoint."""
    await _turn(_expired, AT_ONCE)


async def lost() -> None:
    """Wait for the turn of one that has gone while bytes waited for it; in the order in which they came. A checkpoint.

    One at a time: to let go of megabytes, or of thousands of short segments that nobody has read, takes the kernel up
    to 15 ms.
    """
    await _turn(_lost, 1)


async def _turn(turns: trio.lowlevel.RunVar[trio.Semaphore], at_once: int) -> None:
    try:
        semaphore = turns.get()
    except LookupError:
        semaphore = trio.Semaphore(at_once)
        turns.set(semaphore)
    async with semaphore:
        await trio.lowlevel.cancel_shielded_checkpoint()
