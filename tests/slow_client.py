"""A server whose handlers only hold their connections, and clients that do not read until they are told to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio
import trio.testing
from serving import connected, until

import trioecho
from trioecho.testing import RawClient

PIECE = bytes(100_000)
"""What a client is filled with."""


async def hold(ws: trioecho.WebSocket) -> None:
    """Send nothing, and receive until the client goes."""
    async for _ in ws:
        pass


@contextlib.asynccontextmanager
async def joined(server: trioecho.Server) -> AsyncIterator[tuple[RawClient, trioecho.WebSocket]]:
    """One more client of `server`, and the server's end of it."""
    before = set(server.connections)
    async with connected(server) as client:
        await until(lambda: len(server.connections) > len(before))
        (ws,) = set(server.connections) - before
        yield client, ws


async def fill(ws: trioecho.WebSocket) -> int:
    """Send until the client, which does not read, is slow and stays so; returns how many messages went."""
    sent = 0
    while not ws._outgoing.blocked:
        while ws.try_send(PIECE):
            sent += 1
        # A Trio stream takes what it can later.
        await trio.testing.wait_all_tasks_blocked(0.02)
    return sent


async def read(client: RawClient, pieces: int) -> None:
    """Read what `fill` has sent."""
    for _ in range(pieces):
        assert await client.receive() == PIECE
