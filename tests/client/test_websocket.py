"""The client: a Trio channel that ends in good order, whatever the server does."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing
from connecting import connect, plain_and_tls
from scripted_peer import Peer, close, scripted
from serving import PATIENCE, one_way, serving, until
from serving import way_of_reading as way_of_reading
from websockets.sync.server import ServerConnection, serve

import trioecho
from trioecho import client
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, check_channel, encode_frame

# Messages


@plain_and_tls
async def test_texts_and_bytes_come_back_as_they_were_sent() -> None:
    """A str is text, bytes and what is like them are binary; sizes around each length of a frame's header."""
    async with serving() as server, connect(server) as ws:
        for message in (
            "",
            "hello",
            "ü€😀",
            b"",
            b"\x00\xff",
            *(bytes(n) for n in (125, 126, 65_535, 65_536)),
        ):
            await ws.send(message)
            assert await ws.receive() == message
        await ws.send(bytearray(b"ab"))
        await ws.send(memoryview(b"cd"))
        assert [await ws.receive(), await ws.receive()] == [b"ab", b"cd"]


@plain_and_tls
@pytest.mark.parametrize("client_first", [True, False])
async def test_client_and_server_keep_the_contract_of_a_channel(client_first: bool) -> None:
    """`check_channel` finds no fault with the client's WebSocket and the server's, whichever closes first."""
    held: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        held.append(ws)
        await trio.sleep_forever()

    async with serving(handler) as server, connect(server) as ws:
        await until(lambda: held)
        with trio.fail_after(PATIENCE):
            await (check_channel(ws, held[0]) if client_first else check_channel(held[0], ws))


@one_way
async def test_what_is_no_message_is_refused_before_anything_is_sent() -> None:
    """A number, or a str that is no Unicode, raises; the connection is as good as before."""
    async with serving() as server, connect(server) as ws:
        with pytest.raises(TypeError, match="a message is str or bytes, not int"):
            await ws.send(1)
        with pytest.raises(UnicodeEncodeError):
            await ws.send("\ud800")
        await ws.send("fine")
        assert await ws.receive() == "fine"


@one_way
async def test_a_cancelled_send_leaves_no_half_frame() -> None:
    """A send is cancelled while the server does not read; what the server then reads are whole frames, in order."""
    read = trio.Event()
    frames: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await read.wait()
        while (frame := await peer.receive()) is not None and frame.opcode != CLOSE:
            frames.append(frame.payload)

    async with scripted(script) as url, client.connect(url) as ws:
        sent = 0
        while sent < 1000:
            with trio.move_on_after(0.05) as scope:
                await ws.send(bytes(3_000_000))
            if scope.cancelled_caught:
                break
            sent += 1
        assert scope.cancelled_caught
        read.set()
        await ws.send("still here")
    assert [len(payload) for payload in frames] == [3_000_000] * sent + [10]


@one_way
async def test_backpressure_reaches_the_server() -> None:
    """While nobody receives, the client reads no more than a bound, and the server's sends wait."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        with contextlib.suppress(trio.BrokenResourceError):
            for _ in range(1000):
                await peer.send(BINARY, bytes(500_000))
                sent += 1
        await peer.wait_for_end()

    async with scripted(script) as url, client.connect(url, close_timeout=0.1) as ws:
        before = -1
        while sent != before:
            before = sent
            await trio.testing.wait_all_tasks_blocked(0.2)
        assert 0 < sent < 100
        assert await ws.receive() == bytes(500_000)
        with trio.move_on_after(0):
            await ws.aclose()


# Ends


@one_way
async def test_the_loop_ends_when_the_server_closes() -> None:
    """Messages before the Close are delivered, then `async for` ends; code and reason are there; send is told."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send("one")
        await ws.send("two")
        await ws.aclose(4000, "enough")

    async with serving(handler) as server:
        async with connect(server) as ws:
            assert [message async for message in ws] == ["one", "two"]
            assert (ws.close_code, ws.close_reason) == (4000, "enough")
            with pytest.raises(trio.EndOfChannel, match="the server closed the WebSocket: 4000 enough"):
                await ws.receive()
            with pytest.raises(trio.BrokenResourceError, match="4000 enough"):
                await ws.send("too late")
            with pytest.raises(trio.BrokenResourceError, match="4000 enough"):
                await ws.ping()
        await until(lambda: server.records)
        assert server.records[0].clean


@one_way
async def test_send_tells_of_a_close_that_nobody_has_received() -> None:
    """A task that only sends learns the server's code, at whichever moment the Close comes."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.aclose(4000, "enough")

    async def send_for_ever(ws: client.WebSocket) -> None:
        while True:
            await ws.send("x")

    for _ in range(20):
        async with serving(handler) as server, connect(server) as ws:
            with pytest.raises(trio.BrokenResourceError, match="closed the WebSocket: 4000 enough"):
                await send_for_ever(ws)


@one_way
async def test_after_our_close_everything_is_closed() -> None:
    """`aclose` may be called twice; then every call raises ClosedResourceError; the code is the server's."""
    async with serving() as server:
        async with connect(server) as ws:
            assert (ws.close_code, ws.close_reason) == (None, None)
            await ws.aclose(3000, "bye")
            await ws.aclose()
            for call in (ws.receive, functools.partial(ws.send, "x"), ws.ping):
                with pytest.raises(trio.ClosedResourceError):
                    await call()
            assert (ws.close_code, ws.close_reason) == (3000, "bye")
        await until(lambda: server.records)
        assert (server.records[0].code_received, server.records[0].clean) == (3000, True)


@one_way
async def test_after_send_close_what_the_server_still_sends_is_received() -> None:
    """Echoes that are on their way when we say Close come, and then the server's Close."""
    async with serving() as server, connect(server) as ws:
        for number in range(500):
            await ws.send(str(number))
        await ws.send_close(1000, "done")
        await ws.send_close()
        with pytest.raises(trio.ClosedResourceError):
            await ws.send("too late")
        assert [message async for message in ws] == [str(number) for number in range(500)]
        assert (ws.close_code, ws.close_reason) == (1000, "done")


@one_way
@pytest.mark.parametrize(
    ("code", "reason", "sentence"),
    [(1005, "", "close code 1005 may not be sent"), (999, "", "999 may not"), (1000, "x" * 124, "124 bytes")],
)
async def test_a_close_that_no_frame_can_carry_is_refused(code: int, reason: str, sentence: str) -> None:
    """ValueError, and the connection is as good as before."""
    async with serving() as server, connect(server) as ws:
        for method in (ws.aclose, ws.send_close):
            with pytest.raises(ValueError, match=sentence):
                await method(code, reason)
        await ws.send("fine")
        assert await ws.receive() == "fine"


@one_way
@pytest.mark.parametrize(
    ("last", "code"),
    [(close(), 1005), (close(1000), 1000), (close(4999, "r"), 4999), (b"", 1006), (None, 1006)],
    ids=["empty Close", "1000", "4999", "end of TCP", "reset"],
)
async def test_the_code_is_what_the_server_said(last: bytes | None, code: int) -> None:
    """1005 for an empty Close, 1006 for none; a Close ends the channel, its absence breaks it."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(TEXT, b"hello")
        assert await peer.receive() is not None
        if last is None:
            peer.reset()
        elif last:
            await peer.stream.send_all(last)
            await peer.wait_for_end()

    async with scripted(script) as url, client.connect(url) as ws:
        assert await ws.receive() == "hello"
        await ws.send("end it")
        with pytest.raises(trio.BrokenResourceError if code == 1006 else trio.EndOfChannel):
            await ws.receive()
        assert ws.close_code == code
        with pytest.raises(trio.BrokenResourceError):
            await ws.send("too late")


@one_way
async def test_a_failed_write_loses_nothing_that_the_server_sent() -> None:
    """The server says its last words and a Close, and is gone: they are received, though our sends fail before that."""
    gone = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(behind=encode_frame(TEXT, b"a" * 5000) * 10 + close(4001, "read this"))
        await trio.aclose_forcefully(peer.stream)
        gone.set()

    async def send_for_ever(ws: client.WebSocket) -> None:
        while True:
            await ws.send("x")
            await trio.sleep(0.001)

    # With so small a bound, most of it is not read before somebody receives.
    async with scripted(script) as url, client.connect(url, max_message_size=10_000) as ws:
        await gone.wait()
        with pytest.raises(trio.BrokenResourceError, match="the connection is lost"):
            await send_for_ever(ws)
        assert len([message async for message in ws]) == 10
        assert (ws.close_code, ws.close_reason) == (4001, "read this")


@one_way
async def test_the_server_gets_a_moment_to_hang_up_first() -> None:
    """RFC 6455 section 7.1.1: after both Closes, the end of TCP is the server's to begin."""
    first = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.stream.send_all(close(1000))
        with trio.move_on_after(0.1) as scope:
            await peer.receive()
        first.append("server" if scope.cancelled_caught else "client")

    async with scripted(script) as url, client.connect(url):
        pass
    assert first == ["server"]


@one_way
async def test_leaving_is_bounded_when_the_server_never_answers_close() -> None:
    """The Close is said, `close_timeout` passes, TCP is closed: the server sees its end."""
    frames = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (frame := await peer.receive()) is not None:
            frames.append(frame)

    async with scripted(script) as url:
        async with client.connect(url, close_timeout=0.1) as ws:
            pass
        assert ws.close_code == 1006
    assert [frame.close for frame in frames] == [(1000, "")]


@one_way
async def test_leaving_hangs_up_when_the_server_neither_reads_nor_hangs_up() -> None:
    """Not even our Close can be written: leaving is bounded all the same."""
    left = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await left.wait()

    async with scripted(script) as url:
        async with client.connect(url, close_timeout=0.1) as ws:
            with trio.move_on_after(0.1):
                while True:
                    await ws.send(bytes(1_000_000))
        left.set()


@one_way
async def test_tcp_is_closed_after_the_servers_close() -> None:
    """The server says Close first and does not hang up; the client does, also while the block goes on."""
    hung_up = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(behind=close(1000, "behind the 101"))
        await peer.wait_for_end()
        hung_up.set()

    async with scripted(script) as url, client.connect(url, close_timeout=0.1) as ws:
        with pytest.raises(trio.EndOfChannel):
            await ws.receive()
        assert ws.close_reason == "behind the 101"
        await hung_up.wait()


@one_way
async def test_a_ping_behind_our_close_does_not_cost_the_servers_close() -> None:
    """The server's Ping crosses our Close; it gets no Pong, and its Close still counts."""
    frames = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        frames.append(await peer.receive())
        await peer.stream.send_all(encode_frame(PING, b"?") + close(4002, "after the Ping"))
        frames.append(await peer.receive())

    async with scripted(script) as url:
        async with client.connect(url) as ws:
            pass
        assert (ws.close_code, ws.close_reason) == (4002, "after the Ping")
    assert [frame and frame.opcode for frame in frames] == [CLOSE, None]


@one_way
async def test_cancellation_leaves_at_once_and_says_going_away() -> None:
    """Cancelled in the block: no wait for a server that does not answer, and yet it reads 1001."""
    frames = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (frame := await peer.receive()) is not None:
            frames.append(frame)

    async with scripted(script) as url:
        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            async with client.connect(url, close_timeout=1000) as ws:
                scope.cancel()
                await ws.receive()
        assert scope.cancelled_caught
        assert ws.close_code == 1006
    assert [frame.close for frame in frames] == [(1001, "going away")]


@one_way
async def test_the_cancellation_of_a_block_is_no_group() -> None:
    """`except trio.Cancelled` around the `async with` sees it."""
    async with serving() as server:
        with trio.CancelScope() as scope:
            try:
                async with connect(server):
                    scope.cancel()
                    await trio.sleep_forever()
            except trio.Cancelled:
                raise
            except BaseException as error:
                raise AssertionError("something else than Cancelled left the block") from error
        assert scope.cancelled_caught


@one_way
@pytest.mark.parametrize("vanished", [False, True])
async def test_an_exception_of_the_block_arrives_as_it_was_raised(vanished: bool) -> None:
    """No group around it, also when the server is gone; a living server reads 1011."""
    frames = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        if vanished:
            peer.reset()
            return
        frames.append(await peer.receive())
        await peer.stream.send_all(close(1011))

    raised = ZeroDivisionError("mine")
    async with scripted(script) as url:
        caught: BaseException | None = None
        try:
            async with client.connect(url) as ws:
                if vanished:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await ws.receive()
                raise raised
        except BaseException as error:
            caught = error
    assert caught is raised
    assert [frame and frame.close for frame in frames] == ([] if vanished else [(1011, "internal error")])


@one_way
async def test_a_cancelled_goodbye_does_not_hide_an_exception_of_the_block() -> None:
    """The block raised, and the wait for the server's Close is cancelled: what was raised is what is seen."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.wait_for_end()

    seen: BaseException | None = None
    async with scripted(script) as url:
        with trio.move_on_after(0.1):
            try:
                async with client.connect(url, close_timeout=1000):
                    raise ZeroDivisionError
            except BaseException as error:
                seen = error
    assert isinstance(seen, ZeroDivisionError)


@one_way
async def test_a_group_of_the_block_stays_that_group() -> None:
    """A nursery in the block raises a group; it is neither wrapped nor taken apart."""

    async def fail() -> None:
        raise ValueError("child")

    async with serving() as server:
        with pytest.raises(ExceptionGroup) as caught:
            async with connect(server), trio.open_nursery() as nursery:
                nursery.start_soon(fail)
        assert [type(error) for error in caught.value.exceptions] == [ValueError]


@one_way
async def test_tasks_outside_the_block_are_told_when_it_is_left() -> None:
    """Another nursery's task in receive, or in ping, does not wait for ever."""
    told = []

    async def wait(call: Any) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await call()
        told.append(call)

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.wait_for_end()

    async with scripted(script) as url, trio.open_nursery() as outside:
        async with client.connect(url, close_timeout=0.1) as ws:
            outside.start_soon(wait, ws.receive)
            outside.start_soon(wait, ws.ping)
            await trio.testing.wait_all_tasks_blocked()
    assert len(told) == 2


# A server that breaks the protocol


@one_way
async def test_a_message_that_is_too_big_is_answered_1009() -> None:
    """`receive` breaks and says the limit; the server reads 1009, and TCP is closed."""
    frames = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(BINARY, bytes(200_000))
        frames.append(await peer.receive())

    async with (
        scripted(script) as url,
        client.connect(url, max_message_size=100_000) as ws,
    ):
        with pytest.raises(trio.BrokenResourceError, match="a message of more than 100000 bytes"):
            await ws.receive()
        assert ws.close_code == 1006
    assert [frame and frame.close[0] for frame in frames] == [1009]


@one_way
async def test_two_messages_too_big_in_one_read_end_only_the_connection() -> None:
    """trio-websocket's reader fails at the second; the tasks of the block do not, they are told."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send_all(encode_frame(BINARY, bytes(200)) * 3)
        await peer.wait_for_end()

    async with scripted(script) as url, client.connect(url, max_message_size=100, close_timeout=0.1) as ws:
        with pytest.raises(trio.BrokenResourceError):
            await ws.receive()
        with pytest.raises(trio.BrokenResourceError):
            await ws.send("too late")


@one_way
@pytest.mark.parametrize(
    ("broken", "code"),
    [(b"\x83\x00", 1002), (b"\xf1\x00", 1002), (b"\x81\x81\x00\x00\x00\x00x", 1002), (b"\x81\x01\xff", 1007)],
    ids=["opcode 3", "reserved bits", "masked", "not UTF-8"],
)
async def test_a_broken_frame_breaks_the_channel_and_the_server_is_told(broken: bytes, code: int) -> None:
    """Messages before it are delivered, then `receive` breaks and says why; the server reads 1002 or 1007."""
    frames = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send_all(encode_frame(TEXT, b"before") + broken + bytes(100_000))
        frames.append(await peer.receive())

    async with scripted(script) as url, client.connect(url) as ws:
        assert await ws.receive() == "before"
        with pytest.raises(trio.BrokenResourceError, match="the server broke the protocol: "):
            await ws.receive()
        assert ws.close_code == 1006
    assert [frame and frame.close[0] for frame in frames] == [code]


# Ping


@one_way
async def test_ping_tells_the_time_to_the_pong() -> None:
    """Seconds, with a payload of ours or a random one; also while messages wait that nobody receives."""
    payloads = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (frame := await peer.receive()) is not None and frame.opcode == PING:
            payloads.append(frame.payload)
            await peer.stream.send_all(encode_frame(TEXT, b"x") * 100 + encode_frame(PONG, frame.payload))
        await peer.stream.send_all(close(1000))

    async with scripted(script) as url, client.connect(url) as ws:
        assert 0 <= await ws.ping() < PATIENCE
        assert 0 <= await ws.ping(b"mine") < PATIENCE
        with pytest.raises(ValueError, match="at most 125 bytes; this one has 126"):
            await ws.ping(bytes(126))
    assert (len(payloads[0]), payloads[1:]) == (4, [b"mine"])


@one_way
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_ping_does_not_outlive_the_connection(how: str) -> None:
    """The server vanishes or closes instead of answering: the task in ping is told."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        if how == "reset":
            peer.reset()
        else:
            await peer.stream.send_all(close(1001))
            await peer.wait_for_end()

    async with scripted(script) as url, client.connect(url) as ws:
        with pytest.raises(trio.BrokenResourceError):
            await ws.ping()


@one_way
async def test_the_servers_pings_are_answered_while_nobody_receives() -> None:
    """A few messages wait; a Ping behind them still gets its Pong."""
    answered = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send_all(encode_frame(TEXT, b"x") * 10 + encode_frame(PING, b"alive?"))
        frame = await peer.receive()
        assert frame is not None
        assert (frame.opcode, frame.payload) == (PONG, b"alive?")
        answered.set()

    async with scripted(script) as url, client.connect(url):
        await answered.wait()


# Another library's server


@pytest.fixture
def websockets_url() -> Iterator[str]:
    def handler(ws: ServerConnection) -> None:
        for message in ws:
            if message == "close":
                ws.close(4003, "as you like")
            ws.send(message)

    with serve(handler, "127.0.0.1", 0, subprotocols=["v1"]) as server:  # type: ignore[list-item]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        server.shutdown()
        thread.join()


@one_way
async def test_it_talks_to_websockets(websockets_url: str) -> None:
    """Echo, Ping, subprotocol and both ways to close, against the server of the `websockets` library."""
    with trio.fail_after(PATIENCE):
        async with client.connect(websockets_url, subprotocols=["v1"]) as ws:
            assert ws.subprotocol == "v1"
            for message in ("text", b"bytes", "x" * 200_000):
                await ws.send(message)
                assert await ws.receive() == message
            assert await ws.ping() >= 0
        assert (ws.close_code, ws.close_reason) == (1000, "")
        async with client.connect(websockets_url, subprotocols=["v1"]) as ws:
            await ws.send("close")
            assert [message async for message in ws] == []
            assert (ws.close_code, ws.close_reason) == (4003, "as you like")
