"""One epoll for all connections, watched by one task (Linux).

`trio.lowlevel.wait_readable` costs an ``epoll_ctl``, a share of an ``epoll_wait`` and two task switches each time,
which is most of what a small message costs. Here each socket is registered once; a single task waits until any of
them is readable and hands each its turn. Measured on one core with 50 connections and one message of 64 bytes in
flight on each, this took an otherwise equal server from 72,000 to 105,000 messages a second.

The loop is shared by time. Nobody's turn is long, for `Incoming.chunk` bounds what is read in it; and when the turns of
one round together took longer than `ROUND`, those who are ready have to share, for as long as so many would take so
long: those who have had the least go first (`shares.py`), for `TURN` seconds, then handlers run, and the rest waits.
epoll reports it again.

Where there is no epoll, connections read through their Trio stream instead: `Poller.available`.
"""

from __future__ import annotations

import functools
import logging
import math
import select
import time
from collections.abc import Callable, Hashable
from typing import Protocol, TypeAlias

import trio

from trioecho._protocol.shortage import Shortage
from trioecho._wire.shares import Shares

logger = logging.getLogger("trioecho")

READABLE = getattr(select, "EPOLLIN", 1)
GONE = getattr(select, "EPOLLERR", 8) | getattr(select, "EPOLLHUP", 16)
"""Reported whether asked for or not: TCP was reset, or has ended in both directions."""
ENDED = getattr(select, "EPOLLRDHUP", 0x2000)
"""Reported with `READABLE`: the peer has ended its direction, behind what there is to read."""
HUNG_UP = ENDED | GONE


QUIET_ROUNDS = 4
"""Rounds of Trio's loop without anything to read after which the poller goes to sleep.

While traffic flows it stays awake and needs no ``epoll_ctl``. And the answer to an answer often comes within 20 µs,
which is less than waking up takes: with one message in flight on one connection, the median round trip was 60 µs
without quiet rounds, 49 with one, 39 with two, 31 with four, and 32 with eight (raw `trio.SocketStream`: 31). Four
rounds are some 25 µs of computing after each burst.
"""

SOON = 0.0001
"""Seconds asleep that would have been better spent awake.

Where the quiet rounds have caught nothing, one has to do next time, until a sleep was shorter than this. So 2,000
connections that send a Ping a second, one every 500 µs, pay for one quiet round each and not for four.
"""

BUSY = 16
"""Sockets readable in two successive rounds from which writes wait for the poller's next step.

Then all handlers run, and after that all system calls are made, one after the other, which is kinder to the
processor's caches: with 50 connections and one message in flight on each, 112,000 messages a second became 120,000, and
with 16 in flight 560,000 became 716,000 (there it also spares each connection its drain task). With 8 connections it
brought nothing, and a median round trip took 81 µs instead of 75: hence the limit.
"""

MOST = 64
"""Sockets served in one round, so that their handlers have their turn. The kernel reports those next that have waited
longest. 500 connections that each wait for their answer lose nothing by it: who is served together fits into the
processor's caches."""

ENDINGS = 4
"""Of those who have hung up, how many are told in one round; each may have a tenth of a millisecond to do, or two, when
its turn is long over. Where 2,000 clients hung up in the same moment, everybody else waited for 390 ms."""

ROUND = 0.001
"""Seconds of one round after which those who are ready share. `MOST` sockets with one message each take a quarter of
it, with TLS two thirds, and are not measured one by one."""

TURN = 0.0001
"""Seconds of one round in which those who share are served; at least one is. What a round costs besides, and the
handlers of those who were served, come on top: with 100 clients that send nothing but Pongs, as fast as they can, a
neighbour's message is read within half a millisecond."""

WOKEN = 4
"""Tasks that `wait_readable` lets go on in one round. Each may have a tenth of a millisecond to do, or two: a TLS
handshake, a request, its end. They are in an epoll of their own, and that one in the other, so that no WebSocket waits
in the kernel's queue behind thousands that have just been opened, or hang up in the same moment."""

ALL = -1
"""For `select.epoll.poll`: 1,023."""

clock = time.perf_counter
"""Measures turns. Not Trio's clock, which tests stop."""

Readable: TypeAlias = Callable[[int, float], object]
"""Called as ``readable(events, now)`` when there is something to read: `select.epoll`'s events, Trio's time in seconds.
It returns at once. It deals with its own failures: one that leaves it ends the watching of its socket."""


class Writer(Protocol):
    """Something with bytes to write."""

    def write_now(self) -> None:
        """Write what can be written without waiting; returns at once."""


class Poller:
    """Watches the sockets of one server.

    A socket must be forgotten before it is closed: epoll knows file numbers, and the kernel hands them out again.
    `busy`, `awake` and `writers` are the interface `wire.Batch`.
    """

    available = hasattr(select, "epoll")
    """Whether this platform has epoll; tests switch it off to run everything on the other path as well."""

    def __init__(self, shortage: Shortage | None = None) -> None:
        self._epoll = select.epoll()
        # Those that a task waits for, once each.
        self._waiting = select.epoll()
        self._wake: dict[int, Callable[[], None]] = {}
        self._watched: dict[int, Readable] = {}
        # Whether those who are ready have more to say than there is time for, and who goes first then.
        self._sharing = False
        self._shares = Shares[int]()
        self.writers: list[Writer] = []
        """Whose `write_now` is called in the poller's next step, if it is `awake`: before Trio waits for anything."""
        self.again: set[int] = set()
        """Sockets that are served in the next round whether or not the kernel has something for them: they have more
        that was read than was taken of it. Whoever is called takes itself out; filled in only while it is `awake`."""
        self.awake = False
        self.busy = False
        """Many connections have something to say at once, so that it is worth while to write their answers together."""
        self.watch(self._waiting.fileno(), self._wake_some)
        self._scope = trio.CancelScope(shield=True)
        # Where the server says once for all its connections that there is no memory.
        self._shortage = shortage

    def watch(self, fd: int, readable: Readable, group: Hashable = None) -> None:
        """Call ``readable(events, now)`` whenever `fd` can be read, until `pause` or `forget`.

        Those of one `group`, as an address is one, share what one of another has, when there is not enough for all.

        Raises OSError if the kernel has no room for one more; then nothing is watched.
        """
        self._epoll.register(fd, READABLE | ENDED)
        self._watched[fd] = readable
        self._shares.enter(fd, group, scarce=self._sharing)

    async def wait_readable(self, fd: int) -> None:
        """Wait until `fd`, which is not watched, can be read or is lost. A checkpoint.

        As `trio.lowlevel.wait_readable`, but that no more than `WOKEN` are woken in one round: where 5,000 clients hung
        up in the same moment, everybody else waited for 600 ms.
        """
        task = trio.lowlevel.current_task()

        def cancelled(_: object) -> trio.lowlevel.Abort:
            self._let_go(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            self._waiting.register(fd, READABLE)
        except OSError:
            # The kernel has no room for it here; it may where Trio asks.
            await trio.lowlevel.wait_readable(fd)
            return
        self._wake[fd] = functools.partial(trio.lowlevel.reschedule, task)
        await trio.lowlevel.wait_task_rescheduled(cancelled)

    def _let_go(self, fd: int) -> None:
        self._wake.pop(fd, None)
        try:
            self._waiting.unregister(fd)
        except (OSError, MemoryError):
            # As in `forget`.
            pass

    def _wake_some(self, _events: int, _now: float) -> None:
        for fd, _ in self._waiting.poll(0, WOKEN):
            wake = self._wake.get(fd)
            # Also where nobody waits for it any more, for once the kernel would not let go of it.
            self._let_go(fd)
            if wake is not None:
                wake()

    def pause(self, fd: int) -> None:
        """Report only the loss of the connection (`GONE`) until `resume`: this is backpressure."""
        self._epoll.modify(fd, 0)

    def resume(self, fd: int) -> None:
        """Report bytes to read again."""
        self._epoll.modify(fd, READABLE | ENDED)

    def forget(self, fd: int) -> None:
        """Never call for `fd` again. Does nothing if it is not watched. Raises nothing."""
        if self._watched.pop(fd, None) is not None:
            self._shares.forget(fd)
            self.again.discard(fd)
            try:
                self._epoll.unregister(fd)
            except (OSError, MemoryError):
                # The socket is about to be closed, and with its last file number epoll lets go of it by itself.
                pass

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Watch until `stop` is called.

        Shielded: connections that close after a cancellation still have to hear the answer. The server stops
        the poller when the last of them has ended, and each of them ends under a deadline of its own. Protected from
        KeyboardInterrupt: it serves everybody.
        """
        current_time = trio.current_time
        let_others_run = trio.lowlevel.cancel_shielded_checkpoint
        watched, writers, again, shares = self._watched, self.writers, self.again, self._shares
        poll = self._epoll.poll
        fd = self._epoll.fileno()
        rounds, slept_at = QUIET_ROUNDS, -math.inf
        with self._scope:
            while True:
                await trio.lowlevel.wait_readable(fd)
                if current_time() - slept_at < SOON:
                    rounds = QUIET_ROUNDS
                self.awake = True
                quiet = before = 0
                caught = -1
                while quiet < rounds or writers or again:
                    ready = -1
                    try:
                        while writers:
                            writers.pop().write_now()
                        events = poll(0, ALL if self._sharing else MOST)
                        if again:
                            again.intersection_update(watched)
                            events += [(ready, 0) for ready in again.difference(each for each, _ in events)]
                        # A comprehension would be a call, in each round.
                        hung_up = 0
                        for _, what in events:
                            if what & HUNG_UP:
                                hung_up += 1
                        if hung_up > ENDINGS:
                            if self._sharing:
                                # Or those whom epoll names first, with much to be read before their end, would keep
                                # everybody else's from being told.
                                events = shares.in_order(events)
                            events = _with_few_endings(events)
                        self.busy = before + len(events) >= BUSY
                        before = len(events)
                        if events:
                            quiet = 0
                            caught += 1
                            now, begun = current_time(), clock()
                            if not self._sharing:
                                for ready, what in events:
                                    # An earlier one of this round may have ended a later one's connection.
                                    if ready in watched:
                                        watched[ready](what, now)
                                        if clock() - begun > ROUND:
                                            self._sharing = True
                                            break
                            else:
                                events = shares.in_order(events)
                                # As long as that took, too: where very many are ready, it would be most of the round.
                                at = clock()
                                begun, turn = at, TURN + at - begun
                                for ready, what in events:
                                    if ready in watched:
                                        watched[ready](what, now)
                                        before_it, at = at, clock()
                                        if ready in watched:
                                            shares.charge(ready, at - before_it)
                                        if at - begun > turn:
                                            break
                                if min(len(events), MOST) * shares.usual < ROUND:
                                    self._sharing = False
                        else:
                            quiet += 1
                            self._sharing = False
                    except Exception as error:
                        # The rest of this round is ready in the next one, too. That none of this stops the server
                        # was seen the hard way: a MemoryError for one half message ended all connections.
                        quiet = 0
                        if ready != self._waiting.fileno():
                            self.forget(ready)
                        lacking = self._shortage if isinstance(error, MemoryError) else None
                        if lacking is None or lacking.due(current_time()):
                            # A round without memory may be followed by a thousand others.
                            logger.exception("a connection failed in the poller, and is not watched any more")
                    await let_others_run()
                self.awake = False
                rounds = 1 if caught < 1 else QUIET_ROUNDS
                slept_at = current_time()

    def stop(self) -> None:
        """End `run`."""
        self._scope.cancel()

    def close(self) -> None:
        """Give the epoll back, after `run` has ended and everybody has let go."""
        self._waiting.close()
        self._epoll.close()


def _with_few_endings(events: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`events` without those of whom has hung up but the first `ENDINGS`; epoll names the others again."""
    hung_up = [event for event in events if event[1] & HUNG_UP]
    later = set(hung_up[ENDINGS:])
    return [event for event in events if event not in later]
