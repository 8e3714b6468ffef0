"""Authentication by cookie: the WebSocket is for those who have logged in, and for this server's own page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from page.browser import CHROMIUM, launch
from playwright.sync_api import expect, sync_playwright
from server_process import PATIENCE, ServerProcess
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

LOGIN = (str(Path(__file__).with_name("login.py")),)

Start = Callable[..., ServerProcess]


def in_a_session(server: ServerProcess, story: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    """Runs `story` in a session that keeps cookies, also those of an address."""

    async def run() -> None:
        jar = aiohttp.CookieJar(unsafe=True)
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession(server.url, cookie_jar=jar) as session:
            await story(session)

    asyncio.run(run())


def test_who_has_logged_in_is_known_to_the_handler(start_server: Start) -> None:
    """The form is posted as a browser does, which is led back to the page; then the WebSocket opens."""
    server = start_server("0", command=LOGIN)

    async def story(session: aiohttp.ClientSession) -> None:
        async with session.post("/login", data={"name": "Zoë", "password": "sesame"}) as response:
            assert (response.status, response.url.path) == (200, "/")
            assert response.content_type == "text/html"
            assert "new WebSocket(" in await response.text()
        async with session.ws_connect("/ws", headers={"Origin": server.url}) as ws:
            assert await ws.receive_str() == "Welcome, Zoë."
            await ws.send_str("hello")
            assert await ws.receive_str() == "Zoë said: hello"

    in_a_session(server, story)
    assert server.stop() == 0


@pytest.mark.parametrize("cookie", [None, "session=", "session=guessed", "other=1"])
def test_without_the_cookie_there_is_no_websocket(start_server: Start, cookie: str | None) -> None:
    """Nor with one that the server has not given out: 403, with a sentence."""
    server = start_server("0", command=LOGIN)
    headers = {} if cookie is None else {"Cookie": cookie}
    with pytest.raises(InvalidStatus) as refusal:
        connect(server.websocket_url, additional_headers=headers, proxy=None)
    assert refusal.value.response.status_code == 403
    assert refusal.value.response.body == b"Log in first.\n"


@pytest.mark.parametrize(
    "form", [{}, {"name": "Zoë"}, {"name": "", "password": "sesame"}, {"name": "Zoë", "password": "Sesame"}]
)
def test_a_wrong_form_sets_no_cookie(start_server: Start, form: dict[str, str]) -> None:
    """Whatever is missing or wrong in it."""
    server = start_server("0", command=LOGIN)

    async def story(session: aiohttp.ClientSession) -> None:
        async with session.post("/login", data=form) as response:
            assert (response.status, "Set-Cookie" in response.headers) == (403, False)

    in_a_session(server, story)


def test_the_page_of_another_site_cannot_use_the_cookie(start_server: Start) -> None:
    """A browser sends it along with any page's handshake, whose Origin tells."""
    server = start_server("0", command=LOGIN)

    async def story(session: aiohttp.ClientSession) -> None:
        async with session.post("/login", data={"name": "Zoë", "password": "sesame"}) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect("/ws", headers={"Origin": "https://evil.example"})
        assert refusal.value.status == 403

    in_a_session(server, story)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")
def test_the_page_logs_in_and_talks(start_server: Start) -> None:
    """In a browser: the form, the welcome, an answer; and markup in a name stays text."""
    server = start_server("0", command=LOGIN)
    with sync_playwright() as playwright, launch(playwright) as browser:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_label("Name").fill("Zoë <b>")
        page.get_by_label("Password").fill("sesame")
        page.get_by_role("button", name="Log in").click()
        lines = page.locator("#log li")
        expect(lines).to_have_text(["Welcome, Zoë <b>."])
        page.get_by_label("Message").fill("hello")
        page.keyboard.press("Enter")
        expect(lines).to_have_text(["Welcome, Zoë <b>.", "Zoë <b> said: hello"])
        expect(page.get_by_role("button", name="Log in")).to_be_hidden()
