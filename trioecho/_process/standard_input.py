"""The end of standard input, by which a program that has started this one says that it is done, or is no more."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import trio


def call_at_end_of_input(hear: Callable[[], object]) -> None:
    """Have `hear` called in this Trio run, between the steps of tasks, when standard input has ended; what comes on it
    is read and forgotten. Where there is no standard input, or none of the system's, that is at once.

    A thread waits for it, which keeps no program from ending: Trio cannot wait for every kind of file.
    """
    # Python has none where the descriptor was closed when it started: number 0 may be anything's by now.
    try:
        number = None if sys.stdin is None else sys.stdin.fileno()
    except (OSError, ValueError):
        number = None
    token = trio.lowlevel.current_trio_token()

    def wait() -> None:
        try:
            while number is not None and os.read(number, 65_536):
                pass
        except OSError:
            pass
        try:
            token.run_sync_soon(hear)
        except trio.RunFinishedError:
            pass

    threading.Thread(target=wait, name="trioecho: standard input", daemon=True).start()
