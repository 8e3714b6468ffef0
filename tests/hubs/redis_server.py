"""A Redis of a test's own, on a Unix socket, which can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE = 10.0
"""Seconds in which it starts."""


class RedisServer:
    """One that runs, or does not any more. It keeps nothing on the disk."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        self.path = directory / "redis.sock"
        self.url = f"unix://{self.path}"
        command = shutil.which("redis-server")
        assert command is not None
        self._command = [command, "--port", str(port), "--unixsocket", str(self.path), "--save", "", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it can be connected to."""
        self._process = subprocess.Popen(self._command, cwd=self.path.parent, stdout=subprocess.DEVNULL)
        give_up = time.monotonic() + PATIENCE
        while True:
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
                client.settimeout(PATIENCE)
                client.connect(str(self.path))
                client.sendall(b"PING\r\n")
                if client.recv(100):
                    return
            assert self._process.poll() is None, "redis-server has ended"
            assert time.monotonic() < give_up, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it, without a goodbye."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
            self.path.unlink(missing_ok=True)

    def hang(self) -> None:
        """Let it do nothing, with its connections open, until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running_redis(*options: str, port: int = 0) -> Iterator[RedisServer]:
    """Run a Redis; skip where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (Debian: redis-server)")
    # pytest's own directories have longer paths than a Unix socket may have.
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        server = RedisServer(Path(directory), *options, port=port)
        try:
            server.start()
            yield server
        finally:
            server.kill()
