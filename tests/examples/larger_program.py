"""A server inside a larger program, which stops it when its work is done.

Shows `trioecho.serve` beside the program's own work, a graceful stop on a condition, and a handler's last word.

Start it with ``python larger_program.py``. It looks for prime numbers for some ten seconds. In another terminal start
``python -m trioecho connect ws://127.0.0.1:5000/ws``; each line that you type there asks how far it is. When the work
is done, or Ctrl-C ends it early, every client is told the result and then 1001, and the program prints its last line.
"""

from __future__ import annotations

import functools
import signal
import sys

import trio

import trioecho


class Search:
    def __init__(self) -> None:
        self.primes: list[int] = []

    async def run(self, limit: int) -> None:
        for number in range(2, limit):
            if all(number % prime for prime in self.primes):
                self.primes.append(number)
            await trio.sleep(0.01)

    async def tell(self, ws: trioecho.WebSocket) -> None:
        async for _ in ws:
            await ws.send(f"{len(self.primes)} so far")
        # Where the server stops, this is the last word. Where the client has left, it raises, which is no failure.
        await ws.send(f"{len(self.primes)} in the end")


async def main(port: int = 5000, limit: int = 1000) -> None:
    search = Search()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, search.tell, port=port))
        print(f"searching; ask at {server.websocket_url}", flush=True)
        async with trio.open_nursery() as work:
            work.start_soon(cancel_on_signal, work.cancel_scope)
            await search.run(limit)
            work.cancel_scope.cancel()
        server.stop(timeout=5)  # returns at once; the end of the block awaits the last connection
    print(f"{len(search.primes)} primes; asked by {len(server.records)}")


async def cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)
        scope.cancel()


if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:]))
