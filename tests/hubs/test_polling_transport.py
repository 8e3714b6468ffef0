"""Long polling, as its clients see it: statuses, bodies, and what happens to those who stay away."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing
from hubs.clients_of_transports import receive_all, serving_route
from serving import until

from trioecho.hubs import Connection


async def say_hello(connection: Connection) -> None:
    await connection.send("hello")
    await receive_all(connection)


async def test_the_first_poll_is_answered_at_once_with_nothing() -> None:
    """So the client knows that it is connected. What is sent then comes with the next one, and the end with 204."""
    async with serving_route() as served:
        target = await served.begin_polling()
        assert served.connections[0].transport == "LongPolling"
        assert (await served.ask(target, "POST", body=b"some")).status == 200
        answer = await served.ask(target)
        assert (answer.status, answer.body, answer["cache-control"]) == (200, b"some", "no-store")


async def test_what_was_sent_between_two_polls_comes_in_one_body() -> None:
    async def three(connection: Connection) -> None:
        for each in ("one,", b"two,", "three"):
            await connection.send(each)
        await receive_all(connection)

    async with serving_route(three) as served:
        target = await served.begin_polling()
        await until(lambda: served.connections)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await served.ask(target)).body == b"one,two,three"


async def test_a_poll_waits_for_something_to_say() -> None:
    async with serving_route() as served:
        target = await served.begin_polling()
        async with served.http() as poller:
            await poller.send(target)
            await served.ask(target, "POST", body=b"now")
            assert (await poller.answer()).body == b"now"
            # The same TCP connection goes on.
            await served.ask(target, "POST", body=b"again")
            assert (await poller.ask(target)).body == b"again"


async def test_a_poll_without_news_is_answered_with_nothing() -> None:
    """200, so that the client asks again; the connection goes on."""
    async with serving_route(poll_timeout=0.02) as served:
        target = await served.begin_polling()
        for _ in range(2):
            answer = await served.ask(target)
            assert (answer.status, answer.body) == (200, b"")
        await served.ask(target, "POST", body=b"still here")
        assert (await served.ask(target)).body == b"still here"


async def test_a_poll_in_whose_place_another_comes_is_answered_204() -> None:
    """And takes nothing with it."""
    async with serving_route() as served:
        target = await served.begin_polling()
        async with served.http() as one, served.http() as other:
            await one.send(target)
            await until(lambda: served.connections[0].attached)  # type: ignore[attr-defined]
            await other.send(target)
            assert (await one.answer()).status == 204
            await served.ask(target, "POST", body=b"for the other")
            assert (await other.answer()).body == b"for the other"


async def test_a_poll_whose_client_has_gone_takes_nothing_with_it() -> None:
    async with serving_route() as served:
        target = await served.begin_polling()
        async with served.http() as gone:
            await gone.send(target)
            await until(lambda: served.connections[0].attached)  # type: ignore[attr-defined]
        await until(lambda: not served.connections[0].attached)  # type: ignore[attr-defined]
        await served.ask(target, "POST", body=b"kept")
        assert (await served.ask(target)).body == b"kept"


async def test_delete_ends_the_connection() -> None:
    """202, and 404 from then on; the handler is told, and can send nothing more; the poll that waits ends with 204."""
    failures: list[Exception] = []

    async def sends_at_the_end(connection: Connection) -> None:
        await receive_all(connection)
        for send in (connection.send, connection.try_send):
            try:
                result = send("a word of goodbye")
                assert not isinstance(result, bool)
                await result
            except trio.BrokenResourceError as error:
                failures.append(error)

    async with serving_route(sends_at_the_end) as served:
        target = await served.begin_polling()
        async with served.http() as poller:
            await poller.send(target)
            await until(lambda: served.connections[0].attached)  # type: ignore[attr-defined]
            assert (await served.ask(target, "DELETE")).status == 202
            assert (await poller.answer()).status == 204
        for method in ("GET", "POST", "DELETE"):
            answer = await served.ask(target, method)
            assert (answer.status, answer.text.strip()) == (404, "No Connection with that ID")
        await until(lambda: served.ended)
        assert len(failures) == 2


async def test_the_end_of_the_handler_is_told_behind_what_it_sent() -> None:
    """200 with that, then 204, then the connection is unknown."""

    async def goodbye(connection: Connection) -> None:
        await connection.receive()
        await connection.send("goodbye")

    async with serving_route(goodbye) as served:
        target = await served.begin_polling()
        await served.ask(target, "POST", body=b"leave")
        await until(lambda: served.ended)
        assert (await served.ask(target)).body == b"goodbye"
        assert (await served.ask(target)).status == 204
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await served.ask(target)).status == 404


async def test_who_stays_away_is_gone() -> None:
    """Between two polls, for `disconnect_timeout`; while a poll waits, nobody is away."""
    async with serving_route(disconnect_timeout=0.05) as served:
        target = await served.begin_polling()
        async with served.http() as poller:
            await poller.send(target)
            await until(lambda: served.connections[0].attached)  # type: ignore[attr-defined]
            with trio.move_on_after(0.2):
                await poller.answer()
            assert not served.ended
            await served.ask(target, "POST", body=b"x")
        await until(lambda: served.ended)
        assert (await served.ask(target)).status == 404


async def test_a_goodbye_that_nobody_fetches_is_not_waited_for_long() -> None:
    async with serving_route(say_hello, close_timeout=0.02) as served:
        target = await served.begin_polling()
        await until(lambda: served.connections)
        served.connections[0].nursery.cancel_scope.cancel()
        await until(lambda: served.ended)
        with trio.fail_after(5):
            while (await served.ask(target, "POST", body=b"x")).status != 404:
                pass


async def test_the_stop_of_the_server_reaches_who_polls() -> None:
    """The handler may still say something; the poll that waits carries it, and the stop waits for nothing else."""

    async def last_word(connection: Connection) -> None:
        await receive_all(connection)
        await connection.send("the server stops")

    async with serving_route(last_word, close_timeout=30) as served:
        target = await served.begin_polling()
        between = await served.begin_polling()
        assert between != target
        async with served.http() as poller:
            await poller.send(target)
            await until(lambda: served.connections[0].attached)  # type: ignore[attr-defined]
            served.server.stop(timeout=30)
            answer = await poller.answer()
            assert (answer.body, answer["connection"]) == (b"the server stops", "close")
        await served.stopped()
        assert len(served.ended) == 2


async def test_the_last_word_of_a_server_that_stops_needs_no_further_poll() -> None:
    """Nobody would answer one: what is said together with the end ends the connection."""

    async def last_word(connection: Connection) -> None:
        await receive_all(connection)
        assert connection.try_send("the server stops")

    async with serving_route(last_word, close_timeout=30) as served:
        target = await served.begin_polling()
        async with served.http() as poller:
            await poller.send(target)
            await until(lambda: served.connections[0].attached)  # type: ignore[attr-defined]
            served.server.stop(timeout=30)
            assert (await poller.answer()).body == b"the server stops"
        await served.stopped()


@pytest.mark.parametrize("stays", ["polling", "away"])
async def test_a_handler_that_does_not_listen_is_cancelled_when_its_client_has_gone(stays: str) -> None:
    """`close_timeout` later."""

    async def deaf(connection: Connection) -> None:
        await trio.sleep_forever()

    async with serving_route(deaf, close_timeout=0.02, disconnect_timeout=0.02) as served:
        target = await served.begin_polling()
        if stays == "polling":
            await served.ask(target, "DELETE")
        await until(lambda: served.ended)


async def test_a_slow_poller_holds_the_sender_and_then_counts_as_gone() -> None:
    """`send` waits for room up to `send_timeout`; `try_send` says that there is none."""
    outcome: list[object] = []

    async def flood(connection: Connection) -> None:
        while connection.try_send(bytes(1000)):
            pass
        with contextlib.suppress(trio.BrokenResourceError):
            await connection.send(b"one more")
            outcome.append("sent")
            await connection.send(bytes(20_000))
            await connection.send(b"the last")
        outcome.append("gone")

    async with serving_route(flood, max_buffered=10_000, send_timeout=0.1) as served:
        target = await served.begin_polling()
        await until(lambda: served.connections)
        answer = await served.ask(target)
        assert 9_000 <= len(answer.body) < 12_000
        await until(lambda: served.ended)
        assert outcome == ["sent", "gone"]
        assert (await served.ask(target)).status == 404
