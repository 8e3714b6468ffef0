"""The newest message stays in sight, until the reader scrolls up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from page.browser import Tab
from page.conftest import OpenTab, StartServer
from trioecho import WebSocket

NEWEST_IS_SEEN = """(() => {
  const row = document.querySelector("tbody").lastElementChild.getBoundingClientRect();
  const box = log.getBoundingClientRect();
  const desk = document.querySelector("#text").getBoundingClientRect();
  return row.bottom <= Math.min(visualViewport.height, box.bottom) + 1 && row.top >= desk.bottom && desk.top >= 0;
})()"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def fill_log(tab: Tab, number: int = 30) -> None:
    tab.connect()
    for text in range(number):
        tab.send(str(text))
    tab.wait_for_rows(1 + 2 * number)
    tab.wait_until(NEWEST_IS_SEEN)


def say_more(tab: Tab) -> None:
    """One more message by the keyboard, so that nothing is scrolled by a click."""
    rows = tab.page.locator("tbody tr").count()
    tab["text"].press("Enter")
    tab.wait_for_rows(rows + 2)


@pytest.fixture
def phone(browser: Browser, start: StartServer) -> Iterator[Tab]:
    """The page of an echo server on a phone."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(15_000)
    with Tab(context, start().url) as tab:
        yield tab
    context.close()


@pytest.mark.parametrize("panel", ["Send binary", "Connection options"])
@pytest.mark.parametrize("height", [800, 640])
def test_log_follows_when_a_panel_takes_its_room(tab: Tab, panel: str, height: int) -> None:
    """Opening a panel makes the log's box smaller: the newest message stays in sight, and so do later ones."""
    tab.page.set_viewport_size({"width": 1280, "height": height})
    fill_log(tab)
    tab.open_options(panel)
    tab["text"].focus()
    tab.wait_until(NEWEST_IS_SEEN)
    say_more(tab)
    tab.wait_until(NEWEST_IS_SEEN)


def test_log_follows_when_the_window_shrinks(tab: Tab) -> None:
    """A smaller window, and a window that grows again, keep the newest message in sight."""
    fill_log(tab)
    for height in (600, 480, 900):
        tab.page.set_viewport_size({"width": 1280, "height": height})
        tab.wait_until(NEWEST_IS_SEEN)
        say_more(tab)
        tab.wait_until(NEWEST_IS_SEEN)


def test_log_follows_when_a_notice_comes(tab: Tab) -> None:
    """A notice above the log does not push the newest message out of sight."""
    fill_log(tab)
    tab.page.context.set_offline(True)
    tab.notice("lost its network")
    tab.wait_until(NEWEST_IS_SEEN)
    tab.page.context.set_offline(False)
    say_more(tab)
    tab.wait_until(NEWEST_IS_SEEN)


def test_log_follows_a_flood(start: StartServer, open_tab: OpenTab) -> None:
    """Messages faster than frames, and rows that go at the top of a full log, are no reader who scrolls up."""

    async def push(ws: WebSocket) -> None:
        await ws.receive()
        for number in range(3000):
            await ws.send("long " * (number % 40))
        await ws.send("the last")
        await ws.receive()

    tab = open_tab(start(push))
    tab.connect()
    tab.send("go on")
    expect(tab.page.locator("tbody tr").last).to_contain_text("the last")
    tab.wait_until(NEWEST_IS_SEEN)


def test_reader_in_an_older_row_is_left_there_when_a_panel_opens(tab: Tab) -> None:
    """Who has scrolled up is not pulled down by a box that shrinks."""
    fill_log(tab)
    tab["log"].hover()
    tab.page.mouse.wheel(0, -400)
    tab.wait_until("log.scrollTop + log.clientHeight < log.scrollHeight - 100")
    place = tab.evaluate("log.scrollTop")
    tab.open_options("Send binary")
    say_more(tab)
    tab.evaluate(TWO_FRAMES)
    assert tab.evaluate("log.scrollTop") == place


def test_log_follows_again_after_clear(tab: Tab) -> None:
    """Clear leaves nothing to read above: the log follows again, wherever the reader was."""
    fill_log(tab)
    tab["log"].press("Home")
    tab.wait_until("log.scrollTop === 0")
    tab["clear"].click()
    tab.wait_for_rows(0)
    for _ in range(20):
        say_more(tab)
    tab.wait_until(NEWEST_IS_SEEN)


def test_phone_has_one_page_to_scroll(phone: Tab) -> None:
    """On a phone the log is no box in the page: the page itself scrolls, and the message field stays above it."""
    fill_log(phone)
    assert phone.evaluate("log.scrollHeight <= log.clientHeight")
    assert phone.evaluate("document.scrollingElement.scrollTop > 500")
    say_more(phone)
    phone.wait_until(NEWEST_IS_SEEN)


@pytest.mark.parametrize("panel", ["", "Send binary"])
def test_phone_shows_the_newest_message_above_the_keyboard(phone: Tab, panel: str) -> None:
    """When the on-screen keyboard covers the lower part of the page, the newest message is above it."""
    fill_log(phone)
    if panel:
        phone.open_options(panel)
    phone["text"].focus()
    phone.evaluate(
        """() => {
          Object.defineProperty(visualViewport, "height", { get: () => 510, configurable: true });
          visualViewport.dispatchEvent(new Event("resize"));
        }"""
    )
    phone.wait_until(NEWEST_IS_SEEN)
    say_more(phone)
    phone.wait_until(NEWEST_IS_SEEN)
    phone.evaluate(
        "() => { delete visualViewport.height; visualViewport.dispatchEvent(new Event('resize')); }"
    )
    phone.wait_until(NEWEST_IS_SEEN)
    phone.wait_until("document.body.getBoundingClientRect().bottom <= innerHeight + 1")


def test_phone_that_makes_the_page_smaller_for_its_keyboard(phone: Tab) -> None:
    """The newest message is seen too where the keyboard makes the page smaller, as the page asks Chromium to."""
    content = phone.page.locator("meta[name=viewport]").get_attribute("content") or ""
    assert "interactive-widget=resizes-content" in content
    fill_log(phone)
    phone.page.set_viewport_size({"width": 390, "height": 500})
    phone.wait_until(NEWEST_IS_SEEN)
    say_more(phone)
    phone.wait_until(NEWEST_IS_SEEN)


def test_phone_reader_who_scrolled_up_is_left_there(phone: Tab) -> None:
    """New rows do not pull the page away from an older one; back at the end, and after Connect, it follows again."""
    fill_log(phone)
    phone.evaluate("scrollBy(0, -400)")
    phone.evaluate(TWO_FRAMES)
    place = phone.evaluate("scrollY")
    say_more(phone)
    phone.evaluate(TWO_FRAMES)
    assert phone.evaluate("scrollY") == place
    phone.evaluate("scrollBy(0, 4000)")
    phone.evaluate(TWO_FRAMES)
    say_more(phone)
    phone.wait_until(NEWEST_IS_SEEN)
    phone.close()
    phone.evaluate("scrollTo(0, 0)")
    phone.evaluate(TWO_FRAMES)
    phone.connect()
    phone.wait_until(NEWEST_IS_SEEN)


def test_phone_page_does_not_run_away_from_the_field_in_use(start: StartServer, browser: Browser) -> None:
    """While a field of the connection is typed in, arriving messages leave the page where it is."""

    async def ticker(ws: WebSocket) -> None:
        async for _ in ws:
            for number in range(50):
                await ws.send(str(number))

    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    with Tab(context, start(ticker).url) as tab:
        tab.open_options("Connection options")
        tab.connect()
        tab["text"].fill("go")
        # The order reaches the server while the focus is already elsewhere.
        tab.evaluate(
            """() => { document.getElementById("message").requestSubmit();
              document.getElementById("close-reason").focus(); }"""
        )
        tab.wait_for_rows(52)
        tab.evaluate(TWO_FRAMES)
        box = tab["close-reason"].bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 800
    context.close()


def test_phone_shows_a_notice_where_the_reader_is(phone: Tab) -> None:
    """At the end of a long conversation, what the page has to say is in sight."""
    fill_log(phone)
    phone.page.context.set_offline(True)
    phone.notice("lost its network")
    phone.wait_until("document.getElementById('notice').getBoundingClientRect().top >= 0")
    phone.wait_until(NEWEST_IS_SEEN)
    expect(phone["notice"]).to_be_in_viewport(ratio=1)
    phone.page.context.set_offline(False)
