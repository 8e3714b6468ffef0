"""Files in pieces: threads, disks that hang or fail, and that every file is closed, however its stream ends."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
from static_files import (
    LARGE,
    content_of,
    fields_of,
    open_below,
    refused_by,
    request_for,
    root,
    until_closed,
)

from trioecho._http import beneath, files
from trioecho._http.beneath import OpenFile
from trioecho._http.files import MOST_THREADS, PIECE, Files

__all__ = ["root"]


async def test_a_large_file_is_streamed_in_pieces(root: Path) -> None:
    """Each of 64 KiB at most; then the file is closed, without being told to."""
    response = await Files(root)(request_for("/static/large.bin"))
    assert await content_of(response) == LARGE
    assert fields_of(response)["content-length"] == str(len(LARGE))
    assert open_below(root) == []


async def test_a_small_file_costs_one_call_in_a_thread(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger one costs one more for each piece."""
    calls: list[object] = []
    really = trio.to_thread.run_sync

    async def counted(function: Callable[..., object], *arguments: object, **options: object) -> object:
        calls.append(function)
        return await really(function, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    endpoint = Files(root)
    for size, expected in [(0, 1), (1, 1), (PIECE, 1), (PIECE + 1, 3), (4 * PIECE, 5)]:
        calls.clear()
        (root / "file").write_bytes(b"x" * size)
        assert await content_of(await endpoint(request_for("/static/file"))) == b"x" * size
        assert len(calls) == expected, size


async def test_a_file_that_becomes_shorter_breaks_off(root: Path) -> None:
    """The rest is not made up, and the file is closed."""
    response = await Files(root)(request_for("/static/large.bin"))
    assert isinstance(response.body, AsyncIterable)
    pieces = aiter(response.body)
    await anext(pieces)
    os.truncate(root / "large.bin", PIECE + 10)
    assert len(await anext(pieces)) == 10
    sentence = f"the file 'large.bin' became shorter while it was sent: {3 * PIECE - 10} bytes are missing"
    with pytest.raises(EOFError, match=sentence):
        await anext(pieces)
    assert open_below(root) == []


async def test_a_file_that_grows_is_sent_as_long_as_was_said(root: Path) -> None:
    """Never more than Content-Length."""
    response = await Files(root)(request_for("/static/large.bin"))
    (root / "large.bin").write_bytes(LARGE + b"more")
    assert await content_of(response) == LARGE


async def test_a_small_file_that_becomes_shorter_is_to_be_asked_for_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has been sent of it yet, so the client can be told: 503 with Retry-After."""
    monkeypatch.setattr(OpenFile, "read", lambda self, offset, size: b"half")
    refused = await refused_by(Files(root), request_for("/static/hello.txt"))
    assert (refused.status, fields_of(refused)["retry-after"]) == (503, "1")
    assert open_below(root) == []


async def test_a_disk_that_fails_closes_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and in the middle of a stream."""

    def fail(self: OpenFile, offset: int, size: int) -> bytes:
        raise OSError(errno.EIO, "the disk has failed")

    streamed = await Files(root)(request_for("/static/large.bin"))
    monkeypatch.setattr(OpenFile, "read", fail)
    assert isinstance(streamed.body, AsyncIterable)
    with pytest.raises(OSError, match="the disk has failed"):
        await anext(aiter(streamed.body))
    with pytest.raises(OSError, match="the disk has failed"):
        await Files(root)(request_for("/static/hello.txt"))
    assert open_below(root) == []


async def test_a_stream_that_is_not_finished_closes_the_file(root: Path) -> None:
    """When it is told to, when it is cancelled, and when it is forgotten, begun or not."""
    endpoint = Files(root)

    async def stream() -> AsyncIterable[bytes]:
        body = (await endpoint(request_for("/static/large.bin"))).body
        assert isinstance(body, AsyncIterable)
        assert open_below(root)
        return body  # type: ignore[return-value]

    for begun in (True, False):
        body = await stream()
        async with aclosing(body):  # type: ignore[type-var]
            if begun:
                await anext(aiter(body))
        assert open_below(root) == []
        assert [piece async for piece in body] == []

        body = await stream()
        if begun:
            await anext(aiter(body))
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(aiter(body))
        assert open_below(root) == []

        body = await stream()
        if begun:
            await anext(aiter(body))
        del body
        await until_closed(root)


class Disk:
    """A disk that hangs until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self._goes_on = threading.Event()
        self._lock = threading.Lock()
        really_read, really_open = os.read, files.open_beneath

        def read(descriptor: int, size: int) -> bytes:
            self._wait()
            return really_read(descriptor, size)

        def open_(directory: str, names: tuple[bytes, ...]) -> OpenFile:
            if names[-1] == b"hangs":
                self._wait()
                names = (*names[:-1], b"large.bin")
            return really_open(directory, names)

        # Only where files are read: the rest of the machine goes on.
        monkeypatch.setattr(beneath, "os", type("os", (), {**vars(os), "read": staticmethod(read)}))
        monkeypatch.setattr(files, "open_beneath", open_)

    def _wait(self) -> None:
        with self._lock:
            self.waiting += 1
        assert self._goes_on.wait(60)
        with self._lock:
            self.waiting -= 1

    async def until_waiting(self, number: int) -> None:
        with trio.fail_after(60):
            while self.waiting != number:
                await trio.sleep(0.001)

    async def goes_on(self) -> None:
        self._goes_on.set()
        await self.until_waiting(0)


async def test_a_disk_that_hangs_holds_up_nobody_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the rest of the program's threads, nor another `Files`; nor a cancellation."""
    disk = Disk(monkeypatch)
    endpoint = Files(root)
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(MOST_THREADS + 4):
                    nursery.start_soon(endpoint, request_for("/static/hangs"))
                await disk.until_waiting(MOST_THREADS)
                assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
                assert (await Files(root)(request_for("/static/empty.css"))).body == b""
                nursery.cancel_scope.cancel()
    finally:
        await disk.goes_on()
    # What the threads opened after all is closed.
    await until_closed(root)


async def test_a_file_is_not_closed_under_a_thread_that_reads_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its descriptor could be another file's by then; the thread closes it when it is done."""
    body = (await Files(root)(request_for("/static/large.bin"))).body
    assert isinstance(body, AsyncIterable)
    disk = Disk(monkeypatch)
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, aiter(body))
                await disk.until_waiting(1)
                assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
                nursery.cancel_scope.cancel()
        assert len(open_below(root)) == 1
    finally:
        await disk.goes_on()
    await until_closed(root)
