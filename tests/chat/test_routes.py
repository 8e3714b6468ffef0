"""The chat by SignalR's own JavaScript client, and which pages may use it, on a real server."""

from __future__ import annotations

import contextlib

import pytest
from hubs import npm_client
from plain_http import plain_http
from serving import one_way, open_stream, serving, way_of_reading  # noqa: F401 (a fixture)

import trioecho
from trioecho.chat import chat_routes
from trioecho.testing import RawClient

pytestmark = [one_way, pytest.mark.keeps_open, pytest.mark.timeout(60)]

PROGRAM = """
const [ada, bob] = [builder().build(), builder().build()];
const heard = [];
for (const [name, one] of Object.entries({ ada, bob })) {
  one.on("message", (id, who, text) => heard.push([name, who, text]));
  one.on("people", () => {});
  one.on("rooms", () => {});
}
await ada.start();
await bob.start();
const entered = await ada.invoke("enter", "Ada", "Lobby");
tell([entered.name, entered.room, entered.transport, entered.number, entered.rooms]);
await bob.invoke("Enter", "Bob", "Lobby");
await ada.invoke("say", "hello");
while (heard.length < 2) await sleep(5);
tell(heard.sort());
tell(await bob.invoke("enter", "Bob", "").catch((error) => error.message));
const left = [];
await new Promise((resolve, reject) => bob.stream("countdown", 1).subscribe({
  next: (item) => left.push(item), complete: resolve, error: reject }));
tell(left);
await new Promise((resolve) => {
  const stream = ada.stream("countdown", 60).subscribe({
    next: () => { stream.dispose(); resolve(); }, complete() {}, error() {} });
});
tell(await ada.invoke("enter", "Ada", "Trio").then(({ room }) => room));
await ada.stop();
await bob.stop();
"""


@npm_client.rows
async def test_everything_that_a_page_can_do(transport: str, protocol: str) -> None:
    npm_client.node()
    async with serving(chat_routes(trioecho.WebSocketOptions())) as server:
        told = await npm_client.run(
            f"http://127.0.0.1:{server.port}/hub", PROGRAM, transport=transport, protocol=protocol
        )
    assert told == [
        ["Ada", "Lobby", transport, 1, [["Lobby", 1]]],
        [["ada", "Ada", "hello"], ["bob", "Ada", "hello"]],
        "An unexpected error occurred invoking 'enter' on the server. HubException: "
        "The name of a room has 1 to 32 characters; this has 0.",
        [1, 0],
        "Trio",
    ]


@pytest.mark.parametrize(
    ("allowed", "origin", "websocket", "http"),
    [
        ((), "https://a.com", True, False),
        (("*",), "https://a.com", True, False),
        (("null",), "null", True, False),
        (("null",), "https://a.com", False, False),
        (("https://a.com",), "https://a.com", True, True),
        (("https://a.com", "null"), "https://b.com", False, False),
        (("self",), "http://localhost", True, True),
        (("self",), "https://a.com", False, False),
    ],
)
async def test_pages_may_what_the_servers_own_option_says(
    allowed: tuple[str, ...], origin: str, websocket: bool, http: bool
) -> None:
    """Over WebSockets as at the echo; over HTTP with cookies, so only those that are listed by name."""
    options = trioecho.WebSocketOptions(allowed_origins=allowed)
    async with serving(chat_routes(options), allowed_origins=allowed) as server:
        async with await open_stream(server) as stream:
            with (
                contextlib.nullcontext()
                if websocket
                else pytest.raises(AssertionError, match="may not connect")
            ):
                await RawClient(stream).handshake("/hub", headers=f"Origin: {origin}\r\n")
        async with plain_http(server) as client:
            told = await client.ask(
                "/hub/negotiate?negotiateVersion=1", "POST", headers=(("Origin", origin),)
            )
        assert told["access-control-allow-origin"] == (origin if http else None)
