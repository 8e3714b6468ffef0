"""Signals as a number that grows: counted, heard in Trio, and afterwards as they were before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from trioecho._process import signals
from trioecho._process.signals import STOPPING, StopSignals

PLAIN = [number for number in STOPPING if number != getattr(signal, "SIGHUP", None)]


@pytest.fixture(autouse=True)
def at_exit(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], None]]]:
    """What is registered for the end of the interpreter; and signals of the test run stay what they are."""
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(signals.atexit, "register", registered.append)
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield registered
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in STOPPING]


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_counted_and_does_nothing_else(number: int) -> None:
    """No KeyboardInterrupt, no end of the process; SIGHUP too."""
    with StopSignals(last=False) as stop:
        assert stop.count == 0
        signal.raise_signal(number)
        assert stop.count == 1


def test_after_the_second_they_are_ignored(at_exit: list[Callable[[], None]]) -> None:
    """By the kernel, so that no further one can interrupt the end, and none can when the interpreter ends."""
    with StopSignals(last=False) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert set(handlers()) == {signal.SIG_IGN}
        signal.raise_signal(signal.SIGINT)
        assert stop.count == 2
    assert at_exit == [signals.ignore]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_afterwards_they_do_what_they_did_before(count: int) -> None:
    """A handler of the program's, and the default; whether any came or not."""

    def mine(number: int, frame: object) -> None:
        raise AssertionError("this signal was ours")

    signal.signal(signal.SIGTERM, mine)
    before = handlers()
    with StopSignals(last=False):
        assert mine not in handlers()
        for _ in range(count):
            signal.raise_signal(signal.SIGTERM)
    assert handlers() == before


def test_of_a_process_that_ends_they_stay_ignored(at_exit: list[Callable[[], None]]) -> None:
    """With `last`, a late one changes nothing between here and the exit."""
    with StopSignals(last=True):
        pass
    assert set(handlers()) == {signal.SIG_IGN}
    assert at_exit == [], "nobody has asked it to stop"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this platform has no SIGHUP")
@pytest.mark.parametrize("last", [False, True])
def test_a_hangup_that_was_ignored_stays_ignored(last: bool) -> None:
    """nohup does that before it starts a program."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals(last=last) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.count == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.count == 1
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_another_interrupt_is_no_hangup() -> None:
    """Only SIGHUP is left alone where it was ignored; a program started in the background still hears Ctrl-C."""
    for number in PLAIN:
        signal.signal(number, signal.SIG_IGN)
    with StopSignals(last=False) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.count == 1


def test_it_is_heard_between_the_steps_of_tasks() -> None:
    """Never in the middle of one; two that come in one step are heard once, with both counted."""
    heard: list[int] = []

    async def main(stop: StopSignals) -> None:
        with stop.calling(lambda: heard.append(stop.count)):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert heard == []
            while not heard:
                await trio.lowlevel.checkpoint()

    with StopSignals(last=False) as stop:
        trio.run(main, stop)
    assert heard == [2]


def test_what_came_before_trio_ran_is_heard_there() -> None:
    """A signal while the program started; and after Trio's end one is counted only."""
    heard: list[int] = []

    async def main(stop: StopSignals) -> None:
        with stop.calling(lambda: heard.append(stop.count)):
            while not heard:
                await trio.lowlevel.checkpoint()

    with StopSignals(last=False) as stop:
        signal.raise_signal(signal.SIGTERM)
        trio.run(main, stop)
        signal.raise_signal(signal.SIGTERM)
    assert (heard, stop.count) == ([1], 2)


def test_in_another_thread_it_says_what_to_use_instead() -> None:
    """Python handles signals in the main thread only; nothing has been changed then."""
    raised: list[str] = []
    before = handlers()

    def enter() -> None:
        try:
            StopSignals(last=False).__enter__()
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(raised) == 1
    assert "in another thread use trio.run(trioecho.serve, ...), or trioecho.LiveServer" in raised[0]
    assert handlers() == before


def test_ignore_means_all_of_them() -> None:
    """What is called when the interpreter ends."""
    signals.ignore()
    assert set(handlers()) == {signal.SIG_IGN}


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this platform has no SIGHUP")
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_hangup_that_reloads_and_a_signal_that_renews_are_counted_by_themselves(before: Any) -> None:
    """Also under nohup; neither is one that stops, and afterwards they are what they were."""
    signal.signal(signal.SIGHUP, before)
    renew_before = signal.getsignal(signal.SIGUSR2)
    with StopSignals(last=False, reload=True, renew=True) as stop:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR2):
            signal.raise_signal(number)
        assert (stop.count, stop.reloads, stop.renewals) == (0, 2, 1)
        signal.raise_signal(signal.SIGTERM)
        assert stop.count == 1
    assert signal.getsignal(signal.SIGHUP) is before
    assert signal.getsignal(signal.SIGUSR2) is renew_before


def test_of_a_worker_only_one_signal_is_counted() -> None:
    """Its supervisor hears the others."""
    with StopSignals(last=False, only_term=True) as stop:
        for number in PLAIN:
            if number != signal.SIGTERM:
                signal.raise_signal(number)
        assert stop.count == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.count == 1
        if hasattr(signal, "SIGUSR2"):
            # It would end the process: whoever sends it to all processes of a name means the supervisor.
            signal.raise_signal(signal.SIGUSR2)
            assert (stop.count, stop.renewals) == (1, 0)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this platform has no SIGHUP")
async def test_a_reload_is_heard_in_trio() -> None:
    """Also one that came before anybody listened."""
    heard = trio.Event()
    with StopSignals(last=False, reload=True) as stop:
        signal.raise_signal(signal.SIGHUP)
        with stop.calling(heard.set), trio.fail_after(5):
            await heard.wait()
