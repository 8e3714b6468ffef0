"""Other people's clients: websockets, aiohttp, and ws on Node.js, each against a server process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable

import aiohttp
import pytest
from server_process import PATIENCE, ServerProcess
from websockets.asyncio.client import connect

Start = Callable[..., ServerProcess]

TEXT = "grüße ☃ " * 5000
BINARY = bytes(range(256)) * 500

NODE_CLIENT = """
const WebSocket = require("ws");
const [url, text] = process.argv.slice(1);
const ws = new WebSocket(url);
const heard = [];
ws.on("open", () => { ws.send(text); ws.send(Buffer.from([0, 255, 1])); ws.ping("are you there?"); });
ws.on("pong", (payload) => heard.push(["pong", payload.toString()]));
ws.on("message", (data, isBinary) => {
  heard.push([isBinary ? "binary" : "text", isBinary ? [...data] : data.toString()]);
  if (isBinary) ws.close(3001, "enough");
});
ws.on("close", (code, reason) => {
  heard.push(["close", code, reason.toString()]);
  console.log(JSON.stringify(heard));
});
"""


def check_record(server: ServerProcess, code: int) -> None:
    """The server saw the client close with `code`, mirrored it, and says that all was clean."""
    assert server.stop() == 0
    (record,) = [json.loads(line)["record"] for line in server.log if "peer closed" in line]
    assert (record["code_received"], record["code_sent"], record["clean"]) == (code, code, True)


def test_websockets_is_echoed(start_server: Start) -> None:
    """`websockets` on asyncio, with its compression offered and declined: text, binary, fragments, Close."""

    async def story(url: str) -> None:
        async with connect(url, proxy=None) as ws:
            await ws.send(TEXT)
            assert await ws.recv() == TEXT
            await ws.send([BINARY, BINARY])
            assert await ws.recv() == BINARY + BINARY
            assert await (await ws.ping("are you there?")) >= 0
            await ws.close(3001, "enough")
            assert (ws.close_code, ws.close_reason) == (3001, "enough")

    server = start_server("--log-format", "json")
    asyncio.run(asyncio.wait_for(story(server.websocket_url), PATIENCE))
    check_record(server, 3001)


def test_aiohttp_is_echoed(start_server: Start) -> None:
    """aiohttp's client, with its compression offered and declined: text, binary, Close."""

    async def story(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as ws:
            await ws.send_str(TEXT)
            assert await ws.receive_str() == TEXT
            await ws.send_bytes(BINARY)
            assert await ws.receive_bytes() == BINARY
            assert await ws.close(code=3001, message=b"enough")
            assert ws.close_code == 3001

    server = start_server("--log-format", "json")
    asyncio.run(asyncio.wait_for(story(server.websocket_url), PATIENCE))
    check_record(server, 3001)


def test_ws_on_node_is_echoed(start_server: Start) -> None:
    """`ws` on Node.js, with its compression offered and declined: text, binary, Ping, Close."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('ws')"], capture_output=True).returncode:
        reason = "needs Node.js and `npm install ws`, with NODE_PATH set to its node_modules"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = start_server("--log-format", "json")
    client = subprocess.run(
        [node, "-e", NODE_CLIENT, server.websocket_url, TEXT],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert client.returncode == 0, client.stderr
    heard = json.loads(client.stdout)
    assert ["pong", "are you there?"] in heard
    assert [entry for entry in heard if entry[0] != "pong"] == [
        ["text", TEXT],
        ["binary", [0, 255, 1]],
        ["close", 3001, "enough"],
    ]
    check_record(server, 3001)
