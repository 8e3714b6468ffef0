"""Calls as cancel scopes: their order, their bounds, streams both ways, and what their callers are told."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from hubs.memory_connection import JsonClient, running, settled

from trioecho.hubs import Hub, HubException, HubOptions, HubServer, Target


class Gate:
    """What methods wait at until the test opens it."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.inside = 0
        self.most = 0
        self.cancelled = 0
        self.told: list[Any] = []

    async def wait(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1


gate = Gate()


@pytest.fixture(autouse=True)
def new_gate() -> None:
    gate.__init__()  # type: ignore[misc]


class Example(Hub[Target]):
    async def echo(self, text: str) -> str:
        return text

    async def nothing(self) -> None: ...

    async def null(self) -> str | None:
        return None

    async def wait(self, name: int = 0) -> int:
        await gate.wait()
        gate.told.append(name)
        return name

    async def fail(self, text: str) -> None:
        raise RuntimeError(text)

    async def refuse(self, text: str) -> None:
        async with trio.open_nursery():
            raise HubException(text)

    async def unsendable(self) -> Any:
        return object()

    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def endless(self) -> AsyncIterator[int]:
        yield 1
        await gate.wait()
        yield 2

    async def clean_up(self) -> AsyncIterator[int]:
        try:
            await trio.sleep_forever()
            yield 1
        finally:
            gate.told.append("cleaned up")

    async def flood(self) -> AsyncIterator[int]:
        number = 0
        while True:
            number += 1
            gate.told.append(number)
            yield number

    async def fail_late(self) -> AsyncIterator[int]:
        yield 1
        raise HubException("late")

    async def fail_early(self) -> AsyncIterator[int]:
        raise HubException("early")
        yield 1

    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def ask_first(self, numbers: AsyncIterator[int]) -> int:
        return await self.clients.caller.invoke("Pick", type=int) + await self.total(numbers)

    async def doubled(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    async def hoard(self, numbers: AsyncIterator[int]) -> None:
        await gate.wait()


def hub(**options: Any) -> Any:
    return running(HubServer(Example, options=HubOptions(**options)))


async def test_void_is_not_null() -> None:
    async with hub() as it:
        client = await it.client()
        assert await client.call("nothing") == {"type": 3, "invocationId": "1"}
        assert await client.call("null") == {"type": 3, "invocationId": "1", "result": None}


async def test_a_call_without_an_id_is_not_answered() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=1, target="echo", arguments=["a"])
        client.say(type=1, target="nowhere", arguments=["a"])
        client.say(type=1, target="fail", arguments=["a"])
        assert await client.result("echo", "b") == "b"


@pytest.mark.parametrize(
    ("target", "arguments", "error"),
    [
        (
            "Nowhere",
            [],
            "Failed to invoke 'Nowhere' due to an error on the server. HubException: Method does",
        ),
        ("_secret", [], "Method does not exist"),
        ("__init__", [], "Method does not exist"),
        ("life", [], "Method does not exist"),
        ("close", [], "Method does not exist"),
        ("x" * 5000, [], "Method does not exist"),
        (
            "Echo",
            [],
            "Failed to invoke 'Echo' because of its arguments: Expected `array` of at least length 1",
        ),
        ("Echo", [5], "Expected `str`, got `int`"),
        ("Echo", ["a", "b"], "at most length 1"),
        ("Refuse", ["no"], "An unexpected error occurred invoking 'Refuse' on the server. HubException: no"),
        ("Fail", ["secret"], "An unexpected error occurred invoking 'Fail' on the server."),
        ("Unsendable", [], "An unexpected error occurred invoking 'Unsendable' on the server."),
        (
            "Count",
            [3],
            "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation.",
        ),
        ("Total", [], "it takes 1 streams from the client, not 0"),
    ],
)
async def test_what_goes_wrong_is_told_by_a_message_and_the_connection_goes_on(
    target: str, arguments: list[Any], error: str
) -> None:
    async with hub() as it:
        client = await it.client()
        answer = await client.error(target, *arguments)
        assert error in answer
        assert "secret" not in answer or target == "_secret"
        assert len(answer) < 500
        assert await client.result("echo", "a") == "a"


async def test_a_method_without_a_stream_cannot_be_streamed() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=4, invocationId="1", target="Echo", arguments=["a"])
        assert (await client.hear())["error"] == (
            "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation."
        )


async def test_details_are_told_and_logged_where_they_may(caplog: pytest.LogCaptureFixture) -> None:
    async with hub(detailed_errors=True) as it:
        client = await it.client()
        assert (await client.error("fail", "why")).endswith("on the server. RuntimeError: why")
        assert "Example.fail failed, called by 'c1'" in caplog.text
        caplog.clear()
        await client.error("refuse", "no")
        await client.error("echo", 5)
        assert not caplog.records


async def test_calls_run_one_after_the_other_in_their_order() -> None:
    async with hub() as it:
        client = await it.client()
        for number in range(5):
            client.say(type=1, target="wait", invocationId=str(number), arguments=[number])
        await settled()
        assert gate.inside == 1
        gate.open.set()
        assert [(await client.hear())["result"] for _ in range(5)] == [0, 1, 2, 3, 4]
        assert gate.most == 1


async def test_as_many_run_at_once_as_the_option_says() -> None:
    async with hub(parallel_invocations=3) as it:
        client = await it.client()
        for number in range(10):
            client.say(type=1, target="wait", invocationId=str(number), arguments=[number])
        await settled()
        assert gate.inside == 3
        gate.open.set()
        assert {(await client.hear())["result"] for _ in range(10)} == set(range(10))
        assert gate.most == 3


async def test_there_are_no_more_tasks_than_calls_can_run_at_once_whoever_floods() -> None:
    async with hub(parallel_invocations=3) as it:
        client = await it.client(window=2)
        for number in range(300):
            target = ("wait", "echo", "nowhere", "refuse")[number % 4]
            client.say(type=1, target=target, invocationId=str(number), arguments=[])
        gate.open.set()
        await settled()
        [connection] = it.server.members.connections.values()
        assert len(connection.nursery.child_tasks) <= 4 + 1
        ids = {(await client.hear())["invocationId"] for _ in range(300)}
        assert ids == {str(number) for number in range(300)}


async def test_a_flood_of_calls_is_read_no_further_and_nothing_of_it_is_lost() -> None:
    async with hub(waiting_invocations=5, max_held=1000) as it:
        client = await it.client()
        for number in range(500):
            client.say(type=1, target="wait", arguments=[number])
        await settled()
        assert client.connection._up.statistics().current_buffer_used == 500 - 6 - 10
        gate.open.set()
        assert await client.result("echo", "done") == "done"
        assert gate.told == list(range(500))


async def test_a_flood_that_never_ends_ends_its_own_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hub(waiting_invocations=5, client_timeout=4) as it:
        client, other = await it.client("a"), await it.client("b")
        for number in range(500):
            client.say(type=1, target="wait", arguments=[number])
        other.say(type=6)
        await trio.sleep(3)
        other.say(type=6)
        answer = await client.hear()
        assert answer["error"] == "More than 5 invocations wait for their turn."
        assert await other.result("echo", "a") == "a"
        assert gate.cancelled == 1


async def test_a_call_that_is_cancelled_is_told_so_whether_it_runs_or_waits() -> None:
    async with hub() as it:
        client = await it.client()
        for id in ("1", "2", "3"):
            client.say(type=1, target="wait", invocationId=id, arguments=[int(id)])
        await settled()
        client.say(type=5, invocationId="2")
        client.say(type=5, invocationId="1")
        client.say(type=5, invocationId="nobody's")
        cancelled = {"type": 3, "error": "The invocation was cancelled."}
        assert await client.hear() == {**cancelled, "invocationId": "1"}
        assert await client.hear() == {**cancelled, "invocationId": "2"}
        gate.open.set()
        assert await client.hear() == {"type": 3, "invocationId": "3", "result": 3}
        assert gate.cancelled == 1


async def test_calls_are_cancelled_when_their_client_goes() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=1, target="wait", arguments=[])
        client.say(type=4, invocationId="2", target="endless", arguments=[])
        client.say(type=1, target="wait", arguments=[])
        await settled()
        client.connection.hang_up()
        await settled()
        assert (gate.inside, gate.cancelled) == (0, 1)


async def test_an_id_that_is_used_twice_ends_the_connection() -> None:
    async with hub() as it:
        client = await it.client()
        for _ in range(2):
            client.say(type=1, target="wait", invocationId="1", arguments=[])
        assert "id of one that has not ended" in (await client.hear())["error"]


async def stream(client: JsonClient, target: str, *arguments: Any, id: str = "7") -> tuple[list[Any], Any]:
    """The items of a stream, and its error."""
    client.say(type=4, invocationId=id, target=target, arguments=arguments)
    items = []
    while (message := await client.hear())["type"] == 2:
        assert message["invocationId"] == id
        items.append(message["item"])
    assert message["invocationId"] == id
    return items, message.get("error")


async def test_streams_have_all_their_items_and_an_end() -> None:
    async with hub() as it:
        client = await it.client()
        assert await stream(client, "count", 100) == (list(range(100)), None)
        assert await stream(client, "count", 0) == ([], None)


async def test_a_stream_that_fails_tells_whether_it_had_begun() -> None:
    async with hub() as it:
        client = await it.client()
        assert await stream(client, "FailEarly") == (
            [],
            "An unexpected error occurred invoking 'FailEarly' on the server. HubException: early",
        )
        assert await stream(client, "FailLate") == (
            [1],
            "An error occurred on the server while streaming results. HubException: late",
        )


async def test_a_stream_that_is_cancelled_ends_without_an_error_and_holds_nothing_up() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=4, invocationId="7", target="endless", arguments=[])
        assert (await client.hear())["item"] == 1
        assert await client.result("echo", "beside") == "beside"
        client.say(type=5, invocationId="7")
        assert await client.hear() == {"type": 3, "invocationId": "7"}
        assert gate.cancelled == 1


async def test_a_stream_that_is_cancelled_before_it_has_begun_begins_and_ends() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=1, invocationId="1", target="wait", arguments=[])
        await settled()
        client.say(type=4, invocationId="7", target="CleanUp", arguments=[])
        client.say(type=5, invocationId="7")
        await settled()
        gate.open.set()
        assert (await client.hear())["invocationId"] == "1"
        assert await client.hear() == {"type": 3, "invocationId": "7"}
        assert gate.told == [0, "cleaned up"]


async def test_a_stream_whose_task_has_not_begun_is_cancelled() -> None:
    async with hub() as it:
        client = await it.client()
        # In one transfer, so that the reader does not let the stream begin in between.
        client.connection.push(
            b'{"type":4,"invocationId":"7","target":"CleanUp","arguments":[]}\x1e{"type":6}\x1e'
            b'{"type":5,"invocationId":"7"}\x1e'
        )
        assert await client.hear() == {"type": 3, "invocationId": "7"}
        assert gate.told == ["cleaned up"]


async def test_a_stream_that_is_not_read_waits() -> None:
    async with hub() as it:
        client = await it.client(window=3)
        client.say(type=4, invocationId="7", target="flood", arguments=[])
        await settled()
        assert len(gate.told) == 4


async def test_there_are_only_so_many_streams() -> None:
    async with hub(max_streams=3) as it:
        client = await it.client()
        for number in range(4):
            client.say(type=4, invocationId=str(number), target="endless", arguments=[])
        heard = [await client.hear() for _ in range(4)]
        [refused] = [each for each in heard if each["type"] == 3]
        assert refused["error"] == "Failed to invoke 'endless': this client has 3 streams already."
        client.say(type=5, invocationId="0")
        await client.hear()
        assert await stream(client, "count", 1) == ([0], None)
        for number in range(4):
            client.say(
                type=1, invocationId=f"u{number}", target="hoard", arguments=[], streamIds=[f"s{number}"]
            )
        assert "3 streams already" in (await client.hear())["error"]


async def test_an_upload_goes_into_the_method_as_it_comes() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=1, invocationId="1", target="total", arguments=[], streamIds=["2"])
        for number in range(100):
            client.say(type=2, invocationId="2", item=number)
        client.say(type=3, invocationId="2")
        assert await client.hear() == {"type": 3, "invocationId": "1", "result": 4950}
        client.say(type=2, invocationId="2", item=number)
        client.say(type=3, invocationId="2")
        assert await client.result("echo", "a") == "a"


async def test_streams_go_both_ways_at_once() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=4, invocationId="1", target="doubled", arguments=[], streamIds=["2"])
        for number in range(50):
            client.say(type=2, invocationId="2", item=number)
            assert (await client.hear())["item"] == 2 * number
        client.say(type=3, invocationId="2", error="enough")
        assert (await client.hear())["error"].endswith("HubException: enough")


async def test_an_item_of_another_type_fails_its_stream() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=1, invocationId="1", target="total", arguments=[], streamIds=["2"])
        client.say(type=2, invocationId="2", item="many")
        assert "Expected `int`, got `str`" in (await client.hear())["error"]


async def test_an_upload_that_nobody_takes_fails_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with hub(stream_buffer=5, client_timeout=3) as it:
        client = await it.client()
        client.say(type=1, invocationId="1", target="hoard", arguments=[], streamIds=["2"])
        for number in range(20):
            client.say(type=2, invocationId="2", item=number)
        assert await client.result("echo", "a", id="3") == "a"
        assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_what_stands_behind_an_upload_that_is_full_is_taken() -> None:
    async with hub(stream_buffer=2) as it:
        client = await it.client()
        client.say(type=1, invocationId="1", target="AskFirst", arguments=[], streamIds=["2"])
        for number in range(50):
            client.say(type=2, invocationId="2", item=number)
        client.say(type=3, invocationId="2")
        client.say(type=1, invocationId="3", target="hoard", arguments=[], streamIds=["4"])
        client.say(type=5, invocationId="3")
        asked = await client.hear()
        client.say(type=3, invocationId=asked["invocationId"], result=1000)
        answers = {answer["invocationId"]: answer for answer in [await client.hear(), await client.hear()]}
        assert answers["1"]["result"] == 2225
        assert answers["3"]["error"] == "The invocation was cancelled."


async def test_two_uploads_that_come_by_turns_do_not_block_each_other() -> None:
    async with hub(stream_buffer=2) as it:
        client = await it.client()
        for id in ("1", "2"):
            client.say(type=1, invocationId=id, target="total", arguments=[], streamIds=[f"s{id}"])
        for number in range(50):
            for id in ("2", "1"):
                client.say(type=2, invocationId=f"s{id}", item=number)
        for id in ("1", "2"):
            client.say(type=3, invocationId=f"s{id}")
        assert [(await client.hear())["result"] for _ in range(2)] == [1225, 1225]


async def test_an_upload_that_never_ends_ends_with_its_connection() -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=1, invocationId="1", target="total", arguments=[], streamIds=["2"])
        await settled()
        client.connection.hang_up()
        await settled()
        assert not it.server.connection_ids


async def test_what_a_client_cancels_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with hub() as it:
        client = await it.client()
        client.say(type=1, target="wait", invocationId="1", arguments=[])
        await settled()
        client.say(type=5, invocationId="1")
        await client.hear()
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
