"""Another process that serves the hub `Chat` over a Redis: ``python -m hubs.redis_process URL``.

It has one client, "there", of the user "tess", in the group "red". What that hears is printed, a line for each
message. Asked for `Pick`, it answers 5.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import trio
from hubs.memory_connection import Running

from trioecho.hubs import Hub, HubOptions, HubServer, RedisBackplane, Target

USER, CLIENT, GROUP = "tess", "there", "red"


class Chat(Hub[Target]):
    async def join(self, group: str) -> None:
        await self.groups.add(group)

    async def leave(self, group: str) -> None:
        await self.groups.remove(group)

    async def say(self, group: str, text: str) -> None:
        await self.clients.group(group).send("say", text)


async def main(url: str) -> None:
    # The client says nothing by itself.
    options = HubOptions(client_timeout=math.inf)
    server = HubServer(Chat, backplane=RedisBackplane(url), options=options)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run, trio.Event())
        client = await Running(server, nursery).client(CLIENT, user=USER)
        await client.result("join", GROUP)
        print("ready", flush=True)
        while True:
            message = await client.hear()
            if message["target"] == "Pick":
                client.say(type=3, invocationId=message["invocationId"], result=5)
            print(message["target"], *message["arguments"], flush=True)


class Lines:
    """What a process prints."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    async def read(self) -> str:
        while b"\n" not in self._rest:
            piece = await self._stream.receive_some()
            assert piece, "the process has ended"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


@contextlib.asynccontextmanager
async def another_process(url: str) -> AsyncIterator[Lines]:
    """Run it; what it prints behind "ready"."""
    folders = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    async with trio.open_nursery() as nursery:
        run = functools.partial(
            trio.run_process,
            [sys.executable, "-m", "hubs.redis_process", url],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
            stdout=subprocess.PIPE,
            check=False,
        )
        process = await nursery.start(run)
        async with process.stdout:
            lines = Lines(process.stdout)
            assert await lines.read() == "ready"
            yield lines
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    trio.run(main, sys.argv[1])
