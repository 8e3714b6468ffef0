"""What SECURITY.md says is not defended, so that nobody relies on it: shown where no other test shows it."""

from __future__ import annotations

from plain_http import plain_http
from serving import connected, serving

import trioecho

EVIL = ("Origin", "https://evil.example")
MIB = 2**20


async def test_a_foreign_pages_request_reaches_the_function() -> None:
    """CORS only hides the answer: a form of another page is taken before a browser asks anybody."""
    taken: list[bytes] = []

    async def take(request: trioecho.Request) -> trioecho.Response:
        taken.append(await request.body())
        return trioecho.Response("taken")

    cors = trioecho.Cors(["https://client.com"])
    routes = {"/form": trioecho.HttpRoute(take, methods=["POST"], cors=cors)}
    async with (
        serving(routes, allowed_origins=["https://client.com"]) as server,
        plain_http(server) as client,
    ):
        answer = await client.ask("/form", "POST", body=b"a=b", headers=(EVIL,))
        assert (answer.status, answer["access-control-allow-origin"]) == (200, None)
    assert taken == [b"a=b"]


async def test_wrong_passwords_are_not_counted() -> None:
    """Each of two hundred is refused, and the right one behind them is as good as before, with every limit on."""
    routes = {"/": trioecho.HttpRoute(hello, admit=trioecho.bearer("right"))}
    async with serving(routes, limits_per_address=True) as server, plain_http(server) as client:
        for number in range(200):
            answer = await client.ask(headers=(("Authorization", f"Bearer wrong{number}"),))
            assert answer.status == 401
        assert (await client.ask(headers=(("Authorization", "Bearer right"),))).status == 200


async def hello(request: trioecho.Request) -> trioecho.Response:
    return trioecho.Response("hello")


async def test_who_was_admitted_stays() -> None:
    """Admission asks once; a token that is withdrawn later is asked for by nobody."""
    good = {"ada": "token"}
    members = trioecho.bearer(lambda token: next((user for user in good if good[user] == token), None))
    routes = {"/ws": trioecho.WebSocketRoute(trioecho.echo, admit=members)}
    async with serving(routes) as server:
        async with connected(server, path="/ws?access_token=token") as client:
            good.clear()
            await client.send("still here")
            assert await client.receive() == "still here"


async def test_what_a_handler_keeps_is_not_counted() -> None:
    """`max_memory` counts what has not been taken: a message is the handler's own when it has it."""
    kept: list[str | bytes] = []

    async def keep(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            kept.append(message)
            await ws.send(f"{len(kept)}")

    async with serving(keep, max_memory=4 * MIB) as server, connected(server) as client:
        for number in range(8):
            await client.send(bytes(MIB))
            assert await client.receive() == f"{number + 1}"
        assert sum(map(len, kept)) == 8 * MIB
        assert server.memory.held < MIB
