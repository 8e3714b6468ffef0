"""Keep-alive and the idle timeout to the second, on virtual time."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

import trioecho
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, RawClient, open_client

Clock = trio.testing.MockClock


def with_options(**options: float) -> trioecho.WebSocketOptions:
    return trioecho.WebSocketOptions(**options)  # type: ignore[arg-type]


async def wait(ws: trioecho.WebSocket) -> None:
    """A handler that listens and says nothing."""
    async for _ in ws:
        pass


async def expect_ping(client: RawClient, at: float) -> bytes:
    """The next frame is a Ping, at the second `at`; returns its payload."""
    frame = await client.receive_frame()
    assert frame is not None
    assert (frame.opcode, trio.current_time()) == (PING, pytest.approx(at))
    return frame.payload


async def expect_close(client: RawClient, at: float, code: int, reason: str) -> None:
    """The next frame is this Close, at the second `at`."""
    assert await client.receive_close() == (code, reason)
    assert trio.current_time() == pytest.approx(at)


async def answer_pings(client: RawClient) -> None:
    """What a living client does."""
    while (frame := await client.receive_frame()) is not None and frame.opcode != CLOSE:
        if frame.opcode == PING:
            await client.send_frame(PONG, frame.payload)


async def test_a_quiet_client_that_answers_is_asked_every_two_minutes(autojump_clock: Clock) -> None:
    """Each answer starts another 120 s; nobody is closed."""
    async with open_client() as client:
        begun = trio.current_time()
        for number in range(1, 20):
            await client.send_frame(PONG, await expect_ping(client, begun + 120 * number))
        await client.send("still here")
        assert await client.receive() == "still here"


@pytest.mark.parametrize(("interval", "patience"), [(120, 20), (7, 3), (0.5, 0.25), (20, 120)])
async def test_a_client_that_does_not_answer_is_given_its_time_and_no_more(
    autojump_clock: Clock, interval: float, patience: float
) -> None:
    """Silence for `keep_alive_interval`, a Ping, silence for `keep_alive_timeout`: 1011, and TCP is closed."""
    options = with_options(keep_alive_interval=interval, keep_alive_timeout=patience)
    async with open_client(wait, options=options) as client:
        begun = trio.current_time()
        await expect_ping(client, begun + interval)
        await expect_close(client, begun + interval + patience, 1011, "keep-alive timeout")
        assert await client.receive_rest() == []
        assert trio.current_time() - begun < interval + patience + 1
    assert client.record is not None
    assert (client.record.cause, client.record.closed_first) == ("keep-alive timeout", "server")


async def test_the_answer_may_come_in_the_last_moment(autojump_clock: Clock) -> None:
    """A Pong just before the time is up is as good as any."""
    async with open_client(wait) as client:
        begun = trio.current_time()
        payload = await expect_ping(client, begun + 120)
        await trio.sleep(19.9)
        await client.send_frame(PONG, payload)
        await expect_ping(client, begun + 139.9 + 120)


@pytest.mark.parametrize("what", ["message", "half a header", "ping", "pong to another ping"])
async def test_any_byte_answers_a_ping(autojump_clock: Clock, what: str) -> None:
    """Whatever comes within 20 s proves life; the next 120 s begin with it."""
    async with open_client(wait) as client:
        begun = trio.current_time()
        await expect_ping(client, begun + 120)
        await trio.sleep(10)
        if what == "message":
            await client.send("hello")
        elif what == "half a header":
            await client.stream.send_all(client.frame(BINARY, bytes(1000))[:3])
        elif what == "ping":
            await client.send_frame(PING, b"you?")
            answer = await client.receive_frame()
            assert answer is not None
            assert (answer.opcode, answer.payload) == (PONG, b"you?")
        else:
            await client.send_frame(PONG, b"for nobody")
        await expect_ping(client, begun + 130 + 120)
        await expect_close(client, begun + 130 + 140, 1011, "keep-alive timeout")


async def test_a_client_that_talks_is_never_asked(autojump_clock: Clock) -> None:
    """A message every 119 s, and not one Ping in hours."""
    async with open_client() as client:
        for _ in range(100):
            await trio.sleep(119)
            await client.send("x")
            assert await client.receive() == "x"


@pytest.mark.parametrize("off", [0, math.inf])
async def test_keep_alive_can_be_switched_off(autojump_clock: Clock, off: float) -> None:
    """An interval of 0 or infinity: a silent client stays for a day, and hears nothing."""
    async with open_client(options=with_options(keep_alive_interval=off)) as client:
        await trio.sleep(86_400)
        await client.send("good morning")
        assert await client.receive() == "good morning"


async def test_patience_can_be_without_end(autojump_clock: Clock) -> None:
    """An infinite keep_alive_timeout: the client is asked, for proxies' sake, and may never answer."""
    async with open_client(options=with_options(keep_alive_timeout=math.inf)) as client:
        await expect_ping(client, trio.current_time() + 120)
        await trio.sleep(86_400)
        await client.send("good morning")
        assert await client.receive() == "good morning"


async def test_latency_is_the_time_to_the_pong(autojump_clock: Clock) -> None:
    """None before the first Pong; then what the last answered Ping took."""
    seen: list[float | None] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        async for _ in ws:
            seen.append(ws.latency)

    async with open_client(handler) as client:
        await client.send("before")
        for seconds in (3.0, 0.5):
            frame = await client.receive_frame()
            assert frame is not None
            await trio.sleep(seconds)
            await client.send_frame(PONG, frame.payload)
            await client.send("after")
    assert seen == [None, pytest.approx(3.0), pytest.approx(0.5)]


async def test_while_the_server_does_not_read_the_clock_stands_still(autojump_clock: Clock) -> None:
    """A full inbox and a handler asleep for a day: the Pong that lies unread is not held against the client."""
    woken: list[float] = []

    async def sleeper(ws: trioecho.WebSocket) -> None:
        await trio.sleep(86_400)
        woken.append(trio.current_time())
        async for _ in ws:
            pass

    async with open_client(sleeper) as client:
        begun = trio.current_time()
        for _ in range(30):
            await client.send(b"x" * 10_000)
        await answer_pings_until(client, begun + 90_000)
    assert woken == [pytest.approx(begun + 86_400)]
    assert client.record is not None
    assert (client.record.cause, client.record.messages_discarded) == ("peer vanished", 0)


async def answer_pings_until(client: RawClient, moment: float) -> None:
    """Live until `moment` (Trio's clock)."""
    with trio.move_on_at(moment):
        await answer_pings(client)
        raise AssertionError("the server closed the connection of a living client")


async def test_a_dead_client_is_noticed_after_the_server_has_read_again(autojump_clock: Clock) -> None:
    """Standing still is not stopping: once the handler has caught up, silence counts again."""

    async def sleeper(ws: trioecho.WebSocket) -> None:
        await trio.sleep(10_000)
        async for _ in ws:
            pass

    async with open_client(sleeper) as client:
        begun = trio.current_time()
        for _ in range(30):
            await client.send(b"x" * 10_000)
        frame = await client.receive_frame()
        while frame is not None and frame.opcode == PING:
            frame = await client.receive_frame()
        assert frame is not None
        assert frame.close == (1011, "keep-alive timeout")
        assert begun + 10_000 < trio.current_time() <= begun + 10_000 + 140


@pytest.mark.parametrize(
    ("options", "opcode", "after"),
    [({}, PING, 120), ({"idle_timeout": 60.0}, CLOSE, 60)],
    ids=["Ping", "idle"],
)
async def test_a_clock_that_stood_still_goes_on_where_it_stood(
    autojump_clock: Clock, options: dict[str, float], opcode: int, after: float
) -> None:
    """The time in which nothing was read is no silence: counting begins anew when the handler has caught up."""

    async def sleeper(ws: trioecho.WebSocket) -> None:
        await trio.sleep(10_021)
        await wait(ws)

    async with open_client(sleeper, options=with_options(**options)) as client:
        begun = trio.current_time()
        await client.send(b"x" * 70_000)
        frame = await client.receive_frame()
        assert frame is not None
        assert frame.opcode == opcode
        assert trio.current_time() == pytest.approx(begun + 10_021 + after)


# The idle timeout.


async def test_who_promises_a_message_every_x_seconds_has_two_x(autojump_clock: Clock) -> None:
    """ASP.NET's rule: messages every X keep the connection; it ends exactly 2 × X after the last."""
    async with open_client(options=with_options(idle_timeout=60)) as client:
        begun = trio.current_time()
        for _ in range(10):
            await trio.sleep(30)
            await client.send("I am here")
            await client.receive()
        await expect_close(client, begun + 300 + 60, 1001, "idle timeout")
        await client.close(1001)
        assert await client.receive_rest() == []
    assert client.record is not None
    assert (client.record.cause, client.record.clean) == ("idle timeout", True)


async def test_a_ping_of_the_clients_own_counts_as_a_message(autojump_clock: Clock) -> None:
    """A client may keep its promise with Pings."""
    async with open_client(options=with_options(idle_timeout=60)) as client:
        begun = trio.current_time()
        for number in range(10):
            await trio.sleep(59)
            await client.send_frame(PING, str(number).encode())
            frame = await client.receive_frame()
            assert frame is not None
            assert (frame.opcode, frame.payload) == (PONG, str(number).encode())
        await expect_close(client, begun + 590 + 60, 1001, "idle timeout")


async def test_answering_our_pings_does_not_count(autojump_clock: Clock) -> None:
    """Pongs prove that the machine lives, not that the client has anything to say."""
    options = with_options(idle_timeout=60, keep_alive_interval=10)
    async with open_client(options=options) as client:
        begun = trio.current_time()
        for number in range(1, 6):
            await client.send_frame(PONG, await expect_ping(client, begun + 10 * number))
        await expect_close(client, begun + 60, 1001, "idle timeout")


async def test_a_client_whose_messages_wait_is_not_idle(autojump_clock: Clock) -> None:
    """It waits for its answers: idle counts from when the handler has taken its last message."""

    async def slow(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await trio.sleep(119)
        await wait(ws)

    async with open_client(slow, options=with_options(idle_timeout=60, keep_alive_interval=0)) as client:
        begun = trio.current_time()
        await client.send("one")
        await client.send("two")
        await expect_close(client, begun + 119 + 60, 1001, "idle timeout")


async def test_an_unasked_pong_does_not_count(autojump_clock: Clock) -> None:
    """Nor does a Pong that answers nothing."""
    async with open_client(options=with_options(idle_timeout=60)) as client:
        begun = trio.current_time()
        for _ in range(5):
            await trio.sleep(10)
            await client.send_frame(PONG, b"")
        await expect_close(client, begun + 60, 1001, "idle timeout")


async def test_what_the_server_sends_does_not_count(autojump_clock: Clock) -> None:
    """A client that only listens is idle; that is why the timeout is off unless asked for."""

    async def push(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send("tick")
            await trio.sleep(10)

    async with open_client(push, options=with_options(idle_timeout=35)) as client:
        begun = trio.current_time()
        assert [await client.receive() for _ in range(4)] == ["tick"] * 4
        await expect_close(client, begun + 35, 1001, "idle timeout")


async def test_idle_is_idle_though_a_ping_of_ours_is_unanswered(autojump_clock: Clock) -> None:
    """Both clocks run; the one that is up first ends the connection, under its own name."""
    async with open_client(options=with_options(idle_timeout=130)) as client:
        begun = trio.current_time()
        await expect_ping(client, begun + 120)
        await expect_close(client, begun + 130, 1001, "idle timeout")


# When the client has said all it will say, no clock runs any more.


@pytest.mark.parametrize("options", [{}, {"idle_timeout": 30.0}], ids=["keep-alive", "idle timeout"])
async def test_a_client_that_has_closed_is_neither_dead_nor_idle(
    autojump_clock: Clock, options: dict[str, float]
) -> None:
    """What came before the Close is delivered, however long that takes, and no Ping follows the Close."""
    taken: list[str | bytes] = []

    async def slow(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            taken.append(message)
            await trio.sleep(4)

    async with open_client(slow, options=with_options(answer_timeout=5, **options)) as client:
        messages = [f"message {number}" for number in range(100)]
        await client.stream.send_all(b"".join(client.frame(TEXT, message.encode()) for message in messages))
        await client.close(4000, "done")
        assert await client.receive_close() == (4000, "done")
    assert taken == messages
    assert client.record is not None
    assert (client.record.cause, client.record.clean) == ("peer closed", True)
