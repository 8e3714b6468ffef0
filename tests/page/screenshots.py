"""Makes the README's pictures of the page: ``python tests/page/screenshots.py [folder]``, beside this file unless told.

The pictures look best with the fonts Inter and JetBrains Mono (Debian: fonts-inter, fonts-jetbrains-mono).
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from trioecho import LiveServer, WebSocketOptions

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from page.browser import Tab, launch

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


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
