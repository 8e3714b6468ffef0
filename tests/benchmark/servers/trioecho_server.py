"""trioecho itself."""

from functools import partial

import trio
from contract import (
    DEFLATE,
    HOST,
    LEVEL,
    MAX_MESSAGE_SIZE,
    MEMORY_LEVEL,
    WINDOW_BITS,
    announce,
    tls_from_arguments,
)

import trioecho


async def echo(ws: trioecho.WebSocket) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    """Serve until ended."""
    deflate = trioecho.Deflate(
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        level=LEVEL,
        memory_level=MEMORY_LEVEL,
        threshold=0,
    )
    serve = partial(
        trioecho.serve,
        echo,
        host=HOST,
        port=0,
        options=trioecho.WebSocketOptions(
            max_message_size=MAX_MESSAGE_SIZE, compression=deflate if DEFLATE else False
        ),
        ssl_context=tls_from_arguments(),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        announce(server.port)


trio.run(main)
