"""websockets on asyncio, each message to all by its `broadcast`; with the argument `uvloop`, on uvloop."""

import asyncio
import sys

from contract import HOST, MAX_MESSAGE_SIZE, announce
from websockets.asyncio.server import ServerConnection, broadcast, serve

everybody: set[ServerConnection] = set()


async def listen(ws: ServerConnection) -> None:
    """Send every message to all."""
    everybody.add(ws)
    async for message in ws:
        broadcast(everybody, message)


async def main() -> None:
    """Serve until ended."""
    async with serve(listen, HOST, 0, compression=None, max_size=MAX_MESSAGE_SIZE) as server:
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if "uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
