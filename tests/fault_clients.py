"""A server of faults, and other people's clients that are let loose on it: websockets, aiohttp, and ws on Node.js."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import serving
from plain_http import plain_http
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

import trioecho
import trioecho.faults
from trioecho.testing import RawClient

PATIENCE = 20.0


@dataclass(frozen=True)
class Visit:
    """What a client does: connect, say something, close once it has heard as many messages; else await the end."""

    path: str
    say: tuple[str, ...] = ()
    close_after: int | None = None
    subprotocols: tuple[str, ...] = ()
    compress: bool = False
    patience: float = 5.0


@dataclass
class Outcome:
    """What it has to tell. `code` is what the client shows."""

    opened: bool = False
    status: int | None = None
    heard: list[str] = field(default_factory=list)
    code: int | None = None
    reason: str = ""
    error: str = ""


@contextlib.contextmanager
def fault_server() -> Iterator[trioecho.LiveServer]:
    """A server in a thread, an echo at /ws beside the faults."""
    live = trioecho.LiveServer({"/ws": trioecho.echo, **trioecho.faults.routes()})
    live.start()
    try:
        yield live
    finally:
        live.stop(timeout=0)


def seen(live: trioecho.LiveServer, name: str) -> dict[str, Any]:
    """What the server saw of a connection, once that has ended."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{live.url}/seen/{name}?wait=15", timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def visit_all(client: str, live: trioecho.LiveServer, visits: Sequence[Visit]) -> list[Outcome]:
    """All visits at once, by one client: "websockets", "aiohttp" or "ws"."""
    url = "ws" + live.url.removeprefix("http")
    if client == "ws":
        return _by_node(url, visits)
    one = _by_websockets if client == "websockets" else _by_aiohttp

    async def all_of_them() -> list[Outcome]:
        return await asyncio.wait_for(asyncio.gather(*[one(url, visit) for visit in visits]), PATIENCE)

    return asyncio.run(all_of_them())


def visit(client: str, live: trioecho.LiveServer, path: str, *say: str, **more: Any) -> Outcome:
    """One visit."""
    return visit_all(client, live, [Visit(path, say, **more)])[0]


async def _by_websockets(url: str, visit: Visit) -> Outcome:
    told = Outcome()
    options = {
        "subprotocols": visit.subprotocols or None,
        "compression": "deflate" if visit.compress else None,
    }
    try:
        async with connect(
            url + visit.path, proxy=None, open_timeout=visit.patience, close_timeout=visit.patience, **options
        ) as ws:
            told.opened, told.status = True, 101
            for text in visit.say:
                await ws.send(text)
            try:
                async with asyncio.timeout(visit.patience):
                    while True:
                        told.heard.append(str(await ws.recv()))
                        if len(told.heard) == visit.close_after:
                            await ws.close(3000, "enough")
            except ConnectionClosed as closed:
                told.error = str(closed)
            except TimeoutError:
                told.error = "silence"
        told.code, told.reason = ws.close_code, ws.close_reason or ""
    except InvalidStatus as refused:
        told.status = refused.response.status_code
    except (OSError, InvalidHandshake, EOFError) as error:
        told.error = f"{type(error).__name__}: {error}"
    return told


async def _by_aiohttp(url: str, visit: Visit) -> Outcome:
    told = Outcome()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                url + visit.path, protocols=visit.subprotocols, compress=15 if visit.compress else 0
            ) as ws,
        ):
            told.opened, told.status = True, 101
            for text in visit.say:
                await ws.send_str(text)
            try:
                async with asyncio.timeout(visit.patience):
                    while True:
                        message = await ws.receive()
                        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                            told.heard.append(str(message.data))
                        else:
                            told.error = str(message.type)
                            told.reason = str(message.extra or "")
                            break
                        if len(told.heard) == visit.close_after:
                            await ws.close(code=3000, message=b"enough")
            except TimeoutError:
                told.error = "silence"
            # What `close_code` says once aiohttp has closed by itself is its own.
            told.code = message.data if message.type is aiohttp.WSMsgType.CLOSE else ws.close_code
    except aiohttp.WSServerHandshakeError as refused:
        told.status, told.error = refused.status, refused.message
    except (aiohttp.ClientError, OSError) as error:
        told.error = f"{type(error).__name__}: {error}"
    return told


_NODE = """
const WebSocket = require("ws");
const [url, visits] = [process.argv[1], JSON.parse(process.argv[2])];
const one = (visit) => new Promise((resolve) => {
  const told = { opened: false, status: null, heard: [], code: null, reason: "", error: "" };
  const ws = new WebSocket(url + visit.path, visit.subprotocols, { perMessageDeflate: visit.compress });
  const timer = setTimeout(() => { told.error = "silence"; ws.terminate(); resolve(told); }, visit.patience * 1000);
  ws.on("open", () => { told.opened = true; told.status = 101; visit.say.forEach((text) => ws.send(text)); });
  ws.on("message", (data) => {
    told.heard.push(data.length > 100000 ? `${data.length} bytes` : data.toString());
    if (told.heard.length === visit.close_after) ws.close(3000, "enough");
  });
  ws.on("unexpected-response", (request, response) => { told.status = response.statusCode; clearTimeout(timer);
    request.destroy(); resolve(told); });
  ws.on("error", (error) => { told.error = error.message; });
  ws.on("close", (code, reason) => { told.code = code; told.reason = reason.toString(); clearTimeout(timer);
    resolve(told); });
});
Promise.all(visits.map(one)).then((all) => { console.log(JSON.stringify(all)); process.exit(0); });
"""


def _by_node(url: str, visits: Sequence[Visit]) -> list[Outcome]:
    node, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if node is None or not (Path(modules) / "ws").is_dir():
        pytest.skip("needs Node.js and `npm install ws`, with NODE_PATH set to its node_modules")
    arguments = [node, "-e", _NODE, url, json.dumps([asdict(each) for each in visits])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return [Outcome(**each) for each in json.loads(done.stdout)]


clients = pytest.mark.parametrize("client", ["websockets", "aiohttp", "ws"])
"""For a test of what each of them makes of a fault."""


@contextlib.asynccontextmanager
async def serving_faults(**options: Any) -> AsyncIterator[trioecho.Server]:
    """A server of faults in the test's own Trio run, an echo at /ws beside them."""
    async with serving.serving({"/ws": trioecho.echo, **trioecho.faults.routes()}, **options) as server:
        yield server


@contextlib.asynccontextmanager
async def at(server: trioecho.Server, path: str, **handshake: Any) -> AsyncIterator[RawClient]:
    """A client at `path`, by which the test sees bytes; named "it" for `seen_by`."""
    path += ("&" if "?" in path else "?") + "id=it"
    async with serving.connected(server, path=path, **handshake) as client:
        yield client


async def seen_by(server: trioecho.Server, name: str = "it", *, wait: int = 10) -> dict[str, Any]:
    """What `server` saw of a connection, once it has ended, or now if `wait` is 0."""
    async with plain_http(server) as client:
        answer = await client.ask(f"/seen/{name}?wait={wait}")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def connected_or_refused(server: trioecho.Server, path: str, headers: str = "") -> int:
    """The status that a handshake at `path` is answered with."""
    client = RawClient(await serving.open_stream(server))
    try:
        await client.handshake(path, headers=headers)
    except AssertionError as refused:
        return int(str(refused).split(" ")[1])
    else:
        return 101
    finally:
        await client.stream.aclose()
