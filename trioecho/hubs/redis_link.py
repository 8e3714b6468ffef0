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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

FIRST_DELAY, LONGEST_DELAY = 0.1, 0.5
"""Seconds between two attempts to connect: at first, and at most. Each time they are doubled."""

PULSE_INTERVAL = 1.0
"""Seconds between two signs of life."""

PATIENCE = 1.0
"""Seconds after which Redis counts as away if it has not answered. It does nothing else while it forks or scripts."""

LOOK_INTERVAL = 0.25
"""Seconds between two looks at that."""

LOST_AFTER = 10.0
"""Seconds without an answer after which connections are made anew. What Redis would still have sent is lost then."""

LAST_TIMEOUT = 0.5
"""Seconds for what is still to be published when it ends."""

MOST_UNANSWERED = 2**20
"""Bytes that may be on their way to Redis; then publishing waits. Each message counts 100 more."""

OVERHEAD = 100

BATCH = 500
"""Channels in one command."""

Take: TypeAlias = Callable[[bytes, bytes], None]
"""Takes a channel and what has come over it. It does not wait."""


class Command(NamedTuple):
    """A command as coredis wants it in a batch."""

    serialized_arguments: tuple[bytes, bytes]
    name: bytes = b"PUBLISH"
    decode: None = None


@dataclass(slots=True, eq=False)
class Publication:
    """What is published, as long as Redis has not answered."""

    channel: bytes
    payload: bytes
    since: float
    answered: trio.Event | None = None
    """Set with the answer, where somebody waits for that."""
    reached: int | None = None
    """How many processes have got it; None where it is not known."""

    @property
    def size(self) -> int:
        return len(self.payload) + OVERHEAD


class RedisLink:
    """`run` makes and holds it. `pulse` is a channel that no other process has."""

    def __init__(self, url: RedisUrl, ssl_context: ssl.SSLContext | None, pulse: bytes) -> None:
        self._url = url
        self._ssl_context = ssl_context
        self._pulse = pulse
        self._pulse_since: float | None = None
        # By channel, how many want it.
        self._wanted: dict[bytes, int] = {}
        self._listened_to: set[bytes] = set()
        # Channels of which one of the two may have changed.
        self._changed: set[bytes] = set()
        self._change = trio.Event()
        self._unconfirmed = 0
        self._confirmed = trio.Event()
        self._waiting: dict[bytes, trio.Event] = {}
        self._queue: list[Publication] = []
        self._on_its_way: list[Publication] = []
        self._size = 0
        self._room = trio.Event()
        self._published = trio.Event()
        self._answers = self._hears = False
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

    def publish_now(self, channel: bytes, payload: bytes) -> Publication:
        """`publish` without waiting, however much is on its way."""
        if not self._answers:
            raise self._away()
        publication = Publication(channel, payload, trio.current_time())
        self._queue.append(publication)
        self._size += publication.size
        self._published.set()
        return publication

    async def ask(self, channel: bytes, payload: bytes) -> int:
        """`publish_now`; returns how many processes have got it. Waits for Redis, not longer than it takes to count as
        away."""
        publication = self.publish_now(channel, payload)
        publication.answered = trio.Event()
        with trio.move_on_after(PATIENCE) as patience:
            await publication.answered.wait()
        if publication.reached is None:
            raise self._away("it does not answer" if patience.cancelled_caught else None)
        return publication.reached

    async def subscribe(self, channel: bytes) -> None:
        """Listen to a channel, once more. Returns when what is published from now on will come, or at once where Redis
        is away: then it is made up for. Cancelled: it is listened to all the same. Never raises anything else."""
        self._wanted[channel] = self._wanted.get(channel, 0) + 1
        if self._wanted[channel] == 1:
            self._look_at(channel)
        if channel not in self._listened_to and self.healthy:
            await self._waiting.setdefault(channel, trio.Event()).wait()

    def unsubscribe(self, channel: bytes) -> bool:
        """Listen to a channel as often less. Returns whether it is still listened to."""
        self._wanted[channel] -= 1
        if self._wanted[channel]:
            return True
        del self._wanted[channel]
        self._look_at(channel)
        if channel in self._waiting:
            # Where Redis has not been asked for it yet, it never will be, and confirms nothing.
            self._waiting.pop(channel).set()
        return False

    def _look_at(self, channel: bytes) -> None:
        self._changed.add(channel)
        self._change.set()

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
                    nursery.start_soon(self._publish_all, publisher.redis)
                    await nursery.start(self._subscribe_all, listener.redis)
                if patience.cancelled_caught:
                    raise RedisLost(f"it has not answered within {counted(CONNECT_TIMEOUT, 'second')}")
                self._judge(True, True)
                self._tried.set()
                await self._watch(pace)
            finally:
                if self._answers and (self._queue or self._on_its_way):
                    await self._publish_last(publisher.redis)
                listener.close()
                publisher.close()

    async def _listen(self, listener: BaseConnection, pace: Pace, take: Take) -> None:
        with contextlib.suppress(RedisConnectionError):
            async with contextlib.aclosing(listener.push_messages) as pushes:
                push: Any
                async for push in pushes:
                    pace.taken += 1
                    if len(push) != 3 or not isinstance(push[1], bytes):
                        # Redis, or what stands before it, may push what nobody has asked for.
                        continue
                    kind, channel, value = push
                    if kind == b"message" and isinstance(value, bytes):
                        if channel == self._pulse:
                            self._pulse_since = None
                        else:
                            take(channel, value)
                    elif kind in (b"subscribe", b"unsubscribe"):
                        self._confirm(channel, kind == b"subscribe")

    def _confirm(self, channel: bytes, listened_to: bool) -> None:
        if listened_to:
            self._listened_to.add(channel)
            if channel in self._waiting:
                self._waiting.pop(channel).set()
        self._unconfirmed -= 1
        if not self._unconfirmed:
            self._confirmed.set()

    async def _subscribe_all(self, listener: BaseConnection, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen to what is wanted, one change of it after the other; started when that is so for the first time.

        coredis collects commands as long as any come, before it sends them. So here all that have come together are
        sent together, and the next when Redis has confirmed those.
        """
        self._listened_to.clear()
        self._changed = {*self._wanted, self._pulse}
        started = False
        while True:
            changed, self._changed = self._changed, set()
            wanted = {each for each in changed if each in self._wanted or each == self._pulse}
            lacking = wanted - self._listened_to
            needless = (changed - wanted) & self._listened_to
            self._listened_to -= needless
            if lacking or needless:
                self._unconfirmed = len(lacking) + len(needless)
                self._confirmed = trio.Event()
                for command, channels in ((b"UNSUBSCRIBE", [*needless]), (b"SUBSCRIBE", [*lacking])):
                    for first in range(0, len(channels), BATCH):
                        try:
                            listener.send_command(command, *channels[first : first + BATCH])
                        except RedisError:
                            # Lost: the connection's own task tells why.
                            return
                await self._confirmed.wait()
            if not started:
                started = True
                task_status.started()
            if not self._changed:
                self._change = trio.Event()
                await self._change.wait()

    async def _listen_to_refusals(self, listener: BaseConnection) -> None:
        with contextlib.suppress(RedisConnectionError):
            async with contextlib.aclosing(listener.streamed_messages) as answers:
                answer: Any
                async for answer in answers:
                    raise RedisLost(f"it refuses to subscribe: {answer}")

    async def _publish_all(self, publisher: BaseConnection) -> None:
        """Publish what has come together together, and the next when Redis has answered that, as `_subscribe_all`."""
        while True:
            if not self._queue:
                self._published = trio.Event()
                await self._published.wait()
            self._on_its_way, self._queue = self._queue, []
            commands: Any = [Command((each.channel, each.payload)) for each in self._on_its_way]
            try:
                # Cancelled, coredis would cut the connection off. It ends with that at the latest.
                with trio.CancelScope(shield=True):
                    answers = await publisher.create_request_batch(commands)
            except RedisError:
                # Lost: the connection's own task tells why.
                return
            for publication, answer in zip(self._on_its_way, answers, strict=True):
                if not isinstance(answer, int):
                    if publisher.usable:
                        raise RedisLost(f"it refuses to publish: {answer!s}")
                    return
                publication.reached = answer
                if publication.answered is not None:
                    publication.answered.set()
                self._size -= publication.size
            self._on_its_way = []
            if self._size < MOST_UNANSWERED:
                self._room.set()

    async def _publish_last(self, publisher: BaseConnection) -> None:
        """Publish what was handed over before the end: a goodbye, perhaps."""
        with trio.move_on_after(LAST_TIMEOUT, shield=True), contextlib.suppress(RedisError):
            commands: Any = [Command((each.channel, each.payload)) for each in self._queue]
            # With its answer, what is on its way has been answered, too.
            commands.append(Command((self._pulse, b"")))
            await publisher.create_request_batch(commands)

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
                oldest = next(iter(self._on_its_way or self._queue), None)
                unanswered = 0.0 if oldest is None else now - oldest.since
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
        else:
            self._usable.set()
        if not self.healthy:
            self._wake()
            self._tell_away(self._why if not answers else "what it sends comes late", 0)
            return
        if self._away_since is not None:
            logger.warning(
                "Redis at %s is back after %.1f seconds", self._url, trio.current_time() - self._away_since
            )
            self._away_since = None

    def _end(self, why: str) -> None:
        """Take note that there is no connection."""
        lost = 0
        for each in (*self._on_its_way, *self._queue):
            lost += each.channel != self._pulse
            if each.answered is not None:
                each.answered.set()
        self._on_its_way, self._queue, self._size = [], [], 0
        self._answers = self._hears = False
        self._why = why
        self._listened_to.clear()
        self._wake()
        self._tell_away(why, lost)

    def _wake(self) -> None:
        """Let nobody wait for a Redis that is away."""
        if not self._answers and self._usable.is_set():
            self._usable = trio.Event()
        self._room.set()
        for event in self._waiting.values():
            event.set()
        self._waiting.clear()

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
