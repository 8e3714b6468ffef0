"""Listening for several processes: who accepts where, and that nothing is left open."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from typing import Any

import pytest
import trio
from serving import unix_path as unix_path

from trioecho._process import worker_sockets
from trioecho._process.worker_sockets import BALANCED, WorkerSockets
from trioecho._server.listening import ListenAt

balanced = pytest.mark.skipif(not BALANCED, reason="the kernel spreads no connections over sockets here")


@asynccontextmanager
async def opened(count: int, **place: Any) -> AsyncIterator[WorkerSockets]:
    sockets = await WorkerSockets.open(ListenAt.of(**place), count, None)
    try:
        yield sockets
    finally:
        await sockets.aclose()


def at(number: int) -> socket.socket:
    """A duplicate of a descriptor, which does not wait."""
    found = socket.socket(fileno=os.dup(number))
    found.setblocking(False)
    return found


def accepted(number: int) -> int:
    """How many connections wait at a listening socket; they are closed."""
    count = 0
    with at(number) as listening:
        while True:
            try:
                listening.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@balanced
async def test_connections_are_spread_over_the_workers() -> None:
    """Each of four has some of 128, and none of them has half: the chance that this fails is one in ten millions."""
    async with opened(4, port=0) as sockets:
        with ExitStack() as clients, at(sockets.of(0)[0]) as first:
            for _ in range(128):
                clients.enter_context(socket.create_connection(first.getsockname()))
            shares = [accepted(sockets.of(worker)[0]) for worker in range(4)]
    assert sum(shares) == 128
    assert min(shares) >= 8
    assert max(shares) < 64


@balanced
async def test_each_worker_has_a_socket_for_each_address_on_one_port() -> None:
    """A free port is free at all of them."""
    async with opened(3, host=["127.0.0.1", "127.0.0.2"], port=0) as sockets:
        assert sockets.hosts == ("127.0.0.1", "127.0.0.2")
        places = []
        for worker in range(3):
            for number in sockets.of(worker):
                with at(number) as listening:
                    places.append(listening.getsockname())
        port = places[0][1]
        assert places == [("127.0.0.1", port), ("127.0.0.2", port)] * 3
        assert len({number for worker in range(3) for number in sockets.of(worker)}) == 6


@balanced
async def test_a_second_server_is_told_that_the_port_is_in_use() -> None:
    """Also one with several workers of the same user, which the kernel alone would let in, to take half of the
    connections."""
    async with opened(2, port=0) as sockets:
        with at(sockets.of(0)[0]) as listening:
            port = listening.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await WorkerSockets.open(ListenAt.of(port=port), 2, None)


async def test_where_the_kernel_does_not_spread_them_one_socket_is_shared(
    monkeypatch: pytest.MonkeyPatch, unix_path: str
) -> None:
    """And so are Unix sockets, and inherited ones, on every system."""
    monkeypatch.setattr(worker_sockets, "BALANCED", False)
    async with opened(3, port=0) as sockets:
        assert sockets.of(0) == sockets.of(1) == sockets.of(2)
    monkeypatch.undo()
    with closing(socket.create_server(("127.0.0.1", 0))) as inherited:
        async with opened(3, unix=unix_path, fd=inherited.fileno()) as sockets:
            assert sockets.of(0) == sockets.of(1) == sockets.of(2)
            assert len(sockets.of(0)) == 2
    assert not await trio.Path(unix_path).exists()


async def test_nothing_is_left_open_where_not_all_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture of all tests looks at what is left."""

    def fail(*given: object) -> None:
        opened_before = given[-1]
        assert isinstance(opened_before, list)
        opened_before.append(socket.socket())
        raise OSError("no more")

    monkeypatch.setattr(worker_sockets, "BALANCED", True)
    monkeypatch.setattr(worker_sockets, "_add", fail)
    with pytest.raises(OSError, match="no more"):
        await WorkerSockets.open(ListenAt.of(port=0), 3, None)
