"""The page of faults: all of the table, nothing from elsewhere, to be read on a phone and by a screen reader."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_clients import fault_server
from page.browser import CHROMIUM, launch
from playwright.sync_api import Browser, sync_playwright

import trioecho
import trioecho.faults
from trioecho._process.selfsigned import self_signed
from trioecho.faults.page import fault_page
from trioecho.faults.table import FAULTS, SEEN_PATHS, WORDS

AXE = Path(__file__).parents[1] / "page" / "axe.min.js"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium here (apt-get install chromium)")
        pytest.skip("no Chromium here (apt-get install chromium)")
    with sync_playwright() as playwright:
        found = launch(playwright)
        yield found
        found.close()


@pytest.fixture(scope="module")
def live() -> Iterator[trioecho.LiveServer]:
    with fault_server() as server:
        yield server


def text() -> str:
    body = fault_page().body
    assert isinstance(body, bytes)
    return body.decode()


def test_every_row_is_there() -> None:
    """With its parameters, and every word of a choice."""
    plain = html.unescape(text().replace("<wbr>", ""))
    for fault in FAULTS:
        for each in (fault.path, fault.expect, fault.example, *[p.name for p in fault.in_query]):
            assert each in plain, each
    for _, _, meanings in WORDS:
        assert all(f"<code>{word}</code>" in plain for word in meanings)
    assert all(path in plain for path, _ in SEEN_PATHS)


def test_the_example_leads_to_a_neighbour_of_the_page() -> None:
    """Also below a root path, and with TLS."""
    assert 'new URL("close/4001?' in text()
    assert '"ws://' not in text()


def test_nothing_comes_from_elsewhere() -> None:
    """The policy allows its own style, by its hash, and nothing else."""
    page = text()
    assert not re.search(r"<script|src=|@import|url\(|https?:", page)
    policy = dict(fault_page().headers)["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in policy


@pytest.mark.keeps_open
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_can_be_read_everywhere(
    browser: Browser, live: trioecho.LiveServer, scheme: str, width: int
) -> None:
    """No line is wider than the window, its style is applied, and axe finds nothing."""
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 800},
        bypass_csp=True,
    )
    tab = context.new_page()
    tab.goto(f"{live.url}/faults")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(253, 253, 252)", "dark": "rgb(20, 25, 28)"}[scheme]
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("axe.run()")
    assert not found["violations"], json.dumps(found["violations"], indent=1)[:3000]
    context.close()


@pytest.mark.keeps_open
def test_the_browser_has_no_complaint(browser: Browser, live: trioecho.LiveServer) -> None:
    """The policy lets through what the page has."""
    tab = browser.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(f"{live.url}/faults")
    assert tab.evaluate("getComputedStyle(document.querySelector('article')).display") == "grid"
    assert [each for each in complaints if "favicon" not in each and "Failed to load" not in each] == []
    tab.close()


@pytest.mark.keeps_open
@pytest.mark.parametrize("tls", [False, True])
def test_its_example_leads_to_where_the_page_came_from(browser: Browser, tls: bool) -> None:
    with self_signed() as made:
        live = trioecho.LiveServer(trioecho.faults.routes(), ssl_context=made.context if tls else None)
        with live:
            context = browser.new_context(ignore_https_errors=True)
            tab = context.new_page()
            tab.goto(f"{live.url}/faults")
            example = tab.locator("pre").first.text_content()
            assert example is not None
            address = tab.evaluate(f"() => {{ {example.replace('new WebSocket', 'return ')} }}")
            path = "/close/4001?reason=bye&after=1&id=mine"
            assert address == live.url.rstrip("/").replace("http", "ws") + path
            context.close()
