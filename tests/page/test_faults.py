"""The picker of faults: what each has a browser show, and a run of all of them against a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Route, expect

import trioecho
import trioecho.faults
from page.browser import Tab
from page.conftest import OpenTab
from page.test_accessibility import findings
from trioecho._process.selfsigned import self_signed
from trioecho.cli.faults import with_faults
from trioecho.faults.table import as_json
from trioecho.faults.trials import TRIALS

pytestmark = pytest.mark.keeps_open

FEW = ("/echo", "/handshake")

OpenFaults = Callable[..., Tab]


@pytest.fixture
def live() -> Iterator[trioecho.LiveServer]:
    """The sample with the faults."""
    server = trioecho.LiveServer(with_faults(trioecho.WebSocketOptions()))
    with server:
        yield server
        server.stop(timeout=0)


def open_faults(tab: Tab, paths: tuple[str, ...] = (), **instead: object) -> Tab:
    """Open the dialog, of these faults alone where any are given; each trial of them expects `instead`."""

    def answer(route: Route) -> None:
        rows = [row for row in as_json() if row["path"] in paths]
        for row in rows:
            for trial in row["trials"]:
                trial["expect"] |= instead
        route.fulfill(body=json.dumps({"faults": rows}), content_type="application/json")

    if paths:
        tab.page.route("**/faults", answer)
    tab.allow("WebSocket ")
    tab["open-faults"].click()
    expect(tab["run"]).to_be_enabled()
    return tab


def results(tab: Tab) -> dict[str, str]:
    """By path, how what was seen compares."""
    pairs: list[list[str]] = tab.page.locator("#trials tr:not(.fault)").evaluate_all(
        "(rows) => rows.slice(1).map((row) => [row.cells[0].textContent, row.className])"
    )
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.timeout(150)
def test_a_browser_shows_what_is_expected_at_every_fault(
    live: trioecho.LiveServer, open_tab: OpenTab
) -> None:
    """All paths of the table; where this browser does something else, the row knows what and why."""
    tab = open_faults(open_tab(live))
    tab["run"].click()
    expect(tab["outcome"]).to_contain_text("Done:", timeout=120_000)
    found = results(tab)
    assert list(found) == [trial.path for trials in TRIALS.values() for trial in trials]
    wrong = tab.page.locator("#trials tr.wrong").all_inner_texts()
    assert not wrong, "\n".join(wrong)
    known = {path for path, kind in found.items() if kind == "known"}
    assert known <= {trial.path for trials in TRIALS.values() for trial in trials if trial.known}
    (alone,) = [path for path, kind in found.items() if not kind]
    assert alone == "/badframe/deflate-bomb"
    number = len(found) - 1
    expect(tab["outcome"]).to_contain_text(f"{number - len(known)} as expected")
    expect(tab["at"]).to_have_text(f"{number} of {number}")
    # What browsers hide, the server has seen.
    row = tab.page.locator("#trials tr", has_text="/badframe/rsv2")
    expect(row).to_contain_text("opens, 1006, not clean")
    expect(row).to_contain_text("At the server: answer 101, Close 1002")


def test_a_run_by_tls_shows_the_same(browser: Browser) -> None:
    """By wss, from a page that came by https."""
    with self_signed() as made:
        routes = with_faults(trioecho.WebSocketOptions())
        live = trioecho.LiveServer(routes, ssl_context=made.context)
        context = browser.new_context(ignore_https_errors=True)
        with live, Tab(context, live.url) as tab:
            expect(tab["url"]).to_have_value(live.websocket_url)
            open_faults(tab, ("/echo", "/drop", "/reset", "/silent", "/close/{code}"))
            tab["run"].click()
            expect(tab["outcome"]).to_contain_text("Done:", timeout=20_000)
            assert set(results(tab).values()) <= {"right", "known"}
            live.stop(timeout=0)
        context.close()


def test_a_difference_is_told(live: trioecho.LiveServer, open_tab: OpenTab) -> None:
    """With what was seen, and in the outcome."""
    tab = open_faults(open_tab(live), ("/echo", "/close"), code=4002, reason="why")
    tab["run"].click()
    expect(tab["outcome"]).to_have_text("Done: 0 as expected, 3 differ.")
    assert set(results(tab).values()) == {"wrong"}
    row = tab.page.locator("#trials tr", has_text="/echo").nth(1)
    expect(row).to_contain_text("✗ differs: code, reason")
    expect(row).to_contain_text("opens, “hello”, 1000, clean")


def test_picking_a_fault_fills_in_what_it_takes(live: trioecho.LiveServer, open_tab: OpenTab) -> None:
    """URL, subprotocols and message; Connect has the focus, and does the rest."""
    tab = open_faults(open_tab(live))
    tab.page.get_by_role("button", name="/subprotocol?pick=last").click()
    expect(tab["faults"]).not_to_be_visible()
    expect(tab["connect"]).to_be_focused()
    tab["connect"].press("Enter")
    tab.sees("Open")
    expect(tab["subprotocol"]).to_have_text("Subprotocol: chat.v1")
    expect(tab["text"]).to_have_value("hello")
    tab["open-faults"].click()
    tab.page.get_by_role("button", name="/close/4001?reason=bye&after=1").click()
    expect(tab["url"]).to_be_focused()
    expect(tab["url"]).to_have_value(f"ws{live.url.removeprefix('http')}/close/4001?reason=bye&after=1")
    tab.close()
    tab.connect()
    tab["text"].press("Enter")
    tab.notice("The server closed with the code 4001.")


def test_a_run_is_cancelled_at_once(live: trioecho.LiveServer, open_tab: OpenTab) -> None:
    """By its button, or by leaving; the connection that hangs ends with it, and it can be run again."""
    tab = open_faults(open_tab(live), ("/echo", "/handshake"))
    for cancel in ("cancel", "leave"):
        tab["run"].click()
        expect(tab["cancel"]).to_be_focused()
        expect(tab["at"]).to_contain_text("/handshake?hang=1", timeout=60_000)
        tab[cancel].click()
        expect(tab["run"]).to_be_enabled(timeout=5000)
        assert (tab["outcome"].text_content() or "").startswith("Cancelled: 2 as expected, ")
        assert results(tab)["/handshake?hang=1"] == ""
    tab["open-faults"].click()
    expect(tab["run"]).to_be_focused()
    expect(tab["cancel"]).to_be_disabled()


def test_a_run_that_is_cancelled_while_the_server_is_asked_ends_there(
    live: trioecho.LiveServer, open_tab: OpenTab
) -> None:
    """Nothing more is tried."""
    tab = open_faults(open_tab(live), ("/echo", "/handshake"))
    asked: list[Route] = []
    tab.page.route("**/seen/*", lambda route: asked.append(route))
    with tab.page.expect_request("**/seen/*"):
        tab["run"].click()
    tab["cancel"].click()
    asked[0].fulfill(json={})
    expect(tab["outcome"]).to_contain_text("Cancelled: 0 as expected")
    assert set(results(tab).values()) == {""}
    assert len(asked) == 1


def test_a_table_that_cannot_be_had_is_told(live: trioecho.LiveServer, open_tab: OpenTab) -> None:
    """In a sentence, with nothing to run."""
    tab = open_tab(live)
    tab.page.route("**/faults", lambda route: route.abort())
    tab.allow("Failed to load resource")
    tab["open-faults"].click()
    expect(tab["outcome"]).to_contain_text("could not be loaded")
    expect(tab["run"]).to_be_disabled()


def test_without_faults_the_page_asks_for_nothing_more(open_tab: OpenTab, live: trioecho.LiveServer) -> None:
    """Its requests are as ever; with them, the table is asked for when it is opened."""
    with trioecho.LiveServer() as plain:
        asked: dict[str, set[str]] = {}
        for server in (plain, live):
            tab = open_tab(server)
            paths = "performance.getEntriesByType('resource').map(({name}) => new URL(name).pathname)"
            asked[server.url] = set(tab.evaluate(paths))
            assert tab["open-faults"].count() == (server is live)
        more = asked[live.url] - asked[plain.url]
        assert more == {"/faults.js", "/faultrun.js", "/faults.css"}
        assert not [path for path in asked[plain.url] if "fault" in path]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_use_it(browser: Browser, live: trioecho.LiveServer, scheme: str, width: int) -> None:
    """By keyboard alone, with nothing for axe-core to find before, during and after a run, and nothing too wide."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    with Tab(context, live.url) as tab:
        press = tab.page.keyboard.press
        tab.page.locator("#open-faults").focus()
        tab.page.route(
            "**/faults",
            lambda route: route.fulfill(json={"faults": [row for row in as_json() if row["path"] in FEW]}),
        )
        tab.allow("WebSocket ")
        press("Enter")
        expect(tab["run"]).to_be_focused()
        assert findings(tab) == []
        press("Enter")
        expect(tab["cancel"]).to_be_focused()
        expect(tab["at"]).to_contain_text("hang=1", timeout=60_000)
        assert findings(tab) == []
        expect(tab["outcome"]).to_contain_text("Done:", timeout=20_000)
        expect(tab["run"]).to_be_focused()
        assert findings(tab) == []
        for element in ("document.documentElement", "faults", "trials"):
            assert tab.evaluate(f"{element}.scrollWidth <= {element}.clientWidth"), element
        shown = "parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2"
        for _ in range(3):
            press("Tab")
            assert tab.evaluate(shown)
        press("Escape")
        expect(tab["faults"]).not_to_be_visible()
        expect(tab["open-faults"]).to_be_focused()
    context.close()
