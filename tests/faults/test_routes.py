"""The routes of all faults, and what tells of them."""

from __future__ import annotations

import json

import pytest
import trio
from fault_clients import at, serving_faults
from plain_http import plain_http
from serving import connected

import trioecho.faults
from trioecho import RawRoute
from trioecho.faults.table import FAULTS


def test_every_row_has_its_route() -> None:
    """And there is nothing else but what tells."""
    routes = trioecho.faults.routes()
    assert set(routes) == {fault.path for fault in FAULTS} | {"/faults", "/seen", "/seen/{id}"}
    assert sum(isinstance(route, RawRoute) for route in routes.values()) == len(FAULTS)


def test_what_is_no_seen_is_a_lesson() -> None:
    """At once."""
    with pytest.raises(TypeError, match=r"routes takes a trioecho.faults.Seen, or None; you gave 3"):
        trioecho.faults.routes(3)  # type: ignore[arg-type]


async def test_seen_has_all_and_one() -> None:
    """By id, and by the client's address; while a connection lives and when it has ended."""
    async with serving_faults() as server, plain_http(server) as http:
        async with connected(server, path="/echo?id=mine", headers="X-Mine: 1\r\nCookie: a=b\r\n") as client:
            await client.send("hello")
            assert await client.receive() == "hello"
            told = json.loads((await http.ask("/seen/mine")).body)
            assert (told["ended"], told["seconds"], told["fault"]) == (False, None, "/echo")
            assert ["x-mine", "1"] in told["headers"]
            assert ["cookie", "a=****"] in told["headers"]
            assert [frame["text"] for frame in told["frames"]] == ["hello", "hello"]
            assert json.loads((await http.ask(f"/seen/{told['peer']}")).body)["id"] == "mine"
            assert json.loads((await http.ask("/seen")).body)["open"] == 1
        told = json.loads((await http.ask("/seen/mine?wait=10")).body)
        assert told["ended"]
        recent = json.loads((await http.ask("/seen")).body)
        assert [each["id"] for each in recent["connections"]] == ["mine"]
        answer = await http.ask("/seen/other")
        assert (answer.status, answer["Cache-Control"]) == (404, None)
        assert (await http.ask("/seen/mine?wait=31")).status == 400


async def test_waiting_ends_with_the_connection_or_the_time() -> None:
    """Not before, and not much later."""
    async with serving_faults() as server, plain_http(server) as http, at(server, "/echo") as client:
        began = trio.current_time()
        assert not json.loads((await http.ask("/seen/it?wait=0.3")).body)["ended"]
        assert trio.current_time() - began >= 0.3
        await http.send("/seen/it?wait=30")
        await client.close(1000)
        await client.receive_rest()
        await client.stream.aclose()
        assert json.loads((await http.answer()).body)["ended"]


async def test_the_table_is_a_page_or_json() -> None:
    """As the client accepts it: browsers get the page."""
    async with serving_faults() as server, plain_http(server) as http:
        browser = (("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),)
        assert (await http.ask("/faults", headers=browser))["Content-Type"] == "text/html; charset=utf-8"
        assert (await http.ask("/faults"))["Content-Type"] == "text/html; charset=utf-8"
        answer = await http.ask("/faults", headers=(("Accept", "application/json"),))
        assert answer["Content-Type"] == "application/json"
        assert [row["path"] for row in json.loads(answer.body)["faults"]] == [fault.path for fault in FAULTS]
