"""Other people's clients: SignalR's own, below its hubs, on Node.js over each transport; and aiohttp."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from typing import Any

import aiohttp
import pytest
from hubs.clients_of_transports import echo

import trioecho
from trioecho import LiveServer
from trioecho.hubs import Connection, ConnectionOptions, ConnectionRoute

PATIENCE = 20

CLIENT = """
const {HttpTransportType, TransferFormat} = require("@microsoft/signalr");
const {HttpConnection} = require("@microsoft/signalr/dist/cjs/HttpConnection");
const [url, transport, options, format, ...messages] = process.argv.slice(1);
const quiet = {log() {}};
const connection = new HttpConnection(url, {
  transport: HttpTransportType[transport], logger: quiet, ...JSON.parse(options)
});
const heard = {received: "", closed: null, error: null};
const text = (data) => typeof data === "string" ? data : Buffer.from(data).toString();
const total = messages.join("").length;
const ended = new Promise((resolve) => {
  connection.onclose = (error) => { heard.closed = error ? error.message : "in good order"; resolve(); };
});
connection.onreceive = (data) => {
  heard.received += text(data);
  if (heard.received.length === total) { connection.stop(); }
};
(async () => {
  try {
    await connection.start(TransferFormat[format]);
    for (const message of messages) {
      await connection.send(format === "Binary" ? new TextEncoder().encode(message).buffer : message);
    }
    await ended;
  } catch (error) {
    heard.error = error.message;
  }
  console.log(JSON.stringify(heard));
})();
"""


def node(url: str, transport: str, *messages: str, format: str = "Text", **options: object) -> dict[str, Any]:
    """What the client on Node.js has heard that sends `messages` and stops when as much has come back."""
    program = shutil.which("node")
    needed = "require('@microsoft/signalr')"
    if program is None or subprocess.run([program, "-e", needed], capture_output=True).returncode:
        reason = "needs Node.js and `npm install @microsoft/signalr`, with NODE_PATH set to its node_modules"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    client = subprocess.run(
        [program, "-e", CLIENT, url, transport, json.dumps(options), format, *messages],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert client.returncode == 0, client.stderr
    heard: dict[str, Any] = json.loads(client.stdout)
    return heard


async def echo_bytes(connection: Connection) -> None:
    while True:
        await connection.send(await connection.receive())


async def say_goodbye(connection: Connection) -> None:
    await connection.receive()


async def nobody(request: trioecho.Request) -> None:
    raise trioecho.Refused(401, "You are not known here.")


ROUTES: dict[str, trioecho.Route] = {
    "/echo": ConnectionRoute(echo),
    "/bytes": ConnectionRoute(echo_bytes),
    "/goodbye": ConnectionRoute(say_goodbye),
    "/private": ConnectionRoute(echo, admit=nobody),
    "/polled": ConnectionRoute(echo, options=ConnectionOptions(transports=["long-polling"])),
}

TRANSPORTS = ("WebSockets", "ServerSentEvents", "LongPolling")
LARGE = "grüße ☃ " * 10_000


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_signalrs_client_sends_receives_and_stops(transport: str) -> None:
    """Small messages and large ones, which come in whatever cut; it leaves in good order."""
    with LiveServer(ROUTES, port=0) as server:
        heard = node(f"{server.url}/Echo", transport, "hello", LARGE, "bye")
        assert heard == {"received": f"hello{LARGE}bye", "closed": "in good order", "error": None}


@pytest.mark.parametrize("transport", ["WebSockets", "LongPolling"])
def test_signalrs_client_sends_and_receives_bytes(transport: str) -> None:
    with LiveServer(ROUTES, port=0) as server:
        heard = node(f"{server.url}/bytes", transport, "hello", "bye", format="Binary")
        assert (heard["received"], heard["error"]) == ("hellobye", None)


def test_signalrs_client_may_skip_the_negotiation() -> None:
    with LiveServer(ROUTES, port=0) as server:
        heard = node(f"{server.url}/echo", "WebSockets", "hello", skipNegotiation=True)
        assert (heard["received"], heard["error"]) == ("hello", None)


def test_signalrs_client_takes_the_transport_that_there_is() -> None:
    """It is offered no other."""
    with LiveServer(ROUTES, port=0) as server:
        assert node(f"{server.url}/polled", "None", "hello")["received"] == "hello"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_signalrs_client_hears_a_goodbye(transport: str) -> None:
    """And takes it for one."""
    with LiveServer(ROUTES, port=0) as server:
        heard = node(f"{server.url}/goodbye", transport, "leave me")
        assert (heard["closed"], heard["error"]) == ("in good order", None)


def test_signalrs_client_is_told_that_it_is_not_authorized() -> None:
    """By the name of the status: any body would be shown in its place."""
    with LiveServer(ROUTES, port=0) as server:
        error = node(f"{server.url}/private", "LongPolling", "x")["error"]
        assert (
            error == "Failed to complete negotiation with the server: Error: Unauthorized: Status code '401'"
        )


def test_aiohttp_polls() -> None:
    async def story(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/negotiate?negotiateVersion=1") as answer:
                assert answer.status == 200
                token = (await answer.json())["connectionToken"]
            query = {"id": token}
            async with session.get(url, params=query) as answer:
                assert (answer.status, await answer.read()) == (200, b"")
            polling = asyncio.create_task(session.get(url, params=query))
            async with session.post(url, params=query, data=LARGE.encode()) as answer:
                assert answer.status == 200
            async with await polling as answer:
                assert await answer.text() == LARGE
            async with session.delete(url, params=query) as answer:
                assert answer.status == 202
            async with session.get(url, params=query) as answer:
                assert answer.status == 404

    with LiveServer(ROUTES, port=0) as server:
        asyncio.run(asyncio.wait_for(story(f"{server.url}/echo"), PATIENCE))


def test_aiohttp_reads_events() -> None:
    async def story(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/negotiate?negotiateVersion=1") as answer:
                query = {"id": (await answer.json())["connectionToken"]}
            async with session.get(url, params=query, headers={"Accept": "text/event-stream"}) as events:
                assert await events.content.readline() == b":\r\n"
                async with session.post(url, params=query, data=b"hello") as answer:
                    assert answer.status == 200
                assert await events.content.readline() == b"data: hello\r\n"

    with LiveServer(ROUTES, port=0) as server:
        asyncio.run(asyncio.wait_for(story(f"{server.url}/echo"), PATIENCE))
