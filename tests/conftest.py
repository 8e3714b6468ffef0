"""What all tests share: a real server process, and a look at what a test leaves behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server_process import ServerProcess


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts ``python -m trioecho --port 0`` with more arguments; `env` is set on top of the environment,
    and what else is given is `subprocess.Popen`'s."""
    started: list[ServerProcess] = []

    def start(
        *arguments: str,
        env: dict[str, str] | None = None,
        command: tuple[str, ...] = ("-m", "trioecho", "--port", "0"),
        **how: Any,
    ) -> ServerProcess:
        started.append(ServerProcess(*arguments, cwd=tmp_path, env=env or {}, command=command, **how))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which a socket, an epoll or a server thread is left that was not there before.

    `pytest.mark.keeps_open` excepts a test whose tools, not the server, keep something open.
    """
    if request.node.get_closest_marker("keeps_open"):
        yield
        return
    before = _open_sockets()
    yield
    if _open_sockets() - before:
        # What only waits for the garbage collector warns by itself (ResourceWarning is an error here).
        gc.collect()
    left = sorted(_open_sockets() - before)
    assert not left, f"the test left open: {left}"
    threads = [thread for thread in threading.enumerate() if thread.name == "trioecho.LiveServer"]
    assert not threads, "the test left a LiveServer running"


def _open_sockets() -> set[str]:
    directory = Path("/proc/self/fd")
    if not directory.exists():
        return set()
    found = set()
    for descriptor in directory.iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue  # the descriptor of the listing itself
        if target.startswith(("socket:", "anon_inode:[eventpoll]")):
            # All epolls have the same name; the number tells them apart.
            found.add(f"{descriptor.name} {target}")
    return found
