"""A ticker: the same message to everybody, and a client that does not read holds up nobody.

Shows `trioecho.broadcast` with a named policy for slow clients, a task beside the server, and a stop by signals.

Start it with ``python ticker.py``, and watch the beginning of each message in two other terminals:

    python -m trioecho connect ws://127.0.0.1:5000/ws | cut -c 1-60

Stop one of them with Ctrl-Z. It reads no more, and a second later, when the buffers between are full, the ticker
tells of it, while the other goes on. ``fg`` wakes it. With ``python ticker.py 5000 close`` it is disconnected instead
(1008, "too slow"), and with ``wait`` everybody waits for it, one second for each message.
"""

from __future__ import annotations

import functools
import itertools
import logging
import signal
import sys

import trio

import trioecho


async def listen(ws: trioecho.WebSocket) -> None:
    """What clients say is of no interest; the loop ends when they leave or the server stops."""
    async for _ in ws:
        pass


async def tick(server: trioecho.Server, slow: str) -> None:
    for number in itertools.count():
        # Large, so that a client that does not read is soon behind.
        message = f"tick {number}: ".ljust(250_000, ".")
        connections, limit = server.connections, 1 if slow == "wait" else None
        given = await trioecho.broadcast(connections, message, slow=slow, timeout=limit)
        if given < len(connections):
            print(f"tick {number}: {given} have it, {len(connections) - given} too slow", flush=True)
        await trio.sleep(0.05)


async def main(port: str = "5000", slow: str = "skip") -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, listen, port=int(port)))
        print(f"ticking at {server.websocket_url} (Ctrl-C stops it)", flush=True)
        nursery.start_soon(tick, server, slow)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            await anext(signals)
        nursery.cancel_scope.cancel()  # ends the ticks, and says goodbye to every client: 1001


if __name__ == "__main__":
    logging.basicConfig(level="INFO")  # one line for each connection, with the number of messages skipped
    trio.run(main, *sys.argv[1:])
