"""One connection to a hub: the handshake, what is told at the end, timeouts, results of clients."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import math
import socket
import tracemalloc
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from hubs.memory_connection import JsonClient, running, settled
from serving import serving

import trioecho
from trioecho.hubs import Hub, HubException, HubOptions, HubServer, Target
from trioecho.testing import TEXT, connect_raw, encode_frame


class Chat(Hub[Target]):
    async def echo(self, text: str) -> str:
        return text

    async def ask(self) -> int:
        return await self.clients.caller.invoke("Pick", 7, type=int)

    async def leave(self) -> None:
        self.close("enough", allow_reconnect=True)


async def test_the_handshake_is_answered_first_and_the_connection_is_found_behind_it() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        client = JsonClient(hub.connect())
        client.say(protocol="json", version=1)
        while not client.connection.sent:
            await trio.lowlevel.checkpoint()
        assert server.connection_ids == ("c1",)
        assert client.connection.sent == [(b"{}\x1e", True)]


async def test_with_messagepack_the_handshake_comes_as_text_and_is_answered_in_binary() -> None:
    async with running(HubServer(Chat)) as hub:
        connection = hub.connect()
        connection.push(b'{"protocol":"messagepack","version":1}\x1e')
        await settled()
        assert connection.sent == [(b"{}\x1e", False)]


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_all_versions_that_clients_send_are_accepted(version: int) -> None:
    async with running(HubServer(Chat)) as hub:
        await JsonClient(hub.connect()).shake_hands(version=version)


async def test_a_handshake_in_pieces_with_a_call_behind_it_is_understood() -> None:
    async with running(HubServer(Chat)) as hub:
        client = JsonClient(hub.connect())
        client.connection.push(b'{"protocol":"js')
        client.connection.push(b'on","version":1}\x1e{"invocationId":"1","target":"echo","arg')
        client.connection.push(b'uments":["a"],"type":1}\x1e')
        assert await client.hear() == {}
        assert await client.hear() == {"type": 3, "invocationId": "1", "result": "a"}


@pytest.mark.parametrize(
    ("handshake", "error"),
    [
        (b'{"protocol":"xml","version":1}\x1e', "The protocol 'xml' is not supported."),
        (b'{"protocol":"json","version":3}\x1e', "version 3"),
        (b"GET /\x1e", "no handshake"),
        (b"x" * 5000, "at most 4096 bytes"),
    ],
)
async def test_a_handshake_that_will_not_do_is_answered_by_an_error_and_no_close(
    handshake: bytes, error: str
) -> None:
    async with running(HubServer(Chat)) as hub:
        client = JsonClient(hub.connect())
        client.connection.push(handshake)
        answer = await client.hear()
        assert error in answer["error"]
        assert "type" not in answer
        with pytest.raises(trio.EndOfChannel):
            await client.hear()


async def test_messagepack_over_a_transport_for_text_is_refused() -> None:
    async with running(HubServer(Chat)) as hub:
        client = JsonClient(hub.connect(transport="ServerSentEvents"))
        client.say(protocol="messagepack", version=1)
        assert "carries bytes" in (await client.hear())["error"]


async def test_a_client_that_says_nothing_is_refused_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with running(HubServer(Chat, options=HubOptions(handshake_timeout=3))) as hub:
        client = JsonClient(hub.connect())
        assert "3 seconds" in (await client.hear())["error"]
        assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_calls_have_their_answers() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        assert await client.result("Echo", "hello") == "hello"


async def test_a_quiet_client_is_pinged_and_one_that_says_nothing_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = HubServer(Chat, options=HubOptions(keep_alive=2, client_timeout=5))
    async with running(server) as hub:
        client = await hub.client()
        begun = trio.current_time()
        assert await client.connection.pull() == b'{"type":6}\x1e'
        assert trio.current_time() - begun == pytest.approx(2, abs=1)
        assert await client.hear() == {
            "type": 7,
            "error": "Nothing has come from the client for 5 seconds.",
            "allowReconnect": True,
        }
        assert trio.current_time() - begun == pytest.approx(5.5, abs=1)
        await settled()
        assert not server.connection_ids


async def test_any_message_is_a_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    server = HubServer(Chat, options=HubOptions(client_timeout=5))
    async with running(server) as hub:
        client = await hub.client()
        for _ in range(10):
            await trio.sleep(0.9)
            client.say(type=6)
        await settled()
        assert server.connection_ids


async def test_a_client_that_has_gone_is_told_nothing() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        client.connection.hang_up()
        with pytest.raises(trio.EndOfChannel):
            await client.hear()


async def test_close_tells_why_and_whether_to_reconnect() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        client.say(type=1, target="leave", arguments=[])
        assert await client.hear() == {"type": 7, "error": "enough", "allowReconnect": True}
        with pytest.raises(trio.EndOfChannel):
            await client.hear()


async def test_the_server_ends_a_connection_by_its_id() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        client = await hub.client()
        assert server.close("c1")
        assert not server.close("c2")
        assert await client.hear() == {"type": 7}


async def test_a_server_that_stops_lets_clients_reconnect() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        client = await hub.client()
        hub.nursery.cancel_scope.cancel()
    assert await client.hear() == {"type": 7, "allowReconnect": True}
    assert client.connection.closed


@pytest.mark.parametrize(
    "message", [b"{\x1e", b"[]\x1e", b'{"type":1}\x1e', b'{"type":2,"item":1}\x1e', b"x" * 40_000]
)
async def test_what_is_no_message_ends_its_own_connection_only(message: bytes) -> None:
    async with running(HubServer(Chat)) as hub:
        client, other = await hub.client("a"), await hub.client("b")
        client.connection.push(message)
        answer = await client.hear()
        assert answer["type"] == 7
        assert answer["error"]
        assert await other.result("echo", "still here") == "still here"


async def test_messages_of_types_that_come_later_are_ignored() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        client.say(type=99, anything=[1])
        client.connection.push(b'{"x":{"y":2},"type":6,"headers":{"a":"b"}}\x1e')
        assert await client.result("echo", "a") == "a"


async def test_a_hub_that_cannot_be_made_ends_the_connection_behind_the_handshake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Hub[Target]):
        def __init__(self) -> None:
            raise ValueError("no database")

    async with running(HubServer(Broken, options=HubOptions(detailed_errors=True))) as hub:
        client = await hub.client()
        answer = await client.hear()
        assert answer == {"type": 7, "error": "Connection closed with an error. ValueError: no database"}
    assert "Broken failed" in caplog.text


async def test_life_is_entered_before_the_first_call_and_left_uncancelled_when_the_client_has_gone() -> None:
    told: list[str] = []

    class Living(Hub[Target]):
        @contextlib.asynccontextmanager
        async def life(self) -> AsyncIterator[None]:
            await trio.testing.wait_all_tasks_blocked()
            told.append("entered")
            yield
            await trio.lowlevel.checkpoint()
            told.append("left")

        async def call(self) -> None:
            told.append("called")

    async with running(HubServer(Living)) as hub:
        client = await hub.client()
        await client.result("call")
        client.connection.hang_up()
        await settled()
        assert told == ["entered", "called", "left"]


async def test_life_cannot_go_on_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    class Clinging(Hub[Target]):
        @contextlib.asynccontextmanager
        async def life(self) -> AsyncIterator[None]:
            yield
            await trio.sleep_forever()

    server = HubServer(Clinging, options=HubOptions(leave_timeout=3, client_timeout=math.inf))
    async with running(server) as hub:
        client = await hub.client()
        client.connection.hang_up()
        with pytest.raises(trio.EndOfChannel):
            await client.hear()
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert not server.connection_ids


async def test_a_hub_may_refuse_its_client_in_life() -> None:
    class Closed(Hub[Target]):
        @contextlib.asynccontextmanager
        async def life(self) -> AsyncIterator[None]:
            raise HubException("we are closed")
            yield

    async with running(HubServer(Closed)) as hub:
        client = await hub.client()
        answer = await client.hear()
        assert answer["error"] == "Connection closed with an error. HubException: we are closed"


async def test_what_fails_in_the_nursery_ends_that_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    class Careless(Hub[Target]):
        async def begin(self) -> None:
            self.nursery.start_soon(self._fail)

        async def _fail(self) -> None:
            raise RuntimeError("in the background")

        async def echo(self, text: str) -> str:
            return text

    async with running(HubServer(Careless)) as hub:
        client, other = await hub.client("a"), await hub.client("b")
        client.say(type=1, target="begin", arguments=[])
        assert await client.hear() == {"type": 7, "error": "Connection closed with an error."}
        assert await other.result("echo", "x") == "x"
    assert "in the background" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


async def test_what_runs_in_the_nursery_ends_with_the_connection() -> None:
    ended = trio.Event()

    class Clock(Hub[Target]):
        @contextlib.asynccontextmanager
        async def life(self) -> AsyncIterator[None]:
            self.nursery.start_soon(self._tick)
            yield

        async def _tick(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

    async with running(HubServer(Clock)) as hub:
        client = await hub.client()
        client.connection.hang_up()
        await ended.wait()


async def test_a_result_is_asked_of_the_client_while_its_call_runs() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        asked = await client.call("ask")
        assert asked == {"type": 1, "target": "Pick", "arguments": [7], "invocationId": "s1"}
        client.say(type=3, invocationId="s1", result=42)
        assert await client.hear() == {"type": 3, "invocationId": "1", "result": 42}


async def test_a_clients_error_is_raised_as_a_hub_exception() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        await client.call("ask")
        client.say(type=3, invocationId="s1", error="I will not")
        answer = await client.hear()
        assert answer["error"].endswith("HubException: I will not")


async def test_a_result_of_another_type_is_a_hub_exception() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        await client.call("ask")
        client.say(type=3, invocationId="s1", result="many")
        assert "Expected `int`, got `str`" in (await client.hear())["error"]


async def test_a_result_nobody_awaits_is_ignored() -> None:
    async with running(HubServer(Chat)) as hub:
        client = await hub.client()
        client.say(type=3, invocationId="s1", result=1)
        client.say(type=3, invocationId="nobody's")
        assert await client.result("echo", "a") == "a"


async def test_who_waits_for_a_client_that_goes_is_told() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        client = await hub.client()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await server.clients.client("c1").invoke("Pick")

            nursery.start_soon(ask)
            await client.hear()
            client.connection.hang_up()
        with pytest.raises(trio.BrokenResourceError):
            await server.clients.client("c1").invoke("Pick")


async def test_only_so_many_results_are_awaited_of_one_client() -> None:
    server = HubServer(Chat, options=HubOptions(max_client_results=2))
    async with running(server) as hub:
        await hub.client()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(server.clients.client("c1").invoke, "Pick")
            await settled()
            with pytest.raises(HubException, match="2 results"):
                await server.clients.client("c1").invoke("Pick")
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.clients.client("c1").invoke, "Pick")
            await settled()
            nursery.cancel_scope.cancel()


async def test_who_is_told_to_go_before_the_server_stops_may_come_again() -> None:
    """In a stop that tells one client after the other: another server may be there soon."""
    options = trioecho.WebSocketOptions()
    async with trio.open_nursery() as nursery:
        start = functools.partial(trioecho.serve, {"/hub": HubServer(Chat)}, port=0, options=options)
        server = await nursery.start(start)
        client = await connect_raw(server.port, path="/hub")
        await client.send('{"protocol":"json","version":1}\x1e')
        assert await client.receive() == "{}\x1e"
        other = await connect_raw(server.port, path="/hub")
        server.stop(window=1000)
        with trio.fail_after(10):
            message = await client.receive()
            while '"type":7' not in str(message):
                message = await client.receive()
        assert json.loads(str(message).rstrip("\x1e"))["allowReconnect"] is True
        server.abort()
        for each in (client, other):
            await trio.aclose_forcefully(each.stream)


IDLE_BYTES = 26 * 1024
"""What a connection may take that waits for calls: with its WebSocket, which alone takes half of it, and its client's
socket, which takes some hundred bytes."""


class Plain(Hub[Target]):
    async def echo(self, text: str) -> str:
        return text


async def test_an_idle_connection_takes_so_much_memory() -> None:
    """One that has made a call and makes no other."""
    call = b'{"type":1,"invocationId":"1","target":"Echo","arguments":["x"]}\x1e'
    said = b"".join(
        (
            b"GET /hub HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            encode_frame(TEXT, b'{"protocol":"json","version":1}\x1e', key=b"abcd"),
            encode_frame(TEXT, call, key=b"abcd"),
        )
    )
    clients: list[socket.socket] = []

    async def connect(port: int) -> None:
        client = socket.create_connection(("127.0.0.1", port))
        clients.append(client)
        client.setblocking(False)
        client.send(said)
        received = b""
        while not received.endswith(b'"result":"x"}\x1e'):
            await trio.lowlevel.wait_readable(client)
            received += client.recv(4096)

    async with serving({"/hub": HubServer(Plain)}) as server:
        try:
            for _ in range(20):
                await connect(server.port)
            gc.collect()
            tracemalloc.start()
            for _ in range(200):
                await connect(server.port)
            gc.collect()
            size = tracemalloc.get_traced_memory()[0] / 200
        finally:
            tracemalloc.stop()
            for client in clients:
                client.close()
    assert size <= IDLE_BYTES
