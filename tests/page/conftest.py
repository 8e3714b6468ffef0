"""One browser for all tests of the page; for each test, servers and tabs of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

import trioecho
from page.browser import CHROMIUM, Tab, launch
from trioecho import LiveServer, WebSocketOptions

StartServer = Callable[..., LiveServer]
OpenTab = Callable[..., Tab]


def with_page(handler: Any, options: WebSocketOptions) -> trioecho.Routes:
    """The sample with another handler, or several by path."""
    handlers = handler if isinstance(handler, Mapping) else {options.path: handler}
    routes: dict[str, list[trioecho.Route]] = {path: [each] for path, each in handlers.items()}
    page = trioecho.sample_page()
    for path in page.paths:
        routes.setdefault(path, []).append(page)
    routes.setdefault("/healthz", []).append(trioecho.HttpRoute(trioecho.healthz))
    return routes


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        reason = "no Chromium here (apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def start() -> Iterator[StartServer]:
    """Starts a LiveServer; its handler and port may be given, everything else is an option of the server."""
    with ExitStack() as servers:

        def start(handler: Any = trioecho.echo, *, port: int = 0, **options: Any) -> LiveServer:
            chosen = WebSocketOptions(**options)
            server = LiveServer(with_page(handler, chosen), port=port, options=chosen)
            return servers.enter_context(server)

        yield start


@pytest.fixture
def context(browser: Browser, start: StartServer) -> Iterator[BrowserContext]:
    """A browser as nobody has used it before. It closes before the servers do."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture
def open_tab(context: BrowserContext) -> Iterator[OpenTab]:
    """Opens the page of a server; at the end no tab may have a complaint."""
    with ExitStack() as tabs:
        yield lambda server: tabs.enter_context(Tab(context, server.url))


@pytest.fixture
def tab(start: StartServer, open_tab: OpenTab) -> Tab:
    """The page of an echo server, as it is first seen."""
    return open_tab(start())
