"""Copy as Code: a program that holds the same conversation again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from page.browser import Tab
from page.conftest import OpenTab, StartServer
from trioecho import ConnectionRecord, LiveServer, WebSocket

TEXTS = (
    "Hello",
    "",
    "\"quoted\" \\ 'text'\nand a line, {braces}",
    "Grüße 👋 \u202ereversed\u2028",
    "a\x00b\x7f",
)


class Witness:
    """An echo server's handler that remembers each connection's messages."""

    def __init__(self) -> None:
        self.heard: list[list[str | bytes]] = []

    async def __call__(self, ws: WebSocket) -> None:
        heard: list[str | bytes] = []
        self.heard.append(heard)
        async for message in ws:
            heard.append(message)
            await ws.send(message)


@pytest.fixture
def witness() -> Witness:
    return Witness()


def code_of(tab: Tab, language: str) -> str:
    """The program in the dialog, by way of the clipboard."""
    tab["code"].click()
    tab.page.get_by_role("radio", name=language).check()
    tab["copy-code"].click()
    expect(tab["said"]).to_have_text("Code copied")
    tab["done"].click()
    expect(tab.page.get_by_role("dialog")).to_be_hidden()
    code: str = tab.evaluate("navigator.clipboard.readText()")
    return code


def run_python(code: str) -> str:
    # A proxy that the environment names is none of the conversation's.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_javascript(tab: Tab, code: str) -> list[str]:
    """Runs it as the browser's console would, and returns what it prints."""
    tab.printed.clear()
    tab.evaluate(f"async () => {{ {code} }}")
    return tab.printed


def facts(record: ConnectionRecord) -> tuple[object, ...]:
    """What two connections of the same conversation have in common."""
    different = {"id", "peer", "origin", "duration"}
    return tuple(value for name, value in record.as_dict().items() if name not in different)


def compare(server: LiveServer, witness: Witness | None = None) -> None:
    """Asserts that all connections of this server were the same conversation."""
    server.stop()
    records = server.records
    assert len(records) == 3
    assert facts(records[0]) == facts(records[1]) == facts(records[2])
    if witness is not None:
        assert witness.heard[0] == witness.heard[1] == witness.heard[2]


def test_programs_hold_the_same_conversation(start: StartServer, open_tab: OpenTab, witness: Witness) -> None:
    """Python and JavaScript send the same messages, get the same answers and say the same goodbye."""
    server = start(witness, subprotocols=("chat",))
    tab = open_tab(server)
    tab.open_options("Connection options")
    tab["subprotocols"].fill("soap, chat")
    tab["close-code"].fill("3210")
    tab["close-reason"].fill('a "reason"')
    tab.connect()
    for text in TEXTS:
        tab.send(text)
    tab.open_options("Send binary")
    tab["hex"].fill("00 ff 7f")
    tab["send-hex"].click()
    tab.wait_for_rows(1 + 2 * (len(TEXTS) + 1))
    tab.close()

    printed = run_python(code_of(tab, "Python"))
    assert printed.startswith("Hello\n\n\"quoted\" \\ 'text'\nand a line, {braces}\nGrüße 👋")
    assert printed.endswith("b'\\x00\\xff\\x7f'\n")
    printed_js = run_javascript(tab, code_of(tab, "JavaScript"))
    assert printed_js[0] == "Hello"
    assert printed_js[-1] == '3210 a "reason"'

    compare(server, witness)
    assert witness.heard[0] == [*TEXTS, b"\x00\xff\x7f"]


class Compressing(Witness):
    """One that remembers, too, what each connection has agreed on."""

    def __init__(self) -> None:
        super().__init__()
        self.agreed: list[tuple[str, ...]] = []

    async def __call__(self, ws: WebSocket) -> None:
        self.agreed.append(ws.extensions)
        await super().__call__(ws)


def test_programs_compress_as_the_switch_says(start: StartServer, open_tab: OpenTab, tmp_path: Path) -> None:
    """On, as the page's own connection was, the programs agree on permessage-deflate; off, on nothing."""
    witness = Compressing()
    tab = open_tab(start(witness, subprotocols=("chat",), compression=True))
    tab.open_options("Connection options")
    tab["subprotocols"].fill("chat")
    tab.connect()
    for text in ("so long " * 100, *TEXTS):
        tab.send(text)
    tab.wait_for_rows(1 + 2 * (1 + len(TEXTS)))
    tab.close()
    tab["code"].click()
    expect(tab["compressed"]).to_be_checked()
    tab["done"].click()

    on = code_of(tab, "Python")
    run_python(on)
    run_javascript(tab, code_of(tab, "JavaScript"))
    tab["code"].click()
    tab["compressed"].uncheck()
    tab["done"].click()
    off = code_of(tab, "Python")
    assert "websockets" in on
    assert "trio_websocket" in off
    run_python(off)
    assert run_node(code_of(tab, "JavaScript"), tmp_path).endswith("1000 Closing from client\n")

    assert [bool(agreed) for agreed in witness.agreed] == [True, True, True, False, False]
    assert all(heard == witness.heard[0] for heard in witness.heard)


@pytest.mark.parametrize("compression", [False, True])
def test_the_switch_is_there_where_compression_was_agreed_on(
    start: StartServer, open_tab: OpenTab, compression: bool
) -> None:
    """A server that declines it would decline it of the programs, too."""
    tab = open_tab(start(compression=compression))
    tab.connect()
    tab["code"].click()
    expect(tab["compressed"]).to_be_visible(visible=compression)


def test_a_compressing_program_waits_where_the_server_closed(start: StartServer, open_tab: OpenTab) -> None:
    """The end that the server makes is heard by the library that compresses, too."""

    async def one_answer(ws: WebSocket) -> None:
        await ws.send(await ws.receive())
        await ws.aclose(4001, "enough")

    tab = open_tab(start(one_answer, compression=True))
    tab.connect()
    tab.send("only this")
    tab.sees("Closed")
    python = code_of(tab, "Python")
    assert "from websockets.trio.client import connect" in python
    assert run_python(python).splitlines() == ["only this", "4001 (private use) enough"]


def run_node(code: str, folder: Path) -> str:
    """Runs a module in Node.js, with ws installed where NODE_PATH has it."""
    node, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if node is None or not (Path(modules) / "ws").is_dir():
        reason = "needs Node.js and `npm install ws`, with NODE_PATH set to its node_modules"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # A module does not look into NODE_PATH.
    (folder / "node_modules").symlink_to(modules)
    program = folder / "conversation.mjs"
    program.write_text(code, encoding="utf-8")
    done = subprocess.run([node, program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_unseen_characters_are_seen_in_the_code(tab: Tab) -> None:
    """A character that would turn the code's direction or break its line is written as an escape."""
    tab.connect()
    tab.send("\u202ereversed\u2028")
    tab.wait_for_rows(3)
    for language in ("Python", "JavaScript"):
        assert r'"\u202ereversed\u2028"' in code_of(tab, language)


def test_program_waits_where_the_server_closed(start: StartServer, open_tab: OpenTab) -> None:
    """Of a conversation that the server ended, the programs hear the end too."""

    async def one_answer(ws: WebSocket) -> None:
        await ws.send(await ws.receive())
        await ws.aclose(4001, "enough")

    server = start(one_answer)
    tab = open_tab(server)
    tab.connect()
    tab.send("only this")
    tab.sees("Closed")
    assert "4001" in run_python(code_of(tab, "Python"))
    assert run_javascript(tab, code_of(tab, "JavaScript")) == ["only this", "4001 enough"]
    compare(server)


def test_program_of_a_message_too_big_to_read(start: StartServer, open_tab: OpenTab) -> None:
    """A long message is written as one of the same length, so that the server's answer to it is the same."""
    server = start(max_message_size=6000)
    tab = open_tab(server)
    tab.connect()
    tab.send("a" * 5000)
    tab.wait_for_rows(3)
    tab.send("b" * 7000)
    tab.sees("Closed")
    python = code_of(tab, "Python")
    assert '"x" * 5000' in python
    assert "1009" in run_python(python)
    assert run_javascript(tab, code_of(tab, "JavaScript"))[-1].startswith("1009 ")
    compare(server)


def test_program_of_an_open_conversation(start: StartServer, open_tab: OpenTab) -> None:
    """While the connection is open, the code has what was said so far and ends with a plain goodbye."""
    server = start()
    tab = open_tab(server)
    expect(tab["code"]).to_be_disabled()
    tab.connect()
    tab.send("so far")
    tab.wait_for_rows(3)
    python = code_of(tab, "Python")
    assert python.splitlines()[-4].strip() == "await ws.aclose(1000)"
    assert run_python(python) == "so far\n"
