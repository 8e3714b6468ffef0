"""The opening handshake by real servers: judged with the transport known; who is owed an answer at a stop."""

from __future__ import annotations

import logging
import re
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
from serving import (
    PATIENCE,
    certificates,
    connected,
    encrypted,
    one_way,
    open_stream,
    plain_tcp,
    serving,
    unix_path,
    until,
    way_of_reading,
)

import trioecho
from trioecho._http.messages import Tls
from trioecho._server.peers import peer_of, tls_of
from trioecho._server.routes import RouteTable
from trioecho._server.serve import serve_connection
from trioecho._server.service import Service
from trioecho._wire.tls import TlsStream
from trioecho.testing import RawClient

__all__ = ["unix_path", "way_of_reading"]

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


# Behind a proxy: who the client is, and what it may have.

GET = "GET / HTTP/1.1\r\nHost: inside\r\n{}\r\n"


async def who(request: trioecho.Request) -> trioecho.Response:
    """Tell what is known of the client."""
    return trioecho.Response(f"{request.client} {request.url}")


async def own(ws: trioecho.WebSocket) -> None:
    """Tell what is known of the client, and stay."""
    await ws.send(f"{ws.request.client} {ws.request.url} {ws.remote_address}")
    async for _ in ws:
        pass


ROUTES: trioecho.Routes = {"/": trioecho.HttpRoute(who), "/ws": own}
TOLD = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: client.com\r\n"


async def test_a_trusted_proxy_tells_who_the_client_is(caplog: pytest.LogCaptureFixture) -> None:
    """`client`, `scheme`, `host` and `url` follow, and the record and both logs."""
    caplog.set_level(logging.INFO)
    expected = "('203.0.113.9', 0) https://client.com/"
    async with serving(ROUTES, trusted_proxies=["127.0.0.1"]) as server:
        assert expected in await answer_to(server, GET.format(TOLD))
        async with connected(server, headers=TOLD) as client:
            assert await client.receive() == f"{expected}ws 203.0.113.9"
            await client.close()
        await until(lambda: server.records)
        (record,) = server.records
        assert record.peer == "203.0.113.9"
        assert "404" in await answer_to(server, GET.format(TOLD).replace("GET /", "GET /not-there"))
        assert "404" in await answer_to(server, HANDSHAKE.format("a", TOLD).replace("/ws", "/other"))
    lines = [line for line in caplog.messages if "203.0.113.9" in line]
    assert [re.sub(r"^\S{8} (?=203)", "", line).split(";")[0] for line in lines] == [
        "203.0.113.9 GET / 200",
        "203.0.113.9 /ws peer closed, client first",
        "203.0.113.9 GET /not-there 404",
        "203.0.113.9 refused: 404 No WebSocket is served at '/other'.",
    ]


@one_way
async def test_nobody_else_is_believed() -> None:
    """A client that sends such headers itself is who it is."""
    for trusted in ([], ["10.0.0.0/8"], ["unix"]):
        async with serving(ROUTES, trusted_proxies=trusted) as server:
            answer = await answer_to(server, GET.format(TOLD + "Forwarded: for=1.1.1.1\r\n"))
            assert "('127.0.0.1', " in answer
            assert " http://inside/" in answer


@one_way
async def test_each_request_of_a_connection_has_its_own_client(caplog: pytest.LogCaptureFixture) -> None:
    """A proxy sends those of many clients over one; of one that it does not tell, it is the client itself."""
    caplog.set_level(logging.INFO, logger="trioecho.access")
    async with serving(ROUTES, trusted_proxies=["127.0.0.1"]) as server:
        stream = await open_stream(server)
        for headers, client in (
            ("X-Forwarded-For: 203.0.113.9\r\n", "('203.0.113.9', 0)"),
            ("", "('127.0.0.1', "),
            ('Forwarded: for="[2001:db8::1]:47";proto=https\r\n', "('2001:db8::1', 47) https://inside/"),
        ):
            await stream.send_all(GET.format(headers).encode())
            assert client in (await stream.receive_some()).decode()
        await trio.aclose_forcefully(stream)
    first, second, third = (line.partition(" ")[2] for line in caplog.messages)
    assert first.startswith("203.0.113.9 GET / 200")
    assert second.split(" GET ")[0].rpartition(":")[0] == "127.0.0.1"
    assert third.startswith("[2001:db8::1]:47 GET / 200")


@one_way
async def test_what_may_be_a_forgery_is_a_400() -> None:
    """From a trusted proxy; the connection is closed."""
    async with serving(ROUTES, trusted_proxies=["127.0.0.1"]) as server:
        for headers in ('Forwarded: for="1\r\n', "Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"):
            answer = await answer_to(server, GET.format(headers))
            assert answer.startswith("HTTP/1.1 400 ")
            assert "Connection: close" in answer


@one_way
async def test_self_and_allowed_hosts_go_by_what_the_proxy_says() -> None:
    """The page came from the proxy's host over TLS, whatever the proxy asks us for."""
    options = {"trusted_proxies": ["127.0.0.1"], "allowed_origins": ["self"], "allowed_hosts": ["client.com"]}
    async with serving(ROUTES, **options) as server:
        for headers, status in (
            (TOLD + "Origin: https://client.com\r\n", 101),
            (TOLD + "Origin: http://client.com\r\n", 403),
            (TOLD + "Origin: https://inside\r\n", 403),
            ("Origin: http://inside\r\n", 421),
        ):
            assert (await answer_to(server, HANDSHAKE.format("inside", headers))).startswith(
                f"HTTP/1.1 {status} "
            )


@one_way
async def test_a_proxy_may_come_by_unix_socket(unix_path: str) -> None:
    """Only where `unix` is trusted."""
    for trusted, client in ((["unix"], "('203.0.113.9', 0)"), (["127.0.0.1"], "None http://inside/")):
        async with serving(ROUTES, at={"unix": unix_path}, trusted_proxies=trusted) as server:
            assert client in await answer_to(server, GET.format(TOLD))


async def test_the_proxy_protocol_stands_before_tls(caplog: pytest.LogCaptureFixture) -> None:
    """The client's address is in it; what the client then says of itself is not believed."""
    caplog.set_level(logging.INFO)
    async with serving(ROUTES, trusted_proxies=["127.0.0.1"], proxy_protocol=True) as server:
        tcp = await trio.open_tcp_stream("127.0.0.1", server.port)
        await tcp.send_all(b"PROXY TCP4 203.0.113.9 10.0.0.1 41234 80\r\n")
        stream: trio.abc.Stream = tcp
        if encrypted(server):
            stream = trio.SSLStream(tcp, certificates()[1], server_hostname="127.0.0.1")
        client = RawClient(stream)
        await client.handshake(headers="X-Forwarded-For: 1.1.1.1\r\n")
        scheme = "https" if encrypted(server) else "http"
        assert await client.receive() == (f"('203.0.113.9', 41234) {scheme}://localhost/ws 203.0.113.9:41234")
        await trio.aclose_forcefully(stream)
        await until(lambda: server.records)
        assert [record.peer for record in server.records] == ["203.0.113.9:41234"]


@one_way
async def test_a_trusted_proxy_without_its_header_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Where the protocol is on; who is no trusted proxy needs none, and a health check of the proxy's own has none."""
    caplog.set_level(logging.DEBUG)
    async with serving(ROUTES, trusted_proxies=["127.0.0.1"], proxy_protocol=True) as server:
        for said, client in (
            (GET.format(""), None),
            ("PROXY nonsense\r\n" + GET.format(""), None),
            ("PROXY UNKNOWN\r\n" + GET.format(""), "('127.0.0.1', "),
            ("PROXY UNKNOWN\r\n" + GET.format("X-Forwarded-For: 1.1.1.1\r\n"), "('1.1.1.1', 0)"),
            (
                "PROXY TCP4 127.0.0.1 10.0.0.1 47 80\r\n" + GET.format("X-Forwarded-For: 1.1.1.1\r\n"),
                "('1.1.1.1', 0)",
            ),
        ):
            try:
                answer = await answer_to(server, said)
            except trio.BrokenResourceError:
                answer = ""
            assert answer == "" if client is None else client in answer
        stream = await trio.open_tcp_stream("127.0.0.1", server.port, local_address="127.0.0.2")
        async with stream:
            await stream.send_all(GET.format("").encode())
            assert b"('127.0.0.2', " in await stream.receive_some()
        await (await open_stream(server)).aclose()
        await until(lambda: not server.open_sockets)
    refused = [line for line in caplog.messages if "no header of the PROXY protocol" in line]
    assert len(refused) == 2
    assert refused[0].endswith("it begins with b'GET / HTTP/1', as neither version does")
    assert "connection lost before a WebSocket was opened: the connection ended before" in caplog.text


@one_way
async def test_a_proxy_that_says_nothing_has_no_more_time_than_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`handshake_timeout` counts from the connection."""
    options = {"trusted_proxies": ["127.0.0.1"], "proxy_protocol": True, "handshake_timeout": 0.05}
    async with serving(ROUTES, **options) as server:
        stream = await open_stream(server)
        await stream.send_all(b"PROXY TCP4")
        assert await stream.receive_some() == b""
        await trio.aclose_forcefully(stream)


@one_way
@pytest.mark.parametrize("proxied", [False, True])
async def test_an_address_has_no_more_than_its_limits(
    *, proxied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """429 and Retry-After for a WebSocket and for HTTP; the real address counts behind a proxy, which itself is never
    limited."""
    caplog.set_level(logging.INFO, logger="trioecho")
    limits = trioecho.AddressLimits(connections=2, in_progress=3)
    trusted = ["127.0.0.1"] if proxied else []
    headers = "X-Forwarded-For: 203.0.113.9\r\n" if proxied else ""
    other = "X-Forwarded-For: 203.0.113.10\r\n"
    async with (
        serving(ROUTES, trusted_proxies=trusted, limits_per_address=limits) as server,
        connected(server, headers=headers),
        connected(server, headers=headers) as second,
    ):
        for request in (HANDSHAKE.format("a", headers), GET.format(headers)):
            for _ in range(3):
                answer = await answer_to(server, request)
                assert answer.startswith("HTTP/1.1 429 Too Many Requests\r\n")
                assert "Retry-After: 5\r\n" in answer
                assert "All 2 connections of an address are taken by yours; try again in 5 seconds." in answer
        assert server.turned_away == {"connections": 6}
        if proxied:
            for request in (GET.format(other), GET.format("")):
                assert (await answer_to(server, request)).startswith("HTTP/1.1 200 ")
        await second.close()
        await until(lambda: len(server.records) == 1)
        assert (await answer_to(server, GET.format(headers))).startswith("HTTP/1.1 200 ")
        assert (await answer_to(server, GET.format(headers))).startswith("HTTP/1.1 200 ")
    refusals = [line for line in caplog.messages if "refused: 429" in line]
    assert 1 <= len(refusals) <= 3
    assert refusals[0].partition(" ")[0].startswith("203.0.113.9" if proxied else "127.0.0.1:")


@one_way
async def test_a_trusted_proxy_itself_is_never_limited() -> None:
    """It speaks for all whose clients it does not tell, and keeps many connections for later."""
    limits = trioecho.AddressLimits(connections=1, burst=1, in_progress=1)
    async with (
        serving(ROUTES, trusted_proxies=["127.0.0.1"], limits_per_address=limits) as server,
        connected(server),
        connected(server),
    ):
        idle = [await open_stream(server) for _ in range(3)]
        for stream in idle:
            await stream.send_all(GET.format("").encode())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert server.turned_away == {}
        for stream in idle:
            await trio.aclose_forcefully(stream)


@one_way
async def test_an_address_asks_for_no_more_websockets_than_its_rate() -> None:
    """Right or wrong ones; plain HTTP is not counted, another address has its own."""
    limits = trioecho.AddressLimits(handshakes_per_second=0.001, burst=3)
    async with serving(ROUTES, limits_per_address=limits) as server:
        for path, status in (("/ws", 101), ("/none", 404), ("/ws", 101), ("/ws", 429), ("/none", 429)):
            answer = await answer_to(server, HANDSHAKE.format("a", "").replace("/ws", path))
            assert answer.startswith(f"HTTP/1.1 {status} ")
        assert "Retry-After: 1000\r\n" in answer
        assert server.turned_away == {"handshakes_per_second": 2}
        for _ in range(10):
            assert (await answer_to(server, GET.format(""))).startswith("HTTP/1.1 200 ")
        stream = await trio.open_tcp_stream("127.0.0.1", server.port, local_address="127.0.0.2")
        async with stream:
            await RawClient(stream).handshake()


@one_way
async def test_of_ipv6_a_network_of_64_bits_is_one_address() -> None:
    """Behind a proxy and without one."""
    limits = trioecho.AddressLimits(connections=1)
    async with (
        serving(ROUTES, trusted_proxies=["127.0.0.1"], limits_per_address=limits) as server,
        connected(server, headers="X-Forwarded-For: 2001:db8::1\r\n"),
    ):
        for address, status in (("2001:db8::2", 429), ("2001:db8:0:1::1", 101)):
            answer = await answer_to(server, HANDSHAKE.format("a", f"X-Forwarded-For: {address}\r\n"))
            assert answer.startswith(f"HTTP/1.1 {status} ")
    async with serving(ROUTES, host="::1", limits_per_address=limits) as server:
        streams = [await trio.open_tcp_stream("::1", server.port) for _ in range(2)]
        await RawClient(streams[0]).handshake()
        with pytest.raises(AssertionError, match="429 Too Many Requests"):
            await RawClient(streams[1]).handshake()
        for stream in streams:
            await stream.aclose()


@one_way
async def test_an_answer_that_streams_counts_until_it_ends() -> None:
    """And a connection that is kept alive does not."""
    go_on = trio.Event()

    async def pieces():
        yield "one"
        await go_on.wait()

    async def streaming(request: trioecho.Request) -> trioecho.Response:
        return trioecho.Response(pieces())

    limits = trioecho.AddressLimits(connections=1)
    async with serving({"/": trioecho.HttpRoute(streaming)}, limits_per_address=limits) as server:
        first = await open_stream(server)
        await first.send_all(GET.format("").encode())
        assert (await first.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert (await answer_to(server, GET.format(""))).startswith("HTTP/1.1 429 ")
        go_on.set()
        await until(lambda: not server._service.accounts._held)
        assert server.open_sockets >= 1
        assert (await answer_to(server, GET.format(""))).startswith("HTTP/1.1 200 ")
        await trio.aclose_forcefully(first)
