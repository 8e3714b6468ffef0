"""One message to many connections: encoded once, written to all in one go, held up by none.

To each connection that takes it at once the message is one write of the same bytes, without a task. A connection that
takes only a part keeps a view of the rest. One on which something waits already is slow, and gets nothing on top of
that: what happens to it has a name (`slow`) and is counted in its record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

import trio

from trioecho._websocket.deflating_outgoing import SLICED, DeflatingOutgoing, deflate_prepared
from trioecho._websocket.prepared import Prepared, prepared
from trioecho._websocket.turns import Shared
from trioecho._websocket.websocket import WebSocket

Slow = Literal["skip", "close", "wait"]


@trio.lowlevel.enable_ki_protection
async def broadcast(
    connections: Iterable[WebSocket],
    message: str | bytes | bytearray | memoryview | Prepared,
    *,
    text: bool | None = None,
    compress: bool = True,
    slow: Slow = "skip",
    timeout: float | None = None,  # noqa: ASYNC109 (who has not taken it by then is skipped, which is no cancellation)
) -> int:
    """Send `message` to all `connections`; returns how many were given it.

    `message` and `text` are as for `WebSocket.send`: it is encoded once, here or in a `trioecho.Prepared`.
    `connections` is gone through once, before anything is sent; a WebSocket that it has twice is sent the message
    twice. One whose connection has ended or is closing is left out. To each, messages go in the order of the calls of
    `broadcast` and `send`.

    Where compression was agreed on, the message is compressed once for all connections that compress in the same way,
    and for none with ``compress=False``; a connection whose `Deflate` has context takeover begins a new context behind
    it. One of more than 32 KiB is compressed before anything is sent, while other tasks run, and what those send
    meanwhile goes before it.

    A connection is slow when `WebSocket.send` would have to wait on it: the peer has not read what was sent before.

    ``slow="skip"``
        It is not sent the message, which its record counts in `messages_skipped`.
    ``slow="close"``
        It is not sent the message, likewise, and is closed with 1008 "too slow", its handler cancelled. That is not
        waited for.
    ``slow="wait"``
        The message is sent to the others, and waits for those who are slow, ahead of whatever is sent to them later;
        `broadcast` returns when they have taken it or have ended, or after `timeout` seconds (None: any time). Who has
        not taken it by then is skipped, and its record counts that.

    Everything that need not wait is written before any other task runs, 5 to 10 µs for each connection, and with
    "skip" and "close" that is all. Always a checkpoint: cancelled before, nothing has been sent; nothing cancels it
    while it writes. Cancelled while it waits ("wait"): the others have the message, and who has not taken it is
    skipped.

    Raises `TypeError` and `ValueError` as `WebSocket.send` does for the message, `TypeError` for connections that are
    none, `ValueError` for another `slow`, for a `timeout` that is no number of seconds or that nothing waits for. Never
    for what happens to a connection: each handler learns that from its own.
    """
    frame = prepared(message, text)
    limit = _limit(slow, timeout)
    websockets = _taken_from(connections)
    await trio.lowlevel.checkpoint_if_cancelled()
    data, size = frame._frame, frame._size
    if compress and size > SLICED:
        for outgoing in {ws._outgoing for ws in websockets}:
            if isinstance(outgoing, DeflatingOutgoing):
                await deflate_prepared(frame, outgoing.agreement)
    given = 0
    behind = []
    for ws in websockets:
        outgoing = ws._outgoing
        if outgoing.blocked or outgoing.shut:
            behind.append(ws)
        elif compress and isinstance(outgoing, DeflatingOutgoing):
            given += outgoing.put_prepared(frame, False)
        elif outgoing.put_frame(data, size, False):
            given += 1
    behind = [ws for ws in behind if not ws._outgoing.shut]
    if slow == "wait" and behind:
        return given + await _wait(behind, Shared(data, size, frame if compress else None), limit)
    for ws in behind:
        ws._outgoing.skipped += 1
        if slow == "close":
            ws._connection.end_slow()
    await trio.lowlevel.cancel_shielded_checkpoint()
    return given


async def _wait(websockets: list[WebSocket], message: Shared, limit: float) -> int:
    """Let `message` wait on all `websockets`, `limit` seconds at most; returns how many have taken it."""
    for ws in websockets:
        ws._outgoing.put_later(message)
    try:
        with trio.move_on_after(limit):
            await message.settled.wait()
    finally:
        if message.waits:
            for ws in websockets:
                ws._outgoing.withdraw(message)
    return message.given


def _limit(slow: str, timeout: float | None) -> float:
    if slow not in get_args(Slow):
        raise ValueError(f'slow is "skip", "close" or "wait"; you gave {slow!r}')
    if timeout is None:
        return math.inf
    if slow != "wait":
        raise ValueError(f'timeout is how long slow="wait" waits; with slow="{slow}" nothing is waited for')
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(f"timeout is a number of seconds or None, not {type(timeout).__name__}")
    if not timeout >= 0:
        raise ValueError(f"timeout is 0 seconds or more; you gave {timeout}")
    return timeout


def _taken_from(connections: Iterable[WebSocket]) -> list[WebSocket]:
    if isinstance(connections, WebSocket):
        raise TypeError("connections is an iterable of WebSockets; for a single one there is its send()")
    try:
        websockets = list(connections)
    except TypeError:
        if hasattr(connections, "__iter__"):
            raise
        raise TypeError(
            f"connections is an iterable of WebSockets, such as server.connections; you gave "
            f"{type(connections).__name__}"
        ) from None
    for kind in set(map(type, websockets)):
        if not issubclass(kind, WebSocket):
            raise TypeError(f"connections are WebSockets; you gave one of type {kind.__name__}")
    return websockets
