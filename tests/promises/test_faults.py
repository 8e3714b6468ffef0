"""A system call that fails costs at most the connection for which it was made, and that one has its record."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable
from typing import NamedTuple

import pytest
import trio
import trio.testing
from injection import Injection
from serving import connected, one_way, open_stream, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._wire.poller import Poller
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, RawClient

LARGE = bytes(range(256)) * 400
"""A message of 100 KB: more than is read at once, and more than waits for a handler."""

PATIENCE = 30.0
"""Seconds after which one conversation, or its end, is given up. Nothing is measured with it."""

ENDLESS = 300
"""More calls than one conversation makes of any kind."""


@pytest.fixture
def injection(monkeypatch: pytest.MonkeyPatch) -> Injection:
    """System calls that can be made to fail, from before the server starts."""
    return Injection(monkeypatch)


class CutOff(Exception):  # noqa: N818 (the end of a conversation is no error)
    """The server has ended the conversation: by this Close, or without one."""

    def __init__(self, close: tuple[int, str] | None) -> None:
        super().__init__(close)
        self.close = close


class Heard(NamedTuple):
    """What a client has to tell of its conversation."""

    accepted: bool
    """It got its 101."""
    struck_before_close: bool
    """A call had failed by the time at which it said Close."""
    cut_off: bool
    """It did not come to the end that it wanted."""


def answering(release: trio.Event) -> trioecho.Handler:
    """An echo that lets "wait" wait until `release`, so that what comes behind it fills all buffers."""

    async def answer(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            if message == "wait":
                await release.wait()
            await ws.send(message)

    return answer


async def hear(client: RawClient, opcode: int, payload: bytes) -> None:
    """The next frame is this one; raises `CutOff` if it is Close, or the end of TCP."""
    try:
        frame = await client.receive_frame()
    except trio.BrokenResourceError:
        raise CutOff(None) from None
    if frame is None or (frame.opcode == CLOSE and opcode != CLOSE):
        raise CutOff(None if frame is None else frame.close)
    if (frame.opcode, opcode) == (CLOSE, CLOSE) and frame.payload != payload:
        raise CutOff(frame.close)
    assert (frame.opcode, frame.payload) == (opcode, payload)


async def say(client: RawClient, data: bytes) -> None:
    """Send `data`; that nobody takes it any more is for `hear` to find out."""
    with contextlib.suppress(trio.BrokenResourceError):
        await client.stream.send_all(data)


async def converse(client: RawClient, release: trio.Event) -> None:
    """Messages one by one, a large one, many at once, a Ping, and so many behind "wait" that nobody reads them."""
    await say(client, client.frame(TEXT, b"hello"))
    await hear(client, TEXT, b"hello")
    await say(client, client.frame(BINARY, LARGE))
    await hear(client, BINARY, LARGE)
    await say(client, client.frame(TEXT, b"one of many") * 20)
    for _ in range(20):
        await hear(client, TEXT, b"one of many")
    await say(client, client.frame(PING, b"?"))
    await hear(client, PONG, b"?")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say, client, client.frame(TEXT, b"wait") + client.frame(BINARY, LARGE) * 10)
        await trio.testing.wait_all_tasks_blocked(0.01)
        release.set()
        # Nobody reads the answers either, until the server is stuck with them.
        await trio.testing.wait_all_tasks_blocked(0.01)
        try:
            await hear(client, TEXT, b"wait")
            for _ in range(10):
                await hear(client, BINARY, LARGE)
        finally:
            nursery.cancel_scope.cancel()


async def whole_conversation(server: trioecho.Server, release: trio.Event, injection: Injection) -> Heard:
    """Connect, `converse`, and leave by Close; wherever the server breaks it off, that is its end."""
    accepted = said_close = struck = False
    cut_off = True
    client = RawClient(await open_stream(server))
    with trio.fail_after(PATIENCE):
        try:
            with contextlib.suppress(AssertionError, trio.BrokenResourceError):
                await client.handshake()
                accepted = True
            if accepted:
                await converse(client, release)
                struck, said_close = injection.struck, True
                await say(client, client.frame(CLOSE, (4000).to_bytes(2)))
                await hear(client, CLOSE, (4000).to_bytes(2))
                await client.receive_rest()
                cut_off = False
        except* CutOff:
            pass
        finally:
            await trio.aclose_forcefully(client.stream)
    return Heard(accepted, struck or not said_close, cut_off)


def refused(call: str) -> OSError:
    """What the kernel answers to `call` on a bad day."""
    number = {
        "socket.getpeername": errno.ENOTCONN,
        "epoll.register": errno.ENOSPC,
        "epoll.modify": errno.ENOMEM,
        "epoll.unregister": errno.ENOENT,
    }.get(call, errno.ETIMEDOUT)
    return OSError(number, "on purpose")


def no_memory(call: str) -> MemoryError:
    """What Python raises where it finds none for `call`."""
    return MemoryError(f"on purpose, in {call}")


def unforeseen(call: str) -> ZeroDivisionError:
    """What nobody reckoned with in a connection's turn."""
    return ZeroDivisionError(f"on purpose, in {call}")


def causes(call: str, error: BaseException) -> set[str]:
    """How a connection may end for which `call` raised `error`, in the midst of its conversation."""
    if call == "socket.getpeername":
        # An address that is not known is no reason to end; no memory for it may be one.
        return {"peer closed"} if isinstance(error, OSError) else {"peer closed", "server failed"}
    if call == "epoll.register" and isinstance(error, OSError):
        # Where the first byte is waited for, it can be waited for otherwise.
        return {"peer closed", "server failed"}
    reads_or_writes = not call.startswith("epoll.")
    return {"peer vanished"} if reads_or_writes and isinstance(error, OSError) else {"server failed"}


ON_THE_POLLER = ("os.read", "os.write", "os.writev", "epoll.register", "epoll.modify", "epoll.unregister")
ON_STREAMS = ("socket.recv", "socket.send")

FAULTS = [
    pytest.param(way, call, raising, id=f"{way}-{call}-{raising.__name__}")
    for ways, calls, kinds in [
        (("poller", "poller-tls"), ON_THE_POLLER, (refused, no_memory)),
        (("poller", "poller-tls"), ("os.read",), (unforeseen,)),
        (("poller", "poller-tls", "stream", "stream-tls"), ON_STREAMS, (refused, no_memory)),
        (("poller", "stream"), ("socket.getpeername",), (refused, no_memory)),
    ]
    for way in ways
    for call in calls
    for raising in kinds
]


@pytest.mark.parametrize(("way_of_reading", "call", "raising"), FAULTS, indirect=["way_of_reading"])
async def test_any_one_call_that_fails_costs_one_connection_at_most(
    call: str, raising: Callable[[str], BaseException], injection: Injection
) -> None:
    """The first call, the second, and so on to the last of a conversation: one record, its place freed, all others
    served."""
    for number in range(1, ENDLESS):
        release = trio.Event()
        error = raising(call)
        # One place for the neighbour, one for whom the call fails, and then for the successor.
        async with serving(answering(release), max_connections=2, close_timeout=0.5) as server:
            async with connected(server) as neighbour:
                await neighbour.send("before")
                assert await neighbour.receive() == "before"
                await trio.testing.wait_all_tasks_blocked(0.002)
                injection.arm(server.port, call, number, error)
                heard = await whole_conversation(server, release, injection)
                with trio.fail_after(PATIENCE):
                    await until(lambda server=server: len(server.connections) == 1)
                    injection.disarm()
                    struck = injection.struck
                    if heard.accepted:
                        await until(lambda server=server: server.records)
                    records = server.records
                    await neighbour.send("after")
                    assert await neighbour.receive() == "after"
                    async with connected(server) as successor:
                        await successor.send("next")
                        assert await successor.receive() == "next"
                        assert server.records == records
        if heard.accepted:
            assert len(records) == 1, f"records of call {number}: {records}"
        assert len(records) <= 1
        for record in records:
            expected = causes(call, error) if struck else {"peer closed"}
            if not heard.struck_before_close:
                # It was ending already, and ends as it would have.
                expected = expected | {"peer closed"}
            assert record.cause in expected, f"call {number} failed: {record}"
        if not struck:
            assert not heard.cut_off
            return
    raise AssertionError(f"a conversation makes more than {ENDLESS} calls of {call}")


async def test_the_conversation_makes_the_calls_that_are_made_to_fail(injection: Injection) -> None:
    """Where it made none, the test above would have nothing to say."""
    release = trio.Event()
    async with serving(answering(release)) as server:
        injection.arm(server.port)
        heard = await whole_conversation(server, release, injection)
        await until(lambda: server.records)
    assert (heard.accepted, heard.cut_off) == (True, False)
    made = injection.calls
    assert made["socket.getpeername"]
    if Poller.available:
        assert made["os.read"]
        assert made["os.write"] + made["os.writev"]
        assert all(made[f"epoll.{name}"] for name in ("register", "modify", "unregister", "poll")), made
    else:
        assert made["socket.recv"]
        assert made["socket.send"]


READING = {True: "os.read", False: "socket.recv"}
"""The call that reads, by whether there is a poller."""


async def test_the_server_that_failed_says_so_to_the_client_and_in_the_log(
    injection: Injection, caplog: pytest.LogCaptureFixture
) -> None:
    """No memory for a read: 1011 "internal error", cause "server failed", and the traceback in the log."""
    caplog.set_level(logging.INFO, "trioecho")
    async with serving() as server, connected(server) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        await trio.testing.wait_all_tasks_blocked(0.002)
        injection.arm(server.port, READING[Poller.available])
        await client.send("this one is not read" if Poller.available else "the next one is not read")
        frames = await client.receive_rest()
        await until(lambda: server.records)
        assert injection.struck
        assert frames[-1].close == (1011, "internal error")
        (record,) = server.records
        assert (record.cause, record.closed_first, record.clean) == ("server failed", "server", False)
        assert (record.code_sent, record.reason_sent) == (1011, "internal error")
        assert "MemoryError" in (record.error or "")
    errors = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert [entry for entry in errors if entry.exc_info], "no traceback in the log"
    assert [entry for entry in errors if getattr(entry, "record", None) is record], "no line for the record"


async def test_no_memory_for_nine_half_messages_harms_no_neighbour(injection: Injection) -> None:
    """Nine clients are in the midst of a message of 1 MiB when memory runs out; the tenth is answered all the while."""
    async with serving() as server, connected(server) as neighbour, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(9)]
        for client in clients:
            whole = client.frame(BINARY, bytes(2**20))
            await client.stream.send_all(whole[: 2**19])
        for ended, client in enumerate(clients, 1):
            await trio.testing.wait_all_tasks_blocked(0.01)
            injection.arm(server.port, READING[Poller.available])
            await client.stream.send_all(bytes(1000))
            with trio.fail_after(PATIENCE):
                await until(lambda ended=ended: len(server.records) == ended)
            assert injection.struck
            await neighbour.send("still here?")
            assert await neighbour.receive() == "still here?"
        assert [record.cause for record in server.records] == ["server failed"] * 9


@pytest.mark.parametrize(
    "error",
    [
        OSError(getattr(errno, name), name)
        for name in ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED", "EIO")
    ]
    + [MemoryError("on purpose")],
    ids=str,
)
@one_way
async def test_an_accept_that_fails_keeps_nobody_out_for_good(
    error: BaseException, injection: Injection
) -> None:
    """No file number, no buffer, a client that left the queue: those who wait there are accepted after it."""
    async with serving(max_connections=2) as server:
        # The accept that waits by now succeeds; the next one does not.
        injection.arm(server.port, "socket.accept", 1, error)
        async with connected(server) as neighbour, connected(server) as client:
            assert injection.struck
            for each in (neighbour, client):
                await each.send("hello")
                assert await each.receive() == "hello"
                await each.close()
                assert await each.receive_close() == (1000, "")
        await until(lambda: len(server.records) == 2)
        assert [record.cause for record in server.records] == ["peer closed"] * 2


poller_only = pytest.mark.parametrize("way_of_reading", ["poller", "poller-tls"], indirect=True)
"""For tests of the epoll."""


@poller_only
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("raising", [refused, no_memory])
async def test_a_poll_that_fails_disturbs_nobody(
    number: int, raising: Callable[[str], BaseException], injection: Injection
) -> None:
    """What was ready is ready still the next time."""
    async with serving() as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(3)]
        await trio.testing.wait_all_tasks_blocked(0.01)
        injection.arm(server.port, "epoll.poll", number, raising("epoll.poll"))
        for message in ("one", "two", "three"):
            for client in clients:
                await client.send(message)
                assert await client.receive() == message
        assert injection.struck
        for client in clients:
            await client.close()
            assert await client.receive_close() == (1000, "")
        await until(lambda: len(server.records) == 3)
        assert [record.cause for record in server.records] == ["peer closed"] * 3


@poller_only
@pytest.mark.parametrize("call", ["", "os.read", "epoll.modify", "epoll.unregister", "epoll.poll"])
async def test_the_epoll_is_closed_last(call: str, injection: Injection) -> None:
    """Whatever fails, and whoever cancels: no connection finds the epoll closed that it is still registered at."""
    release = trio.Event()
    with contextlib.suppress(BaseExceptionGroup):
        async with serving(answering(release), close_timeout=0.1) as server:
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connected(server)) for _ in range(5)]
                await trio.testing.wait_all_tasks_blocked(0.01)
                injection.arm(server.port, call)
                for client in clients:
                    await say(client, client.frame(TEXT, b"wait") + client.frame(BINARY, LARGE) * 2)
                await trio.testing.wait_all_tasks_blocked(0.01)
                release.set()
    assert injection.struck or not call or call == "epoll.unregister"
    assert (injection.closed_epolls, injection.too_late) == (2, [])
    assert len(server.records) == 5
