"""Server-Sent Events, as their clients see them: the bytes, the browser's own client, and both ends of a connection."""

from __future__ import annotations

import os

import pytest
from hubs.clients_of_transports import echo, receive_all, serving_route
from page.browser import CHROMIUM, launch
from playwright.sync_api import sync_playwright
from serving import until

import trioecho
from trioecho import LiveServer
from trioecho.hubs import Connection, ConnectionOptions, ConnectionRoute


async def test_the_stream_opens_at_once_and_each_transfer_is_an_event() -> None:
    """With CR LF, as the parser of SignalR's .NET client wants them; no cache and no proxy keeps anything back."""
    async with serving_route() as served:
        token = await served.token()
        async with served.events(token) as events:
            assert events.answer["content-type"] == "text/event-stream"
            assert events.answer["cache-control"] == "no-store"
            assert events.answer["x-accel-buffering"] == "no"
            assert served.connections[0].transport == "ServerSentEvents"
            assert (await served.ask(f"/c?id={token}", "POST", body=b'{"a":1}\x1e')).status == 200
            assert await events.receive_more() == b'data: {"a":1}\x1e\r\n\r\n'


async def test_line_ends_reach_the_client_as_lines() -> None:
    """Whatever they were (WHATWG HTML §9.2.6); what stands before and behind them is untouched."""
    async with serving_route() as served:
        token = await served.token()
        async with served.events(token) as events:
            await served.ask(f"/c?id={token}", "POST", body=b"one\ntwo\r\nthree\r\rfive \n")
            assert await events.receive() == "one\ntwo\nthree\n\nfive \n"


async def test_several_transfers_in_one_piece_are_several_events() -> None:
    async def many(connection: Connection) -> None:
        for number in range(100):
            assert connection.try_send(str(number))
        await receive_all(connection)

    async with serving_route(many) as served, served.events(await served.token()) as events:
        assert [await events.receive() for _ in range(100)] == [str(number) for number in range(100)]


async def test_bytes_and_prepared_messages_go_as_text_if_they_are() -> None:
    refused: list[ValueError] = []

    async def send(connection: Connection) -> None:
        await connection.send("é".encode())
        await connection.send(trioecho.Prepared("prepared"))
        with pytest.raises(ValueError, match="no UTF-8") as raised:
            await connection.send(b"\xff")
        refused.append(raised.value)
        await receive_all(connection)

    async with serving_route(send) as served, served.events(await served.token()) as events:
        assert [await events.receive(), await events.receive()] == ["é", "prepared"]
        await until(lambda: refused)


async def test_the_end_of_the_handler_ends_the_stream_behind_what_it_sent() -> None:
    async def goodbye(connection: Connection) -> None:
        await connection.send("goodbye")

    async with serving_route(goodbye) as served:
        token = await served.token()
        async with served.events(token) as events:
            assert [await events.receive(), await events.receive()] == ["goodbye", None]
        assert (await served.ask(f"/c?id={token}", "POST", body=b"x")).status == 404


async def test_a_client_that_goes_is_gone_at_once() -> None:
    """It does not come back: its next stream has another connection."""
    async with serving_route() as served:
        token = await served.token()
        async with served.events(token):
            pass
        await until(lambda: served.ended)
        assert (await served.ask(f"/c?id={token}", "POST", body=b"x")).status == 404
        assert (await served.ask(f"/c?id={token}", headers=(("Accept", "text/event-stream"),))).status == 404


async def test_a_client_that_goes_before_the_opening_is_gone_too() -> None:
    """The connection has begun, and nothing of its body was ever asked for."""
    async with serving_route() as served:
        for _ in range(20):
            token = await served.token()
            async with served.http() as client:
                await client.send(f"/c?id={token}", headers=(("Accept", "text/event-stream"),))
        await until(lambda: len(served.ended) == len(served.connections))


async def test_the_stop_of_the_server_lets_the_handler_say_something() -> None:
    async def last_word(connection: Connection) -> None:
        await receive_all(connection)
        await connection.send("the server stops")

    async with serving_route(last_word) as served, served.events(await served.token()) as events:
        served.server.stop(timeout=30)
        assert [await events.receive(), await events.receive()] == ["the server stops", None]


async def test_a_client_that_reads_nothing_holds_the_sender_and_then_counts_as_gone() -> None:
    """What waits for it is bounded, and so is the time."""
    sent = 0

    async def flood(connection: Connection) -> None:
        nonlocal sent
        while True:
            await connection.send("x" * 10_000)
            sent += 1

    async with serving_route(flood, send_timeout=0.1) as served, served.http() as client:
        await client.send(f"/c?id={await served.token()}", headers=(("Accept", "text/event-stream"),))
        await until(lambda: served.ended)
        # The kernel's buffers on both sides hold a few MiB.
        assert sent * 10_000 < 20_000_000


PAGE = """<script>
(async () => {
  const base = new URLSearchParams(location.search).get("base") ?? "";
  const how = {method: "POST", credentials: "include", headers: {"X-Requested-With": "XMLHttpRequest"}};
  const {connectionToken} = await (await fetch(`${base}/c/negotiate?negotiateVersion=1`, how)).json();
  const target = `${base}/c?id=${connectionToken}`;
  const source = new EventSource(target, {withCredentials: true});
  await new Promise((resolve) => { source.onopen = resolve; });
  const event = new Promise((resolve) => { source.onmessage = ({data}) => resolve(data); });
  await fetch(target, {...how, body: "bonjour\\nça va"});
  document.title = JSON.stringify(await event);
})().catch((error) => { document.title = `${error}`; });
</script>"""


async def show(request: trioecho.Request) -> trioecho.Response:
    return trioecho.Response(PAGE, content_type="text/html; charset=utf-8")


def title_of(url: str) -> str:
    """The title that the page at `url` gives itself."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs Chromium")
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        tab = browser.new_page()
        tab.goto(url)
        tab.wait_for_function("document.title !== ''")
        title = tab.title()
        browser.close()
    return title


def test_the_browsers_own_client_reads_it() -> None:
    """Chromium's EventSource opens at once, and gets what is posted."""
    with LiveServer({"/c": ConnectionRoute(echo), "/": trioecho.HttpRoute(show)}, port=0) as server:
        assert title_of(server.url) == '"bonjour\\nça va"'


def test_a_page_of_another_origin_needs_to_be_listed() -> None:
    """Then it may use it with cookies, which the browser asks about first; else it cannot even negotiate."""
    with LiveServer({"/": trioecho.HttpRoute(show)}, port=0) as pages:
        listed = ConnectionOptions(allowed_origins=[pages.url.rstrip("/")])
        routes = {"/c": ConnectionRoute(echo, options=listed)}
        with LiveServer(routes, port=0) as server:
            assert title_of(f"{pages.url}/?base={server.url}") == '"bonjour\\nça va"'
        with LiveServer({"/c": ConnectionRoute(echo)}, port=0) as server:
            assert title_of(f"{pages.url}/?base={server.url}") == "TypeError: Failed to fetch"
