"""trioecho itself."""

from functools import partial

import trio
from contract import (
    BUDGET,
    DEFLATE,
    FOLDER,
    HOST,
    LEVEL,
    LOG,
    MAX_MESSAGE_SIZE,
    MEMORY_LEVEL,
    WINDOW_BITS,
    announce,
    tls_from_arguments,
)

import trioecho
from trioecho._process.garbage import short_collections
from trioecho._process.logs import configure_logging


async def echo(ws: trioecho.WebSocket) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def take_body(request: trioecho.Request) -> trioecho.Response:
    """Read a body."""
    await request.body()
    return trioecho.Response(status=204)


async def main() -> None:
    """Serve until ended."""
    if LOG:
        # As `trioecho.run` and the command line write it.
        configure_logging("info", "text")
    routes: dict[str, trioecho.Route] = {"/ws": echo}
    if FOLDER is not None:
        routes["/files/{path}"] = trioecho.Files(FOLDER)
        routes["/bodies"] = trioecho.HttpRoute(take_body, methods=["POST"], max_body_size=MAX_MESSAGE_SIZE)
    deflate = trioecho.Deflate(
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        level=LEVEL,
        memory_level=MEMORY_LEVEL,
        threshold=0,
    )
    serve = partial(
        trioecho.serve,
        routes if FOLDER is not None else echo,
        host=HOST,
        port=0,
        options=trioecho.WebSocketOptions(
            max_message_size=MAX_MESSAGE_SIZE,
            max_memory=0.5 if BUDGET is None else BUDGET,
            compression=deflate if DEFLATE else False,
        ),
        ssl_context=tls_from_arguments(),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        announce(server.port)


# As `trioecho.run` and the command line have it.
with short_collections():
    trio.run(main)
