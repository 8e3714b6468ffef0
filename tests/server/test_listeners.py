"""Accepting: a bad day of the kernel, and what the log says about it."""

from __future__ import annotations

import errno
import functools
import logging
import os
import signal
from typing import Any

import pytest
import trio
import trio.testing

from trioecho._server.listeners import accept
from trioecho._server.listening import ListenAt


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


async def test_out_of_descriptors_some_are_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    """Each time; not where it is memory that is missing."""
    asked: list[float] = []
    with trio.move_on_after(1):
        await accept(
            [FakeListener([errno.EMFILE, errno.ENOMEM, errno.ENFILE, "one"])],
            [].append,
            relieve=lambda: asked.append(trio.current_time()),
        )
    assert len(asked) == 2


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


async def test_out_of_descriptors_the_log_says_so_once_and_when_it_is_over(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many listeners and attempts, and though one connection in between finds room: two lines, no traceback."""
    listeners = [FakeListener([errno.EMFILE] * 15 + ["between"] + [errno.EMFILE] * 20), FakeListener([])]
    with trio.move_on_after(10):
        await accept(listeners, [].append)
    assert [line.getMessage() for line in lines(caplog)] == [
        "cannot accept connections, which wait: Too many open files; raise the limit (ulimit -n) or set "
        "max_sockets below it",
    ]
    listeners = [FakeListener([errno.EMFILE] * 35), Late(5.0)]
    caplog.clear()
    with trio.move_on_after(10):
        await accept(listeners, [].append)
    assert [line.getMessage() for line in lines(caplog)][1:] == [
        "connections are accepted again, after 3.4 seconds"
    ]
    assert not any(line.exc_info for line in lines(caplog))


class Late(FakeListener):
    """Has one connection, after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(["late"])
        self.seconds = seconds

    async def accept(self) -> Any:
        await trio.sleep(self.seconds)
        return await super().accept()


async def test_a_lack_that_goes_on_is_said_once_a_minute(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever opens the log after an hour still finds it near the end."""
    with trio.move_on_after(299):
        await accept([FakeListener([errno.EMFILE, errno.ENFILE] * 3000)], [].append)
    assert len(lines(caplog)) == 5


async def test_a_listener_that_was_stopped_listens_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at once, if its place is taken: then once a second, and the log says each once."""
    stopped, second, third = [
        FakeListener([*answers]) for answers in ([errno.EINVAL], ["one", errno.EINVAL], ["two"])
    ]
    taken = OSError(errno.EADDRINUSE, "taken")
    answers: list[Any] = [taken, taken, second, third]
    asked: list[object] = []

    async def again(listener: FakeListener) -> Any:
        asked.append(listener)
        assert listener.closed
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    started: list[Any] = []
    with trio.move_on_after(10):
        await accept([stopped], started.append, again)
    assert started == ["one", "two"]
    assert asked == [stopped, stopped, stopped, second]
    assert third.closed
    assert [line.getMessage() for line in lines(caplog)] == [
        "a listening socket was stopped, and its place cannot be had: Address already in use",
        "it listens again, after 1 second",
        "a listening socket was stopped by the system; it listens again",
    ]


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


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
async def test_an_error_that_nobody_foresaw_ends_accepting(number: int) -> None:
    """A listener that is broken for good is not tried for ever, and all listeners are closed."""
    listeners = [FakeListener([number]), FakeListener([])]
    with pytest.raises(OSError, match=os.strerror(number)) as failure:
        await accept(listeners, [].append)
    assert failure.value.errno == number
    assert all(listener.closed for listener in listeners)


async def test_real_connections_are_accepted() -> None:
    """On a real socket: each connection is handed over, still open."""

    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"hello")

    listeners = await ListenAt.of("127.0.0.1", 0).open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, listeners, functools.partial(nursery.start_soon, greet))
        for _ in range(2):
            async with await trio.open_tcp_stream(*listeners[0].socket.getsockname()) as stream:
                assert await stream.receive_some(5) == b"hello"
        nursery.cancel_scope.cancel()


class PressedListener(FakeListener):
    """Ctrl-C is pressed when it has taken a connection from the kernel, and before anybody else knows of that."""

    async def accept(self) -> Any:
        answer = await super().accept()
        signal.raise_signal(signal.SIGINT)
        return answer


def test_ctrl_c_at_accept_loses_no_connection() -> None:
    """It strikes when `accept` waits again, and not between the kernel and whoever owns the connection."""
    listener, started = PressedListener(["one"]), list[Any]()
    interrupted = False
    try:
        # As a part of `serve`, where Ctrl-C strikes nothing of the server's.
        trio.run(trio.lowlevel.enable_ki_protection(accept), [listener], started.append)
    except* KeyboardInterrupt:
        interrupted = True
    assert (started, listener.closed, interrupted) == (["one"], True, True)
