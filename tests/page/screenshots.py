"""Makes the pictures of the pages: ``python tests/page/screenshots.py [folder]``, beside this file unless told.

The pictures look best with the fonts Inter and JetBrains Mono (Debian: fonts-inter, fonts-jetbrains-mono).
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from trioecho import LiveServer, WebSocketOptions
from trioecho._server.routes import sample_routes
from trioecho.chat import chat_routes

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from page.browser import Tab, launch
from page.chatting import ChatTab

HERE = Path(__file__).parent


def converse(tab: Tab) -> None:
    """A conversation worth looking at: text in several scripts, markup that stays text, bytes, and nothing at all."""
    tab.open_options("Connection options")
    tab["subprotocols"].fill("chat, superchat")
    tab.connect()
    tab.open_options("Connection options")
    for text in ("Hello, Trio!", "Grüße, здравствуйте, γειά σου", "<img src=x onerror=alert(1)>"):
        tab["text"].fill(text)
        tab["text"].press("Enter")
    tab.wait_for_rows(7)
    tab.open_options("Send binary")
    tab["hex"].fill("89 50 4e 47 0d 0a 1a 0a")
    tab["hex"].press("Enter")
    tab.open_options("Send binary")
    tab.wait_for_rows(9)
    for rows, text in ((11, ""), (13, "One more, and then goodbye")):
        tab["text"].fill(text)
        tab["text"].press("Enter")
        tab.wait_for_rows(rows)
    tab.wait_until("log.scrollTop + log.clientHeight > log.scrollHeight - 10")
    tab["text"].press("End")


def chat(browser: Browser, url: str, scheme: str, path: Path) -> None:
    """Four people in two rooms, each in a browser of their own, as one of them sees it."""
    size = {"width": 1080, "height": 840}
    contexts = [browser.new_context(viewport=size, color_scheme=scheme) for _ in range(4)]  # type: ignore[arg-type]
    ada, grace, katherine, anna = (ChatTab(context, url) for context in contexts)
    anna.join("Анна", "Notebooks")
    grace.join("Grace")
    ada.join("Ada")
    katherine.join("Katherine", over="LongPolling")
    ada.happens("Katherine has come in.")
    said = [
        (ada, "Good morning! Has anybody seen the nursery of the hub?"),
        (grace, "It is where it was: one for each connection.\nWhat a client started ends with it."),
        (katherine, "Over long polling, too. My proxy lets nothing else through."),
        (ada, "And <b>markup</b> stays text."),
        (ada, "I start a countdown."),
    ]
    for tab, text in said:
        tab.say(text)
        for other in (ada, grace, katherine):
            other.hears(text.partition("\n")[0])
    ada.open_options("Stream a countdown")
    ada["start"].click()
    ada.wait_until("left.textContent === '7'")
    ada.page.screenshot(path=path)
    for context in contexts:
        context.close()


def main(folder: Path) -> None:
    options = WebSocketOptions(subprotocols=("chat",))
    with LiveServer(options=options, port=5000) as server, sync_playwright() as playwright:
        browser = launch(playwright)
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1080, "height": 890}, color_scheme=scheme)
            with Tab(context, server.url) as tab:
                converse(tab)
                tab.page.screenshot(path=folder / f"page-{scheme}.png")
            context.close()
        browser.close()
    with (
        LiveServer({**sample_routes(options, {"chat": "Chat"}), **chat_routes(options)}, port=5000) as server,
        sync_playwright() as playwright,
    ):
        browser = launch(playwright)
        for scheme in ("light", "dark"):
            chat(browser, server.url.rstrip("/"), scheme, folder / f"chat-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
