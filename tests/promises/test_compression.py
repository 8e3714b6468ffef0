"""Compression with other people's clients, and what it takes of memory."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trio
from deflating import Compressor, DeflatingClient, json_of
from server_process import PATIENCE
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

import trioecho
from trioecho import Deflate, LiveServer, WebSocketOptions

SIZES = (0, 20, 200, 2000, 70_000, 200, 300_000)
PARAMETERS = [
    Deflate(),
    Deflate(server_context_takeover=False, client_context_takeover=False),
    Deflate(server_max_window_bits=9, client_max_window_bits=9, threshold=0),
    Deflate(server_max_window_bits=15, client_max_window_bits=15, memory_level=9, level=9),
]


async def echo_and_prepared(ws: trioecho.WebSocket) -> None:
    """Each message, and once more as one that goes to many."""
    async for message in ws:
        await ws.send(message)
        await trioecho.broadcast([ws], message)


def url(server: LiveServer) -> str:
    return f"{server.url.replace('http', 'ws', 1).rstrip('/')}/ws"


def only_record(server: LiveServer) -> trioecho.ConnectionRecord:
    (record,) = server.records
    return record


@pytest.mark.parametrize("deflate", PARAMETERS, ids=range(len(PARAMETERS)))
def test_websockets_talks_deflate(deflate: Deflate) -> None:
    """`websockets` on asyncio: it names the extension, and both sides understand each other."""

    async def story() -> None:
        extensions = [ClientPerMessageDeflateFactory(client_max_window_bits=True)]
        async with connect(url(server), proxy=None, extensions=extensions) as ws:
            (extension,) = ws.protocol.extensions
            assert extension.name == "permessage-deflate"
            assert ws.response is not None
            answers.append(ws.response.headers["Sec-WebSocket-Extensions"])
            for size in SIZES:
                text = json_of(size)
                await ws.send(text)
                assert [await ws.recv(), await ws.recv()] == [text, text]
            await ws.send([b"ab" * 500, b"", b"cd" * 500])
            assert await ws.recv() == b"ab" * 500 + b"cd" * 500

    answers: list[str] = []
    with LiveServer(echo_and_prepared, options=WebSocketOptions(compression=deflate)) as server:
        asyncio.run(asyncio.wait_for(story(), PATIENCE))
    record = only_record(server)
    assert answers == [record.extensions]
    assert record.wire_bytes_received < record.bytes_received / 2
    assert record.wire_bytes_sent < record.bytes_sent / 2
    assert record.clean


@pytest.mark.parametrize("bits", [9, 15])
def test_aiohttp_talks_deflate(bits: int) -> None:
    """aiohttp's client: it says with how many bits it compresses."""

    async def story() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url(server), compress=bits) as ws:
            assert ws.compress == 12, "the window that the server asks of it"
            for size in SIZES:
                text = json_of(size)
                await ws.send_str(text)
                assert [await ws.receive_str(), await ws.receive_str()] == [text, text]
                await ws.send_bytes(text.encode())
                assert [await ws.receive_bytes(), await ws.receive_bytes()] == [text.encode()] * 2

    with LiveServer(echo_and_prepared, options=WebSocketOptions(compression=True)) as server:
        asyncio.run(asyncio.wait_for(story(), PATIENCE))
    record = only_record(server)
    assert record.extensions is not None
    assert record.wire_bytes_received < record.bytes_received / 2


async def echo_in_pieces(ws: trioecho.WebSocket) -> None:
    """Each message as it comes; every other one put together and sent in pieces of its own."""
    with contextlib.suppress(trio.EndOfChannel):
        while True:
            async with ws.receive_stream() as stream:
                await ws.send(stream)
            message = await ws.receive()
            await ws.send([message[: len(message) // 2], message[len(message) // 2 :]])


def in_fragments(text: str) -> list[str]:
    """`text`, cut into some pieces, one of them empty."""
    return [text[:1], "", text[1:1000], text[1000:]]


@pytest.mark.parametrize("deflate", PARAMETERS, ids=range(len(PARAMETERS)))
def test_websockets_talks_deflate_in_pieces(deflate: Deflate) -> None:
    """`websockets` sends an iterable as one compressed message in fragments, and puts ours together."""

    async def story() -> None:
        extensions = [ClientPerMessageDeflateFactory(client_max_window_bits=True)]
        async with connect(url(server), proxy=None, extensions=extensions) as ws:
            for size in SIZES:
                text = json_of(size)
                await ws.send(in_fragments(text))
                assert await ws.recv() == text
                await ws.send(text.encode())
                assert b"".join([piece async for piece in ws.recv_streaming()]) == text.encode()

    options = WebSocketOptions(compression=deflate, stream_messages=True)
    with LiveServer(echo_in_pieces, options=options) as server:
        asyncio.run(asyncio.wait_for(story(), PATIENCE))
    record = only_record(server)
    assert record.wire_bytes_received < record.bytes_received / 2
    assert record.wire_bytes_sent < record.bytes_sent / 2
    assert record.clean


@pytest.mark.parametrize("bits", [9, 15])
def test_aiohttp_understands_deflate_in_pieces(bits: int) -> None:
    """aiohttp's client puts together what is flushed in pieces, one message of the context behind the other."""

    async def story() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url(server), compress=bits) as ws:
            for size in SIZES:
                text = json_of(size)
                for _ in range(2):
                    await ws.send_str(text)
                    assert await ws.receive_str() == text
                    await ws.send_bytes(text.encode())
                    assert await ws.receive_bytes() == text.encode()

    options = WebSocketOptions(compression=True, stream_messages=True)
    with LiveServer(echo_in_pieces, options=options) as server:
        asyncio.run(asyncio.wait_for(story(), PATIENCE))
    assert only_record(server).wire_bytes_sent < only_record(server).bytes_sent / 2


NODE_CLIENT = """
const WebSocket = require("ws");
const [url, ...texts] = process.argv.slice(1);
const ws = new WebSocket(url, { perMessageDeflate: { threshold: 0 } });
const heard = [];
ws.on("open", () => { for (const text of texts) { ws.send(text); ws.send(Buffer.from(text)); } });
ws.on("message", (data, isBinary) => {
  heard.push([isBinary, data.toString()]);
  if (heard.length === 4 * texts.length) { console.log(JSON.stringify([ws.extensions, heard])); ws.close(1000); }
});
"""


@pytest.mark.parametrize("deflate", PARAMETERS, ids=range(len(PARAMETERS)))
def test_ws_on_node_talks_deflate(deflate: Deflate) -> None:
    """`ws` on Node.js: `extensions` on its side, text and binary."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('ws')"], capture_output=True).returncode:
        reason = "needs Node.js and `npm install ws`, with NODE_PATH set to its node_modules"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    texts = [json_of(size) for size in (1, 200, 2000, 70_000)]
    with LiveServer(echo_and_prepared, options=WebSocketOptions(compression=deflate)) as server:
        client = subprocess.run(
            [node, "-e", NODE_CLIENT, url(server), *texts],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert client.returncode == 0, client.stderr
    extensions, heard = json.loads(client.stdout)
    assert extensions == "permessage-deflate"
    expected = [[binary, text] for text in texts for binary in (False, True) for _ in range(2)]
    assert heard == expected
    assert only_record(server).extensions is not None


IN_THE_BROWSER = """async (url) => {
  const ws = new WebSocket(url);
  await new Promise((resolve) => ws.onopen = resolve);
  const heard = [];
  for (const text of ["x".repeat(500), "short", "☃".repeat(70000), "x".repeat(500)]) {
    const answer = new Promise((resolve) => ws.onmessage = (event) => resolve(event.data));
    ws.send(text);
    heard.push(await answer === text);
  }
  const closed = new Promise((resolve) => ws.onclose = (event) => resolve(event.code));
  ws.close(1000);
  return [ws.extensions, heard, await closed];
}"""


@pytest.mark.keeps_open  # the browser's pipes
def test_chromium_talks_deflate() -> None:
    """`extensions` as a page sees it; each text comes back as it went."""
    browser = pytest.importorskip("page.browser", exc_type=ImportError)
    if browser.CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs Chromium")
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with LiveServer(options=WebSocketOptions(compression=True)) as server, sync_playwright() as playwright:
        chromium = browser.launch(playwright)
        page = chromium.new_page()
        page.goto(server.url)
        extensions, heard, code = page.evaluate(IN_THE_BROWSER, url(server))
        chromium.close()
    record = only_record(server)
    assert extensions == record.extensions
    assert extensions == "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    assert (heard, code) == ([True] * 4, 1000)
    assert record.wire_bytes_received < record.bytes_received / 100
    assert record.wire_bytes_sent < record.bytes_sent / 100


def resident() -> int:
    """Bytes of this process in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


CONNECTIONS = 1000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("deflate", "most"),
    [
        (Deflate(), 70),
        (Deflate(server_context_takeover=False, client_context_takeover=False), 12),
    ],
    ids=["with context", "without"],
)
async def test_a_thousand_connections_take_what_their_contexts_take(
    deflate: Deflate, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """38 KiB to compress and 12 KiB to decompress, from the first message on, and nothing without context takeover."""
    frame = Compressor().frame(json_of(2000))
    wanted = CONNECTIONS
    options = WebSocketOptions(compression=deflate)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, port=0, options=options))
        async with clients(server.port, wanted) as streams:
            gc.collect()
            before = resident()
            for stream in streams:
                await stream.send_all(frame)
                await stream.receive_some()
            gc.collect()
            each = (resident() - before) / wanted / 1024
            with capsys.disabled():
                print(f"\nmemory of contexts: {each:.1f} KiB a connection")
        nursery.cancel_scope.cancel()
    assert each < most


@contextlib.asynccontextmanager
async def clients(port: int, number: int) -> AsyncIterator[list[trio.SocketStream]]:
    """So many connections that have agreed on compression."""
    streams: list[trio.SocketStream] = []
    try:
        for _ in range(number):
            streams.append(await trio.open_tcp_stream("127.0.0.1", port))
            client = DeflatingClient(streams[-1])
            await client.handshake(
                headers="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            )
        yield streams
    finally:
        for stream in streams:
            await trio.aclose_forcefully(stream)
