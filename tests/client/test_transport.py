"""The stream under trio-websocket: frames stay whole, a failed write hides nothing, the end is told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trioecho.client.transport import Transport
from trioecho.testing import CLOSE, TEXT, encode_frame

KEY = b"\x01\x02\x03\x04"
FRAME = encode_frame(TEXT, b"hello", key=KEY)
GOODBYE = encode_frame(CLOSE, b"\x03\xe8", key=KEY)


@contextlib.asynccontextmanager
async def in_use(ours: trio.abc.Stream) -> AsyncIterator[tuple[Transport, trio.CancelScope]]:
    """A transport whose `write` runs; what is yielded beside it ends that."""
    transport = Transport(ours)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.write)
            yield transport, nursery.cancel_scope
            nursery.cancel_scope.cancel()


async def test_what_is_sent_is_written_in_order() -> None:
    """By whichever way it comes; what the library owns is not kept."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with in_use(ours) as (transport, _):
        await transport.send_all(bytearray(b"GET / HTTP/1.1\r\n\r\n"))
        await transport.send_all(memoryview(FRAME))
        await transport.say(FRAME)
        await trio.testing.wait_all_tasks_blocked()
        assert await theirs.receive_some() == b"GET / HTTP/1.1\r\n\r\n" + FRAME + FRAME
        assert not transport.shut
        assert not transport.library_closed


async def test_a_cancelled_send_has_written_nothing_or_everything() -> None:
    """While another frame is on its way, the next one waits for its turn; cancelled then, it is as never said."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with in_use(ours) as (transport, _):
        await transport.send_all(FRAME)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.send_all, b"\x81\x00never said")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.send_all, GOODBYE)
            received = b""
            while len(received) < len(FRAME + GOODBYE):
                received += await theirs.receive_some()
        assert received == FRAME + GOODBYE


@pytest.mark.parametrize("librarys", [True, False])
async def test_nothing_is_written_behind_a_close(librarys: bool) -> None:
    """RFC 6455 §5.5.1: neither the library's Pongs behind our Close, nor ours behind its. It is not told."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with in_use(ours) as (transport, _):
        await (transport.send_all if librarys else transport.say)(GOODBYE)
        await transport.send_all(FRAME)
        await transport.say(FRAME)
        await trio.testing.wait_all_tasks_blocked()
        assert transport.shut
        assert transport.library_closed is librarys
        assert await theirs.receive_some() == GOODBYE


async def test_a_failed_write_is_remembered_and_not_told() -> None:
    """What the server has sent before can still be read."""
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"its last words")
    theirs.receive_stream.close()
    async with in_use(ours) as (transport, _):
        await transport.send_all(FRAME)
        await trio.testing.wait_all_tasks_blocked()
        assert transport.shut
        await transport.send_all(FRAME)
        assert await transport.receive_some() == b"its last words"


async def test_when_nobody_writes_any_more_what_is_sent_is_lost_without_a_word() -> None:
    """`shut` tells."""
    ours, _ = trio.testing.memory_stream_pair()
    async with in_use(ours) as (transport, writing):
        await trio.testing.wait_all_tasks_blocked()
        writing.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            await transport.say(FRAME)
            assert transport.shut


@pytest.mark.parametrize("in_the_middle", [False, True])
async def test_the_last_word_never_lands_in_the_middle_of_a_frame(in_the_middle: bool) -> None:
    """Where a frame was cut off, a Close behind it would be a part of its payload."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    transport = Transport(ours)
    said: list[bytes] = []

    async def listen() -> None:
        while data := await theirs.receive_some():
            said.append(bytes(data))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.write)
            await trio.testing.wait_all_tasks_blocked()
            if in_the_middle:
                await transport.send_all(FRAME)
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await transport.last_word(GOODBYE)
            await ours.aclose()
    assert (GOODBYE in b"".join(said)) is not in_the_middle


async def test_the_answer_is_kept_until_it_was_understood() -> None:
    """What came before `opened`, for whoever has to say why it was no WebSocket; nothing after it."""
    ours, theirs = trio.testing.memory_stream_pair()
    transport = Transport(ours)
    await theirs.send_all(b"HTTP/1.1 101 Switching")
    await transport.receive_some()
    await theirs.send_all(b" Protocols")
    await transport.receive_some()
    assert transport.answer == b"HTTP/1.1 101 Switching Protocols"
    assert transport.opened() == b"HTTP/1.1 101 Switching Protocols"
    assert transport.answer is None
    await theirs.send_all(FRAME)
    assert await transport.receive_some() == FRAME
    assert transport.opened() == b""


@pytest.mark.parametrize(("status", "ended"), [(b"403", True), (b"101", False)])
async def test_a_refusal_without_end_is_ended(status: bytes, ended: bool) -> None:
    """64 KiB of it are kept, and the library hears the end; what comes behind a 101 are frames."""
    ours, theirs = trio.testing.memory_stream_pair()
    transport = Transport(ours)
    told: list[str] = []
    transport.when_ended = lambda: told.append("ended")
    await theirs.send_all(b"HTTP/1.1 " + status + b" x" * 50_000)
    with trio.fail_after(60):
        while not ended or not transport.ended.is_set():
            data = await transport.receive_some()
            if not ended and len(transport.answer or b"") > 100_000:
                break
    assert transport.ended.is_set() is ended
    assert told == ["ended"] * ended
    assert len(transport.answer or b"") == (65_536 if ended else 100_012)
    assert bool(data) is not ended


@pytest.mark.parametrize("how", ["in good order", "broken"])
async def test_the_end_is_told_whichever_way_it_comes(how: str) -> None:
    """trio-websocket tells nobody when TCP ends during its handshake."""
    ours, theirs = trio.testing.memory_stream_pair()
    transport = Transport(ours)
    told: list[bool] = []
    transport.when_ended = lambda: told.append(transport.ended.is_set())
    if how == "broken":
        await ours.receive_stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await transport.receive_some()
    else:
        await theirs.aclose()
        assert await transport.receive_some() == b""
    assert told == [True]


@pytest.mark.parametrize("library_reads", [False, True])
async def test_draining_throws_away_what_still_comes(library_reads: bool) -> None:
    """Until the server hangs up. A library that was reading reads on for it, and hears the end only; so does a second
    reader."""
    ours, theirs = trio.testing.memory_stream_pair()
    transport = Transport(ours)
    heard: list[bytes] = []

    async def read() -> None:
        heard.append(await transport.receive_some())

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            if library_reads:
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(transport.drain)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(read)
            for _ in range(3):
                await theirs.send_all(FRAME)
                await trio.testing.wait_all_tasks_blocked()
            assert heard == []
            await theirs.aclose()
    assert heard == [b""] * (1 + library_reads)
    await transport.drain()


async def test_a_lost_connection_is_drained_too() -> None:
    """Lost is as good as hung up."""
    ours, _ = trio.testing.memory_stream_pair()
    transport = Transport(ours)

    class Lost(trio.abc.ReceiveStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            raise trio.BrokenResourceError

        async def aclose(self) -> None:
            raise AssertionError("it is not closed")

    ours.receive_stream = Lost()  # type: ignore[assignment]
    with trio.fail_after(60):
        await transport.drain()
    assert transport.ended.is_set()


async def test_the_library_does_not_hang_up() -> None:
    """RFC 6455 §7.1.1 has a client wait for the server to do so."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with in_use(ours) as (transport, _):
        with trio.testing.assert_checkpoints():
            await transport.aclose()
        await transport.wait_send_all_might_not_block()
        await transport.send_all(FRAME)
        await trio.testing.wait_all_tasks_blocked()
    assert await theirs.receive_some() == FRAME
