"""The log never makes the server wait: lines that nobody takes are bounded, lost, counted, and told of."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from server_process import PATIENCE

from trioecho._process import log_output as module
from trioecho._process.log_output import MOST_WAITING, LogOutput
from trioecho._process.logs import TextFormatter

LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARNING|ERROR) \S.*")
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this platform has no /dev/full")
linux = pytest.mark.skipif(sys.platform != "linux", reason="what a pipe holds is Linux's")


class Pipe(NamedTuple):
    """A log that goes into a pipe, which nobody reads until `rest` does."""

    reading: int
    writing: int
    output: LogOutput

    def log(self, text: str) -> None:
        self.output.handle(logging.makeLogRecord({"name": "application", "levelname": "INFO", "msg": text}))

    def rest(self, *, stop_behind: bytes) -> list[str]:
        """Read until this came."""
        data = b""
        while stop_behind not in data or not data.endswith(b"\n"):
            data += os.read(self.reading, 65_536)
        return data.decode().splitlines()


@contextlib.contextmanager
def piped() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    output = LogOutput(writing)
    output.setFormatter(TextFormatter())
    try:
        yield Pipe(reading, writing, output)
    finally:
        os.close(reading)  # who still waits in the thread gets EPIPE
        output.flush()
        output.close()
        os.close(writing)


@pytest.fixture(params=["at once", "thread"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the platform has no way of writing without waiting, each line goes through the thread."""
    if request.param == "thread":
        monkeypatch.setattr(module, "_without_waiting", lambda _: (None, lambda: None))


def told_of(lines: list[str]) -> int:
    """Of how many numbered lines `lines` tell: each is the next, or says how many are missing there."""
    count = 0
    for line in lines:
        lost = re.search(
            r" WARNING (\d+) lines? of the log (?:was|were) lost: nobody has read those before", line
        )
        if lost is None:
            assert int(line.split()[2]) == count
        count += 1 if lost is None else int(lost[1])
    return count


@pytest.mark.usefixtures("way")
def test_lines_come_whole_and_in_order_and_what_is_lost_is_told_where_it_is_missing() -> None:
    """20,000 lines of 200 characters into a pipe of 64 KiB: the first 5,000 come, then how many did not."""
    with piped() as pipe:
        for number in range(20_000):
            pipe.log(f"{number:06} {'x' * 150}")
        pipe.output.acquire()
        assert pipe.output._size <= MOST_WAITING
        pipe.output.release()
        lines: list[str] = []
        # More than once where the thread has made room while lines were logged: each time it is told in its place.
        while (told := told_of(lines)) < 20_000:
            lines += pipe.rest(stop_behind=b" lost: ")
        assert told == 20_000
        assert all(LINE.fullmatch(line) for line in lines)
        assert sum(len(line) + 1 for line in lines if " lost: " not in line) >= MOST_WAITING
        pipe.log("after")
        assert [line.split(" ", 1)[1] for line in pipe.rest(stop_behind=b"after")] == ["INFO after"]


@linux
def test_a_slow_reader_loses_nothing_and_the_thread_is_not_needed_any_more() -> None:
    """A line longer than the pipe goes in parts; what is logged later goes at once again."""
    with piped() as pipe:
        pipe.log("y" * 200_000)
        pipe.log("second")
        first, second = pipe.rest(stop_behind=b"second")
        assert first.endswith(f"INFO {'y' * 200_000}")
        assert second.endswith("INFO second")
        with pipe.output._changed:
            assert pipe.output._changed.wait_for(lambda: not pipe.output._writing, PATIENCE)
        pipe.log("third")
        assert not pipe.output._waiting
        assert os.read(pipe.reading, 100).endswith(b" INFO third\n")


def test_other_users_of_the_descriptor_are_not_made_non_blocking() -> None:
    """It is shared with the user's shell: what is set there stays."""
    with piped() as pipe:
        assert os.get_blocking(pipe.writing)


def test_a_line_that_cannot_be_made_is_told_and_nothing_is_raised() -> None:
    """Arguments that do not fit: the next line says so, with the place, instead of a traceback on standard error."""
    with piped() as pipe:
        pipe.output.handle(
            logging.makeLogRecord(
                {"name": "trioecho", "msg": "%d", "args": ("one",), "pathname": "application.py", "lineno": 7}
            )
        )
        pipe.log("next")
        lost, following = pipe.rest(stop_behind=b"next")
        assert "WARNING 1 line of the log was lost: TypeError: %d format" in lost
        assert lost.endswith(", at application.py:7")
        assert following.endswith("INFO next")


@linux
def test_a_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    """The line that was cut off is ended, the loss is told, and what comes behind is written: by a real limit."""
    path = tmp_path / "log"
    program = """\
import logging, os, resource, signal
from trioecho._process.logs import configure_logging
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
configure_logging("info", "text")
logger = logging.getLogger("trioecho")
resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
for number in range(10):
    logger.info("line %d %s", number, "x" * 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
logger.info("there is room again")
"""
    with path.open("wb") as log:
        subprocess.run([sys.executable, "-c", program], stderr=log, check=True, timeout=PATIENCE)
    lines = path.read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in (lines[0], *lines[-2:])] == [
        f"INFO line 0 {'x' * 20}",
        "WARNING 9 lines of the log were lost: File too large",
        "INFO there is room again",
    ]
    assert len(lines) <= 4
    assert path.stat().st_size < 100 + 200


@linux
def test_a_socket_as_standard_error_is_not_waited_for_either() -> None:
    """As under systemd's journal: what it does not take waits for the thread, and comes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        output = LogOutput(theirs.fileno())
        output.setFormatter(TextFormatter())
        for number in range(3000):
            output.handle(
                logging.makeLogRecord(
                    {"name": "trioecho", "levelname": "INFO", "msg": f"{number:06} {'z' * 200}"}
                )
            )
        data = b""
        while b" 002999 " not in data or not data.endswith(b"\n"):
            data += ours.recv(65_536)
        assert [int(line.split()[2]) for line in data.decode().splitlines()] == list(range(3000))
        output.flush()
        output.close()


# Of a real server.


@contextlib.contextmanager
def serving(stderr: Any, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``python -m trioecho`` with this as its standard error, and its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "trioecho", "--port", "0", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("TRIOECHO_")},
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+)", process.stdout.readline())
            assert found
            yield process, int(found[1])
        finally:
            process.kill()


def ask(port: int, times: int) -> None:
    """So many requests, each of which has its line in the log."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        for _ in range(times):
            connection.request("GET", "/")
            with connection.getresponse() as response:
                assert response.status == 200
                response.read()


def stopped(process: subprocess.Popen[str]) -> int:
    process.terminate()
    return process.wait(PATIENCE)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_server_whose_log_nobody_reads_serves_on_and_stops(log_format: str) -> None:
    """A pipe of 64 KiB is full after a few hundred lines; then somebody reads it, and all is there, in order."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as log:
        with os.fdopen(writing, "wb") as stderr:
            running = serving(stderr, "--log-format", log_format)
            process, port = running.__enter__()
        with contextlib.ExitStack() as stack:
            stack.push(running)
            ask(port, 1000)
            taken: list[bytes] = []
            reader = threading.Thread(target=lambda: taken.extend(log))
            reader.start()
            ask(port, 1)
            assert stopped(process) == 0
            reader.join(PATIENCE)
    assert sum(b"GET / 200" in line for line in taken) == 1001
    assert any(b" stopping: " in line or b'"stopping: ' in line for line in taken[-2:])
    assert not any(b"lost" in line for line in taken)


def test_a_server_whose_log_nobody_ever_reads_still_stops_with_status_0() -> None:
    """The process does not wait for the log's reader at its end, or only for a moment."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as stderr:
        with serving(stderr) as (process, port):
            ask(port, 1000)
            assert stopped(process) == 0


@needs_full
def test_a_server_whose_disk_is_full_serves_on_and_stops_with_status_0() -> None:
    """Nor does anything of it wait in a buffer, at which the interpreter would fail in the end."""
    with open("/dev/full", "wb") as stderr, serving(stderr) as (process, port):
        ask(port, 200)
        assert stopped(process) == 0


def test_a_server_whose_log_lost_its_reader_serves_on_and_stops_with_status_0() -> None:
    """As when the program that collects the log has crashed."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stderr, serving(stderr) as (process, port):
        ask(port, 10)
        os.close(reading)
        ask(port, 200)
        assert stopped(process) == 0


@linux
def test_the_memory_of_a_log_that_nobody_reads_is_bounded() -> None:
    """Counted in the process: what waits is at most 1 MiB, though 5 MiB were logged."""
    program = """\
import logging, resource
from trioecho._process.logs import configure_logging
configure_logging("info", "text")
logger = logging.getLogger("trioecho")
logger.info("first")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(25_000):
    logger.info("x" * 200)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert resource.getpagesize() <= 65_536
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as stderr:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stderr=stderr,
            stdout=subprocess.PIPE,
            check=True,
            timeout=PATIENCE,
        )
    assert int(done.stdout) < 3072, f"grew by {int(done.stdout)} KiB"
