"""The chat of the library's guide: the program as it stands there, and four kinds of clients in one room."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from page.browser import ARGUMENTS, CHROMIUM
from playwright.async_api import Page, async_playwright, expect
from server_process import PATIENCE, ServerProcess
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

Start = Callable[..., ServerProcess]

GUIDE = Path(__file__).parents[2] / "trioecho" / "README.md"
MOST_LINES = 59

ADA, GRACE = "engine-1843", "moth-1947"

LARGE, MANY = 2**18, 6
"""Characters of a message, and how many such are said: far more than is buffered for a client that does not read."""

ON_A_FREE_PORT = "import functools, runpy, sys, trioecho\n" + (
    "trioecho.run = functools.partial(trioecho.run, port=0, log_format='json')\n"
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)

NODE_CLIENT = """
const WebSocket = require("ws");
const ws = new WebSocket(process.argv[1], { headers: { Authorization: `Bearer ${process.argv[2]}` } });
const tell = (...what) => console.log(JSON.stringify(what));
ws.on("open", () => tell("open"));
ws.on("message", (data) => tell("message", data.length > 100 ? data.length : data.toString()));
ws.on("close", (code, reason) => { tell("close", code, reason.toString()); process.exit(); });
process.stdin.on("data", (line) => ws.send(line.toString().trim()));
"""


def program() -> str:
    section = GUIDE.read_text(encoding="utf-8").split("## A chat with rooms\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return block


class NodeClient:
    """`ws` on Node.js, which sends what it is told and tells what it hears."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def hear(self) -> list[str | int]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the client on Node.js has ended"
        heard: list[str | int] = json.loads(line)
        return heard

    def say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())


@asynccontextmanager
async def on_node(node: str, url: str, token: str) -> AsyncIterator[NodeClient]:
    process = await asyncio.create_subprocess_exec(
        node, "-e", NODE_CLIENT, url, token, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        client = NodeClient(process)
        assert await client.hear() == ["open"]
        yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def in_chromium(url: str) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        await page.goto(url)
        yield page
        await browser.close()


async def join(page: Page, room: str, token: str) -> None:
    await page.get_by_label("Room").fill(room)
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Join").click()


async def refused(url: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, proxy=None):
            pass
    return caught.value.response.status_code


async def close_after_all(ws: ClientConnection) -> tuple[int | None, str | None]:
    """Read what is left, to the end."""
    try:
        while True:
            await ws.recv()
    except ConnectionClosed:
        return ws.close_code, ws.close_reason


async def story(server: ServerProcess, node: str) -> None:
    room = f"{server.url.replace('http', 'ws')}/rooms"
    ada, grace = f"?access_token={ADA}", f"?access_token={GRACE}"
    assert await refused(f"{room}/engine") == 401
    assert await refused(f"{room}/engine?access_token=wrong") == 401
    async with AsyncExitStack() as clients:
        enter = clients.enter_async_context
        page = await enter(in_chromium(server.url))
        await join(page, "engine", "wrong")
        lines = page.get_by_role("listitem")
        await expect(lines).to_have_text(["closed: 1006 "])
        await join(page, "engine", GRACE)
        await expect(page.get_by_label("Message")).to_be_focused()

        plain = await enter(connect(f"{room}/engine{ada}", proxy=None, max_size=None))
        session = await enter(aiohttp.ClientSession())
        other = await enter(session.ws_connect(f"{room}/engine{grace}", max_msg_size=0))
        third = await enter(on_node(node, f"{room}/engine", ADA))
        outside = await enter(connect(f"{room}/attic{ada}", proxy=None))

        said: list[str] = []

        async def heard_by_all(line: str) -> None:
            said.append(line)
            assert await plain.recv() == line
            assert await other.receive_str() == line
            assert await third.hear() == ["message", line]
            await expect(lines.last).to_have_text(line)

        await plain.send("from websockets")
        await heard_by_all("ada: from websockets")
        await other.send_str("from aiohttp: <b>ünd</b>")
        await heard_by_all("grace: from aiohttp: <b>ünd</b>")
        third.say("from ws")
        await heard_by_all("ada: from ws")
        await page.get_by_label("Message").fill("from the page")
        await page.get_by_role("button", name="Send").click()
        await heard_by_all("grace: from the page")
        await expect(lines).to_have_text(["closed: 1006 ", *said])
        await outside.send("is anybody here?")
        assert await outside.recv() == "ada: is anybody here?", (
            "another room heard what was said in the first"
        )

        # It joins with little room in its own buffers, and does not read.
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect(("127.0.0.1", server.port))
        deaf = await enter(
            connect(f"{room}/engine{grace}", sock=small, proxy=None, max_queue=1, max_size=None)
        )
        size = len("ada: ") + LARGE
        for count in range(MANY):
            await plain.send("x" * LARGE)
            assert len(await plain.recv()) == size
            assert len(await other.receive_str()) == size
            assert await third.hear() == ["message", size]
            await expect(lines).to_have_count(1 + len(said) + count + 1)
        assert await close_after_all(deaf) == (1008, "too slow")
        await plain.send("it is gone")
        await heard_by_all("ada: it is gone")


@pytest.mark.timeout(120)
def test_four_kinds_of_clients_chat_in_one_room(tmp_path: Path, start_server: Start) -> None:
    """Everyone in the room hears everyone; a wrong token is refused; another room hears nothing; and who does not read
    is closed with 1008 while the others go on."""
    node = shutil.which("node")
    if node is not None and subprocess.run([node, "-e", "require('ws')"], capture_output=True).returncode:
        node = None
    if node is None or CHROMIUM is None:
        reason = "needs Chromium, and Node.js with `npm install ws` and NODE_PATH set to its node_modules"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    file = tmp_path / "chat.py"
    file.write_text(program(), encoding="utf-8")
    server = start_server(str(file), command=("-c", ON_A_FREE_PORT))
    asyncio.run(asyncio.wait_for(story(server, node), 60))
    assert server.stop() == 0
    causes = [json.loads(line)["record"]["cause"] for line in server.log if '"record"' in line]
    assert causes.count("too slow") == 1
    assert not any(token in line for token in (ADA, GRACE, "wrong") for line in server.log), (
        "a token is in the log"
    )


def test_it_has_less_than_60_lines() -> None:
    """The page is counted."""
    assert len(program().splitlines()) <= MOST_LINES
