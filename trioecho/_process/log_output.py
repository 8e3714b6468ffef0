"""Log lines on their way to a descriptor, for which nobody waits.

Handlers run in Trio's thread, and so does `logging`. A pipe that nobody reads, or a terminal that is stopped with
Ctrl-S, made the server stand still after 369 connections, when 64 KiB of log filled it. Here a line is written at once
if that can be done without waiting. Otherwise it waits for a thread, with `MOST_WAITING` bytes of others at most. What
finds no room there, or a full disk, or a pipe whose reader is gone, is lost and counted, and the count is the next line
that can be written.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from trioecho._protocol.counted import counted
from trioecho._protocol.record import summary

MOST_WAITING = 1_048_576
"""Bytes of lines that wait for a reader. Picked arbitrarily: some thousand lines."""

FLUSH_WITHIN = 0.5
"""Seconds for which the end of the process waits for a reader of what still waits."""

TRY_AGAIN_AFTER = 0.05
"""Seconds until the thread tries again where somebody else has made the descriptor non-blocking."""

Write = Callable[[bytes], int]
"""Writes what it can without waiting, and returns how many bytes that was; BlockingIOError if it was none."""


class LogOutput(logging.Handler):
    """Writes the log to `descriptor`, which stays the caller's. Neither `handle` nor `emit` waits or raises.

    Its lines are in order. What was lost is told where it is missing, as a WARNING of its own.
    """

    def __init__(self, descriptor: int) -> None:
        """Raises OSError if there is no such descriptor."""
        super().__init__()
        self._descriptor = descriptor
        # As long as this lives; the thread is a daemon, since nothing can wake one that waits for the kernel.
        self._write, self._close = _without_waiting(descriptor)
        assert self.lock is not None
        self._changed = threading.Condition(self.lock)
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._thread: threading.Thread | None = None
        # The thread has taken a line from `_waiting` and not written it yet.
        self._writing = False
        self._lost = 0
        self._why = ""
        # A line was written in part, and what comes next must not continue it.
        self._cut = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or have it written, or count it as lost."""
        try:
            self._put(self._line(record))
        except Exception as error:
            # No memory for it, or arguments that do not fit its text: logging's own `handleError` would print a
            # traceback to where the log goes, and wait for that.
            self._lose(f"{summary(error)}, at {record.pathname}:{record.lineno}")

    def flush(self) -> None:
        """Wait until all has been written, but not longer than `FLUSH_WITHIN`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing, FLUSH_WITHIN)

    def close(self) -> None:
        """Write no more; what still waits is lost."""
        with self._changed:
            self._waiting.clear()
            self._size = 0
            self._write, close = None, self._close
            self._close = _nothing
            self._descriptor = -1
            self._changed.notify_all()
        close()
        super().close()

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("utf-8", "backslashreplace")

    def _put(self, line: bytes) -> None:
        if self._descriptor < 0:
            return
        rest = line
        if self._write is not None and not self._waiting and not self._writing:
            rest = self._write_now(line)
        if not rest:
            return
        if self._size + len(rest) > MOST_WAITING:
            self._lose("nobody has read those before them")
            # Of a line of which some has gone out already, the rest is lost, too.
            self._cut = self._cut or len(rest) < len(line)
            return
        if self._lost:
            rest = self._gap() + rest
        self._waiting.append(rest)
        self._size += len(rest)
        self._have_written()

    def _write_now(self, line: bytes) -> bytes:
        """Write at once, behind what is to be told of lines that were lost. Returns what has to wait."""
        assert self._write is not None
        data = (b"\n" if self._cut else b"") + self._told() + line
        done = 0
        try:
            while done < len(data):
                done += self._write(data[done:])
        except BlockingIOError:
            if not done:
                return line
        except OSError as error:
            self._lose(_words(error))
            self._cut = self._cut or done > 0
            return b""
        self._lost, self._cut = 0, False
        return data[done:]

    def _gap(self) -> bytes:
        """What is to be written before the next line; taken as written from here on."""
        gap = (b"\n" if self._cut else b"") + self._told()
        self._lost, self._cut = 0, False
        return gap

    def _told(self) -> bytes:
        if not self._lost:
            return b""
        text = f"{counted(self._lost, 'line')} of the log {'was' if self._lost == 1 else 'were'} lost: {self._why}"
        fields = {"name": "trioecho", "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
        return self._line(logging.makeLogRecord(fields))

    def _lose(self, why: str) -> None:
        self._lost += 1
        self._why = why

    def _have_written(self) -> None:
        """Let the thread write. Of a process that was forked there is none, until it has one of its own."""
        if self._thread is None or not self._thread.is_alive():
            self._writing = False
            thread = threading.Thread(target=self._run, name="trioecho.log", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError):
                # No room for a thread now: the next line tries it again.
                return
            self._thread = thread
        self._changed.notify_all()

    def _run(self) -> None:
        """In the thread: write what waits, and wait for the kernel as long as that takes."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._descriptor < 0)
                if self._descriptor < 0:
                    return
                line = self._waiting.popleft()
                self._writing = True
                descriptor = self._descriptor
            error, cut = _write_all(descriptor, line)
            with self._changed:
                self._size = max(0, self._size - len(line))
                if error is not None and self._descriptor >= 0:
                    # What waits would fare no better, and stand before what is told of this.
                    self._lost += len(self._waiting)
                    self._waiting.clear()
                    self._size = 0
                    self._lose(_words(error))
                    self._cut = self._cut or cut
                elif self._lost and not self._waiting and self._descriptor >= 0:
                    # They were lost behind what has just been written, and nobody may have more to say for long.
                    gap = self._gap()
                    self._waiting.append(gap)
                    self._size += len(gap)
                self._writing = False
                self._changed.notify_all()


def log_output() -> logging.Handler:
    """A handler for standard error: a `LogOutput` if it is a descriptor, and a `logging.StreamHandler` where a program
    has put something else in its place."""
    try:
        return LogOutput(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return logging.StreamHandler(sys.stderr)


def _without_waiting(descriptor: int) -> tuple[Write | None, Callable[[], object]]:
    """How to write to `descriptor` without ever waiting, and how to let go of it; None if there is no way.

    Whether writing waits is not the descriptor's, but that of what all who have inherited it share: to make this one
    non-blocking would change the user's shell. So it is opened a second time, or asked each time.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return lambda data: os.write(descriptor, data), _nothing
    try:
        if stat.S_ISSOCK(mode):
            return _of_socket(descriptor)
        # Linux: elsewhere /dev/fd is a duplicate, which shares what the original has.
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, AttributeError):
        return None, _nothing
    return lambda data: os.write(own, data), lambda: os.close(own)


def _of_socket(descriptor: int) -> tuple[Write, Callable[[], object]]:
    own = socket.socket(fileno=os.dup(descriptor))
    return lambda data: own.send(data, socket.MSG_DONTWAIT), own.close


def _write_all(descriptor: int, data: bytes) -> tuple[OSError | None, bool]:
    """Write all of it, however long that takes. Why that did not go, and whether a part has gone."""
    done = 0
    while done < len(data):
        try:
            done += os.write(descriptor, data[done:])
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                return error, done > 0
            time.sleep(TRY_AGAIN_AFTER)
    return None, False


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _nothing() -> None:
    """What there is to close where nothing was opened."""
