"""The clients: how each one's program is started, and that a program which hangs or dies costs one case only."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

PROGRAMS = Path(__file__).with_name("programs")

SPARE = 30.0
"""Seconds that a program may take for a job over its patience, its own start among them."""


@dataclass(frozen=True)
class Client:
    """One client. `find` returns its command and its version, or raises `Missing`."""

    name: str
    find: Callable[[], tuple[list[str], str]]


class Missing(Exception):  # noqa: N818 (nothing went wrong)
    """This machine does not have it; the text says what is lacking."""


def _python(package: str) -> Callable[[], tuple[list[str], str]]:
    def find() -> tuple[list[str], str]:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise Missing(f"`pip install {package}`") from None
        return [sys.executable, str(PROGRAMS / f"with_{package.replace('-', '_')}.py")], version

    return find


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise Missing(f"{names[0]} is not installed")
    return found


def _version(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return number[0] if number else "?"


def _ws() -> tuple[list[str], str]:
    node = _program("node")
    package = Path(os.environ.get("NODE_PATH", "")) / "ws/package.json"
    if not package.is_file():
        raise Missing("`npm install ws`, and NODE_PATH set to its node_modules")
    return [node, str(PROGRAMS / "with_ws.js")], str(json.loads(package.read_text())["version"])


def _node() -> tuple[list[str], str]:
    node = _program("node")
    for flag in ([], ["--experimental-websocket"]):
        asked = [node, *flag, "-p", "typeof WebSocket"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        if said.stdout.strip() == "function":
            return [node, *flag, str(PROGRAMS / "with_node.mjs")], _version(
                node, "-p", "process.versions.undici"
            )
    raise Missing(f"Node.js {_version(node, '--version')} has no WebSocket")


def _java() -> tuple[list[str], str]:
    _program("javac")
    return [_program("java"), str(PROGRAMS / "WithJava.java")], _version("java", "-version")


def _browser(*names: str) -> Callable[[], tuple[list[str], str]]:
    def find() -> tuple[list[str], str]:
        found = _program(*names)
        return [sys.executable, str(PROGRAMS / "with_browser.py"), found], _version(found, "--version")

    return find


CLIENTS = (
    Client("websockets", _python("websockets")),
    Client("aiohttp", _python("aiohttp")),
    Client("trio-websocket", _python("trio-websocket")),
    Client("curl_cffi", _python("curl_cffi")),
    Client("ws", _ws),
    Client("Node.js (undici)", _node),
    Client("Java", _java),
    Client("Chromium", _browser("chromium", "chromium-browser", "google-chrome")),
    Client("Firefox", _browser("firefox-esr", "firefox")),
)


def line_of(number: int, url: str, job: dict[str, Any]) -> str:
    """A job as programs/jobs.py describes it."""
    pairs = [("number", number), ("url", url)]
    pairs += [("say", each) for each in job["say"]]
    pairs += [("subprotocol", each) for each in job["subprotocols"]]
    pairs += [(name, job[name]) for name in ("close_after", "patience", "flood")]
    pairs.append(("compress", int(job["compress"])))
    return urlencode(pairs)


def told_by(command: Sequence[str], lines: Sequence[tuple[str, float]]) -> Iterator[dict[str, Any]]:
    """What a program tells of each job, given as its line and its patience, in their order.

    Of a job for which the program hangs or dies, an answer is made up, and the program is started again behind it.
    """
    at = 0
    while at < len(lines):
        with _started(command, [line for line, _ in lines[at:]]) as answers:
            while at < len(lines):
                longest = lines[at][1] + SPARE
                try:
                    answer = answers.get(timeout=longest)
                except queue.Empty:
                    answer = _made_up("hangs, and is ended", longest)
                if answer is None:
                    answer = _made_up("dies", 0.0)
                yield answer
                at += 1
                if "made_up" in answer:
                    break


@contextlib.contextmanager
def _started(command: Sequence[str], lines: Sequence[str]) -> Iterator[queue.Queue[dict[str, Any] | None]]:
    answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
    program = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert program.stdin is not None
    assert program.stdout is not None

    def read(stdout: IO[str]) -> None:
        for line in stdout:
            answers.put(json.loads(line))
        answers.put(None)

    reader = threading.Thread(target=read, args=(program.stdout,), daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            program.stdin.write("".join(f"{line}\n" for line in lines))
            program.stdin.close()
        yield answers
    finally:
        _end(program)
        reader.join(10)
        program.stdout.close()


def _end(program: subprocess.Popen[str]) -> None:
    """The program and what it has started: given a moment to end by itself, then ended."""
    deadline = time.monotonic() + 10
    program.terminate()
    while program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, 9)
    program.wait()


def _made_up(error: str, seconds: float) -> dict[str, Any]:
    return {
        "made_up": True,
        "opened": False,
        "status": None,
        "subprotocol": "",
        "heard": [],
        "count": 0,
        "last": "",
        "code": None,
        "reason": "",
        "error": error,
        "ended": False,
        "accepted": 0,
        "seconds": seconds,
    }
