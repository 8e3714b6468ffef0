"""A hub over several processes: whom it reaches, each once and in order, and what is lost when Redis is killed."""

from __future__ import annotations

import contextlib
import itertools
import logging
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from hubs.memory_connection import JsonClient, Running, running
from hubs.redis_process import CLIENT, GROUP, USER, Chat, another_process
from hubs.redis_server import RedisServer, running_redis
from plain_http import plain_http
from serving import serving

import trioecho
from trioecho.hubs import (
    BackplaneError,
    HubException,
    HubOptions,
    HubServer,
    NoConnection,
    RedisBackplane,
    Target,
    redis_backplane,
)
from trioecho.hubs.redis_messages import Call, encode

CALL = Call(1, "b", "Pick", {"json": b"[]"})


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


@contextlib.asynccontextmanager
async def hubs(url: str, count: int = 2, **options: Any) -> AsyncIterator[list[Running]]:
    """Several hubs as in several processes."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running(HubServer(Chat, backplane=RedisBackplane(url), options=HubOptions(**options)))
            )
            for _ in range(count)
        ]


async def hears(client: JsonClient) -> Any:
    return (await client.hear())["arguments"][0]


async def answered(client: JsonClient, number: str = "s1", result: int = 5) -> None:
    """Answer what is asked of it."""
    assert (await client.hear())["target"] == "Pick"
    client.say(type=3, invocationId=number, result=result)


async def healthy(hub: HubServer[Target], is_so: bool = True) -> None:
    while hub.healthy is not is_so:
        await trio.sleep(0.01)


async def test_everybody_is_reached_by_everybody_once(redis: RedisServer) -> None:
    async with hubs(redis.url, 3) as (one, two, three):
        a, b = await one.client("a", user="ann"), await two.client("b", user="ann")
        c = await three.client("c")
        for client in (a, b):
            await client.result("join", "red")
        clients = two.server.clients
        for target, reached in (
            (clients.all, (a, b, c)),
            (clients.exclude("a", "b"), (c,)),
            (clients.group("red"), (a, b)),
            (clients.group("red", exclude=["b"]), (a,)),
            (clients.user("ann"), (a, b)),
            (clients.clients("a", "c"), (a, c)),
        ):
            await target.send("say", repr(target))
            for client in reached:
                assert await hears(client) == repr(target)
        await clients.all.send("say", "last")
        assert [await hears(each) for each in (a, b, c)] == ["last"] * 3


async def test_what_is_said_to_clients_here_is_said_without_redis(redis: RedisServer) -> None:
    async with hubs(redis.url) as (here, _):
        client = await here.client("a")
        redis.hang()
        with trio.fail_after(0.5):
            await here.server.clients.client("a").send("say", "x")
            assert await hears(client) == "x"
            client.say(type=1, invocationId="1", target="say", arguments=["red", "y"])
            assert await client.hear() == {"type": 3, "invocationId": "1"}
        redis.go_on()


async def test_hubs_of_another_class_or_prefix_are_others(redis: RedisServer) -> None:
    class News(Chat):
        pass

    async with (
        running(HubServer(Chat, backplane=RedisBackplane(redis.url))) as chat,
        running(HubServer(Chat, backplane=RedisBackplane(redis.url, "other"))) as other,
        running(HubServer(News, backplane=RedisBackplane(redis.url))) as news,
    ):
        clients = [await each.client(name) for each, name in ((chat, "a"), (other, "b"), (news, "c"))]
        await chat.server.clients.all.send("say", "chat")
        assert not await chat.server.groups.add("b", "red")
        assert not await chat.server.groups.add("c", "red")
        assert await hears(clients[0]) == "chat"
        for hub, client in ((other, clients[1]), (news, clients[2])):
            await hub.server.clients.all.send("say", "own")
            assert await hears(client) == "own"


async def test_groups_of_others_are_changed_and_that_is_acknowledged(redis: RedisServer) -> None:
    async with hubs(redis.url, max_groups=2) as (here, there):
        client = await there.client("b")
        for number in range(2):
            assert await here.server.groups.add("b", f"group {number}")
            await here.server.clients.group(f"group {number}").send("say", "in")
            assert await hears(client) == "in"
        with pytest.raises(HubException, match="a client can be in 2 groups"):
            await here.server.groups.add("b", "one more")
        assert await here.server.groups.remove("b", "group 0")
        await here.server.clients.group("group 0").send("say", "out")
        await here.server.clients.group("group 1").send("say", "in")
        assert await hears(client) == "in"


async def test_who_is_there_and_does_not_acknowledge_is_told_of(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_backplane, "ACKNOWLEDGED_WITHIN", 0.2)
    async with hubs(redis.url) as (here, there):
        await there.client("b")
        monkeypatch.setattr(there.server.backplane, "_answer", lambda *_: None)
        with pytest.raises(BackplaneError, match=r"'b' has not answered within 0\.2 seconds"):
            await here.server.groups.add("b", "red")


async def test_a_client_elsewhere_is_asked(redis: RedisServer) -> None:
    async with hubs(redis.url, max_client_results=1) as (here, there):
        client = await there.client("b")
        pick = here.server.clients.client("b")
        there.nursery.start_soon(answered, client)
        assert await pick.invoke("Pick", type=int) == 5
        there.nursery.start_soon(answered, client, "s2")
        with pytest.raises(HubException, match="answered Pick with what it should not"):
            await pick.invoke("Pick", type=str)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pick.invoke, "Pick")
            assert (await client.hear())["target"] == "Pick"
            with pytest.raises(HubException, match="1 results of this client are awaited already"):
                await pick.invoke("Pick")
            client.say(type=3, invocationId="s3", result=None)


async def test_a_question_ends_with_its_client_and_with_who_asks(redis: RedisServer) -> None:
    async with hubs(redis.url) as (here, there):
        client = await there.client("b")
        with trio.move_on_after(5) as asking:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.server.clients.client("b").invoke, "Pick")
                await client.hear()
                assert there.server.backplane._calls
                nursery.cancel_scope.cancel()
        assert not asking.cancelled_caught
        while there.server.backplane._calls:
            await trio.sleep(0.01)
        with pytest.RaisesGroup(pytest.RaisesExc(trio.BrokenResourceError, match="has ended before")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.server.clients.client("b").invoke, "Pick")
                await client.hear()
                client.connection.hang_up()
        assert not here.server.backplane._asked


async def test_an_answer_that_gets_lost_is_asked_for(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Redis has forgotten it, or the process of the client has ended."""
    monkeypatch.setattr(redis_backplane, "STILL_INTERVAL", 0.1)
    async with hubs(redis.url) as (here, there):
        client = await there.client("b")
        there.nursery.start_soon(answered, client)
        say = there.server.backplane._say
        monkeypatch.setattr(there.server.backplane, "_say", lambda *_: None)

        def answer(process: bytes, message: Any) -> None:
            say(there.server.backplane._channels.process(process), message)

        monkeypatch.setattr(there.server.backplane, "_answer", answer)
        with pytest.raises(BackplaneError, match="'b' has answered was lost on its way"):
            await here.server.clients.client("b").invoke("Pick")


async def test_an_answer_waits_for_a_redis_that_is_back(redis: RedisServer) -> None:
    async with hubs(redis.url) as (here, there):
        client = await there.client("b")
        found: list[int] = []

        async def ask() -> None:
            found.append(await here.server.clients.client("b").invoke("Pick", type=int))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            asked = await client.hear()
            redis.hang()
            await healthy(there.server, False)
            client.say(type=3, invocationId=asked["invocationId"], result=7)
            await trio.sleep(0.2)
            redis.go_on()
        assert found == [7]


async def test_a_question_that_comes_twice_is_asked_once(redis: RedisServer) -> None:
    async with hubs(redis.url) as (here, there):
        client = await there.client("b")
        there.server.backplane._take(b"trioecho:Chat:connection:b", twice := encode(b"somebody", CALL))
        there.server.backplane._take(b"trioecho:Chat:connection:b", twice)
        await answered(client)
        while there.server.backplane._calls:
            await trio.sleep(0.01)
        await here.server.clients.all.send("say", "x")
        assert await hears(client) == "x"


async def test_what_others_say_that_is_no_message_is_told_of_once(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with hubs(redis.url) as (here, there):
        client = await there.client("b")
        link = here.server.backplane._link
        for _ in range(3):
            assert await link.ask(b"trioecho:Chat:all", b"hello") == 2
        await here.server.clients.all.send("say", "x")
        assert await hears(client) == "x"
    # Each of the two.
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


async def test_a_user_stays_reached_while_connections_come_and_go(redis: RedisServer) -> None:
    async with hubs(redis.url) as (here, there):
        await there.client("0", user="ann")
        for number in range(1, 30):
            # One comes while the one before goes.
            there.server.close(str(number - 1))
            client = await there.client(str(number), user="ann")
            await here.server.clients.user("ann").send("say", number)
            assert await hears(client) == number
        assert len(there.server.backplane._addresses) == 3


async def test_the_health_check_and_the_caller_are_told_that_redis_is_away(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    hub = HubServer(Chat, backplane=RedisBackplane(redis.url))
    routes: trioecho.Routes = {"/chat": hub, "/healthz": trioecho.HttpRoute(trioecho.healthz)}
    async with serving(routes) as server, plain_http(server) as client:
        answer = await client.ask("/healthz")
        assert (answer.status, answer.text) == (200, "ok")
        redis.kill()
        await healthy(hub, False)
        answer = await client.ask("/healthz")
        assert (answer.status, answer.text) == (503, "unhealthy")
        here = Running(hub, None)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            here.nursery = nursery
            caller = await here.client("a")
            await caller.result("join", "red")
            # Who is here has it; the call fails, and that is not logged each time.
            for _ in range(3):
                assert (await caller.call("say", "red", "x"))["arguments"] == ["x"]
                assert "An unexpected error" in (await caller.hear())["error"]
            with pytest.raises(BackplaneError):
                await hub.clients.client("nobody").invoke("Pick")
            redis.start()
            await healthy(hub)
            assert (await caller.call("say", "red", "x"))["arguments"] == ["x"]
            assert await caller.hear() == {"type": 3, "invocationId": "1"}
            nursery.cancel_scope.cancel()
        assert (await client.ask("/healthz")).status == 200
    about_redis = [record for record in caplog.records if record.name == "trioecho.hubs"]
    assert len(about_redis) == 2


async def test_two_processes_have_group_messages_in_order(redis: RedisServer) -> None:
    async with another_process(redis.url) as there, hubs(redis.url, 1) as (here,):
        for number in range(500):
            await here.server.clients.group(GROUP).send("say", number)
        for number in range(500):
            assert await there.read() == f"say {number}"
        assert await here.server.clients.client(CLIENT).invoke("Pick", type=int) == 5
        assert await there.read() == "Pick"
        await here.server.clients.user(USER).send("say", "user")
        assert await there.read() == "say user"


async def test_of_what_is_sent_while_redis_is_killed_the_rest_comes_in_order(redis: RedisServer) -> None:
    """What was not raised is lost only where it was sent about when Redis was killed."""
    async with another_process(redis.url) as there, hubs(redis.url, 1) as (here,):
        sent: list[int] = []
        refused: list[int] = []

        async def send() -> None:
            for number in itertools.count():
                try:
                    await here.server.clients.group(GROUP).send("say", number)
                except BackplaneError:
                    refused.append(number)
                else:
                    sent.append(number)
                await trio.sleep(0.001)

        async def read() -> int:
            return int((await there.read()).removeprefix("say "))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            heard = [await read() for _ in range(50)]
            redis.kill()
            await healthy(here.server, False)
            redis.start()
            await healthy(here.server)
            # The other process is back when it has heard something new.
            while not refused or heard[-1] < refused[-1]:
                heard.append(await read())
            nursery.cancel_scope.cancel()
        assert heard[:50] == list(range(50))
        assert heard == sorted(set(heard))
        assert set(heard) <= set(sent)


async def test_a_hub_that_is_not_served_reaches_nobody(redis: RedisServer) -> None:
    backplane = RedisBackplane(redis.url)
    hub = HubServer(Chat, backplane=backplane)
    assert not hub.healthy
    with pytest.raises(BackplaneError, match="not served"):
        await hub.clients.all.send("say", "x")
    with pytest.raises(BackplaneError, match="not served"):
        await backplane.invoke("a", "Pick", {})
    async with running(hub):
        assert hub.healthy
        with pytest.raises(RuntimeError, match="serves a hub already"):
            await backplane.run(hub._delivery)
        with pytest.raises(NoConnection):
            await backplane.invoke("a", "Pick", {})
    async with running(hub) as again:
        client = await again.client("a")
        async with running(HubServer(Chat, backplane=RedisBackplane(redis.url))) as other:
            await other.server.clients.all.send("say", "x")
            assert await hears(client) == "x"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        ((5,), {}, TypeError, "takes a string such as 'redis://localhost'"),
        (("redis://localhost", 5), {}, TypeError, "prefix takes a string"),
        (("redis://localhost", ""), {}, ValueError, "prefix is empty"),
        (("rediss://localhost",), {"ssl_context": True}, TypeError, "takes an ssl.SSLContext or None"),
        (("redis://localhost",), {"ssl_context": ssl.create_default_context()}, ValueError, "rediss://"),
    ],
)
def test_what_will_not_do_is_told(arguments: Any, options: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        RedisBackplane(*arguments, **options)


def test_its_picture_has_no_password() -> None:
    shown = repr(RedisBackplane("redis://:secret@localhost", "app"))
    assert shown == "RedisBackplane('redis://localhost:6379', 'app')"


def test_hubs_need_no_coredis_until_a_redis_is_asked_for() -> None:
    program = """
import sys
sys.modules["coredis"] = None
import trioecho.hubs
assert "anyio" not in sys.modules
try:
    trioecho.hubs.RedisBackplane("redis://localhost")
except ImportError as error:
    assert "pip install 'trioecho[redis]'" in str(error)
    sys.exit(3)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 3
