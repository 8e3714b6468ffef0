"""Debian's Chromium, and tabs in it that remember everything the browser complains about."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_LISTEN_FOR_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`Content-Security-Policy: ${event.violatedDirective} blocked ${event.blockedURI}`));
"""


def launch(playwright: Playwright) -> Browser:
    assert CHROMIUM is not None
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


class Tab:
    """One browser tab on the page. As a context manager it asserts, at its end, that nobody complained.

    `first` is the button that can be pressed as soon as the page is there.
    """

    def __init__(self, context: BrowserContext, url: str, *, first: str = "connect") -> None:
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.printed: list[str] = []
        self._allowed: list[str] = []
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.add_init_script(_LISTEN_FOR_VIOLATIONS)
        self.page.goto(url)
        expect(self[first]).to_be_enabled()

    def _heard(self, kind: str, text: str) -> None:
        (self.printed if kind in ("log", "info", "debug") else self.complaints).append(text)

    def allow(self, complaint: str) -> None:
        """A complaint that starts so belongs to what the test provokes."""
        self._allowed.append(complaint)

    def allow_failed_connection(self) -> None:
        """What Chromium itself prints when a handshake, or the page's look at the server after it, fails."""
        self.allow("WebSocket connection to")
        self.allow("Failed to load resource")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            left = [text for text in self.complaints if not text.startswith(tuple(self._allowed))]
            assert not left, f"the browser complains: {left}"
        self.page.close()

    # What a person sees.

    def __getitem__(self, id: str) -> Locator:
        return self.page.locator(f"#{id}")

    def sees(self, state: str) -> None:
        expect(self["state"]).to_have_text(state)

    def notice(self, *texts: str) -> None:
        """The page says what happened and what to do, with all of `texts` in it."""
        for text in texts:
            expect(self["notice"]).to_contain_text(text)

    def rows(self) -> list[list[str]]:
        """The log's rows, without their time."""
        texts = "(row) => [...row.cells].slice(1).map((cell) => cell.textContent)"
        rows: list[list[str]] = self.page.locator("tbody tr").evaluate_all(f"(rows) => rows.map({texts})")
        return rows

    def conversation(self) -> list[str]:
        """The log as the article writes it: ``Client | Server | text``, or the sentence of an event."""
        return [" | ".join(row[:3]) for row in self.rows()]

    def wait_for_rows(self, number: int) -> None:
        expect(self.page.locator("tbody tr")).to_have_count(number)

    def wait_until(self, condition: str) -> None:
        """Looks at each frame whether the expression is true.

        Playwright's own way needs eval, which the page's Content-Security-Policy forbids.
        """
        self.page.evaluate(
            f"""() => new Promise((done, fail) => {{
              setTimeout(() => fail(new Error("not within 15 s")), 15000);
              (function look() {{ ({condition}) ? done() : requestAnimationFrame(look) }})();
            }})"""
        )

    # What a person does.

    def connect(self) -> None:
        self["connect"].click()
        self.sees("Open")

    def send(self, text: str) -> None:
        self["text"].fill(text)
        self["send"].click()

    def close(self) -> None:
        self["close"].click()
        self.sees("Closed")

    def open_options(self, summary: str) -> None:
        self.page.get_by_text(summary, exact=True).click()

    def evaluate(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)
