"""The testing helpers are tested: they do what they are told, and find fault with what is faulty."""

from __future__ import annotations

import math
from collections import deque

import pytest
import trio
import trio.testing
from serving import PATIENCE, one_way, serving
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawClient,
    check_channel,
    connect_raw,
    encode_frame,
    open_client,
)

pytestmark = one_way


async def test_open_client_runs_a_handler_without_a_socket() -> None:
    """Echo is the default; the record is there afterwards."""
    async with open_client() as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        await client.send(b"\x00")
        assert await client.receive() == b"\x00"
        assert client.record is None
        await client.close(3000)
        assert await client.receive_close() == (3000, "")
    assert client.record is not None
    assert (client.record.cause, client.record.code_sent) == ("peer closed", 3000)


async def test_a_handler_that_open_client_runs_has_a_server() -> None:
    """It has this one connection, listens nowhere, and can be stopped."""
    seen: list[trioecho.Server] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        assert list(ws.server.connections) == [ws]
        assert ws.server.urls == ()
        seen.append(ws.server)
        await ws.receive()
        ws.server.stop(timeout=1)
        with pytest.raises(trio.EndOfChannel):
            await ws.receive()

    async with open_client(handler) as client:
        await client.send("stop")
        assert await client.receive_close() == (1001, "server is stopping")
    assert list(seen[0].records) == [client.record]


async def test_open_client_asks_as_it_is_told() -> None:
    """Path, query and headers arrive; options are the server's."""
    seen: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws)

    options = trioecho.WebSocketOptions(path="/chat", subprotocols=("v1",))
    headers = "Origin: https://client.com\r\nSec-WebSocket-Protocol: v1\r\n"
    async with open_client(handler, options=options, path="/chat?room=1", headers=headers) as client:
        await client.receive_close()
    assert (seen[0].target, seen[0].origin, seen[0].subprotocol) == (
        "/chat?room=1",
        "https://client.com",
        "v1",
    )


async def test_leaving_open_client_ends_the_handler() -> None:
    """The block is left, the client is gone, and the handler has ended before anything else happens."""
    ended: list[str] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        try:
            async for _ in ws:
                pass
        finally:
            ended.append("handler")

    async with open_client(handler) as client:
        await client.send("x")
    assert ended == ["handler"]
    assert client.record is not None
    assert client.record.cause == "peer vanished"


async def test_a_failing_test_is_not_hidden_by_open_client() -> None:
    """What the block raises comes out; the connection has ended all the same."""
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_client():
            raise LookupError("the test's own")
    assert caught.group_contains(LookupError, match="the test's own")


async def test_virtual_time_works(autojump_clock: trio.testing.MockClock) -> None:
    """A day passes in no time."""
    options = trioecho.WebSocketOptions(keep_alive_interval=math.inf)
    async with open_client(options=options) as client:
        await trio.sleep(86_000)
        await client.send("next morning")
        assert await client.receive() == "next morning"


async def test_a_refused_handshake_shows_the_answer() -> None:
    """AssertionError with the whole response."""
    async with serving() as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            with pytest.raises(AssertionError, match=r"(?s)HTTP/1.1 404 .*/elsewhere"):
                await RawClient(stream).handshake("/elsewhere")


async def test_connect_raw_speaks_over_tcp() -> None:
    """The handshake is done, its response kept."""
    async with serving() as server:
        client = await connect_raw(server.port, path="/ws?x=1")
        async with client.stream:
            # The accept token of RFC 6455 §1.3 for the sample key.
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in client.response
            await client.send("hello")
            assert await client.receive() == "hello"


async def test_a_raw_client_does_nothing_by_itself() -> None:
    """No Pong to a Ping, no Close to a Close: only what it is told."""
    ours, theirs = trio.testing.memory_stream_pair()
    client = RawClient(ours)
    await theirs.send_all(encode_frame(PING, b"?") + encode_frame(CLOSE, b"\x03\xe8bye"))
    assert await client.receive_frame() == Frame(True, PING, b"?")
    assert await client.receive_close() == (1000, "bye")
    await client.send_frame(PONG, b"!")
    assert await theirs.receive_some() == encode_frame(PONG, b"!", key=client.key)
    await theirs.aclose()
    assert await client.receive_frame() is None


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_a_raw_client_reads_every_length_however_it_is_cut(size: int) -> None:
    """One byte at a time, or all at once with something behind it."""
    ours, theirs = trio.testing.memory_stream_pair()
    client = RawClient(ours)
    frame = encode_frame(BINARY, b"x" * size)
    await theirs.send_all(frame + encode_frame(TEXT, b"behind"))
    assert await client.receive() == b"x" * size
    assert await client.receive() == "behind"
    for index in range(0, len(frame), 1 + size // 50):
        await theirs.send_all(frame[index : index + 1 + size // 50])
    assert await client.receive() == b"x" * size


async def test_a_raw_client_joins_fragments() -> None:
    """receive gives a message; receive_frame would give its frames."""
    ours, theirs = trio.testing.memory_stream_pair()
    client = RawClient(ours)
    first = encode_frame(TEXT, b"gr", fin=False)
    await theirs.send_all(first + encode_frame(CONTINUATION, "üße".encode()))
    assert await client.receive() == "grüße"


async def test_a_raw_client_says_what_it_expected() -> None:
    """A control frame or the end where a message was expected; anything but a Close where a Close was."""
    ours, theirs = trio.testing.memory_stream_pair()
    client = RawClient(ours)
    await theirs.send_all(encode_frame(CLOSE, b"") + encode_frame(TEXT, b"x"))
    with pytest.raises(AssertionError, match="expected a message, received Frame"):
        await client.receive()
    with pytest.raises(AssertionError, match="not a Close frame"):
        await client.receive_close()
    await theirs.aclose()
    with pytest.raises(AssertionError, match="expected a message, received the end"):
        await client.receive()
    with pytest.raises(AssertionError, match="expected Close, received the end"):
        await client.receive_close()


@pytest.mark.parametrize("key", [None, b"\x01\x02\x03\x04"])
async def test_a_raw_client_masks_with_its_key(key: bytes | None) -> None:
    """None sends unmasked, which no server may accept."""
    client = RawClient(trio.testing.memory_stream_pair()[0], key)
    frame = client.frame(BINARY, b"\x00\x00\x00\x00\x00")
    assert frame == (b"\x82\x05" + bytes(5) if key is None else b"\x82\x85" + key + key + key[:1])


# The contract of a channel, kept and broken.


class Pipe:
    """What two channels share: the messages each way, and who has closed."""

    def __init__(self) -> None:
        self.waiting: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.closed = [False, False]
        self.receiving = [False, False]
        self.news = trio.Condition()


class End(trio.abc.Channel[bytes]):
    """One end of a pipe: a channel that keeps the contract."""

    def __init__(self, pipe: Pipe, side: int) -> None:
        self.pipe = pipe
        self.side = side

    async def send(self, value: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.pipe.closed[self.side]:
            raise trio.ClosedResourceError
        if self.pipe.closed[1 - self.side]:
            raise trio.BrokenResourceError
        await self.deliver(value)

    async def deliver(self, value: bytes) -> None:
        async with self.pipe.news:
            self.pipe.waiting[1 - self.side].append(value)
            self.pipe.news.notify_all()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.pipe.closed[self.side]:
            raise trio.ClosedResourceError
        self.check_busy()
        self.pipe.receiving[self.side] = True
        try:
            async with self.pipe.news:
                while not self.pipe.waiting[self.side]:
                    if self.pipe.closed[1 - self.side]:
                        raise trio.EndOfChannel
                    await self.pipe.news.wait()
                return self.pipe.waiting[self.side].popleft()
        finally:
            self.pipe.receiving[self.side] = False

    def check_busy(self) -> None:
        if self.pipe.receiving[self.side]:
            raise trio.BusyResourceError

    async def aclose(self) -> None:
        async with self.pipe.news:
            self.pipe.closed[self.side] = True
            self.pipe.news.notify_all()


class Changes(End):
    async def deliver(self, value: bytes) -> None:
        await super().deliver(value[:65_535])


class Reorders(End):
    held: bytes | None = None

    async def deliver(self, value: bytes) -> None:
        if self.held is None:
            self.held = value
            return
        await super().deliver(value)
        await super().deliver(self.held)
        self.held = None


class LosesWhenCancelled(End):
    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except trio.Cancelled:
            self.swallow = True
            raise

    swallow = False

    async def deliver(self, value: bytes) -> None:
        if not (self.swallow and value.startswith(b"after")):
            await super().deliver(value)


class CannotBeCancelled(End):
    async def receive(self) -> bytes:
        with trio.move_on_after(0.01, shield=True):
            return await super().receive()
        return b""


class LetsTwoReceive(End):
    def check_busy(self) -> None:
        pass

    async def receive(self) -> bytes:
        if self.pipe.receiving[self.side]:
            return b""
        return await super().receive()


class ForgetsLastWords(End):
    async def aclose(self) -> None:
        self.pipe.waiting[1 - self.side].clear()
        await super().aclose()


class NeverEnds(End):
    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except trio.EndOfChannel:
            return b""


class WorksWhenClosed(End):
    async def send(self, value: bytes) -> None:
        if not self.pipe.closed[self.side]:
            await super().send(value)


async def test_a_good_channel_passes() -> None:
    """The checks themselves ask for nothing that is not in the contract."""
    pipe = Pipe()
    with trio.fail_after(PATIENCE):
        await check_channel(End(pipe, 0), End(pipe, 1))


@pytest.mark.parametrize(
    ("faulty", "complaint"),
    [
        (Changes, "messages changed"),
        (Reorders, "messages changed, or their order"),
        (CannotBeCancelled, "receive was not cancelled"),
        (LetsTwoReceive, "two tasks could receive at once"),
        (ForgetsLastWords, "a message sent before aclose was lost"),
        (NeverEnds, "receive went on after the other end had closed"),
        (WorksWhenClosed, "a closed channel could be used"),
    ],
)
async def test_a_faulty_channel_is_found_out(faulty: type[End], complaint: str) -> None:
    """Each fault has its complaint, as an AssertionError, perhaps out of a nursery."""
    pipe = Pipe()
    with trio.fail_after(PATIENCE):
        try:
            await check_channel(faulty(pipe, 0), faulty(pipe, 1))
        except* AssertionError as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            assert complaint in str(error)
        else:
            raise AssertionError("nothing was found")


async def test_a_channel_that_loses_messages_leaves_the_check_waiting() -> None:
    """Why its docstring asks for trio.fail_after."""
    pipe = Pipe()
    with trio.move_on_after(0.2) as scope:
        await check_channel(LosesWhenCancelled(pipe, 0), LosesWhenCancelled(pipe, 1))
    assert scope.cancelled_caught
