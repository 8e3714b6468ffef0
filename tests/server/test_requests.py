"""The opening handshake by real servers: judged with the transport known; who is owed an answer at a stop."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing
import trustme
from server_process import PATIENCE as PROCESS_PATIENCE
from server_process import ServerProcess
from serving import PATIENCE, one_way, open_stream, plain_tcp, serving, way_of_reading

import trioecho
from trioecho._http.messages import Tls
from trioecho._server.peers import peer_of, tls_of
from trioecho._server.routes import RouteTable
from trioecho._server.serve import serve_connection
from trioecho._server.service import Service
from trioecho._wire.tls import TlsStream
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
    options = trioecho.WebSocketOptions()
    service = Service(RouteTable(trioecho.echo, options), options)
    service.stop(trio.current_time() + PATIENCE)
    client_stream, server_stream = trio.testing.memory_stream_pair()
    with trio.fail_after(PATIENCE / 2):
        await serve_connection(server_stream, service)
        assert await RawClient(client_stream).receive_rest() == []


@one_way
@pytest.mark.parametrize("by_trio", [False, True])
@pytest.mark.parametrize("known", [False, True])
async def test_a_request_knows_what_tls_has_agreed_on(*, by_trio: bool, known: bool) -> None:
    """The version, the protocol, and the certificate of a client that has shown one."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    if known:
        authority.configure_trust(server)
        server.verify_mode = ssl.CERT_REQUIRED
        server.set_alpn_protocols(["h2", "http/1.1"])
        client.set_alpn_protocols(["http/1.1"])
        authority.issue_cert("client@example.com").configure_cert(client)
    near, far = (trio.SocketStream(end) for end in trio.socket.socketpair())
    ours = trio.SSLStream(near, server, server_side=True) if by_trio else TlsStream(near, server)
    peer = trio.SSLStream(far, client, server_hostname="127.0.0.1")
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.do_handshake)
            nursery.start_soon(peer.do_handshake)
    agreed = tls_of(ours)
    assert agreed is not None
    if known:
        assert agreed.client_certificate is not None
        assert ("email", "client@example.com") in agreed.client_certificate["subjectAltName"]
        assert (agreed.version, agreed.alpn) == ("TLSv1.3", "http/1.1")
    else:
        assert agreed == Tls("TLSv1.3", None, None)
    assert peer_of(ours)[1] is None
    await trio.aclose_forcefully(ours)
    await trio.aclose_forcefully(peer)


@one_way
async def test_a_request_knows_its_clients_address() -> None:
    """Of TCP over IPv4 and IPv6, and under TLS; of nothing else."""
    for host in ("127.0.0.1", "::1"):
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        async with trio.open_nursery() as nursery:
            accepted: list[trio.SocketStream] = []

            async def accept(into: list[trio.SocketStream], listener: trio.SocketListener) -> None:
                into.append(await listener.accept())

            nursery.start_soon(partial(accept, accepted, listener))
            stream = await trio.open_tcp_stream(host, listener.socket.getsockname()[1])
        assert peer_of(accepted[0])[1] == stream.socket.getsockname()[:2]
        assert tls_of(accepted[0]) is None
        for each in (listener, stream, accepted[0]):
            await each.aclose()
        assert peer_of(accepted[0])[1] is None
    assert peer_of(trio.testing.memory_stream_pair()[0])[1] is None


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


@one_way
@pytest.mark.parametrize(
    "head",
    [
        "GET /ws?access_token=secret HTTP/1.1 ",
        "GET /ws?access_token=secret and more",
        "GET / HTTP/1.1\r\nAuthorization : Bearer secret",
        "GET / HTTP/1.1\r\nAuthorization Bearer secret",
        "GET / HTTP/1.1\r\nAuthorization: Bearer secret\0",
        "GET / HTTP/1.1\r\nAuthorization: Bearer\r\n secret",
        "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: bearer.secret=\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ],
)
async def test_what_is_no_request_is_not_quoted_in_the_log(
    head: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A token may stand anywhere in it. The client is told what it has sent."""
    caplog.set_level(logging.DEBUG)
    async with serving({"/": trioecho.echo}) as server:
        stream = await open_stream(server)
        await stream.send_all(f"{head}\r\n\r\n".encode())
        assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 400 ")
        await trio.aclose_forcefully(stream)
    assert "refused: 400 " in caplog.text
    assert "secret" not in caplog.text
