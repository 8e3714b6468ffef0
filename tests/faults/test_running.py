"""Running faults: limits, counts, one line in the log, and neighbours who notice nothing."""

from __future__ import annotations

import contextlib
import functools
import logging

import pytest
import trio
import trio.testing
from fault_clients import at, seen_by, serving_faults
from plain_http import plain_http
from serving import connected, open_stream, someone_else_is_served, until

import trioecho
import trioecho.faults
from trioecho.faults import running
from trioecho.faults.table import FAULTS
from trioecho.testing import RawClient


async def test_a_fault_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it waits for."""
    monkeypatch.setattr(running, "LONGEST", 0.3)
    async with serving_faults() as server:
        async with at(server, "/silent"):
            told = await seen_by(server)
        await someone_else_is_served(server)
    assert told["error"] == "the fault has lasted 0.3 seconds, and was ended"


async def test_faults_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused with 503; when one has ended, there is room."""
    monkeypatch.setattr(running, "MOST_AT_ONCE", 1)
    async with serving_faults() as server:
        async with at(server, "/echo"):
            with pytest.raises(AssertionError, match=r"(?s)503 .*1 faults run already"):
                async with at(server, "/echo"):
                    raise NotImplementedError
            await someone_else_is_served(server)
        with trio.fail_after(5):
            while True:
                try:
                    async with at(server, "/echo"):
                        break
                except AssertionError:
                    await trio.sleep(0.01)


async def test_a_stop_ends_all_of_them() -> None:
    """At the server's deadline: each fault can be cancelled."""
    seen = trioecho.faults.Seen()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: trioecho.serve(trioecho.faults.routes(seen), port=0, task_status=task_status)
        )
        paths = [
            "/echo",
            "/silent",
            "/noclose",
            "/slow",
            "/stall",
            "/tick",
            "/ping",
            "/pong",
            "/burst",
            "/big",
        ]
        opened: list[str] = []
        async with trio.open_nursery() as clients:

            async def hold(path: str) -> None:
                async with connected(server, path=path):
                    opened.append(path)
                    await trio.sleep_forever()

            for path in paths:
                clients.start_soon(hold, path)
            with trio.fail_after(10):
                await until(lambda: len(opened) == len(paths))
                server.stop(timeout=0)
                await until(lambda: seen.open == 0)
            clients.cancel_scope.cancel()
    assert all(each.ended.is_set() for each in seen.connections)


HANGING = ("/silent", "/stall", "/handshake?hang=1", "/noclose")
HUGE = 100_000_000
ASKING = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_a_stop_ends_what_hangs_at_once() -> None:
    """It does not last until the server's `shutdown_timeout`, and each has its record."""
    seen = trioecho.faults.Seen()
    routes = trioecho.faults.routes(seen)
    async with trio.open_nursery() as nursery, contextlib.AsyncExitStack() as clients:
        server = await nursery.start(functools.partial(trioecho.serve, routes, port=0))
        with trio.fail_after(5):
            for path in HANGING:
                client = RawClient(await open_stream(server))
                clients.push_async_callback(trio.aclose_forcefully, client.stream)
                if "hang" in path:
                    await client.stream.send_all(ASKING % path.encode())
                else:
                    await client.handshake(path)
                await client.close(4000)
            await until(lambda: seen.open == len(HANGING) and seen.connections[-1].code_received)
            server.stop(timeout=60)
            await until(lambda: seen.open == 0)
    assert [each.error for each in seen.connections] == ["the server stopped"] * len(HANGING)


async def test_a_stop_says_goodbye_where_it_can_be_understood() -> None:
    """1001 as at any other route, 503 to who waits for the handshake's answer, and nothing within a frame."""
    seen = trioecho.faults.Seen()
    routes = trioecho.faults.routes(seen)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, routes, port=0))
        async with (
            connected(server, path="/echo") as echo,
            connected(server, path=f"/big?size={HUGE}") as big,
        ):
            late = await open_stream(server)
            await late.send_all(ASKING % b"/handshake?delay=100")
            with trio.fail_after(10):
                await until(lambda: seen.open == 3)
                await trio.testing.wait_all_tasks_blocked(0.01)
                server.stop(timeout=60)
                assert await echo.receive_close() == (1001, "server is stopping")
                await echo.close(1001)
                assert bytes(await late.receive_some(12)) == b"HTTP/1.1 503"
                await late.aclose()
                with contextlib.suppress(trio.BrokenResourceError):
                    rest = sum([len(data) async for data in big.stream])
                    assert rest < HUGE
                await echo.stream.aclose()
                await until(lambda: seen.open == 0)
    assert [each.error for each in seen.connections] == ["the server stopped"] * 3


async def test_each_has_one_line_in_the_log_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Which begins with the connection's id and has nothing that the client chose."""
    caplog.set_level(logging.INFO, "trioecho")
    async with serving_faults() as server:
        async with at(server, "/close/4001?reason=evil%0Aline") as client:
            await client.receive_close()
            await client.close(4001)
            await client.receive_rest()
        await seen_by(server)
        async with plain_http(server) as http:
            counts = await http.ask("/seen")
    lines = [record.getMessage() for record in caplog.records if "fault" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("it 127.0.0.1:")
    assert "fault /close/{code}; Close sent 4001, received 4001; FIN by the server" in lines[0]
    assert "evil" not in lines[0]
    assert '"counts":{"/close/{code}":1}' in counts.text


async def test_what_does_not_fit_is_refused_before_the_handshake() -> None:
    """400, in one sentence, and remembered."""
    async with serving_faults() as server, plain_http(server) as client:
        answer = await client.ask("/close/70000?id=it")
        assert answer.status == 400
        assert answer.text == "code takes a whole number from 0 to 65535; received '70000'.\n"
        assert (await seen_by(server))["status"] == 400


async def test_an_id_that_does_not_fit_is_refused() -> None:
    """The connection has one of its own then."""
    async with serving_faults() as server, plain_http(server) as client:
        answer = await client.ask("/echo?id=a%20b")
    assert (answer.status, answer.text[:25]) == (400, "id takes letters, digits ")
    assert answer["Trioecho-Seen"]


async def test_every_fault_answers_a_wrong_parameter(caplog: pytest.LogCaptureFixture) -> None:
    """By the names of the table, and nothing fails in it."""
    async with serving_faults() as server:
        for fault in FAULTS:
            path = fault.example.partition("?")[0]
            async with plain_http(server) as client:
                answer = await client.ask(f"{path}?nonsense=1")
                assert (answer.status, "'nonsense'" in answer.text) == (400, True), path
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_neighbour_notices_nothing() -> None:
    """An echo is answered within a fraction of a second while every fault runs, and hostile bytes come besides."""
    async with serving_faults() as server, trio.open_nursery() as nursery:

        async def suffer(path: str) -> None:
            headers = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if "deflate" in path else ""
            try:
                async with connected(server, path=path, headers=headers) as client:
                    await client.stream.send_all(client.frame(0x2, bytes(100)) * 20_000)
                    await client.receive_rest()
            except (AssertionError, trio.BrokenResourceError):
                return

        for fault in FAULTS:
            nursery.start_soon(suffer, fault.example)
        nursery.start_soon(suffer, "/badframe/deflate-bomb")
        slowest = 0.0
        async with connected(server) as client:
            for number in range(200):
                began = trio.current_time()
                await client.send(str(number))
                assert await client.receive() == str(number)
                slowest = max(slowest, trio.current_time() - began)
                await trio.sleep(0.002)
        nursery.cancel_scope.cancel()
    assert slowest < 1
