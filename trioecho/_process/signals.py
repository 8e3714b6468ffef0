"""The signals that ask a process to stop, to reload or to renew itself, counted, and heard in Trio's thread.

`trio.open_signal_receiver` hands out signals, too, but gives those that nobody took to the handler of before when it
ends. By default that kills the process, so whoever pressed Ctrl-C once too often would get another exit status. Here
a signal is only ever a number that grows.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

import trio

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""Ctrl-C, a supervisor, a terminal that is closed, and on Windows Ctrl-Break."""

HANGUP = getattr(signal, "SIGHUP", None)
RENEW = getattr(signal, "SIGUSR2", None)


class StopSignals:
    """As a context manager: signals in `STOPPING` do nothing but call the function that `calling` has.

    What they did before is restored at the end, or if `last` they are ignored from then on, for a process that has
    nothing to do but exit. A SIGHUP that is ignored already stays so: nohup does that. Raises RuntimeError outside of
    the main thread, where Python handles no signals.

    With `reload`, SIGHUP does not stop but is counted by itself, also under nohup, and with `renew` so is SIGUSR2.
    With `only_term`, SIGTERM stops and the others do nothing: a supervisor hears them.
    """

    def __init__(
        self, *, last: bool, reload: bool = False, renew: bool = False, only_term: bool = False
    ) -> None:
        self._last = last
        self._only_term = only_term
        self._reload = HANGUP if reload else None
        self._renew = RENEW if renew else None
        self._before: dict[int, Any] = {}
        self._hear: Callable[[], object] | None = None
        self.count = 0
        """How many have come: none, one, or two, after which there is nothing more to ask for."""
        self.reloads = self.renewals = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "trioecho.run works in the main thread only, where Python handles signals: "
                "in another thread use trio.run(trioecho.serve, ...), or trioecho.LiveServer"
            )
        renew = RENEW if self._only_term else self._renew
        for number in STOPPING if renew is None else (*STOPPING, renew):
            before = signal.getsignal(number)
            if before is signal.SIG_IGN and number == HANGUP and self._reload is None:
                continue
            deaf = self._only_term and number != signal.SIGTERM
            signal.signal(number, signal.SIG_IGN if deaf else self._came)
            self._before[number] = before
        return self

    def __exit__(self, *failure: object) -> None:
        if self._last:
            self._set_all(signal.SIG_IGN)
        else:
            for number, before in self._before.items():
                # None stands for a handler that was not set by Python, which Python cannot set again.
                signal.signal(number, signal.SIG_DFL if before is None else before)
        if self.count:
            # Until then the program may have something to do that can be interrupted; while the interpreter shuts
            # down, a signal that comes late must not change the exit status.
            atexit.register(ignore)

    def _set_all(self, handler: signal.Handlers) -> None:
        for number in self._before:
            signal.signal(number, handler)

    @contextlib.contextmanager
    def calling(self, hear: Callable[[], object]) -> Iterator[None]:
        """In Trio: `hear` is called between the steps of tasks when a count has grown, once for several at a time."""
        token = trio.lowlevel.current_trio_token()
        self._hear = lambda: token.run_sync_soon(hear, idempotent=True)
        try:
            if self.count or self.reloads or self.renewals:
                self._hear()
            yield
        finally:
            self._hear = None

    def _came(self, number: int, frame: FrameType | None) -> None:
        if number == self._reload:
            self.reloads += 1
        elif number == self._renew:
            self.renewals += 1
        else:
            self.count += 1
        if self.count >= 2:
            # By the kernel, from here on: a third can neither interrupt the end nor this handler.
            self._set_all(signal.SIG_IGN)
        if self._hear is not None:
            self._hear()


def ignore() -> None:
    """From now on no signal stops this process but SIGKILL and SIGQUIT."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
