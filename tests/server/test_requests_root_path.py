"""Below a path of a proxy's, which takes it away or hands it on: pages, WebSockets and sentences alike."""

from __future__ import annotations

import pytest
import trio
from plain_http import plain_http
from serving import one_way, open_stream, serving, way_of_reading

import trioecho
from trioecho.testing import RawClient

__all__ = ["way_of_reading"]


@one_way
@pytest.mark.parametrize("prefix", ["", "/echo/one"])
async def test_the_page_and_its_websocket_work_below_it(prefix: str) -> None:
    """The page names its WebSocket with the prefix, and a 404 names what there is so, whatever the proxy hands on."""
    async with serving(root_path="/echo/one/") as server, plain_http(server) as client:
        page = await client.ask(f"{prefix}/")
        assert (page.status, b'content="/echo/one/ws"' in page.body) == (200, True)
        assert (await client.ask(f"{prefix}/page.js")).status == 200
        assert (await client.ask(f"{prefix}/healthz")).text == "ok"
        nothing = (await client.ask(f"{prefix}/nothing")).text
        for path in ("nothing", "", "healthz", "ws"):
            assert f"'/echo/one/{path}'" in nothing
        assert "'/echo/one/ws'" in (await client.ask(f"{prefix}/ws")).text
        client_stream = await open_stream(server)
        stream = RawClient(client_stream)
        await stream.handshake(f"{prefix}/ws")
        await stream.send("hello")
        assert await stream.receive() == "hello"
        await trio.aclose_forcefully(client_stream)


@one_way
async def test_the_prefix_itself_leads_to_its_slash() -> None:
    """Below which the page's relative links are right; relatively, for another proxy may stand in front."""
    async with serving(root_path="/echo/one") as server:
        for target, location in (("/echo/one", "./one/"), ("/echo/one?x=1", "./one/?x=1")):
            async with plain_http(server) as client:
                answer = await client.ask(target)
            assert (answer.status, answer["location"]) == (308, location)


@one_way
async def test_handlers_see_their_own_paths() -> None:
    """`path` and `target` are the routes', and `url` is the client's."""

    async def tell(request: trioecho.Request) -> trioecho.Response:
        parts = (request.root_path, request.path, request.target, request.path_params["room"], request.url)
        return trioecho.Response(" ".join(parts))

    async def sit(ws: trioecho.WebSocket) -> None:
        await ws.send(f"{ws.path} {ws.request.root_path}")

    routes: trioecho.Routes = {"/rooms/{room}": trioecho.HttpRoute(tell), "/": sit}
    async with serving(routes, root_path="/echo") as server:
        async with plain_http(server) as client:
            answer = await client.ask("/echo/rooms/a%20b?c", headers=(("X", "y"),))
            assert answer.text.startswith("/echo /rooms/a b /rooms/a%20b?c a b http")
            assert answer.text.endswith("/echo/rooms/a%20b?c")
        client_stream = await open_stream(server)
        stream = RawClient(client_stream)
        await stream.handshake("/echo")
        assert await stream.receive() == "/ /echo"
        await trio.aclose_forcefully(client_stream)
