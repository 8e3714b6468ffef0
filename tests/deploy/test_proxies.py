"""Behind nginx, HAProxy, Caddy and Apache, each with the package's own file: all that has to come through does."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from command_line import Start
from server_process import PATIENCE, ServerProcess

from deploy.proxies import CLIENT, PROXIES, Site, proxy
from trioecho.testing import PING, PONG, RawClient

SERVER = ("--trusted-proxy", "127.0.0.1", "--allowed-origin", "self")

every_proxy = pytest.mark.parametrize("name", PROXIES)

HTTP2_CLIENT = Path(__file__).parent / "http2_client.cjs"


@dataclass(frozen=True)
class Both:
    """A proxy and its two servers."""

    name: str
    folder: Path
    site: Site
    servers: tuple[ServerProcess, ServerProcess]

    def log_at_the_end(self) -> list[str]:
        """Stop both servers, and return what they have logged."""
        assert [server.stop() for server in self.servers] == [0, 0]
        return [line for server in self.servers for line in server.log]


Run = Callable[..., Both]


@pytest.fixture
def run(start_server: Start, tmp_path: Path) -> Iterator[Run]:
    """Starts two servers and a proxy before them."""
    with contextlib.ExitStack() as stack:

        def run(
            name: str, *changed: tuple[str, str], one: tuple[str, ...] = (), two: tuple[str, ...] = ()
        ) -> Both:
            servers = (start_server(*SERVER, *one), start_server(*SERVER, *two))
            ports = [server.port for server in servers]
            site = stack.enter_context(proxy(name, tmp_path, ports, *changed))
            return Both(name, tmp_path, site, servers)

        yield run


async def said(client: RawClient, text: str) -> str | bytes | None:
    """The echo of a text; None where the connection has ended."""
    try:
        with trio.fail_after(PATIENCE):
            await client.send(text)
            return await client.receive()
    except (trio.BrokenResourceError, trio.ClosedResourceError, AssertionError):
        return None


async def goodbye(client: RawClient) -> None:
    await client.close()
    with trio.fail_after(PATIENCE):
        assert await client.receive_close() == (1000, "")


async def listens(client: RawClient, seconds: float) -> None:
    """Answers Pings for so long, or until the end of the connection."""
    with trio.move_on_after(seconds), contextlib.suppress(trio.BrokenResourceError):
        while (frame := await client.receive_frame()) is not None:
            assert frame.opcode == PING, frame
            await client.send_frame(PONG, frame.payload)


def by_http2(both: Both, *asked: str) -> dict[str, object]:
    """What Node's client, which nobody here wrote, heard over HTTP/2."""
    if (node := shutil.which("node")) is None:
        pytest.skip("no Node.js on this machine")
    told = subprocess.run(
        [node, str(HTTP2_CLIENT), str(both.site.port), str(both.folder / "authority.pem"), *asked],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    found: dict[str, object] = json.loads(told)
    return found


@every_proxy
async def test_what_the_client_is_and_asks_for_comes_through(run: Run, name: str) -> None:
    """The echo by TLS, the site's own pages and no others, the client's address in the log; none of it can be
    forged."""
    both = run(name)
    own, foreign = "Origin: https://localhost\r\n", "Origin: https://evil.example\r\n"
    forged = (
        "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\n"
        "Forwarded: for=203.0.113.9;host=evil.example;proto=http\r\n"
    )
    for headers in (own, "", own + forged):
        async with both.site.connect(headers=headers) as client:
            assert await said(client, "hello") == "hello"
            assert await said(client, "x" * 200_000) == "x" * 200_000
            await goodbye(client)
    for headers in (foreign, foreign + forged):
        with pytest.raises(AssertionError, match=r"^HTTP/1\.1 403"):
            async with both.site.connect(headers=headers):
                pass
    log = both.log_at_the_end()
    ended = [line for line in log if "peer closed" in line]
    assert len(ended) == 3, log
    assert all(f" {CLIENT} /ws " in line for line in ended), ended
    assert not [line for line in log if "203.0.113.9" in line]


@every_proxy
def test_the_page_comes_by_http2(run: Run, name: str) -> None:
    """From the proxy; the servers behind it speak HTTP/1.1."""
    told = by_http2(run(name), "/")
    assert (told["alpn"], told["status"]) == ("h2", 200)
    assert "WebSocket Sample Application" in str(told["body"])


@pytest.mark.parametrize("name", ["haproxy", "apache"])
def test_a_websocket_comes_by_http2_where_the_proxy_can(run: Run, name: str) -> None:
    """Extended CONNECT (RFC 8441) from the client to the proxy, an upgrade from there to the server."""
    told = by_http2(run(name), "/ws", "websocket")
    assert told == {"alpn": "h2", "connect": True, "status": 200, "body": "\x81\x05hello"}


SHORTENED = {
    "nginx": [("proxy_read_timeout 60s", "proxy_read_timeout 2s")],
    "haproxy": [("timeout tunnel 60s", "timeout tunnel 2s")],
    "caddy": [],
    "apache": [("Timeout 60", "Timeout 2")],
}
"""Idle for two seconds instead of a minute: a busy machine is late by less with its Pings."""


@every_proxy
async def test_an_idle_connection_outlives_the_proxys_timeout(run: Run, name: str) -> None:
    """The server's Pings keep it open; one whose server sends none is cut, where the proxy has such a timeout."""
    both = run(
        name,
        *SHORTENED[name],
        one=("--keep-alive-interval", "0.3"),
        two=("--keep-alive-interval", "off"),
    )
    async with both.site.connect() as first, both.site.connect() as second:
        async with trio.open_nursery() as nursery:
            for client in (first, second):
                # Twice as long as the proxy waits.
                nursery.start_soon(listens, client, 4.5)
        alive = [await said(client, "still here") for client in (first, second)]
    assert alive.count("still here") == (1 if SHORTENED[name] else 2)


@every_proxy
async def test_of_two_servers_one_may_die(run: Run, name: str) -> None:
    """Connections go to both; when one is killed its clients are told, newcomers go to the other, and none is refused.
    A server that is stopped says goodbye through the proxy."""
    both = run(name)
    one, two = both.servers
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(both.site.connect()) for _ in range(6)]
        assert [await said(client, "hello") for client in clients] == ["hello"] * 6
        one.signal(signal.SIGKILL)
        one.wait()
        left = [client for client in clients if await said(client, "who is left?") == "who is left?"]
        assert len(left) == 3
        newcomers = [await stack.enter_async_context(both.site.connect()) for _ in range(6)]
        assert [await said(client, "hello") for client in newcomers] == ["hello"] * 6
        two.signal()
        for client in left + newcomers:
            with trio.fail_after(PATIENCE):
                assert await client.receive_close() == (1001, "server is stopping")
            await client.close(1001)
        assert await trio.to_thread.run_sync(two.wait) == 0


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_a_server_that_takes_nobody_is_passed_over(run: Run, name: str) -> None:
    """Its 503, as it is full or stops, is no client's answer while the other server takes more."""
    both = run(name, one=("--max-connections", "1"))
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(both.site.connect()) for _ in range(6)]
        assert [await said(client, "hello") for client in clients] == ["hello"] * 6


@pytest.mark.parametrize("taken_away", ["", "/"], ids=["handed on", "taken away"])
async def test_the_server_may_stand_below_a_path(run: Run, taken_away: str) -> None:
    """As nginx' file says it, with the path handed on or taken away: the page names its WebSocket with it."""
    below = ("--root-path", "/echo")
    both = run(
        "nginx",
        ("    location / {", "    location /echo/ {"),
        ("proxy_pass http://trioecho;", f"proxy_pass http://trioecho{taken_away};"),
        one=below,
        two=below,
    )
    async with both.site.connect("/echo/ws") as client:
        assert await said(client, "hello") == "hello"
    told = by_http2(both, "/echo/")
    assert (told["status"], 'content="/echo/ws"' in str(told["body"])) == (200, True)


async def test_haproxy_may_carry_tcp_alone(run: Run) -> None:
    """As its file's comment says: by the PROXY protocol, with TLS and everything else the servers' own."""
    more = ("--proxy-protocol",)
    both = run(
        "haproxy",
        ("    mode http", "    mode tcp"),
        (" ssl crt", "\n    # ssl crt"),
        ("    http-", "    # http-"),
        ("    option", "    # option"),
        ("    retry-on", "    # retry-on"),
        (" check inter", " send-proxy-v2 check-send-proxy check inter"),
        one=more,
        two=more,
    )
    async with both.site.connect(tls=False) as client:
        assert await said(client, "hello") == "hello"
        await goodbye(client)
    (ended,) = [line for line in both.log_at_the_end() if "peer closed" in line]
    assert re.search(rf" {CLIENT}:\d+ /ws ", ended)
