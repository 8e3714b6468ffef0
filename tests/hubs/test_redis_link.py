"""The link to Redis: in order, confirmed, made anew when lost, told of once, and never in anybody's way."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest
import trio
from hubs.redis_server import RedisServer, running_redis

from trioecho.hubs import BackplaneError, redis_link
from trioecho.hubs.redis_connection import Pace
from trioecho.hubs.redis_link import RedisLink
from trioecho.hubs.redis_url import parse_redis_url


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


class Linked:
    """A link that runs, and what has come over it."""

    def __init__(self, url: str) -> None:
        self.link = RedisLink(parse_redis_url(url), None, b"pulse")
        self.came: list[tuple[bytes, bytes]] = []
        self._news = trio.Event()

    def take(self, channel: bytes, payload: bytes) -> None:
        self.came.append((channel, payload))
        self._news.set()
        self._news = trio.Event()

    async def count(self, number: int) -> None:
        """So many have come."""
        while len(self.came) < number:
            await self._news.wait()


@contextlib.asynccontextmanager
async def linked(url: str, patience: float = 15) -> AsyncIterator[Linked]:
    here = Linked(url)
    with trio.fail_after(patience):
        async with trio.open_nursery() as nursery:
            await nursery.start(here.link.run, here.take)
            yield here
            nursery.cancel_scope.cancel()


async def healthy(link: RedisLink, is_so: bool = True) -> None:
    """Wait until it is, or is not."""
    while link.healthy is not is_so:
        await trio.sleep(0.01)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_what_is_published_behind_a_subscription_comes_in_order(redis: RedisServer) -> None:
    async with linked(redis.url) as here, linked(redis.url) as there:
        assert here.link.healthy
        await here.link.subscribe(b"a")
        for number in range(500):
            await there.link.publish(b"a", b"%d" % number)
        await here.count(500)
        assert here.came == [(b"a", b"%d" % number) for number in range(500)]
        assert not there.came


async def test_a_channel_is_listened_to_as_long_as_anybody_wants_it(redis: RedisServer) -> None:
    async with linked(redis.url) as here:
        assert await here.link.ask(b"a", b"nobody") == 0
        await here.link.subscribe(b"a")
        await here.link.subscribe(b"a")
        assert await here.link.ask(b"a", b"1") == 1
        assert here.link.unsubscribe(b"a")
        assert await here.link.ask(b"a", b"2") == 1
        assert not here.link.unsubscribe(b"a")
        await here.link.subscribe(b"b")
        assert await here.link.ask(b"a", b"nobody") == 0
        await here.link.ask(b"b", b"3")
        await here.link.subscribe(b"a")
        assert await here.link.ask(b"a", b"4") == 1
        await here.count(4)
        assert here.came == [(b"a", b"1"), (b"a", b"2"), (b"b", b"3"), (b"a", b"4")]


async def test_everybody_who_wants_a_channel_waits_until_it_is_listened_to(redis: RedisServer) -> None:
    """Also who comes second, and who comes again before Redis has heard that nobody wanted it."""
    async with linked(redis.url) as here:
        reached = []

        async def want(channel: bytes) -> None:
            await here.link.subscribe(channel)
            reached.append(await here.link.ask(channel, b""))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                channel = b"%d" % number
                nursery.start_soon(want, channel)
                nursery.start_soon(want, channel)

        assert reached == [1] * 20
        for _ in range(3):
            here.link.unsubscribe(b"1")
            here.link.unsubscribe(b"1")
            await want(b"1")
            await want(b"1")
        assert reached == [1] * 26


async def test_a_redis_that_is_back_is_listened_to_again_and_both_are_told_once(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with linked(redis.url) as here:
        for number in range(1200):
            await here.link.subscribe(b"%d" % number)
        redis.kill()
        await healthy(here.link, False)
        with pytest.raises(BackplaneError, match=r"^Redis at unix:.* is away: "):
            await here.link.publish(b"1", b"lost")
        with pytest.raises(BackplaneError):
            await here.link.ask(b"1", b"lost")
        await here.link.subscribe(b"while away")
        here.link.unsubscribe(b"0")
        # Some attempts fail meanwhile.
        await trio.sleep(1)
        redis.start()
        await here.link.usable()
        assert here.link.healthy
        assert await here.link.ask(b"0", b"") == 0
        for channel in (b"1", b"1199", b"while away"):
            assert await here.link.ask(channel, b"") == 1
        await here.count(3)
    away, back = told(caplog)
    assert "is away: the connection was lost" in away
    assert "is back after 1." in back or "is back after 2." in back


async def test_who_waits_for_a_redis_that_is_away_hears_that_it_is_back(redis: RedisServer) -> None:
    """However often it was tried meanwhile."""
    async with linked(redis.url, 5) as here:
        redis.kill()
        await healthy(here.link, False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.link.usable)
            await trio.sleep(1)
            redis.start()


async def test_who_no_longer_wants_a_channel_is_not_waited_for(redis: RedisServer) -> None:
    """Also where it was never asked for, as Redis was still at the channels before."""
    async with linked(redis.url, 5) as here:
        redis.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.link.subscribe, b"before")
            while not here.link._unconfirmed:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(here.link.subscribe, b"a")
            while b"a" not in here.link._waiting:
                await trio.lowlevel.checkpoint()
            here.link.unsubscribe(b"a")
            redis.go_on()
        assert await here.link.ask(b"a", b"") == 0
        assert not here.link._waiting


async def test_one_that_is_away_at_first_is_waited_for_by_nobody(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    async with linked(redis.url) as here:
        assert not here.link.healthy
        await here.link.subscribe(b"a")
        redis.start()
        await here.link.usable()
        assert await here.link.ask(b"a", b"") == 1
        assert "No such file" in told(caplog)[0]


async def test_one_that_hangs_holds_nobody_up_and_loses_nothing(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(redis.url) as here:
        await here.link.subscribe(b"a")
        redis.hang()
        begun = trio.current_time()
        await here.link.publish(b"a", b"1")
        assert trio.current_time() - begun < 0.5
        with pytest.raises(BackplaneError, match="it does not answer"):
            await here.link.ask(b"a", b"2")
        # It does not count as away yet, so this waits for it, and no longer than that takes.
        await here.link.subscribe(b"b")
        assert trio.current_time() - begun < 2
        assert not here.link.healthy
        begun = trio.current_time()
        await here.link.subscribe(b"c")
        with pytest.raises(BackplaneError, match="it does not answer"):
            await here.link.publish(b"a", b"3")
        assert trio.current_time() - begun < 0.5
        redis.go_on()
        await healthy(here.link)
        for channel in (b"a", b"b", b"c"):
            assert await here.link.ask(channel, b"4") == 1
        await here.count(5)
        assert here.came == [(b"a", b"1"), (b"a", b"2"), (b"a", b"4"), (b"b", b"4"), (b"c", b"4")]
    assert len(told(caplog)) == 2


async def test_one_that_hangs_too_long_is_connected_to_anew(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "LOST_AFTER", 1.5)
    monkeypatch.setattr(redis_link, "CONNECT_TIMEOUT", 0.3)
    async with linked(redis.url) as here:
        await here.link.subscribe(b"a")
        redis.hang()
        await here.link.publish(b"a", b"1")
        while here.link._size:
            await trio.sleep(0.1)
        # Attempts that it does not answer fail meanwhile.
        await trio.sleep(1)
        redis.go_on()
        await healthy(here.link)
        assert await here.link.ask(b"a", b"2") == 1
    assert [message.partition(" is ")[2][:4] for message in told(caplog)] == ["away", "back"]


async def test_who_floods_is_slowed_down(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "MOST_UNANSWERED", 10_000)
    async with linked(redis.url) as here:
        most = 0
        for _ in range(1000):
            await here.link.publish(b"a", b"x" * 100)
            most = max(most, here.link._size)
        assert 9_000 < most <= 10_000 + 200
        redis.hang()

        async def flood() -> None:
            while True:
                await here.link.publish(b"a", b"x" * 100)

        with pytest.raises(BackplaneError):
            await flood()


async def test_who_floods_does_not_keep_coredis_from_sending(redis: RedisServer) -> None:
    """It collects commands as long as any come each time that the tasks have their turn."""
    async with linked(redis.url) as here, linked(redis.url) as there:
        await here.link.subscribe(b"a")
        async with trio.open_nursery() as nursery:
            number = 0
            while not here.came or b"0" not in there.link._listened_to:
                await there.link.publish(b"a", b"x")
                nursery.start_soon(there.link.subscribe, b"%d" % number)
                number += 1
                await trio.lowlevel.checkpoint()
        assert there.link.healthy


async def test_what_was_handed_over_before_the_end_is_published(redis: RedisServer) -> None:
    async with linked(redis.url) as here:
        await here.link.subscribe(b"a")
        async with linked(redis.url) as there:
            for number in range(300):
                await there.link.publish(b"a", b"%d" % number)
                if number == 150:
                    await trio.lowlevel.checkpoint()
        await here.count(300)
        assert [payload for _, payload in here.came] == [b"%d" % number for number in range(300)]


async def test_what_was_sent_just_before_is_counted(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(redis.url) as here:
        redis.hang()
        for _ in range(7):
            await here.link.publish(b"a", b"x")
        redis.kill()
        await healthy(here.link, False)
        assert "; 7 messages just sent may not have arrived" in told(caplog)[0]


async def test_what_is_pushed_that_nobody_has_asked_for_is_left_out() -> None:
    """What stands before a Redis may push news of its own."""

    async def pushes() -> AsyncIterator[list[object]]:
        yield [b"invalidate", None]
        yield []
        yield [b"MOVING", 1, 15, b"host:6379"]
        yield [b"subscribe", [1], 1]
        yield [b"message", b"a", None]
        yield [b"message", b"a", b"1"]

    here, pace = Linked("unix:///nowhere"), Pace()
    await here.link._listen(SimpleNamespace(push_messages=pushes()), pace, here.take)
    assert here.came == [(b"a", b"1")]
    assert pace.taken == 6


@pytest.mark.parametrize(
    ("rights", "says"), [("&other", "refuses to subscribe: "), ("-publish", "refuses to publish: ")]
)
async def test_a_redis_that_refuses_is_away(rights: str, says: str, caplog: pytest.LogCaptureFixture) -> None:
    user = ["--user", "ann", "on", ">secret", "~*", "resetchannels", "&pulse", "+@all"]
    if rights.startswith("-"):
        user.append(rights)
    with running_redis(*user) as redis:
        async with linked(redis.url.replace("unix://", "unix://ann:secret@")) as here:
            await here.link.subscribe(b"a")
            await healthy(here.link, False)
            assert says in told(caplog)[0]
