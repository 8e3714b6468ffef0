"""trioecho: each message goes to all; with the argument `loop`, by a loop of `send` instead of `broadcast`."""

import sys
from functools import partial

import trio
from contract import HOST, MAX_MESSAGE_SIZE, announce

import trioecho

everybody: set[trioecho.WebSocket] = set()


async def broadcast(ws: trioecho.WebSocket) -> None:
    """Send every message to all."""
    everybody.add(ws)
    async for message in ws:
        await trioecho.broadcast(everybody, message)


async def loop(ws: trioecho.WebSocket) -> None:
    """The same, one after the other."""
    everybody.add(ws)
    async for message in ws:
        for other in everybody:
            await other.send(message)


async def main() -> None:
    """Serve until ended."""
    serve = partial(
        trioecho.serve,
        loop if "loop" in sys.argv else broadcast,
        host=HOST,
        port=0,
        options=trioecho.WebSocketOptions(max_message_size=MAX_MESSAGE_SIZE),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        announce(server.port)


trio.run(main)
