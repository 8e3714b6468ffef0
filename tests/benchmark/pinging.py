"""The load of Pings: many connections, each sending one Ping a second, evenly spread over the second.

Clients do this to learn whether the server is still there. A server answers at any moment a single Ping, and sleeps
in between, which costs another price for each than a throughput without a rest.
"""

import gc
import select
import socket
import time
from array import array

from exchange import NOT_NOW, NOTHING, Connection, Exchange, Sample
from opening import PATIENCE, ContenderError

#: Seconds between two Pings of one connection.
INTERVAL = 1.0


class Pinging(Exchange):
    """Drives its connections: `add` for each, then `run` as often as wanted, then `finish`."""

    def add(self, sock: socket.socket) -> None:
        """Let `sock` send Pings; each connection starts at its own place in the pool."""
        self._add(sock, len(self._connections) * 79 % len(self._pool.batches))

    def run(self, seconds: float) -> Sample:
        """Send Pings for `seconds`, and check every Pong, without the garbage collector.

        The latencies are from sending a Ping to having its Pong. A connection whose last Pong has not come sends none
        when its turn comes: a server that is behind gets fewer.

        Raises ContenderError at the first wrong byte, or when no Pong at all comes for `PATIENCE`.
        """
        clock = time.perf_counter
        latencies = array("d")
        connections, poll, room = list(self._connections.values()), self._epoll.poll, self._room
        gap = INTERVAL / len(connections)
        turn = 0
        gc.collect()
        gc.disable()
        cpu = time.process_time()
        start = alive = clock()
        deadline = start + seconds
        try:
            while (now := clock()) < deadline:
                while start + turn * gap <= now:
                    self._ping(connections[turn % len(connections)])
                    turn += 1
                # epoll's timeout is in milliseconds, select's in microseconds, and two thousand send two a millisecond.
                wait = min(start + turn * gap, deadline) - clock()
                if not select.select((self._epoll,), (), (), max(0.0, wait))[0]:
                    if clock() - alive > PATIENCE + INTERVAL:
                        raise ContenderError(f"no Pong came for {PATIENCE} s")
                    continue
                for fd, event in poll(0):
                    connection = self._connections[fd]
                    if event & select.EPOLLOUT:
                        self._send_rest(connection)
                        continue
                    try:
                        data = connection.recv(room)
                    except NOT_NOW:
                        continue
                    if self._takes(connection, data):
                        alive = clock()
                        latencies.append(alive - connection.sent_at)
                        connection.reply, connection.received = NOTHING, 0
            return Sample(latencies, now - start, time.process_time() - cpu)
        finally:
            gc.enable()

    def _ping(self, connection: Connection) -> None:
        if connection.reply is not NOTHING:
            return
        connection.index = (connection.index + 1) % len(self._pool.batches)
        self._next_batch(connection)
