"""What a handler holds: the contract of a Trio channel, whatever is cancelled, and the order of all that is sent."""

from __future__ import annotations

import array
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
import trio_websocket
from serving import connected, open_stream, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._server.routes import Handler
from trioecho._websocket import parking
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, RawClient, check_channel

MANY = 9000
"""Messages: fewer than an inbox holds, more than a handler may take in one go."""


class TheirChannel(trio.abc.Channel[bytes]):
    """trio-websocket's client as a Trio channel: somebody else's end for the contract."""

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection
        self._closed = False
        self._receiving = False

    async def send(self, value: bytes) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        try:
            await self._connection.send_message(value)
        except trio_websocket.ConnectionClosed:
            raise trio.BrokenResourceError from None

    async def receive(self) -> bytes:
        if self._closed:
            raise trio.ClosedResourceError
        if self._receiving:
            raise trio.BusyResourceError
        self._receiving = True
        try:
            message: bytes = await self._connection.get_message()
        except trio_websocket.ConnectionClosed:
            raise trio.EndOfChannel from None
        finally:
            self._receiving = False
        return message

    async def aclose(self) -> None:
        self._closed = True
        await self._connection.aclose()


@contextlib.asynccontextmanager
async def held(**options: object) -> AsyncIterator[tuple[trioecho.WebSocket, RawClient]]:
    """A connection's two ends: its WebSocket, lent by a handler, and its client."""
    lent: list[trioecho.WebSocket] = []
    done = trio.Event()

    async def lend(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await done.wait()

    async with serving(lend, **options) as server, connected(server) as client:
        await until(lambda: lent)
        yield lent[0], client
        done.set()


@pytest.mark.parametrize("ours_first", [True, False])
async def test_it_keeps_the_contract_of_a_channel(ours_first: bool) -> None:
    """In order, unchanged, cancellable, closed in good order: our end against trio-websocket's."""
    lent: list[trioecho.WebSocket] = []
    done = trio.Event()

    async def lend(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await done.wait()

    async with serving(lend, close_timeout=0.2) as server, trio.open_nursery() as nursery:
        stream = await open_stream(server)
        connection = await trio_websocket.wrap_client_stream(nursery, stream, "localhost", "/ws")
        await until(lambda: lent)
        ours, theirs = lent[0], TheirChannel(connection)
        await (check_channel(ours, theirs) if ours_first else check_channel(theirs, ours))
        done.set()
        # trio-websocket's client does not hang up by itself.
        await trio.aclose_forcefully(stream)


# Messages.


@pytest.mark.parametrize("message", ["", "grüße ☃ 𝄞", "x" * 70_000, b"", b"\x00\xff", bytes(70_000)])
async def test_text_is_str_and_binary_is_bytes(message: str | bytes) -> None:
    """Each message keeps its type and its bytes, both ways."""
    async with held() as (ws, client):
        await client.send(message)
        received = await ws.receive()
        assert type(received) is type(message)
        await ws.send(received)
        assert await client.receive() == message


async def test_whatever_has_bytes_can_be_sent() -> None:
    """bytearray and memoryview, also one of wider items, are sent as binary."""
    numbers = array.array("I", [1, 2, 3] * 30_000)
    async with held() as (ws, client):
        for value in (bytearray(b"abc"), memoryview(b"abcdef")[1:3], memoryview(numbers)):
            await ws.send(value)
            frame = await client.receive_frame()
            assert frame is not None
            assert (frame.opcode, frame.payload) == (BINARY, bytes(value))


@pytest.mark.parametrize("value", [None, 3, {"text": 1}, object()])
async def test_nothing_else_can_be_sent(value: object) -> None:
    """TypeError that names the type, and the connection is as good as before."""
    async with held() as (ws, client):
        with pytest.raises(TypeError, match=f"str or bytes, not {type(value).__name__}"):
            await ws.send(value)  # type: ignore[arg-type]
        await ws.send("fine")
        assert await client.receive() == "fine"


@pytest.mark.parametrize(
    ("text", "named"),
    [("\ud800", "U+D800"), ("gr\u00fc\u00dfe \udfff \ud801", "U+DFFF"), ("\ude00\ud83d", "U+DE00")],
)
async def test_text_that_has_no_utf_8_is_refused(text: str, named: str) -> None:
    """ValueError with a sentence that names the first lone surrogate; nothing was sent, and all is as before."""
    async with held() as (ws, client):
        with pytest.raises(ValueError, match="surrogate") as caught:
            await ws.send(text)
        sentence = str(caught.value)
        assert named[2:].lower() in sentence.lower()
        assert "codec" not in sentence, "that is how Python's codecs talk, not we"
        await ws.send("fine")
        assert await client.receive() == "fine"
        await until(lambda: ws.record.messages_sent == 1)


async def test_it_says_who_is_there() -> None:
    """Path, target, headers, origin, subprotocol, address, and a repr that tells connections apart."""
    seen: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws)
        await ws.receive()

    async with serving(handler, subprotocols=("chat.v2", "chat.v1")) as server:
        headers = "Origin: https://client.com\r\nSec-WebSocket-Protocol: chat.v1\r\nX-Room: a: b\r\nX-Room: \xe9\r\n"
        async with connected(server, path="/ws?room=%31", headers=headers) as client:
            await until(lambda: seen)
            (ws,) = seen
            assert (ws.path, ws.target) == ("/ws", "/ws?room=%31")
            assert (ws.origin, ws.subprotocol) == ("https://client.com", "chat.v1")
            assert [value for name, value in ws.headers if name == "x-room"] == ["a: b", "\xe9"]
            assert ("host", "localhost") in ws.headers
            assert ws.remote_address.startswith("127.0.0.1:")
            assert ws.remote_address in repr(ws)
            assert list(server.connections) == [ws]
            assert b"sec-websocket-protocol: chat.v1" in client.response.lower()
            record = ws.record
            assert (record.cause, record.messages_received) == (None, 0)
            await client.send("abc")
            await until(lambda: ws.record.messages_received)
            assert (ws.record.messages_received, ws.record.bytes_received) == (1, 3)


# Cancellation.


async def test_a_cancelled_receive_loses_nothing() -> None:
    """Receive is cancelled at every moment around a message's arrival, and every message is there, in order."""
    messages = [str(number) for number in range(200)]
    async with held() as (ws, client), trio.open_nursery() as nursery:
        taken: list[str | bytes] = []

        async def send_all() -> None:
            for message in messages:
                await client.send(message)
                await trio.lowlevel.checkpoint()

        async def cancel_soon(scope: trio.CancelScope, ticks: int) -> None:
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        nursery.start_soon(send_all)
        for ticks in itertools.cycle(range(7)):
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_soon, scope, ticks)
                taken.append(await ws.receive())
            if len(taken) == len(messages):
                break
        assert taken == messages


async def test_messages_come_though_trios_trap_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another Trio than this one, perhaps: the task waits by Trio's own function, and may be cancelled."""
    monkeypatch.setattr(parking, "_REUSABLE", False)
    async with held() as (ws, client):
        for number in range(10):
            with trio.move_on_after(0) as scope:
                await ws.receive()
            assert scope.cancelled_caught
            await client.send(str(number))
            assert await anext(ws) == str(number)


async def test_a_cancelled_send_has_sent_nothing() -> None:
    """While the peer does not read, a send waits; cancelled, it leaves no trace, and the next one is whole."""
    big = bytes(20_000_000)
    async with held() as (ws, client):
        await ws.send(big)
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ws.send, b"never")
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.send, "after")
            assert await client.receive() == big
            assert await client.receive() == "after"
        # The client may have all of it before the task that wrote it has run again.
        await until(lambda: ws.record.messages_sent == 2)


async def test_cancelling_the_sender_of_a_large_message_leaves_no_half_frame() -> None:
    """A frame that has begun is finished though its sender is cancelled at once; what follows is whole."""
    big = bytes(5_000_000)

    async def handler(ws: trioecho.WebSocket) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ws.send(b"cancelled before it began")
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ws.send, big)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
        await ws.send("after")

    async with serving(handler) as server, connected(server) as client:
        await trio.testing.wait_all_tasks_blocked(0.01)
        message = await client.receive()
        while message != "after":
            assert message == big
            message = await client.receive()
        assert await client.receive_close() == (1000, "")


async def test_a_cancelled_handler_says_what_its_cleanup_has_to_say() -> None:
    """A child's last words in a shielded cleanup go out before the Close."""

    async def child(ws: trioecho.WebSocket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                await ws.send("last words")

    async def handler(ws: trioecho.WebSocket) -> None:
        for _ in range(3):
            ws.nursery.start_soon(child, ws)
        await ws.receive()

    async with serving(handler) as server, connected(server) as client:
        await client.send("go")
        assert [await client.receive() for _ in range(3)] == ["last words"] * 3
        assert await client.receive_close() == (1000, "")


# Order.


async def test_all_that_is_sent_goes_out_in_order() -> None:
    """The handler's sends, its children's, Pongs and the Close: each where it was said."""

    async def handler(ws: trioecho.WebSocket) -> None:
        async def child(name: str, spoken: trio.Event) -> None:
            for number in range(100):
                await ws.send(f"{name} {number}")
            spoken.set()

        async for message in ws:
            spoken = trio.Event()
            ws.nursery.start_soon(child, str(message), spoken)
            await spoken.wait()
            await ws.send(f"{message} done")

    async with serving(handler) as server, connected(server) as client:
        data = b"".join(
            client.frame(TEXT, name.encode()) + client.frame(PING, name.encode()) for name in "abc"
        )
        await client.stream.send_all(data + client.frame(CLOSE, b"\x0f\xa0"))
        frames = await client.receive_rest()
        assert (frames[-1].opcode, frames[-1].close) == (CLOSE, (4000, ""))
        texts = [frame.payload.decode() for frame in frames if frame.opcode == TEXT]
        numbers = [*map(str, range(100)), "done"]
        assert texts == [f"{name} {number}" for name in "abc" for number in numbers]
        said = [frame.payload.decode() for frame in frames[:-1]]
        assert said.index("a") < said.index("b 0"), "a Pong comes before the echo of what came after its Ping"
        assert said.index("b") < said.index("c 0")


async def test_a_pong_goes_out_before_the_echo_of_what_came_after_its_ping() -> None:
    """A Pong may overtake the echo of an earlier message, which is the handler's affair; never the other way round."""
    async with serving() as server, connected(server) as client:
        data = b"".join(client.frame(TEXT if n % 3 else PING, str(n).encode()) for n in range(300))
        await client.stream.send_all(data)
        answers = []
        for _ in range(300):
            frame = await client.receive_frame()
            assert frame is not None
            answers.append((frame.opcode, int(frame.payload)))
        pongs = [number for opcode, number in answers if opcode == PONG]
        echoes = [number for opcode, number in answers if opcode == TEXT]
        assert (pongs, echoes) == (list(range(0, 300, 3)), [n for n in range(300) if n % 3])
        for number in pongs[:-1]:
            assert answers.index((PONG, number)) < answers.index((TEXT, number + 1))


async def test_what_is_gathered_goes_out_when_the_handler_waits_for_anything() -> None:
    """Sends gather while messages wait, but no longer than until the handler waits, be it for nothing at all."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.send("one")
        await ws.send("two")
        await trio.sleep_forever()

    async with serving(handler) as server, connected(server) as client:
        await client.stream.send_all(client.frame(TEXT, b"x") * 100)
        assert [await client.receive() for _ in range(2)] == ["one", "two"]


async def receive_many(ws: trioecho.WebSocket) -> None:
    """One call after the other."""
    for _ in range(MANY):
        await ws.receive()


async def iterate_over_many(ws: trioecho.WebSocket) -> None:
    """In a loop."""
    left = MANY
    async for _ in ws:
        left -= 1
        if not left:
            return


async def send_many(ws: trioecho.WebSocket) -> None:
    """Without receiving."""
    for _ in range(MANY):
        await ws.send("x")


@pytest.mark.parametrize("busy", [receive_many, iterate_over_many, send_many])
async def test_one_connection_cannot_hold_the_loop(busy: Handler) -> None:
    """A handler with thousands of messages waiting, or to send, lets others run again and again."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with held() as (ws, client):
        await client.stream.send_all(client.frame(TEXT, b"x") * MANY)
        await until(lambda: ws.record.messages_received >= MANY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            nursery.start_soon(client.receive_rest)
            await trio.lowlevel.checkpoint()
            before = turns
            await busy(ws)
            assert turns - before >= MANY // 256 - 1
            nursery.cancel_scope.cancel()


# Two at once.


async def test_only_one_task_may_receive() -> None:
    """A second one is told so by BusyResourceError; the first is not disturbed."""
    async with held() as (ws, client), trio.open_nursery() as nursery:
        taken: list[str | bytes] = []

        async def receive() -> None:
            taken.append(await ws.receive())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="another task is already in receive"):
            await ws.receive()
        await client.send("for the first")
        await until(lambda: taken)
    assert taken == ["for the first"]


async def test_a_message_snatched_by_a_second_task_harms_nobody() -> None:
    """A task that looks in every tick may get a message before the one that waits for it: that one goes on waiting."""
    async with held() as (ws, client), trio.open_nursery() as nursery:
        taken: list[str | bytes] = []

        async def waiting() -> None:
            while len(taken) < 100:
                taken.append(await ws.receive())

        async def snatching() -> None:
            while len(taken) < 100:
                with contextlib.suppress(trio.BusyResourceError):
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        taken.append(await ws.receive())
                await trio.lowlevel.checkpoint()

        nursery.start_soon(waiting)
        nursery.start_soon(snatching)
        for number in range(101):
            await client.send(str(number))
        await until(lambda: len(taken) >= 100)
        nursery.cancel_scope.cancel()
    assert sorted(map(int, taken)) == list(range(len(taken)))


# Endings, as the handler sees them.


async def test_after_the_peers_close_nothing_more_comes_or_goes() -> None:
    """EndOfChannel as often as one asks, and a send says that nobody hears it."""
    async with held() as (ws, client):
        await client.close(4000, "bye")
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await ws.receive()
        assert [message async for message in ws] == []
        with pytest.raises(trio.BrokenResourceError):
            await ws.send("too late")
        await ws.aclose(4321, "not this")
        assert await client.receive_close() == (4000, "bye")


async def test_a_peer_that_vanished_is_not_one_that_closed() -> None:
    """After the end of TCP, receive and the loop raise BrokenResourceError."""
    async with held() as (ws, client):
        reset(client)
        with pytest.raises(trio.BrokenResourceError):
            await ws.receive()
        with pytest.raises(trio.BrokenResourceError):
            async for _ in ws:
                pass
        with pytest.raises(trio.BrokenResourceError):
            await ws.send("too late")


@pytest.mark.parametrize("peer", ["is there", "has reset TCP", "is not heard to have gone"])
async def test_after_aclose_nothing_is_received_though_messages_wait(peer: str) -> None:
    """Those messages are on the record."""
    async with held(close_timeout=0.05) as (ws, client):
        await client.stream.send_all(client.frame(TEXT, b"x") * 3)
        await until(lambda: ws.record.messages_received == 3)
        if peer == "has reset TCP":
            reset(client)
            await until(ws.closing.is_set)
        elif peer == "is not heard to have gone":
            ws._outgoing.break_off()
        await ws.aclose()
        with trio.fail_after(60):
            with pytest.raises(trio.ClosedResourceError):
                await ws.receive()
            with pytest.raises(trio.ClosedResourceError):
                await anext(ws)
        assert ws.record.messages_discarded == 3


async def test_a_protocol_error_comes_behind_the_messages_before_it() -> None:
    """What was right is delivered; then BrokenResourceError."""
    async with held() as (ws, client):
        await client.stream.send_all(client.frame(TEXT, b"right") + client.frame(3, b"wrong"))
        assert await ws.receive() == "right"
        with pytest.raises(trio.BrokenResourceError, match="broke RFC 6455"):
            await ws.receive()


async def test_when_the_server_stops_the_handler_may_finish_what_it_owes() -> None:
    """receive ends, but send still works."""

    async def handler(ws: trioecho.WebSocket) -> None:
        taken = [message async for message in ws]
        await ws.send(f"{len(taken)} messages, and goodbye")

    async with serving(handler) as server, connected(server) as client:
        await client.stream.send_all(client.frame(TEXT, b"x") * 10)
        (ws,) = server.connections
        await until(lambda: ws.record.messages_received == 10)
        server.stop()
        assert await client.receive() == "10 messages, and goodbye"
        assert (await client.receive_close())[0] == 1001


async def test_aclose_says_its_code_and_waits_for_the_answer() -> None:
    """The peer hears code and reason; afterwards our own end is closed, to whoever asks."""
    async with held() as (ws, client), trio.open_nursery() as nursery:
        nursery.start_soon(ws.aclose, 4321, "grüße")
        assert await client.receive_close() == (4321, "grüße")
        await client.close(4321)
        for _ in range(2):
            with pytest.raises(trio.ClosedResourceError):
                await ws.receive()
            with pytest.raises(trio.ClosedResourceError):
                await ws.send("too late")
        await ws.aclose()
    record = ws.record
    assert (record.cause, record.closed_first, record.clean) == ("application closed", "server", True)


async def test_aclose_wakes_a_task_that_receives() -> None:
    """Another task that waits for a message is told that the connection was closed."""
    async with held() as (ws, client), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ws.receive()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ws.aclose)
        assert await client.receive_close() == (1000, "")
        await client.close()


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_536])
async def test_aclose_refuses_a_code_that_may_not_be_sent(code: int) -> None:
    """ValueError with what may be sent, and the connection is as good as before."""
    async with held() as (ws, client):
        with pytest.raises(
            ValueError, match=rf"{code} may not be sent; 1000-1003, 1007-1014 and 3000-4999 may"
        ):
            await ws.aclose(code)
        with pytest.raises(ValueError, match="124 bytes"):
            await ws.aclose(1000, "é" * 62)
        await ws.send("fine")
        assert await client.receive() == "fine"


async def test_a_peer_that_does_not_answer_a_close_costs_close_timeout_and_no_more() -> None:
    """aclose returns all the same."""
    async with held(close_timeout=0.05) as (ws, client):
        await ws.aclose()
        assert await client.receive_close() == (1000, "")
        with pytest.raises(trio.ClosedResourceError):
            await ws.receive()


async def test_the_end_of_another_connection_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that lets the ending of somebody else's WebSocket escape has failed: 1011, and a traceback."""
    everybody: list[trioecho.WebSocket] = []

    async def relay(ws: trioecho.WebSocket) -> None:
        everybody.append(ws)
        async for message in ws:
            await everybody[0].send(message)

    async with serving(relay) as server, connected(server) as first, connected(server) as second:
        await first.close()
        assert await first.receive_close() == (1000, "")
        await until(lambda: server.records)
        await second.send("is anybody there?")
        assert await second.receive_close() == (1011, "internal error")
        await second.close()
        await until(lambda: len(server.records) == 2)
    assert [entry.levelno for entry in caplog.records if entry.exc_info] == [logging.ERROR]
