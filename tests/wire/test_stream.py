"""Any Trio stream as a wire: one task reads it, everything is written by `send`, and its faults stay its own."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing

from trioecho._wire.stream import StreamWire
from trioecho._wire.wire import CHUNK, SLICE


class Reading:
    """A wire over one end of a memory stream, what it has given, and the other end."""

    def __init__(self, wire: StreamWire, other_end: trio.abc.Stream) -> None:
        self.wire, self.other_end = wire, other_end
        read, source = wire.reader()
        self.read: Callable[[], bytes] = functools.partial(read, source, CHUNK)
        self.received: list[bytes | BaseException] = []

    def readable(self, _events: int, _now: float) -> None:
        try:
            self.received.append(self.read())
        except BlockingIOError:
            return
        except Exception as error:
            self.received.append(error)
        if self.received[-1] == b"" or isinstance(self.received[-1], BaseException):
            self.wire.stop()


@contextlib.asynccontextmanager
async def reading(stream: trio.abc.Stream | None = None) -> AsyncIterator[Reading]:
    """A started wire, stopped on leaving; its task has ended then."""
    ours, other_end = trio.testing.memory_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            made = Reading(StreamWire(stream or ours, "a peer"), other_end)
            made.wire.start(nursery, made.readable)
            await trio.testing.wait_all_tasks_blocked()
            yield made
            made.wire.stop()


async def test_a_chunk_is_given_to_whoever_reads_and_only_once() -> None:
    """Until then it can be seen that it is there."""
    async with reading() as end:
        await end.other_end.send_all(b"one")
        await trio.testing.wait_all_tasks_blocked()
        assert end.received == [b"one"]
        with pytest.raises(BlockingIOError):
            end.read()
        assert not end.wire.unread()
        assert end.wire.more is False


async def test_a_cancellation_around_it_does_not_end_its_reading() -> None:
    """A connection that closes after a cancellation still has to hear the answer; `stop` ends it."""
    ours, other_end = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        end = Reading(StreamWire(ours, "a peer"), other_end)
        end.wire.start(nursery, end.readable)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await other_end.send_all(b"the answer")
            await trio.testing.wait_all_tasks_blocked()
        assert end.received == [b"the answer"]
        end.wire.stop()


class Failing(trio.abc.Stream):
    """A stream whose every use fails in the same way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        raise self.error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        raise self.error

    async def wait_send_all_might_not_block(self) -> None:
        raise self.error

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def broken_by(cause: Exception) -> trio.BrokenResourceError:
    error = trio.BrokenResourceError("broken")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (broken_by(ConnectionResetError("reset by peer")), "reset by peer"),
        (trio.BrokenResourceError("broken"), "broken"),
        (trio.ClosedResourceError("closed"), "closed"),
    ],
)
async def test_a_lost_stream_is_an_os_error_with_the_words_of_its_cause(error: Exception, words: str) -> None:
    """In both directions: a connection need not know Trio's exceptions from the kernel's."""
    async with reading(Failing(error)) as end:
        (lost,) = end.received
        assert isinstance(lost, OSError)
        assert str(lost) == words
        with pytest.raises(OSError, match=words):
            await end.wire.send(memoryview(b"x"))


async def test_what_is_not_the_peers_fault_is_told_as_what_it_is() -> None:
    """To whoever reads or writes, not to the task that has no owner to tell."""
    async with reading(Failing(MemoryError("on purpose"))) as end:
        assert [type(each) for each in end.received] == [MemoryError]
        with pytest.raises(MemoryError):
            await end.wire.send(memoryview(b"x"))


async def test_the_end_is_told_once() -> None:
    """Though a stream that has ended says so again and again, without a checkpoint."""
    async with reading() as end:
        await end.other_end.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert end.received == [b""]


async def test_everything_is_written_by_one_who_waits() -> None:
    """Nothing is taken at once; `send` takes a slice, so that progress can be told from none."""
    async with reading() as end:
        write, sink = end.wire.writer()
        assert (write(sink, b"data"), end.wire.write_large(b"head", b"payload")) == (0, 0)
        assert not end.wire.immediate
        assert end.wire.batch.busy
        assert not end.wire.batch.awake
        assert await end.wire.send(memoryview(b"data")) == 4
        assert await end.wire.send(memoryview(bytes(SLICE + 1))) == SLICE
        received = b""
        while len(received) < 4 + SLICE:
            received += await end.other_end.receive_some()
        assert received == b"data" + bytes(SLICE)


async def test_what_a_stream_cannot_tell_it_does_not_guess() -> None:
    """A stream of memory has no kernel behind it: nothing in flight, no error, nobody to keep it alive."""
    async with reading() as end:
        assert (end.wire.in_flight(), end.wire.error(), end.wire.unread()) == (0, None, False)
        end.wire.keep_alive(20.0, 9.0)
        await end.wire.half_close()
        assert await end.other_end.receive_some() == b""
        end.wire.stop()
        await end.wire.close()
        with pytest.raises(trio.BrokenResourceError):
            await end.other_end.send_all(b"to nobody")


async def test_paused_it_reads_nothing_more_than_what_it_has_begun() -> None:
    """So backpressure reaches the other end."""
    ours, other_end = trio.testing.lockstep_stream_pair()
    async with reading(ours) as end:
        end.wire.pause(lost=False)
        await other_end.send_all(b"begun")
        assert end.received == [b"begun"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other_end.send_all, b"not taken before")
            await trio.testing.wait_all_tasks_blocked()
            assert end.received == [b"begun"]
            assert end.wire.resume() is False
        assert end.received == [b"begun", b"not taken before"]
