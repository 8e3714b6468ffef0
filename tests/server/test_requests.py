"""The opening handshake by real servers: judged with the transport known; who is owed an answer at a stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio
import trio.testing
from server_process import PATIENCE as PROCESS_PATIENCE
from server_process import ServerProcess
from serving import PATIENCE, one_way, open_stream, plain_tcp, serving, way_of_reading

import trioecho
from trioecho._server.serve import serve_connection
from trioecho._server.service import Service
from trioecho.testing import RawClient

__all__ = ["way_of_reading"]

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n"
)


async def answer_to(server: trioecho.Server, request: str) -> str:
    """The head of the answer to a request, and what came with it."""
    stream = await open_stream(server)
    try:
        await stream.send_all(request.encode())
        return bytes(await stream.receive_some()).decode("latin-1")
    finally:
        await trio.aclose_forcefully(stream)


async def test_self_lets_the_servers_own_page_in() -> None:
    """The page that the server itself serves may connect, over http and https, and no other page may."""
    async with serving(allowed_origins=["self"]) as server:
        host = server.url.partition("://")[2]
        for origin, status in ((server.url, 101), (server.url.upper(), 101), ("http://evil.com", 403)):
            answer = await answer_to(server, HANDSHAKE.format(host, f"Origin: {origin}\r\n"))
            assert answer.startswith(f"HTTP/1.1 {status}"), answer
        other = "http" if server.url.startswith("https:") else "https"
        answer = await answer_to(server, HANDSHAKE.format(host, f"Origin: {other}://{host}\r\n"))
        assert answer.startswith("HTTP/1.1 403"), answer


async def test_a_rebound_name_reaches_nothing() -> None:
    """A page whose own name was pointed at this server is its own `self`; only the list of hosts stops it."""
    page = "Origin: http{}://rebound.evil.com\r\n"
    async with serving(allowed_origins=["self"], allowed_hosts=["localhost"]) as server:
        page = page.format("s" if server.url.startswith("https:") else "")
        for request in (
            HANDSHAKE.format("rebound.evil.com", page),
            f"GET / HTTP/1.1\r\nHost: rebound.evil.com\r\n{page}\r\n",
            "GET /healthz HTTP/1.1\r\nHost: rebound.evil.com\r\n\r\n",
        ):
            answer = await answer_to(server, request)
            assert answer.startswith("HTTP/1.1 421"), answer
        answer = await answer_to(server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith("HTTP/1.1 200"), answer
        answer = await answer_to(server, HANDSHAKE.format("LOCALHOST:1", ""))
        assert answer.startswith("HTTP/1.1 101"), answer


async def test_who_has_said_nothing_is_owed_nothing() -> None:
    """Connections opened ahead, as browsers do, are closed at once when the server stops, TLS agreed on or not."""
    with trio.fail_after(PATIENCE / 2):
        async with serving(handshake_timeout=PATIENCE) as server:
            silent = [await open_stream(server) for _ in range(3)]
            bare = await trio.open_tcp_stream("127.0.0.1", server.port)
            if isinstance(silent[0], trio.SSLStream):
                await silent[0].do_handshake()
            await trio.testing.wait_all_tasks_blocked(0.01)
            server.stop(timeout=PATIENCE)
            assert await bare.receive_some() == b""
            for stream in silent:
                tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
                while await tcp.receive_some():
                    pass  # what TLS had to say
                await trio.aclose_forcefully(stream)
            await bare.aclose()


@plain_tcp
async def test_who_is_saying_something_keeps_his_time() -> None:
    """A request that has begun when the server stops is heard to its end, and answered that the server is stopping."""
    async with serving(handshake_timeout=PATIENCE, max_connections=100) as server:
        stream = await open_stream(server)
        request = HANDSHAKE.format("a", "").encode()
        await stream.send_all(request[:1])
        await trio.testing.wait_all_tasks_blocked(0.01)
        server.stop(timeout=PATIENCE)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.send_all(request[1:])
        answer = b"".join([chunk async for chunk in stream])
        assert answer.startswith(b"HTTP/1.1 503"), answer
        assert b"This server is stopping" in answer
        await stream.aclose()


@one_way
async def test_a_silent_connection_of_a_stopping_service_is_not_awaited() -> None:
    """One that was accepted in the moment of the stop is not waited for either."""
    service = Service({"/ws": trioecho.echo}, trioecho.WebSocketOptions())
    service.stop(trio.current_time() + PATIENCE)
    client_stream, server_stream = trio.testing.memory_stream_pair()
    with trio.fail_after(PATIENCE / 2):
        await serve_connection(server_stream, service)
        assert await RawClient(client_stream).receive_rest() == []


@one_way
def test_a_browsers_spare_connection_does_not_delay_sigterm(
    start_server: Callable[..., ServerProcess],
) -> None:
    """The process ends long before the time that requests have to come and handlers to finish."""
    server = start_server("--handshake-timeout", "1000", "--shutdown-timeout", "1000")
    with socket.create_connection(("127.0.0.1", server.port)) as spare:
        # A request on another connection: when it is answered, the first one is accepted too.
        with socket.create_connection(("127.0.0.1", server.port)) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.recv(12) == b"HTTP/1.1 200"
        assert server.stop() == 0
        spare.settimeout(PROCESS_PATIENCE)
        assert spare.recv(1) == b""
