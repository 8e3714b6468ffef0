"""What a server counts: each connection, message, refusal and exchange once, and figures that only grow."""

from __future__ import annotations

import trio
from deflating import OFFER, Compressor
from plain_http import plain_http
from serving import PATIENCE, connected, one_way, open_stream, serving, until, way_of_reading

import trioecho
from trioecho import AddressLimits, HttpRoute, Refused, Request, Response
from trioecho._server.tally import class_of_code
from trioecho.testing import RawClient

__all__ = ["way_of_reading"]

pytestmark = one_way


async def knock(server: trioecho.Server, path: str = "/ws", headers: str = "") -> str:
    """Ask for a WebSocket; the status that comes."""
    stream = await open_stream(server)
    async with stream:
        await stream.send_all(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        return bytes(await stream.receive_some()).split()[1].decode()


async def test_messages_are_counted_while_a_connection_is_open_and_once_it_has_ended() -> None:
    """The same ones, and none twice."""
    async with serving() as server:
        async with connected(server) as client:
            for message in ("hello", b"\x00" * 70_000):
                await client.send(message)
                assert await client.receive() == message
            during = server.figures
            await client.close(1000)
            assert await client.receive_close() == (1000, "")
        await until(lambda: not server.connections)
        after = server.figures
    assert (during.connections_open, during.connections, during.endings) == (1, 1, {})
    assert (after.connections_open, after.connections) == (0, 1)
    assert after.endings == {("peer closed", "1000"): 1}
    for figures in (during, after):
        assert (figures.messages_received, figures.messages_sent) == (2, 2)
        assert (figures.bytes_received, figures.bytes_sent) == (70_005, 70_005)
        assert (figures.wire_bytes_received, figures.wire_bytes_sent) == (70_005, 70_005)
    assert during.handshakes.count == after.handshakes.count == 1
    assert 0 < after.handshakes.total < PATIENCE
    assert (during.lifetimes.count, after.lifetimes.count) == (0, 1)


async def test_figures_that_count_never_shrink_however_often_they_are_asked_for() -> None:
    """While 40 connections come, talk and go, a look between any two steps of theirs."""
    over = trio.Event()

    async def visit(server: trioecho.Server) -> None:
        async with connected(server) as client:
            await client.send("hello")
            assert await client.receive() == "hello"
            await client.close(1000)
            await client.receive_rest()

    async with serving() as server:
        before = server.figures

        async def look() -> None:
            nonlocal before
            while not over.is_set():
                now = server.figures
                assert now.connections >= before.connections
                assert now.messages_received >= before.messages_received
                assert now.bytes_sent >= before.bytes_sent
                assert now.connections == now.connections_open + now.lifetimes.count
                before = now
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            async with trio.open_nursery() as visits:
                for _ in range(40):
                    visits.start_soon(visit, server)
            await until(lambda: not server.connections)
            over.set()
        assert (server.figures.messages_received, server.figures.connections) == (40, 40)


async def test_what_compression_saves_can_be_told() -> None:
    """Bytes of messages, and what they were in their frames."""
    async with serving(compression=True) as server:
        async with connected(server, headers=f"Sec-WebSocket-Extensions: {OFFER}\r\n") as client:
            await client.stream.send_all(Compressor().frame("a" * 10_000))
            await client.receive_frame()
            figures = server.figures
    assert (figures.bytes_received, figures.bytes_sent) == (10_000, 10_000)
    assert 0 < figures.wire_bytes_received < 200
    assert 0 < figures.wire_bytes_sent < 200


async def test_endings_are_counted_by_the_code_of_who_closed_first() -> None:
    """The client's own codes by their thousand, since it has 2,000 to choose from; none where TCP just ended."""

    async def handler(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            if message == "raise":
                raise ZeroDivisionError
            await ws.aclose(4321, "mine")

    async with serving(handler) as server:
        for code in (1000, 1000, 4000, 4999, 3001, None):
            async with connected(server) as client:
                await client.close(code)
                await client.receive_rest()
        for message in ("raise", "close"):
            async with connected(server) as client:
                await client.send(message)
                await client.receive_close()
                await client.close(1000)
        async with connected(server):
            pass
        await until(lambda: server.figures.lifetimes.count == 9)
    assert server.figures.endings == {
        ("peer closed", "1000"): 2,
        ("peer closed", "4xxx"): 2,
        ("peer closed", "3xxx"): 1,
        ("peer closed", "1005"): 1,
        ("handler raised", "1011"): 1,
        ("application closed", "4xxx"): 1,
        ("peer vanished", "none"): 1,
    }


def test_close_codes_come_to_few_values_of_a_label() -> None:
    """Whatever a client or an application makes of them."""
    assert len({class_of_code(code) for code in (None, *range(5000))}) <= 22
    assert [class_of_code(code) for code in (None, 1006, 1015, 1016, 2999)] == [
        "none",
        "1006",
        "1015",
        "1xxx",
        "2xxx",
    ]


async def test_refusals_are_counted_by_reason_and_status() -> None:
    """The server's own, and the application's, which may have the same status."""

    async def admit(request: Request) -> None:
        raise Refused(403)

    async def choose_badly(request: Request) -> None:
        raise ZeroDivisionError

    def choose(request: Request, offered: tuple[str, ...]) -> str | None:
        raise Refused(404)

    routes: trioecho.Routes = {
        "/ws": trioecho.echo,
        "/closed": trioecho.WebSocketRoute(trioecho.echo, admit=admit),
        "/broken": trioecho.WebSocketRoute(trioecho.echo, admit=choose_badly),
        "/choosy": trioecho.WebSocketRoute(trioecho.echo, subprotocols=choose),
        "/one": trioecho.WebSocketRoute(trioecho.echo, options={"max_connections": 1}),
    }
    async with serving(routes, allowed_origins=["https://a.com"], allowed_hosts=["a", "localhost"]) as server:
        assert await knock(server, "/closed") == "403"
        assert await knock(server, "/broken") == "500"
        assert await knock(server, "/choosy", "Sec-WebSocket-Protocol: x\r\n") == "404"
        assert await knock(server, "/nothing") == "404"
        assert await knock(server, headers="Origin: https://b.com\r\n") == "403"
        assert await knock(server, headers="Sec-WebSocket-Key: second\r\n") == "400"
        async with await open_stream(server) as stream:
            await stream.send_all(b"nonsense\r\n\r\n")
            await stream.receive_some()
        client = RawClient(await open_stream(server))
        await client.stream.send_all(
            b"GET /one HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await until(lambda: server.connections)
        assert await knock(server, "/one") == "503"
        server.stop(timeout=0)
        await trio.aclose_forcefully(client.stream)
    assert server.figures.refusals == {
        ("application", "403"): 1,
        ("application", "500"): 1,
        ("application", "404"): 1,
        ("path", "404"): 1,
        ("origin", "403"): 1,
        ("request", "400"): 2,
        ("room", "503"): 1,
    }
    assert server.figures.stopping == 1


async def test_what_is_over_the_limits_of_an_address_is_counted() -> None:
    """Among the refusals, and by the limit that it was."""
    limits = AddressLimits(handshakes_per_second=0.001, burst=1)
    async with serving(limits_per_address=limits) as server:
        assert [await knock(server) for _ in range(3)] == ["101", "429", "429"]
        figures = server.figures
    assert figures.refusals == {("address", "429"): 2}
    assert figures.turned_away == {"handshakes_per_second": 2}


async def test_who_makes_room_is_counted() -> None:
    """Those who have said nothing, where all sockets are open."""
    async with serving(max_sockets=2) as server:
        streams = [await open_stream(server) for _ in range(4)]
        await until(lambda: server.figures.turned_away.get("no room") == 2)
        assert (server.figures.sockets_open, server.figures.sockets_limit) == (2, 2)
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def test_round_trips_of_pings_are_counted() -> None:
    """Those that were answered."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.ping()
        async for _ in ws:
            pass

    async with serving(handler) as server, connected(server) as client:
        frame = await client.receive_frame()
        assert frame is not None
        assert server.figures.round_trips.count == 0
        await client.send_frame(10, frame.payload)
        await until(lambda: server.figures.round_trips.count)
        await client.send_frame(10, frame.payload)
        await client.close(1000)
        await client.receive_rest()
    assert server.figures.round_trips.count == 1
    assert 0 < server.figures.round_trips.total < PATIENCE


async def test_bytes_that_wait_are_told_for_both_directions() -> None:
    """Half a message, and an answer that its client does not read; nothing once they are gone."""

    async def flood(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send(b"\x00" * 1_000_000)

    async with serving({"/ws": trioecho.echo, "/flood": flood}) as server:
        async with connected(server) as client:
            await client.send_frame(2, b"\x00" * 50_000, fin=False)
            await until(lambda: server.figures.waiting_received >= 50_000)
            assert server.figures.waiting_sent == 0
        async with connected(server, path="/flood"):
            await until(lambda: server.figures.waiting_sent >= 500_000)
            assert server.figures.memory_held >= 500_000
        await until(lambda: not server.connections)
        assert (server.figures.waiting_received, server.figures.waiting_sent) == (0, 0)


async def test_plain_exchanges_are_counted_by_class_of_status() -> None:
    """With the bytes of their bodies; a client that went before there was an answer as none."""
    begun = trio.Event()

    async def never(request: Request) -> Response:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    routes: trioecho.Routes = {
        "/": HttpRoute(lambda request: Response("hello")),
        "/never": HttpRoute(never, while_client_stays=True),
        "/away": HttpRoute(lambda request: Response(status=302, headers={"Location": "/"})),
    }
    async with serving(routes) as server:
        async with plain_http(server) as client:
            for path in ("/", "/", "/away", "/nothing"):
                await client.ask(path)
            missing = len((await client.ask("/nothing")).body)
            await client.send("/never")
            await begun.wait()
        await until(lambda: server.figures.http_exchanges.get("none"))
    assert server.figures.http_exchanges == {"2xx": 2, "3xx": 1, "4xx": 2, "none": 1}
    assert server.figures.http_body_bytes == 10 + 2 * missing
    assert server.figures.connections == 0


async def test_a_request_knows_the_server_that_it_came_to() -> None:
    """In admission and in the functions of routes; so a plain request may look at who is connected."""
    seen: list[trioecho.Server | None] = []

    async def admit(request: Request) -> None:
        seen.append(request.server)

    async def how_many(request: Request) -> Response:
        assert request.server is not None
        return Response(str(len(request.server.connections)))

    routes: trioecho.Routes = {
        "/ws": trioecho.WebSocketRoute(trioecho.echo, admit=admit),
        "/": HttpRoute(how_many),
    }
    async with serving(routes) as server, connected(server), plain_http(server) as client:
        assert (await client.ask("/")).text == "1"
        assert seen == [server]


async def test_handlers_that_go_on_and_messages_that_nobody_takes_are_counted() -> None:
    """From the records, as they end."""

    async def deaf(ws: trioecho.WebSocket) -> None:
        await trio.sleep_forever()

    async with serving(deaf, answer_timeout=0.01) as server:
        async with connected(server) as client:
            for _ in range(3):
                await client.send("hello")
            await client.close(1000)
            await client.receive_rest()
        await until(lambda: server.figures.lifetimes.count)
    assert (server.figures.handlers_cancelled, server.figures.messages_discarded) == (1, 3)
    assert server.figures.messages_received == 3


async def test_who_is_too_late_is_counted() -> None:
    """Half a request, and no more of it."""
    async with serving(handshake_timeout=0.05) as server, await open_stream(server) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        assert b" 408 " in bytes(await stream.receive_some())
    assert server.figures.refusals == {("late", "408"): 1}
