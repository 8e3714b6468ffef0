"""Any Trio stream as a wire: memory in tests, `trio.SSLStream`, sockets where there is no poller."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import trio

from trioecho._wire.poller import Readable, Writer
from trioecho._wire.socket import half_close, in_flight, keep_alive, pending_error, tcp_of, unread
from trioecho._wire.stream_turns import StreamTurns, stream_turns
from trioecho._wire.wire import CHUNK, SLICE, Wire


class Alone:
    """The `wire.Batch` of those who write through a task of their own: whatever is written gathers for it."""

    busy = True
    awake = False
    writers: list[Writer] = []  # noqa: RUF012 (nobody adds to it, for it is not awake)


class StreamWire(Wire):
    """The wire over a Trio stream, which one task of it reads."""

    __slots__ = (
        "_chunk",
        "_group",
        "_lost",
        "_paused",
        "_readable",
        "_resumed",
        "_scope",
        "_size",
        "_stream",
        "_tcp",
        "_turns",
        "peer",
    )

    batch = Alone()
    seal: Callable[[bytes], bytes] | None = None
    immediate = False

    def __init__(self, stream: trio.abc.Stream, peer: str, group: Hashable = None) -> None:
        self._stream = stream
        tcp = tcp_of(stream)
        self._tcp = tcp if isinstance(tcp, trio.SocketStream) else None
        self._readable: Readable | None = None
        self._chunk: bytes | None = None
        self._lost: Exception | None = None
        # What it was last asked for.
        self._size = CHUNK
        self._paused = False
        self._resumed = trio.Event()
        self._scope = trio.CancelScope(shield=True)
        self._turns: StreamTurns | None = None
        self.peer = peer
        self._group = group

    def start(self, nursery: trio.Nursery, readable: Readable) -> None:
        self._readable = readable
        self._turns = stream_turns()
        self._turns.enter(self, self._group)
        nursery.start_soon(self._run)

    def reader(self) -> tuple[Callable[[Any, int], bytes], Any]:
        return StreamWire._read, self

    def writer(self) -> tuple[Callable[[Any, bytes], int], Any]:
        return _takes_nothing, self

    def write_large(self, header: bytes, payload: bytes) -> int:
        return 0

    async def send(self, data: memoryview) -> int:
        data = data[:SLICE]
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost(error) from None
        return len(data)

    def pause(self, *, lost: bool) -> None:
        if not self._paused:
            self._paused, self._resumed = True, trio.Event()

    def resume(self) -> bool:
        self._paused = False
        self._resumed.set()
        return False

    @property
    def more(self) -> bool:
        return False

    def unread(self) -> bool:
        return self._chunk is not None or (self._tcp is not None and unread(self._tcp))

    def in_flight(self) -> int:
        return 0 if self._tcp is None else in_flight(self._tcp)

    def error(self) -> OSError | None:
        return None if self._tcp is None else pending_error(self._tcp)

    def keep_alive(self, interval: float, timeout: float) -> None:
        if self._tcp is not None:
            keep_alive(self._tcp, interval, timeout)

    async def half_close(self) -> None:
        await half_close(self._stream)

    def stop(self) -> None:
        self._readable = None
        self._scope.cancel()
        if self._turns is not None:
            self._turns.forget(self)

    @property
    def stopped(self) -> bool:
        """Nobody reads any more."""
        return self._readable is None

    def take(self) -> None:
        """Tell that there is something to read."""
        if self._readable is not None:
            self._readable(0, trio.current_time())

    async def close(self) -> None:
        await self._stream.aclose()

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        """The task that reads. Shielded, for connections that close after a cancellation still have to hear the
        answer; the connection ends it by `stop`."""
        assert self._turns is not None
        try:
            with self._scope:
                # A stream that has ended may say so again and again, without a checkpoint.
                while self._readable is not None:
                    # Asked before it reads: whoever is full pauses, and no byte is read then.
                    self.take()
                    if self._paused:
                        await self._resumed.wait()
                        continue
                    try:
                        self._chunk = bytes(await self._stream.receive_some(self._size))
                    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                        self._lost = _lost(error)
                    except Exception as error:
                        # Not the peer's fault: whoever reads is told what it is.
                        self._lost = error
                    await self._turns.take(self)
        finally:
            # What the stream has raised may hold this frame until a garbage collection (Python 3.13).
            del self

    def _read(self, size: int) -> bytes:
        self._size = size
        if self._lost is not None:
            lost, self._lost = self._lost, None
            try:
                raise lost
            finally:
                # Its traceback holds this frame.
                del lost
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            raise BlockingIOError
        return chunk


def _takes_nothing(_wire: StreamWire, _data: bytes) -> int:
    return 0


def _lost(error: Exception) -> OSError:
    return OSError(str(error.__cause__ or error))
