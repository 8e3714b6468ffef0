"""trioecho's hubs: `Echo` returns what it is given, `Say` sends it to all."""

from functools import partial

import trio
from contract import HOST, MAX_MESSAGE_SIZE, SILENCE, announce

import trioecho
from trioecho.hubs import Hub, HubOptions, HubServer, Target


class Bench(Hub[Target]):
    """What is called."""

    async def echo(self, text: str) -> str:
        """Return it."""
        return text

    async def say(self, text: str) -> None:
        """Send it to all, and to the caller."""
        await self.clients.all.send("said", text)


async def main() -> None:
    """Serve until ended."""
    hub = HubServer(
        Bench,
        options=HubOptions(keep_alive=SILENCE, client_timeout=SILENCE, max_receive_size=MAX_MESSAGE_SIZE),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(trioecho.serve, {"/ws": hub}, host=HOST, port=0))
        announce(server.port)


trio.run(main)
