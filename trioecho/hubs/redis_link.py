"""A process's link to Redis: what is published and subscribed to, over connections that are made anew when lost.

There are two: one publishes, in order, without waiting for each answer; the other only listens. Each second something
is published that only this process listens to. While answers do not come, or that does not, Redis counts as away:
publishing fails at once, and subscribing returns at once, as it is made up for.
"""

from __future__ import annotations

import contextlib
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn, TypeAlias

import trio
from coredis.connection import BaseConnection
from coredis.exceptions import ConnectionError as RedisConnectionError
from coredis.exceptions import RedisError

from trioecho._protocol.counted import counted
from trioecho.hubs.backplane import BackplaneError
from trioecho.hubs.redis_connection import Pace, RedisConnection, RedisLost
from trioecho.hubs.redis_url import RedisUrl

logger = logging.getLogger("trioecho.hubs")

CONNECT_TIMEOUT = 5.0
"""Seconds for making both connections and subscribing to everything."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0
"""Seconds between two attempts to connect: at first, and at most. Each time they are doubled."""

PULSE_INTERVAL = 1.0
"""Seconds between two signs of life."""

PATIENCE = 1.0
"""Seconds after which Redis counts as away if it has not answered. It does nothing else while it forks or scripts."""

LOOK_INTERVAL = 0.25
"""Seconds between two looks at that."""

LOST_AFTER = 10.0
"""Seconds without an answer after which connections are made anew. What Redis would still have sent is lost then."""

MOST_UNANSWERED = 2**20
"""Bytes that may be on their way to Redis; then publishing waits. Each message counts 100 more."""

OVERHEAD = 100

BATCH = 500
"""Channels in one command."""

Take: TypeAlias = Callable[[bytes, bytes], None]
"""Takes a channel and what has come over it. It does not wait."""


class Unanswered(NamedTuple):
    """What was published, as long as Redis has not answered."""

    since: float
    size: int
    request: Any
    """coredis's, which can be awaited any number of times."""


class Confirmation:
    """Redis's word that it has subscribed a channel as often as it was told to."""

    __slots__ = ("event", "outstanding")

    def __init__(self) -> None:
        self.outstanding = 0
        self.event = trio.Event()


class RedisLink:
    """`run` makes and holds it. `pulse` is a channel that no other process has."""

    def __init__(self, url: RedisUrl, ssl_context: ssl.SSLContext | None, pulse: bytes) -> None:
        self._url = url
        self._ssl_context = ssl_context
        self._pulse = pulse
        self._pulse_since: float | None = None
        # By channel, how many want it.
        self._wanted: dict[bytes, int] = {}
        self._confirmations: dict[bytes, Confirmation] = {}
        self._publisher: BaseConnection | None = None
        self._listener: BaseConnection | None = None
        self._unanswered: deque[Unanswered] = deque()
        self._size = 0
        self._room = trio.Event()
        self._answers = self._hears = False
        self._published = trio.Event()
        self._usable = trio.Event()
        self._tried = trio.Event()
        self._why = "it has not been connected to"
        self._away_since: float | None = None

    @property
    def healthy(self) -> bool:
        """Whether Redis answers, and what it sends comes in time."""
        return self._answers and self._hears

    async def usable(self) -> None:
        """Wait until something can be published."""
        while not self._answers:
            await self._usable.wait()

    async def run(
        self, take: Take, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Hold the link until it is cancelled; started when it has been tried once. `take` gets what comes."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold, take)
            await self._tried.wait()
            task_status.started()
        raise AssertionError("the link has no end of its own")

    # What the backplane asks for.

    async def publish(self, channel: bytes, payload: bytes) -> None:
        """Hand a message over, behind those before it. Waits where too much is on its way; does not wait for Redis.

        Raises `BackplaneError` where Redis is away.
        """
        while self._size >= MOST_UNANSWERED and self._answers:
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()
        self.publish_now(channel, payload)

    def publish_now(self, channel: bytes, payload: bytes) -> Unanswered:
        """`publish` without waiting, however much is on its way."""
        if self._publisher is None or not self._answers:
            raise self._away()
        try:
            request = self._publisher.create_request(b"PUBLISH", channel, payload)
        except RedisError as error:
            raise self._away() from error
        size = len(payload) + OVERHEAD
        unanswered = Unanswered(trio.current_time(), size, request)
        self._unanswered.append(unanswered)
        self._size += size
        self._published.set()
        return unanswered

    async def ask(self, channel: bytes, payload: bytes) -> int:
        """`publish_now`; returns how many processes have got it. Waits for Redis, not longer than it takes to count as
        away."""
        unanswered = self.publish_now(channel, payload)
        with trio.move_on_after(PATIENCE):
            try:
                return int(await unanswered.request)
            except RedisError as error:
                raise self._away() from error
        raise self._away("it does not answer")

    async def subscribe(self, channel: bytes) -> None:
        """Listen to a channel, once more. Returns when what is published from now on will come, or at once where Redis
        is away: then it is made up for. Cancelled: it is listened to all the same. Never raises anything else."""
        self._wanted[channel] = self._wanted.get(channel, 0) + 1
        if self._wanted[channel] == 1:
            self._subscribe_all([channel])
        confirmation = self._confirmations.get(channel)
        if confirmation is not None and self.healthy:
            await confirmation.event.wait()

    def unsubscribe(self, channel: bytes) -> bool:
        """Listen to a channel as often less. Returns whether it is still listened to."""
        self._wanted[channel] -= 1
        if self._wanted[channel]:
            return True
        del self._wanted[channel]
        if self._listener is not None:
            with contextlib.suppress(RedisError):
                self._listener.send_command(b"UNSUBSCRIBE", channel)
        return False

    def _subscribe_all(self, channels: list[bytes]) -> None:
        if self._listener is None:
            return
        for first in range(0, len(channels), BATCH):
            batch = channels[first : first + BATCH]
            try:
                self._listener.send_command(b"SUBSCRIBE", *batch)
            except RedisError:
                # Just lost: the next connection makes up for it.
                return
            for channel in batch:
                self._confirmations.setdefault(channel, Confirmation()).outstanding += 1

    def _away(self, why: str | None = None) -> BackplaneError:
        return BackplaneError(f"Redis at {self._url} is away: {why or self._why}")

    # Its life.

    async def _hold(self, take: Take) -> NoReturn:
        delay = FIRST_DELAY
        while True:
            why = ""
            try:
                await self._connected(take)
            except* RedisLost as group:
                why = str(next(_leaves(group)))
            if self._away_since is None:
                delay = FIRST_DELAY
            self._end(why)
            self._tried.set()
            # Many processes have lost it at the same time.
            await trio.sleep(delay * random.uniform(0.5, 1))
            delay = min(2 * delay, LONGEST_DELAY)

    async def _connected(self, take: Take) -> None:
        """Make the connections and use them until either is lost, which raises `RedisLost`."""
        pace = Pace()
        listener = RedisConnection(self._url, self._ssl_context, pace)
        publisher = RedisConnection(self._url, self._ssl_context)
        async with trio.open_nursery() as nursery:
            try:
                with trio.move_on_after(CONNECT_TIMEOUT) as patience:
                    nursery.start_soon(listener.run)
                    nursery.start_soon(publisher.run)
                    await listener.ready.wait()
                    await publisher.ready.wait()
                    nursery.start_soon(self._listen, listener.redis, pace, take)
                    nursery.start_soon(self._listen_to_refusals, listener.redis)
                    nursery.start_soon(self._take_answers, publisher.redis)
                    self._listener, self._publisher = listener.redis, publisher.redis
                    self._subscribe_all([*self._wanted, self._pulse])
                    if self._pulse in self._confirmations:
                        await self._confirmations[self._pulse].event.wait()
                if patience.cancelled_caught:
                    raise RedisLost(f"it has not answered within {counted(CONNECT_TIMEOUT, 'second')}")
                self._judge(True, True)
                self._tried.set()
                await self._watch(pace)
            finally:
                self._listener = self._publisher = None
                listener.close()
                publisher.close()

    async def _listen(self, listener: BaseConnection, pace: Pace, take: Take) -> None:
        with contextlib.suppress(RedisConnectionError):
            async with contextlib.aclosing(listener.push_messages) as pushes:
                push: Any
                async for push in pushes:
                    pace.taken += 1
                    kind, channel, value = push
                    if kind == b"message":
                        if channel == self._pulse:
                            self._pulse_since = None
                        else:
                            take(channel, value)
                    elif kind == b"subscribe":
                        self._confirm(channel)

    def _confirm(self, channel: bytes) -> None:
        confirmation = self._confirmations[channel]
        confirmation.outstanding -= 1
        if not confirmation.outstanding:
            del self._confirmations[channel]
            confirmation.event.set()

    async def _listen_to_refusals(self, listener: BaseConnection) -> None:
        with contextlib.suppress(RedisConnectionError):
            async with contextlib.aclosing(listener.streamed_messages) as answers:
                answer: Any
                async for answer in answers:
                    raise RedisLost(f"it refuses to subscribe: {answer}")

    async def _take_answers(self, publisher: BaseConnection) -> None:
        while True:
            if not self._unanswered:
                self._published = trio.Event()
                await self._published.wait()
            unanswered = self._unanswered[0]
            try:
                await unanswered.request
            except RedisError as error:
                if publisher.usable:
                    raise RedisLost(f"it refuses to publish: {error}") from error
                # Lost: the connection's own task tells why.
                return
            self._unanswered.popleft()
            self._size -= unanswered.size
            if self._size < MOST_UNANSWERED:
                self._room.set()

    async def _watch(self, pace: Pace) -> NoReturn:
        """Send signs of life, and look at what has not been answered in time."""
        last = heard_at = pulse_at = trio.current_time()
        taken = pace.taken
        self._pulse_since = None
        while True:
            now = trio.current_time()
            if pace.taken != taken:
                taken, heard_at = pace.taken, now
            # Where this process itself stood still, what has come is still to be taken.
            if now - last < 2 * LOOK_INTERVAL:
                unanswered = now - self._unanswered[0].since if self._unanswered else 0.0
                unheard = now - self._pulse_since if self._pulse_since is not None else 0.0
                if unanswered > LOST_AFTER or min(unheard, now - heard_at) > LOST_AFTER:
                    raise RedisLost(f"it has not answered for {counted(LOST_AFTER, 'second')}")
                self._judge(unanswered < PATIENCE, unheard < PATIENCE)
            last = now
            if now >= pulse_at and self._pulse_since is None and self._answers:
                self._pulse_since = now
                pulse_at = now + PULSE_INTERVAL
                with contextlib.suppress(BackplaneError):
                    self.publish_now(self._pulse, b"")
            await trio.sleep(LOOK_INTERVAL)

    def _judge(self, answers: bool, hears: bool) -> None:
        """Take note of how it is, and tell if that is new."""
        self._answers, self._hears = answers, hears
        if not answers:
            self._why = "it does not answer"
        if not self.healthy:
            self._wake()
            self._tell_away(self._why if not answers else "what it sends comes late", 0)
            return
        self._usable.set()
        if self._away_since is not None:
            logger.warning(
                "Redis at %s is back after %.1f seconds", self._url, trio.current_time() - self._away_since
            )
            self._away_since = None

    def _end(self, why: str) -> None:
        """Take note that there is no connection."""
        lost = sum(1 for each in self._unanswered if each.size > OVERHEAD)
        self._answers = self._hears = False
        self._why = why
        self._unanswered.clear()
        self._size = 0
        self._wake()
        self._confirmations.clear()
        self._tell_away(why, lost)

    def _wake(self) -> None:
        """Let nobody wait for a Redis that is away."""
        if not self._answers:
            self._usable = trio.Event()
        self._room.set()
        for confirmation in self._confirmations.values():
            confirmation.event.set()
            confirmation.event = trio.Event()

    def _tell_away(self, why: str, lost: int) -> None:
        if self._away_since is not None:
            return
        self._away_since = trio.current_time()
        unsure = f"; {counted(lost, 'message')} just sent may not have arrived" if lost else ""
        logger.error(
            "Redis at %s is away: %s%s. Until it is back, processes do not hear of each other",
            self._url,
            why,
            unsure,
        )


def _leaves(group: BaseExceptionGroup[RedisLost]) -> Iterator[RedisLost]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
