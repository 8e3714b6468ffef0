"""aiosignalr on aiohttp and asyncio; with the argument `uvloop`, on uvloop."""

import asyncio
import sys

from aiosignalr.server import Hub, ServerOptions, SignalRServer
from contract import HOST, MAX_MESSAGE_SIZE, SILENCE, announce


class Bench(Hub):  # type: ignore[misc]
    """What is called."""

    async def echo(self, text: str) -> str:
        """Return it."""
        return text

    async def say(self, text: str) -> None:
        """Send it to all, and to the caller."""
        await self.clients.all_.send("said", text)


async def main() -> None:
    """Serve until ended."""
    options = ServerOptions(
        keep_alive_interval=SILENCE,
        client_timeout_interval=SILENCE,
        maximum_receive_message_size=MAX_MESSAGE_SIZE,
    )
    server = SignalRServer(Bench, options=options)
    _, port = await server.serve(HOST, 0, path="/ws")
    announce(port)
    await asyncio.Event().wait()


if "uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
