"""Lines in and lines out, for `connect`: pipes and files, or a person at a terminal with a prompt and a history.

Neither direction blocks Trio's loop, so Pings are answered while nobody types or reads: both wait in threads. Those
threads are Trio's, which do not keep a program from ending; and they use the file descriptors themselves, because a
thread that is left behind in ``sys.stdin.readline`` holds a lock that Python wants when it ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import unicodedata
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import trio

try:
    import readline
    import termios
except ImportError:  # Windows
    READLINE = False
else:
    READLINE = True

PROMPT = "> "
_HISTORY_LINES = 1000
# Readline needs a moment to take the terminal over, and longer only while its output is stopped.
_TAKING_OVER = 2.0
_CLEAR_LINE = "\r\x1b[K"
_NO_BRACKETED_PASTE = "\x1b[?2004l"
# What joins emoji and letters is harmless; the other format characters can turn text around (CVE-2021-42574).
_JOINERS = "\u200c\u200d"
_ESCAPED_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def escaped(text: str) -> str:
    """`text` as a terminal may show it: nothing in it moves the cursor, changes colours, or turns the text around."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(char)[1:-1]
        if unicodedata.category(char) in _ESCAPED_CATEGORIES and char not in _JOINERS
        else char
        for char in text
    )


def shown(message: str | bytes, *, escape: bool) -> str:
    """A message as a line: binary as hex behind ``0x``."""
    if isinstance(message, bytes):
        return f"0x{message.hex()}"
    return escaped(message) if escape else message


async def write_all(data: bytes) -> None:
    """Write to standard output; BrokenPipeError when nobody reads it. Cancelled: the rest may still be written."""
    await trio.to_thread.run_sync(_write_all, data, abandon_on_cancel=True)


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


class Pipes:
    """Standard input and output that are no terminal, or not both."""

    interactive = False

    def __init__(self) -> None:
        self._escape = os.isatty(1)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines of standard input, without their ends. Cancelled: what was read in part is lost."""
        rest = b""
        while data := await _read():
            *whole, rest = (rest + data).split(b"\n") if b"\n" in data else (rest + data,)
            for line in whole:
                yield line.removesuffix(b"\r")
        if rest:
            yield rest

    async def show(self, message: str | bytes) -> None:
        """Write one message as a line."""
        line = f"{shown(message, escape=self._escape)}\n"
        await write_all(line.encode("utf-8", errors="backslashreplace"))


async def _read() -> bytes:
    while True:
        try:
            return await trio.to_thread.run_sync(os.read, 0, 65_536, abandon_on_cancel=True)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(0)  # whoever shares it with us has made it so
        except OSError:
            return b""  # closed, or a terminal that has hung up


class Terminal:
    """A person: a prompt, readline's editing and history; what arrives is shown above the line that is being typed."""

    interactive = True

    def __init__(self) -> None:
        self._prompted = False
        self._lock = threading.Lock()
        self._left = False
        # Not set while a thread is about to put the terminal into readline's mode.
        self._settled = threading.Event()
        self._settled.set()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines that are typed, until Ctrl-D."""
        while (line := await trio.to_thread.run_sync(self._ask, abandon_on_cancel=True)) is not None:
            yield line.encode("utf-8", errors="surrogateescape")

    def _ask(self) -> str | None:
        with self._lock:
            if self._left:
                return None
            self._settled.clear()
        try:
            return input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            return None
        finally:
            self._prompted = False
            self._settled.set()

    def leave(self) -> None:
        """Let no thread change the terminal's mode any more: the one that is about to is waited for, briefly."""
        with self._lock:
            self._left = True
        self._settled.wait(_TAKING_OVER)

    async def show(self, message: str | bytes) -> None:
        """Show one message on a line of its own."""
        line = f"{_CLEAR_LINE}< {shown(message, escape=True)}\n"
        if self._prompted:
            line += PROMPT + readline.get_line_buffer()
        await write_all(line.encode("utf-8", errors="backslashreplace"))

    def _has_prompted(self) -> None:
        # Readline calls this when it has set its mode.
        self._prompted = True
        self._settled.set()


@contextlib.contextmanager
def standard_streams() -> Iterator[Pipes | Terminal]:
    """Standard input and output, whatever they are. A terminal is left as it was found, and its history saved."""
    if not (READLINE and sys.stdin is not None and os.isatty(0) and os.isatty(1)):
        yield Pipes()
        return
    terminal = Terminal()
    settings = termios.tcgetattr(0)
    history = history_file()
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_HISTORY_LINES)
    # Called when the prompt is on the screen: before, it must not be shown again below a message.
    readline.set_pre_input_hook(terminal._has_prompted)
    try:
        yield terminal
    finally:
        # Else a thread that has just begun would change the settings after they have been restored.
        terminal.leave()
        readline.set_pre_input_hook(None)
        # A thread that is left behind in readline does not tidy up.
        termios.tcsetattr(0, termios.TCSANOW, settings)
        _write_all((_NO_BRACKETED_PASTE + _CLEAR_LINE).encode())
        with contextlib.suppress(OSError):
            history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.write_history_file(history)


def history_file() -> Path:
    """Where typed lines are kept, by the XDG Base Directory Specification: relative paths do not count."""
    state = os.environ.get("XDG_STATE_HOME", "")
    directory = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return directory / "trioecho" / "history"
