"""The well-behaved neighbour: one open connection with an echo of 64 bytes each 5 ms, and a handshake each 100 ms.

It runs in a process of its own, before and during an attack. A message is sent when it is due, whether or not those
before it have come back, so a server that does not answer for a second has a second's messages late, and not one.
"""

import gc
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from deflating import frame_at
from exchange import NOT_NOW
from generator import cpu_seconds
from opening import ContenderError, Opener
from prebuilt import CLOSE, PING, PONG, TEXT, client_frame, head

#: Seconds from one message to the next, and from one handshake to the next; bytes of a message.
GAP = 0.005
HANDSHAKE_GAP = 0.1
SIZE = 64

#: Seconds that one handshake may take.
HANDSHAKE_PATIENCE = 1.0

#: Seconds that echoes may be late when the attack is over.
PATIENCE = 8.0

#: Messages before anything is measured, for caches to settle.
WARM_UP = 50

#: Where the neighbour comes from; attackers come from elsewhere.
ADDRESS = "127.0.0.2"

KEY = b"\x12\x34\x56\x78"
ROOM = 64 * 1024


@dataclass(slots=True)
class Seen:
    """What the neighbour has seen over some time, in seconds.

    `round_trips` are those of the messages sent in that time; a message that was never answered counts with the time
    that it was waited for, and in `unanswered`. `costs` are what the server's process has used of its processor during
    each of them: where other programs have that processor too, these are the round trips without them.

    `handshakes` are those begun in that time that succeeded, `refused` those that did not. `late` is how much later
    than due the neighbour itself was at worst, because it had no processor or had other things to do. `dropped` says
    how its connection has ended, if it has.
    """

    round_trips: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    handshakes: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unanswered: int = 0
    late: float = 0.0
    dropped: str = ""


class Handshakes(threading.Thread):
    """Opens a connection each `HANDSHAKE_GAP`, and closes it; `seen` is where it says so."""

    def __init__(self, opener: Opener) -> None:
        super().__init__(daemon=True)
        self._opener = opener
        self._over = threading.Event()
        self.seen = Seen()

    def run(self) -> None:
        """Until `stop`."""
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + HANDSHAKE_GAP, time.monotonic())
            seen, start = self.seen, time.perf_counter()
            try:
                connection = self._opener.open()
            except (ContenderError, OSError) as failure:
                seen.refused.append(str(failure))
            else:
                seen.handshakes.append(time.perf_counter() - start)
                connection.close()

    def stop(self) -> None:
        """End, and wait for that."""
        self._over.set()
        self.join()


@dataclass(frozen=True, slots=True)
class Message:
    """What was sent: when, by the clock and by the server's processor time; the echo that has to come; who is told."""

    sent: float
    cpu: float
    echo: bytes
    seen: Seen


class Neighbour:
    """Its open connection to `process`. Raises ContenderError, OSError where it cannot be opened."""

    def __init__(self, opener: Opener, process: int) -> None:
        self._process = process
        self._socket = opener.open()
        self._socket.setblocking(False)
        self._sent: deque[Message] = deque()
        self._unsent = b""
        self._unread = b""
        self._count = 0
        self._due = time.perf_counter()

    def warm_up(self) -> None:
        """Send some messages that do not count, each when the one before has come back."""
        seen = Seen()
        for _ in range(WARM_UP):
            self._send(seen)
            self.wait(seen, PATIENCE)

    def measure(self, seen: Seen, over: Callable[[], bool]) -> None:
        """Send and receive until `over`; `seen` gets the round trips also when their echoes come later."""
        self._due = max(self._due, time.perf_counter())
        while not over() and not seen.dropped:
            now = time.perf_counter()
            if now >= self._due:
                seen.late = max(seen.late, now - self._due)
                self._send(seen)
                # The neighbour's own delay is not made up for: that would be a flood.
                self._due = max(self._due + GAP, now)
            self._take(seen, self._due - time.perf_counter())

    def wait(self, seen: Seen, patience: float) -> None:
        """Wait for the echoes that are still to come, for at most `patience` seconds."""
        end = time.perf_counter() + patience
        while self._sent and not seen.dropped and (left := end - time.perf_counter()) > 0:
            self._take(seen, left)
        for message in self._sent:
            message.seen.unanswered += 1
            self._count_in(message)
        self._sent.clear()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _send(self, seen: Seen) -> None:
        payload = b"%0*d" % (SIZE, self._count)
        self._count += 1
        echo = head(TEXT, SIZE, masked=False) + payload
        self._sent.append(Message(time.perf_counter(), self._cpu(), echo, seen))
        self._write(client_frame(TEXT, payload, KEY))

    def _cpu(self) -> float:
        try:
            return cpu_seconds(self._process)
        except OSError:
            return 0.0  # it has ended

    def _count_in(self, message: Message) -> None:
        message.seen.round_trips.append(time.perf_counter() - message.sent)
        message.seen.costs.append(max(0.0, self._cpu() - message.cpu))

    def _write(self, data: bytes) -> None:
        self._unsent += data
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except NOT_NOW:
            pass
        except OSError:
            self._unsent = b""  # the next read says why

    def _take(self, seen: Seen, seconds: float) -> None:
        # What TLS has decrypted already is no event of the socket's.
        ready = bool(getattr(self._socket, "pending", int)())
        writing = [self._socket] if self._unsent else []
        if not ready:
            readable, writable, _ = select.select([self._socket], writing, [], max(0.0, seconds))
            ready = bool(readable)
            if writable:
                self._write(b"")
        if not ready:
            return
        try:
            data = self._socket.recv(ROOM)
        except NOT_NOW:
            return
        except OSError as failure:
            seen.dropped = str(failure)
            return
        if not data:
            seen.dropped = "hung up"
            return
        self._unread += data
        position = 0
        while (frame := frame_at(self._unread, position)) is not None:
            self._took(self._unread[position : frame[2]], frame[1] - position, seen)
            position = frame[2]
        self._unread = self._unread[position:]

    def _took(self, frame: bytes, head_length: int, seen: Seen) -> None:
        if frame[0] == 0x80 | PING:
            self._write(client_frame(PONG, frame[head_length:], KEY))
        elif self._sent and frame == self._sent[0].echo:
            self._count_in(self._sent.popleft())
        elif frame[0] == 0x80 | CLOSE:
            code, reason = int.from_bytes(frame[head_length:][:2]), frame[head_length + 2 :]
            seen.dropped = f"closed with {code} {reason.decode(errors='replace')}".strip()
        else:
            seen.dropped = f"wrong echo: {frame[:80]!r}"


def live(
    port: int, process: int, authority: str | None, quiet: float, patience: float, pipe: Connection
) -> None:
    """Measure for `quiet` seconds and send what was `Seen`, measure until told otherwise, and send that.

    Echoes may be `patience` seconds late at the end of each.

    Where no connection can be opened at all, the sentence that says why is sent instead.
    """
    opener = Opener(port, protocol="ws", authority=authority, sources=(ADDRESS,), patience=HANDSHAKE_PATIENCE)
    try:
        neighbour = Neighbour(opener, process)
    except (ContenderError, OSError) as failure:
        pipe.send(str(failure))
        return
    gc.collect()
    gc.disable()
    neighbour.warm_up()
    handshakes = Handshakes(opener)
    handshakes.start()
    before, during = handshakes.seen, Seen()
    end = time.perf_counter() + quiet
    neighbour.measure(before, lambda: time.perf_counter() >= end)
    handshakes.seen = during
    neighbour.wait(before, patience)
    pipe.send(before)
    neighbour.measure(during, pipe.poll)
    pipe.recv()
    neighbour.wait(during, patience)
    handshakes.stop()
    pipe.send(during)
    neighbour.close()
