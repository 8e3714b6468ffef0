"""websockets on asyncio; with the argument `uvloop`, on uvloop."""

import asyncio
import sys

from contract import (
    DEFLATE,
    HOST,
    LEVEL,
    MAX_MESSAGE_SIZE,
    MEMORY_LEVEL,
    WINDOW_BITS,
    announce,
    log_to_stderr,
    tls_from_arguments,
)
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def echo(ws: ServerConnection) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    """Serve until ended."""
    log_to_stderr()
    deflate = ServerPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        compress_settings={"level": LEVEL, "memLevel": MEMORY_LEVEL},
    )
    extensions = [deflate] if DEFLATE else None
    async with serve(
        echo,
        HOST,
        0,
        compression=None,
        extensions=extensions,
        max_size=MAX_MESSAGE_SIZE,
        ssl=tls_from_arguments(),
    ) as server:
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if "uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
