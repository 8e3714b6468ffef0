"""The load of broadcasts: one connection says something, and every connection is to be sent it.

The next message is sent when all have the last one, so no server has a slow client, and each is asked for the same. The
generator reads as many sockets as the server writes, so how many messages come through in a second says as much of the
generator as of the server: it is the server's processor time that counts. On one machine that is also what it costs the
kernel to wake the generator, and to have both ends of a connection used at once, a fifth of all; so the generator
begins to read when the server has written.
"""

import gc
import select
import socket
import time
from array import array
from collections.abc import Callable

from exchange import NOT_NOW, NOTHING, Connection, Exchange, Sample
from opening import PATIENCE, ContenderError
from prebuilt import Pool

#: Seconds that the generator sleeps before it looks again; the share of them in which a server at rest is busy at most.
NAP = 0.001
REST = 0.05


class FanOut(Exchange):
    """Drives its connections: `speaker` once, `listener` for each other, then `run` as often as wanted."""

    def __init__(self, pool: Pool, server_cpu: Callable[[], float]) -> None:
        super().__init__(pool)
        self._server_cpu = server_cpu
        self._speaker: Connection | None = None
        self._turn = 0

    def speaker(self, sock: socket.socket) -> None:
        """Let `sock` say what is broadcast. It hears it like all others."""
        self._speaker = self._add(sock, 0)

    def listener(self, sock: socket.socket) -> None:
        """Let `sock` hear what is broadcast."""
        self._add(sock, 0)

    def run(self, seconds: float) -> Sample:
        """Broadcast for `seconds`, and check every byte on every connection, without the garbage collector.

        The latencies are from sending a message to having it on all connections.

        Raises ContenderError at the first wrong byte, at a message that comes twice or late, or when nothing at all
        comes for `PATIENCE`.
        """
        clock = time.perf_counter
        latencies = array("d")
        gc.collect()
        gc.disable()
        cpu = time.process_time()
        start = now = clock()
        try:
            while now - start < seconds:
                self._broadcast()
                latencies.append(clock() - now)
                now = clock()
            return Sample(latencies, now - start, time.process_time() - cpu)
        finally:
            gc.enable()

    def _await_rest(self) -> None:
        """Sleep until the server has no more to do, for all that can be seen, or has been busy for `PATIENCE`."""
        deadline = time.perf_counter() + PATIENCE
        before, now = -1.0, self._server_cpu()
        while now - before > NAP * REST and time.perf_counter() < deadline:
            time.sleep(NAP)
            before, now = now, self._server_cpu()

    def _broadcast(self) -> None:
        """One message, from saying it to its having come to all."""
        assert self._speaker is not None
        self._turn += 1
        place, turn = self._turn % len(self._pool.batches), self._turn
        awaited = self._pool.replies[place]
        connections, poll, room = self._connections, self._epoll.poll, self._room
        self._send(self._speaker, self._pool.batches[place])
        self._await_rest()
        left = len(connections)
        alive = time.perf_counter()
        while left:
            events = poll(0)
            if not events:
                if time.perf_counter() - alive > PATIENCE:
                    raise ContenderError(f"{left} of {len(connections)} got no message for {PATIENCE} s")
                time.sleep(NAP)
                continue
            alive = time.perf_counter()
            for fd, event in events:
                connection = connections[fd]
                if event & select.EPOLLOUT:
                    self._send_rest(connection)
                    continue
                try:
                    data = connection.recv(room)
                except NOT_NOW:
                    continue
                if data != awaited or connection.received or connection.index == turn:
                    # It has had this one already: only control frames may come.
                    connection.reply = NOTHING if connection.index == turn else awaited
                    if not self._takes(connection, data):
                        continue
                    connection.received = 0
                connection.index = turn
                left -= 1
