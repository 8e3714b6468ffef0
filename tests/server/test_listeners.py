"""Listening and accepting: every address, a bad day of the kernel, and what the log says about it."""

from __future__ import annotations

import errno
import functools
import logging
import os
import socket
from contextlib import closing
from typing import Any

import pytest
import trio
import trio.testing

import trioecho
from trioecho._server.listeners import accept, addresses, listen


class FakeListener(trio.abc.Listener[trio.abc.Stream]):
    """Answers each accept from a list: an errno is raised, anything else is a connection; then it waits for ever."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.closed = False
        self.asked: list[float] = []

    async def accept(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(trio.current_time())
        if not self.answers:
            await trio.sleep_forever()
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_out_of_descriptors_the_server_waits_and_goes_on(
    number: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many open files or no memory: a tenth of a second later it is tried again, and the next one is served."""
    listener = FakeListener([number, number, "one", "two"])
    started: list[Any] = []
    with trio.move_on_after(1):
        await accept([listener], started.append)
    assert started == ["one", "two"]
    assert [round(moment - listener.asked[0], 6) for moment in listener.asked] == [0, 0.1, 0.2, 0.2, 0.2]
    (line,) = lines(caplog)
    assert (line.name, line.levelname, line.exc_info) == ("trioecho", "WARNING", None)
    assert os.strerror(number) in line.getMessage()
    assert listener.closed


async def test_out_of_descriptors_the_log_gets_one_line_a_second(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many listeners and attempts: at most one line a second, and no traceback."""
    listeners = [FakeListener([errno.EMFILE] * 35), FakeListener([errno.EMFILE, errno.ENFILE] * 15)]
    with trio.move_on_after(10):
        await accept(listeners, [].append)
    assert len(lines(caplog)) == 4
    assert not any(line.exc_info for line in lines(caplog))
    assert "trio.serve_listeners" not in {record.name for record in caplog.records}


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETUNREACH])
async def test_a_client_that_is_gone_before_it_is_accepted_disturbs_nobody(
    number: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors of the one connection (accept(2)): the next is accepted at once, and nothing is logged."""
    listener = FakeListener([number, "next"])
    started: list[Any] = []
    with trio.move_on_after(1):
        await accept([listener], started.append)
    assert started == ["next"]
    assert listener.asked[-1] == listener.asked[0]
    assert not lines(caplog)


async def test_an_error_that_nobody_foresaw_ends_accepting() -> None:
    """A listener that is broken for good is not tried for ever, and all listeners are closed."""
    listeners = [FakeListener([errno.EBADF]), FakeListener([])]
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as failure:
        await accept(listeners, [].append)
    assert failure.value.errno == errno.EBADF
    assert all(listener.closed for listener in listeners)


async def test_real_connections_are_accepted() -> None:
    """On a real socket: each connection is handed over, still open."""

    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"hello")

    listeners = await listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, listeners, functools.partial(nursery.start_soon, greet))
        for _ in range(2):
            async with await trio.open_tcp_stream(*listeners[0].socket.getsockname()) as stream:
                assert await stream.receive_some(5) == b"hello"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("host", "port", "error", "lesson"),
    [
        (
            "127.0.0.1",
            "5000",
            TypeError,
            "port takes a whole number from 0 to 65535; you gave '5000': write 5000",
        ),
        ("127.0.0.1", True, TypeError, "port takes a whole number from 0 to 65535; you gave True"),
        ("127.0.0.1", None, TypeError, "port takes a whole number from 0 to 65535; you gave None"),
        ("127.0.0.1", 65536, ValueError, "port takes a whole number from 0 to 65535; you gave 65536"),
        ("127.0.0.1", -1, ValueError, "port takes a whole number from 0 to 65535; you gave -1"),
        (
            5000,
            0,
            TypeError,
            "host takes an address such as '127.0.0.1', or several in a list; you gave 5000",
        ),
        (
            None,
            0,
            TypeError,
            "host takes an address such as '127.0.0.1', or several in a list; you gave None",
        ),
        (
            b"::1",
            0,
            TypeError,
            "host takes an address such as '127.0.0.1', or several in a list; you gave b'::1'",
        ),
        ([1], 0, TypeError, "host takes an address such as '127.0.0.1', or several in a list; you gave [1]"),
        ([], 0, ValueError, "host is empty; give an address to listen at, such as '127.0.0.1'"),
        ("", 0, ValueError, "host is empty; give an address to listen at, such as '127.0.0.1'"),
    ],
)
async def test_an_address_of_the_wrong_kind_is_refused_with_a_lesson(
    host: Any, port: Any, error: type[Exception], lesson: str
) -> None:
    """A port as text, a host that is a number: one sentence that says what would be right."""
    with pytest.raises(error) as refusal:
        await trioecho.serve(host=host, port=port)
    assert str(refusal.value) == lesson


def test_a_wildcard_stands_for_every_address_of_this_machine() -> None:
    """0.0.0.0 and :: are no addresses to open; those that they stand for are, the loopback first."""
    assert addresses("192.0.2.1") == ("192.0.2.1",)
    here = addresses("0.0.0.0")
    assert here[0] == "127.0.0.1"
    assert len(set(here)) == len(here)
    assert not any(":" in address or address == "0.0.0.0" for address in here)
    assert addresses("::")[0] == "::1"
    assert all(":" in address and not address.startswith("fe80") for address in addresses("::"))


async def test_every_address_that_is_listed_can_be_opened() -> None:
    """Server.urls begins with `url` and names each address of each host once; each is this server's."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            functools.partial(trioecho.serve, host=["127.0.0.2", "127.0.0.3"], port=0)
        )
        assert server.urls == (f"http://127.0.0.2:{server.port}", f"http://127.0.0.3:{server.port}")
        assert server.urls[0] == server.url
        server.stop()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, host="0.0.0.0", port=0))
        assert server.urls[0] == server.url == f"http://127.0.0.1:{server.port}"
        for url in server.urls:
            host = url.removeprefix("http://").rpartition(":")[0]
            with closing(socket.create_connection((host, server.port), 5)):
                pass
        server.stop()
