"""The chat's page in a tab, as people see and use it."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, expect

from page.browser import Tab

TRANSPORTS = {
    "": "WebSockets",
    "WebSockets": "WebSockets",
    "ServerSentEvents": "Server-Sent Events",
    "LongPolling": "long polling",
}
"""What can be chosen, and what the page calls what is used then."""


class ChatTab(Tab):
    """One browser tab in the chat."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        super().__init__(context, f"{url}/chat", first="join")

    # What a person sees.

    def messages(self) -> list[str]:
        """What was said, each with who has said it, the oldest first."""
        texts = "(rows) => rows.map((row) => ['.who', '.text'].map((part) => row.querySelector(part).textContent))"
        return [": ".join(row) for row in self.page.locator("#log .said").evaluate_all(texts)]

    def events(self) -> list[str]:
        """What happened, the oldest first."""
        return self.page.locator("#log .event .what").all_text_contents()

    def hears(self, text: str) -> None:
        expect(self.page.locator("#log .text", has_text=text)).to_have_count(1)

    def happens(self, text: str) -> None:
        expect(self.page.locator("#log .event .what").filter(has_text=text).last).to_be_visible()

    def here(self, *names: str) -> None:
        """These are in the room, in this order; nobody else."""
        expect(self.page.locator("#people .name")).to_have_text(list(names))

    def rooms(self, **rooms: int) -> None:
        """There are these rooms, with so many people, in this order."""
        expect(self.page.locator("#rooms button")).to_have_text(
            [f"{room}{number}" for room, number in rooms.items()]
        )

    # What a person does.

    def join(self, name: str, room: str | None = None, *, over: str | None = None) -> None:
        self["name"].fill(name)
        if room is not None:
            self["room"].fill(room)
        if over is not None:
            self["transport"].select_option(over)
        self["join"].click()
        self.sees("Connected")

    def say(self, text: str) -> None:
        self["text"].fill(text)
        self["text"].press("Enter")
