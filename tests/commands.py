"""``connect`` and ``check`` as processes of their own, on pipes or on a terminal (a pty)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import ssl
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio
from serving import PATIENCE, certificates

CONNECT = ("-m", "trioecho", "connect")
CHECK = ("-m", "trioecho", "check")


def authority_of_serving() -> str:
    """The certificate (PEM) that a client of `serving` with TLS has to trust, among those that its context trusts."""
    context = certificates()[1]
    (number,) = (n for n, about in enumerate(context.get_ca_certs()) if "trustme" in str(about["subject"]))
    return ssl.DER_cert_to_PEM_cert(context.get_ca_certs(binary_form=True)[number])


async def run(command: tuple[str, ...], *arguments: object, stdin: Any = b"") -> tuple[int, str, str]:
    """Exit status, standard output and standard error; `stdin` is bytes or what `subprocess` takes."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [sys.executable, *command, *map(str, arguments)],
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextlib.asynccontextmanager
async def started(
    command: tuple[str, ...], *arguments: object, **options: Any
) -> AsyncIterator[trio.Process]:
    """A process with pipes, killed on leaving if it still runs."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    process = await trio.lowlevel.open_process([sys.executable, *command, *map(str, arguments)], **pipes)
    try:
        with trio.fail_after(PATIENCE):
            yield process
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


class Screen:
    """A terminal on which ``connect`` runs; `text` is all that it was sent."""

    def __init__(self, process: trio.Process, descriptor: int) -> None:
        self.process = process
        self.descriptor = descriptor
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    async def until(self, text: str, *, times: int = 1) -> None:
        """Return when `text` has been shown so often."""
        while self.text.count(text) < times:
            assert await self._read(), f"no {text!r} in {self.text!r}"

    async def end(self) -> int:
        """The exit status, when everything is read."""
        status = await self.process.wait()
        os.set_blocking(self.descriptor, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.text += os.read(self.descriptor, 65_536).decode(errors="replace")
        return status

    async def press_ctrl_d(self) -> int:
        """Ctrl-D until the program ends; its exit status. Between two prompts the terminal itself takes one away."""
        while self.process.poll() is None:
            self.type("\x04")
            with trio.move_on_after(0.2):
                await self.process.wait()
        return await self.end()

    async def _read(self) -> bool:
        with trio.move_on_after(0.05):
            await trio.lowlevel.wait_readable(self.descriptor)
            self.text += os.read(self.descriptor, 65_536).decode(errors="replace")
            return True
        return self.process.poll() is None


@contextlib.asynccontextmanager
async def on_a_terminal(
    *arguments: object, state: Path, command: tuple[str, ...] = CONNECT
) -> AsyncIterator[Screen]:
    """``connect`` with a terminal for standard input, output and error; `state` is its XDG_STATE_HOME."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    try:
        async with started(
            command,
            *arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"XDG_STATE_HOME": str(state), "TERM": "xterm"},
            start_new_session=True,
            # Makes it the controlling terminal, so that Ctrl-C is a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as process:
            screen = Screen(process, master)
            # The slave is held open here for its settings; its end is told by the process's own.
            held, slave = slave, -1
            try:
                yield screen
                await process.wait()
                assert termios.tcgetattr(held) == before, "the terminal was left in another mode"
            finally:
                os.close(held)
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)
