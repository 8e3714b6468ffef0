"""The load: many connections on one epoll, each sending a batch of frames as soon as the last one has come back.

This is the client side of the benchmark and must never be the slower side. So everything it sends is prebuilt, a
message costs one `recv`, one comparison, one clock and one `send`, and nothing is kept per message but eight bytes of
latency. Every byte of every echo is compared, which for small messages costs less than counting them.
"""

import gc
import select
import socket
import ssl
import time
from array import array
from dataclasses import dataclass

from opening import PATIENCE, ContenderError
from prebuilt import PONG, Pool, client_frame

#: Bytes. One `recv` takes at most this much of a large message.
CHUNK = 64 * 1024

#: Bytes above the expected reply, so that a Ping before or behind it is received with it. A TLS record (16 KiB) must
#: fit whole, or its rest would wait inside OpenSSL, where epoll cannot see it.
SLACK = 256
TLS_RECORD = 16 * 1024

#: What an idle connection waits for: no frame begins like this.
NOTHING = b"\xff"

NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """One connection's place in its pool, and what of the current batch is still to come or to go."""

    __slots__ = ("index", "received", "recv", "reply", "send", "sent_at", "socket", "stash", "unsent")

    def __init__(self, sock: socket.socket, index: int) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.recv = sock.recv
        self.send = sock.send
        self.index = index
        self.reply = NOTHING  # the echo being waited for
        self.received = 0  # bytes of it that have come
        self.stash = b""  # the beginning of a control frame whose rest has not come
        self.unsent = memoryview(b"")
        self.sent_at = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened in one stretch of time: batches' latencies in seconds, wall and CPU seconds."""

    latencies: "array[float]"
    elapsed: float
    cpu: float


class Exchange:
    """Drives its connections: `busy` or `idle` for each, then `run` as often as wanted, then `finish`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._room = SLACK

    def _add(self, sock: socket.socket, index: int) -> Connection:
        connection = Connection(sock, index)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock, select.EPOLLIN)
        largest = min(len(self._pool.replies[0]), CHUNK) + SLACK
        self._room = max(self._room, largest, TLS_RECORD if isinstance(sock, ssl.SSLSocket) else 0)
        return connection

    def idle(self, sock: socket.socket) -> None:
        """Keep `sock` open without sending anything but answers to Pings."""
        self._add(sock, 0)

    def busy(self, sock: socket.socket) -> None:
        """Start sending on `sock`; each connection starts at its own place in the pool."""
        connection = self._add(sock, len(self._connections) * 79 % len(self._pool.batches))
        self._next_batch(connection)

    def _next_batch(self, connection: Connection) -> None:
        connection.reply = self._pool.replies[connection.index]
        connection.sent_at = time.perf_counter()
        self._send(connection, self._pool.batches[connection.index])

    def run(self, seconds: float) -> Sample:
        """Exchange messages for `seconds`, without the garbage collector.

        Raises ContenderError at the first wrong byte, or when nothing at all comes back for `PATIENCE`.
        """
        # One loop with everything in local names: this is the client's price of a message.
        clock = time.perf_counter
        latencies = array("d")
        taken = latencies.append
        batches, replies = self._pool.batches, self._pool.replies
        last = len(batches) - 1
        connections, poll, room = self._connections, self._epoll.poll, self._room
        gc.collect()
        gc.disable()
        cpu = time.process_time()
        start = alive = clock()
        deadline = start + seconds
        try:
            while True:
                events = poll(0.1)
                now = clock()
                if now >= deadline:
                    break
                if events:
                    alive = now
                elif now - alive > PATIENCE:
                    raise ContenderError(f"no byte came back for {PATIENCE} s")
                for fd, event in events:
                    connection = connections[fd]
                    if event != select.EPOLLIN and event & select.EPOLLOUT:
                        self._send_rest(connection)
                        continue
                    try:
                        data = connection.recv(room)
                    except NOT_NOW:
                        continue
                    if (data != connection.reply or connection.received) and not self._takes(
                        connection, data
                    ):
                        continue
                    now = clock()
                    taken(now - connection.sent_at)
                    connection.sent_at = now
                    connection.received = 0
                    connection.index = index = connection.index + 1 if connection.index < last else 0
                    connection.reply = replies[index]
                    batch = batches[index]
                    try:
                        sent = connection.send(batch)
                    except NOT_NOW:
                        sent = 0
                    if sent != len(batch):
                        self._wait_for_room(connection, batch, sent)
            return Sample(latencies, now - start, time.process_time() - cpu)
        finally:
            gc.enable()

    def finish(self) -> None:
        """Receive what is still under way, so that the last echo of each connection is checked as the first was."""
        deadline = time.perf_counter() + PATIENCE
        waiting = {fd for fd, connection in self._connections.items() if connection.reply != NOTHING}
        while waiting:
            if time.perf_counter() > deadline:
                raise ContenderError(f"{len(waiting)} echoes still missing {PATIENCE} s after the load ended")
            for fd, event in self._epoll.poll(0.1):
                connection = self._connections[fd]
                if event & select.EPOLLOUT:
                    self._send_rest(connection)
                    continue
                try:
                    data = connection.recv(self._room)
                except NOT_NOW:
                    continue
                if self._takes(connection, data):
                    connection.reply, connection.received = NOTHING, 0
                    waiting.discard(fd)

    def _takes(self, connection: Connection, data: bytes) -> bool:
        """Take `data` as the continuation of the connection's reply; True when the reply is complete.

        Control frames stand between frames (RFC 6455, section 5.4): keep-alive's Pings are answered, anything else is
        an error, as is any byte that differs.
        """
        reply = connection.reply
        if data and not connection.stash and reply.startswith(data, connection.received):
            connection.received += len(data)
            return connection.received == len(reply)
        if not data:
            raise ContenderError("hung up under load")
        data = connection.stash + data
        connection.stash = b""
        position = 0
        while position < len(data):
            into_frame = connection.received % self._pool.frame_length
            awaited = reply.startswith(data[position : position + 1], connection.received)
            if not into_frame and data[position] & 0x08 and not awaited:
                end = position + 2 + data[position + 1] if position + 1 < len(data) else len(data) + 1
                if end > len(data):
                    connection.stash = data[position:]
                    return False
                self._answer(connection, data[position:end])
                position = end
                continue
            piece = data[position : position + self._pool.frame_length - into_frame]
            if not reply.startswith(piece, connection.received):
                raise ContenderError(f"wrong echo at byte {connection.received}: {piece[:80]!r}")
            connection.received += len(piece)
            position += len(piece)
        return connection.received == len(reply)

    def _answer(self, connection: Connection, control: bytes) -> None:
        """Answer a Ping with its Pong, behind what is still to be sent."""
        if control[0] != 0x89:
            raise ContenderError(f"unexpected control frame {control!r}")
        self._send(connection, client_frame(PONG, control[2:], b"\x11\x22\x33\x44"))

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            connection.unsent = memoryview(bytes(connection.unsent) + data)
            return
        try:
            sent = connection.send(data)
        except NOT_NOW:
            sent = 0
        if sent < len(data):
            self._wait_for_room(connection, data, sent)

    def _wait_for_room(self, connection: Connection, data: bytes, sent: int) -> None:
        # Until all is sent only room is waited for, unless the reply has begun: an echo of raw TCP comes back while the
        # batch is still going out, and a server that may not write stops reading.
        connection.unsent = memoryview(data)[sent:]
        self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _send_rest(self, connection: Connection) -> None:
        try:
            sent = connection.send(connection.unsent)
        except NOT_NOW:
            return
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            self._epoll.modify(connection.socket, select.EPOLLIN)
