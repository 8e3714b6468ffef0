"""``python -m trioecho`` as a process of its own, for tests of what a user starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a test that waits for another process gives up. Nothing is measured with it."""


class ServerProcess:
    """``python -m trioecho`` as a user starts it, listening once this is made."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: dict[str, str],
        command: tuple[str, ...],
        reads_banner: bool = True,
        **how: Any,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command, *arguments],
            cwd=cwd,
            env={k: v for k, v in os.environ.items() if not k.startswith("TRIOECHO_")} | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )
        assert self.process.stdout is not None
        self._log: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        self.banner = self.process.stdout.readline() if reads_banner else ""

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._log.append(line.rstrip("\n"))
                self._news.notify_all()

    @property
    def url(self) -> str:
        return self._in_banner(r"https?://\S+")

    @property
    def websocket_url(self) -> str:
        return self._in_banner(r"wss?://\S+")

    @property
    def port(self) -> int:
        return int(self._in_banner(r"://[^/ ]+:(\d+)").rpartition(":")[2])

    def _in_banner(self, pattern: str) -> str:
        found = re.search(pattern, self.banner)
        assert found, f"no {pattern} in {self.banner!r}; log: {self.log}"
        return found[0]

    @property
    def log(self) -> list[str]:
        """The log lines so far."""
        with self._news:
            return list(self._log)

    def wait_for_log(self, text: str) -> str:
        """The first log line that contains `text`."""
        found = self.wait_until(lambda log: [line for line in log if text in line])
        assert found, f"no {text!r} in the log: {self.log}"
        return found[0]

    def wait_until(self, condition: Callable[[list[str]], T], patience: float = PATIENCE) -> T:
        """What `condition` says of the log lines so far, as soon as that is true, or when time is up."""
        with self._news:
            return self._news.wait_for(lambda: condition(self._log), patience)

    @property
    def descriptors(self) -> int:
        """How many the process has open (Linux)."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status, when the process has ended and its log is read to the end."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def stop(self) -> int:
        self.signal()
        return self.wait()

    def close(self) -> None:
        """Ends the process whatever it does, and gives back its pipes."""
        self.process.kill()
        self.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
