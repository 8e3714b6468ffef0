"""websockets on asyncio; with the argument `uvloop`, on uvloop."""

import asyncio
import sys

from contract import HOST, MAX_MESSAGE_SIZE, announce
from websockets.asyncio.server import ServerConnection, serve


async def echo(ws: ServerConnection) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    """Serve until ended."""
    async with serve(echo, HOST, 0, compression=None, max_size=MAX_MESSAGE_SIZE) as server:
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if "uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
