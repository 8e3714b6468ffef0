"""SignalR's own JavaScript client in Node.js, for programs of a test's."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

PACKAGES = ("@microsoft/signalr", "@microsoft/signalr-protocol-msgpack")

PRELUDE = """
const signalR = require("@microsoft/signalr");
const { MessagePackHubProtocol } = require("@microsoft/signalr-protocol-msgpack");
const [url, transport, protocol] = process.argv.slice(2);
const builder = (query = "") => new signalR.HubConnectionBuilder()
    .withUrl(url + query, { transport: signalR.HttpTransportType[transport] })
    .withHubProtocol(protocol === "json" ? new signalR.JsonHubProtocol() : new MessagePackHubProtocol())
    .configureLogging(signalR.LogLevel.None);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tell = (value) => console.log(JSON.stringify(value));
setTimeout(() => { console.error("too slow"); process.exit(3); }, 50000);
"""

ROWS = [
    ("WebSockets", "json"),
    ("WebSockets", "messagepack"),
    ("ServerSentEvents", "json"),
    ("LongPolling", "json"),
    ("LongPolling", "messagepack"),
]
"""Transports and protocols that go together."""

rows = pytest.mark.parametrize(("transport", "protocol"), ROWS, ids=["-".join(row) for row in ROWS])


def node() -> str:
    """Node.js, or the test is skipped."""
    found, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if found is None or not all((Path(modules) / package).is_dir() for package in PACKAGES):
        reason = (
            f"needs Node.js and `npm install {' '.join(PACKAGES)}`, with NODE_PATH set to its node_modules"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


async def run(url: str, program: str, *, transport: str = "WebSockets", protocol: str = "json") -> list[Any]:
    """Run the program, an async function's body, and return what it has told. Raises AssertionError if it fails."""
    found = node()
    whole = f"{PRELUDE}\n(async () => {{\n{program}\n}})().then(() => process.exit(0), (error) => {{\n"
    whole += "    console.error(error); process.exit(1); });\n"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "program.js"
        script.write_text(whole)
        done = await trio.run_process(
            [found, str(script), url, transport, protocol],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]
