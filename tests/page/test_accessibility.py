"""For everybody: keyboard alone, screen reader, narrow screen, dark mode; and small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

import trioecho
from page.browser import Tab
from page.conftest import OpenTab, StartServer

AXE = (Path(__file__).parent / "axe.min.js").read_text()
PAGE = Path(trioecho.__file__).parent / "page"
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 4


def findings(tab: Tab) -> list[str]:
    """What axe-core finds, of any weight."""
    tab.evaluate(AXE)
    found: dict[str, Any] = tab.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['impact']}: {violation['help']}: {node['target']} {node.get('failureSummary', '')}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[1280, 360])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def seen(browser: Browser, start: StartServer, scheme: str, width: int) -> Iterator[Tab]:
    """The page in one color scheme and one width."""
    server = start(subprotocols=("chat",), compression=True)
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    with Tab(context, server.url) as tab:
        yield tab
    context.close()


def test_axe_finds_nothing(seen: Tab) -> None:
    """axe-core has nothing to say, at first sight, in the middle of everything, of the dialog, and of a failure."""
    assert findings(seen) == []

    seen.open_options("Connection options")
    seen["subprotocols"].fill("chat")
    seen.connect()
    seen.open_options("Send binary")
    seen["hex"].fill("xy")
    seen["send-hex"].click()
    for text in ("Hello", "", LONG_WORD):
        seen.send(text)
    seen.wait_for_rows(7)
    assert findings(seen) == []

    seen["code"].click()
    expect(seen.page.get_by_role("dialog")).to_be_visible()
    assert findings(seen) == []

    seen["done"].click()
    seen.close()
    seen.allow_failed_connection()
    seen["url"].fill(seen["url"].input_value() + "/nowhere")
    seen["url"].press("Enter")
    seen.notice("no WebSocket at")
    assert findings(seen) == []


def test_nothing_is_wider_than_the_screen(seen: Tab) -> None:
    """Neither the page nor the log scrolls sideways, even with everything open and a word that never ends."""
    seen.open_options("Connection options")
    seen.open_options("Send binary")
    seen["subprotocols"].fill("chat")
    seen.connect()
    seen.send(LONG_WORD)
    seen["hex"].fill("ab" * 300)
    seen["send-hex"].click()
    seen.wait_for_rows(5)
    for element in ("document.documentElement", "log"):
        assert seen.evaluate(f"{element}.scrollWidth <= {element}.clientWidth"), element
    seen["code"].click()
    assert seen.evaluate("document.querySelector('dialog').getBoundingClientRect().width <= innerWidth")
    cut = seen.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea, h1, h2, td, #state")]
          .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML)"""
    )
    assert cut == []


def test_keyboard_alone(tab: Tab) -> None:
    """Connect, send, close, choose options and copy code without a mouse; the focus is always seen, never lost."""
    keyboard = tab.page.keyboard

    def press(*keys: str) -> None:
        for key in keys:
            keyboard.press(key)
            shown = tab.evaluate(
                """() => { const style = getComputedStyle(document.activeElement);
                return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2; }"""
            )
            assert shown, f"no visible focus after {key}"

    press("Tab")
    expect(tab["url"]).to_be_focused()
    press("Tab")
    expect(tab["connect"]).to_be_focused()
    keyboard.press("Enter")
    tab.sees("Open")
    expect(tab["text"]).to_be_focused()
    keyboard.type("by hand")
    keyboard.press("Enter")
    tab.wait_for_rows(3)
    expect(tab["text"]).to_be_focused()
    keyboard.type("replaces the first")
    keyboard.press("Enter")
    tab.wait_for_rows(5)
    assert tab.rows()[-1][2] == "replaces the first"

    press("Tab", "Tab", "Enter", "Tab")
    expect(tab["hex"]).to_be_focused()
    keyboard.type("beef")
    keyboard.press("Enter")
    tab.wait_for_rows(7)
    assert tab.rows()[-1][2] == "binary be ef"

    while not tab.evaluate("document.activeElement.id === 'code'"):
        press("Tab")
    keyboard.press("Enter")
    expect(tab.page.get_by_role("dialog", name="The same conversation as code")).to_be_visible()
    keyboard.press("Escape")
    expect(tab["code"]).to_be_focused()
    press("Tab", "Tab", "Tab")
    expect(tab["log"]).to_be_focused()

    while not tab.evaluate("document.activeElement.id === 'close'"):
        press("Shift+Tab")
    keyboard.press("Enter")
    tab.sees("Closed")
    expect(tab["connect"]).to_be_focused()


def test_focus_is_not_lost_when_the_server_closes(start: StartServer, open_tab: OpenTab) -> None:
    """When the field a person types in is disabled by the end of the connection, the focus goes to Connect."""
    server = start()
    tab = open_tab(server)
    tab.connect()
    tab["text"].press_sequentially("half a sen")
    server.stop()
    tab.sees("Closed")
    expect(tab["connect"]).to_be_focused()
    expect(tab["text"]).to_have_value("half a sen")


def test_screen_reader_hears_what_changes(tab: Tab) -> None:
    """State, notices and log are live regions; every field and button has a name; a failure belongs to its field."""
    expect(tab["log"]).to_have_role("log")
    expect(tab["log"]).to_have_attribute("aria-live", "polite")
    expect(tab["log"]).to_have_accessible_name("Communication Log")
    expect(tab["state"]).to_have_role("status")
    expect(tab["notice"]).to_have_role("status")
    tab.open_options("Connection options")
    tab.open_options("Send binary")
    tab.connect()
    for control in tab.page.locator("main :is(input, textarea, button):visible").all():
        expect(control).to_have_accessible_name(re.compile(r"\w"))
    expect(tab["text"]).to_have_accessible_description(re.compile("Enter sends"))


def test_page_is_small_and_self_contained(start: StartServer, open_tab: OpenTab) -> None:
    """All files together are under 50 kB, those of the faults under 20 kB, and nothing is asked of any other server."""
    files = [file for file in PAGE.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 50_000
    assert sum(file.stat().st_size for file in (PAGE / "faults").iterdir()) < 20_000
    for file in files:
        elsewhere = re.search(r"""(src|href|url\(|from|import)[=( "']+(https?:)?//""", file.read_text())
        assert not elsewhere, file.name
    server = start()
    tab = open_tab(server)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.reload()
    tab.connect()
    served = {url.rpartition("/")[2] or "index.html" for url in asked} | {"icon.svg"}
    assert served == {file.name for file in files}
    assert all(url.startswith(server.url) for url in asked)
