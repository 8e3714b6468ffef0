"""The sample page of the article: its elements, its texts, its log."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from page.browser import Tab
from page.conftest import OpenTab, StartServer
from trioecho import WebSocket

NEEDING_A_CONNECTION = ("text", "send", "close", "send-hex", "send-file")
AT_THE_END = "log.scrollTop + log.clientHeight > log.scrollHeight - 10"


def test_first_look_is_the_sample(start: StartServer, open_tab: OpenTab) -> None:
    """The page shows the article's heading, state, fields and buttons, and only Connect can be pressed."""
    server = start()
    tab = open_tab(server)
    expect(tab.page.get_by_role("heading", name="WebSocket Sample Application", level=1)).to_be_visible()
    tab.sees("Ready to connect…")
    expect(tab.page.get_by_label("WebSocket Server URL:")).to_have_value(server.websocket_url)
    expect(tab.page.get_by_label("Message to send:")).to_be_disabled()
    expect(tab.page.get_by_role("button", name="Connect", exact=True)).to_be_enabled()
    expect(tab.page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    expect(tab.page.get_by_role("button", name="Close Socket")).to_be_disabled()
    expect(tab.page.get_by_role("heading", name="Communication Log")).to_be_visible()
    assert tab.page.get_by_role("columnheader").all_text_contents() == [
        "Time", "From", "To", "Data", "Size", "Round trip",
    ]  # fmt: skip
    for panel in tab.page.locator("details").all():
        expect(panel).not_to_have_attribute("open", "")


def test_conversation_reads_as_in_the_article(tab: Tab) -> None:
    """Open, a message each way and Close Socket leave the article's four rows, each with its time in milliseconds."""
    tab.connect()
    tab.send("Hello")
    tab.wait_for_rows(3)
    tab.close()
    assert tab.conversation() == [
        "Connection opened",
        "Client | Server | Hello",
        "Server | Client | Hello",
        "Connection closed. Code: 1000. Reason: Closing from client",
    ]
    for time in tab.page.locator("td.time").all_text_contents():
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", time)


def test_state_goes_through_all_its_words(tab: Tab) -> None:
    """The state label passes from Ready to connect… through Connecting…, Open and Closing… to Closed."""
    tab.evaluate(
        """() => {
          window.seen = [state.textContent];
          new MutationObserver(() => seen.push(state.textContent)).observe(state, { childList: true });
        }"""
    )
    tab.connect()
    tab.close()
    assert tab.evaluate("seen") == ["Ready to connect…", "Connecting…", "Open", "Closing…", "Closed"]
    expect(tab.page).to_have_title("Closed · WebSocket")


def test_controls_follow_the_state(tab: Tab) -> None:
    """What needs a connection is enabled while it is open, Connect while it is not."""
    for action, is_open in ((tab.connect, True), (tab.close, False), (tab.connect, True)):
        action()
        for id in NEEDING_A_CONNECTION:
            expect(tab[id]).to_be_enabled(enabled=is_open)
        expect(tab["connect"]).to_be_enabled(enabled=not is_open)


def test_text_stays_text(tab: Tab) -> None:
    """A message of markup is shown letter by letter, both ways, and nothing in it runs or loads."""
    markup = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>&amp;"
    tab.connect()
    tab.send(markup)
    tab.wait_for_rows(3)
    assert [row[2] for row in tab.rows()[1:]] == [markup, markup]
    assert tab.page.locator("tbody img, tbody script").count() == 0
    expect(tab.page).to_have_title("Open · WebSocket")


def test_close_reason_stays_text(start: StartServer, open_tab: OpenTab) -> None:
    """A server's close reason of markup is shown letter by letter."""

    async def rude(ws: WebSocket) -> None:
        await ws.aclose(4000, "<b onclick=alert()>")

    tab = open_tab(start(rude))
    tab["connect"].click()
    tab.sees("Closed")
    assert tab.conversation()[-1] == "Connection closed. Code: 4000. Reason: <b onclick=alert()>"
    assert tab.page.locator("tbody b").count() == 0


def test_enter_sends_and_shift_enter_does_not(tab: Tab) -> None:
    """Enter sends the message, Shift+Enter starts a new line in it, and the line break survives."""
    tab.connect()
    tab["text"].press_sequentially("one")
    tab["text"].press("Shift+Enter")
    tab["text"].press_sequentially("two")
    tab["text"].press("Enter")
    tab.wait_for_rows(3)
    assert [row[2] for row in tab.rows()[1:]] == ["one\ntwo", "one\ntwo"]


def test_empty_message_can_be_sent(tab: Tab) -> None:
    """An empty message goes both ways and its rows say that it is empty without text that was never sent."""
    tab.connect()
    tab["text"].press("Enter")
    tab.wait_for_rows(3)
    assert tab.rows()[1:2] == [["Client", "Server", "", "0 B", ""]]
    shown = tab.evaluate("getComputedStyle(document.querySelector('.empty'), '::before').content")
    assert shown == '"empty message"'


def test_send_after_the_server_went_does_not_pretend(tab: Tab) -> None:
    """A Send that meets a socket already closing says so, and nothing is logged as sent."""
    tab.connect()
    (worker,) = tab.page.workers
    worker.evaluate(
        "() => Object.defineProperty(WebSocket.prototype, 'readyState', { get: () => WebSocket.CLOSING })"
    )
    tab.send("too late")
    tab.notice("Not sent")
    assert tab.conversation() == ["Connection opened"]


def test_log_grows_without_being_rebuilt_and_keeps_1000_rows(start: StartServer, open_tab: OpenTab) -> None:
    """1,100 pushed messages leave the last 1,000 rows; rows that stay are the same elements, and the end is in view."""

    async def push(ws: WebSocket) -> None:
        await ws.send("first")
        await ws.receive()
        for number in range(1100):
            await ws.send(str(number))
        await ws.receive()

    tab = open_tab(start(push))
    tab.connect()
    tab.wait_for_rows(2)
    tab.evaluate("() => { window.early = log.querySelector('tbody').rows[1]; window.texts = 0; }")
    tab.evaluate(
        """() => new MutationObserver((records) => {
          for (const { addedNodes } of records) window.texts += addedNodes.length;
        }).observe(log.querySelector('tbody'), { childList: true })"""
    )
    tab.send("go on")
    expect(tab.page.locator("tbody tr").last).to_contain_text("1099")
    rows = tab.rows()
    assert len(rows) == 1000
    assert [row[2] for row in rows] == [str(number) for number in range(100, 1100)]
    assert tab.evaluate("texts") == 1101, "each row is added once"
    assert not tab.evaluate("early.isConnected")
    tab.wait_until(AT_THE_END)


def test_log_stays_where_the_reader_scrolled(tab: Tab) -> None:
    """New rows do not pull the reader away from an older one; back at the end, the log follows again."""
    tab.connect()
    for number in range(20):
        tab.send(str(number))
    tab.wait_for_rows(41)
    tab.wait_until(AT_THE_END)
    tab["log"].hover()
    tab.page.mouse.wheel(0, -400)
    tab.wait_until("log.scrollTop + log.clientHeight < log.scrollHeight - 100")
    place = tab.evaluate("log.scrollTop")
    tab.send("more")
    tab.wait_for_rows(43)
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert tab.evaluate("log.scrollTop") == place
    tab["log"].press("End")
    tab.wait_until(AT_THE_END)
    tab.send("end")
    tab.wait_for_rows(45)
    tab.wait_until(AT_THE_END)


def test_log_can_be_cleared_and_goes_on(tab: Tab) -> None:
    """Clear empties the log and leaves the connection alone."""
    tab.connect()
    tab.send("before")
    tab.wait_for_rows(3)
    tab["clear"].click()
    tab.wait_for_rows(0)
    tab.send("after")
    tab.wait_for_rows(2)
    assert tab.conversation() == ["Client | Server | after", "Server | Client | after"]


def test_log_can_be_copied(tab: Tab) -> None:
    """Copy puts a header and one line for each row on the clipboard, with tabs between the columns."""
    tab.connect()
    tab.send("a\tb\nc")
    tab.wait_for_rows(3)
    tab["copy"].click()
    expect(tab["said"]).to_have_text("Log copied")
    lines = tab.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0] == "Time\tFrom\tTo\tData\tSize\tRound trip"
    assert lines[1].split("\t")[1:] == ["", "", "Connection opened"]
    assert lines[2].split("\t")[1:] == ["Client", "Server", r"a\tb\nc", "5 B"]
    assert len(lines) == 4


def test_two_tabs_at_once(start: StartServer, open_tab: OpenTab) -> None:
    """Two tabs hold two conversations, and each sees its own only."""
    server = start()
    first, second = open_tab(server), open_tab(server)
    first.connect()
    second.connect()
    first.send("from the first")
    second.send("from the second")
    first.wait_for_rows(3)
    second.wait_for_rows(3)
    first.close()
    second.send("still here")
    second.wait_for_rows(5)
    assert {row[2] for row in first.rows()[1:3]} == {"from the first"}
    assert {row[2] for row in second.rows()[1:]} == {"from the second", "still here"}
    second.sees("Open")
