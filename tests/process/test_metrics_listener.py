"""Figures at a port of their own: beside a server that starts, runs and stops."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing

import pytest
import trio
from command_line import SilentClient, client, refused
from prometheus_client.parser import text_string_to_metric_families as families
from server_process import PATIENCE, ServerProcess
from serving import one_way, serving
from serving import way_of_reading as way_of_reading

from trioecho._process.metrics_listener import MetricsListener

Start = Callable[..., ServerProcess]

LIBRARY = "import trioecho\ntrioecho.run({'/': trioecho.echo}, port=0, metrics_port=0)\n"


def scrape(url: str) -> dict[str, float]:
    """The samples by name, of all labels together."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE) as page:
        text = page.read().decode()
    found: dict[str, float] = {}
    for family in families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def metrics_url(server: ServerProcess) -> str:
    """Where the figures are of a server that was started with ``--ready-json``."""
    url = json.loads(server.banner)["metrics_url"]
    assert isinstance(url, str)
    return url


@pytest.mark.parametrize("program", ["command line", "library"])
def test_the_figures_of_a_real_server_are_read_at_their_own_port(start_server: Start, program: str) -> None:
    """Where its last line on standard output says; what clients do is in them, what reads them is not."""
    started: tuple[str, ...] = ("-c", LIBRARY)
    if program == "command line":
        started = ("-m", "trioecho", "--port", "0", "--metrics-port", "0")
    server = start_server(command=started)
    assert server.process.stdout is not None
    found = re.fullmatch(
        r"and metrics at (http://127\.0\.0\.1:\d+/metrics)\n", server.process.stdout.readline()
    )
    assert found
    with client(server.websocket_url) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        scrape(found[1])
        during = scrape(found[1])
    assert during["trioecho_connections_open"] == during["trioecho_messages_received_total"] == 1
    assert during["trioecho_sent_bytes_total"] == 5
    assert during["trioecho_workers"] == 1
    assert during["trioecho_http_exchanges_total"] == 0
    assert server.stop() == 0


def test_the_figures_can_be_read_until_the_last_connection_has_ended(start_server: Start) -> None:
    """While the server stops, nobody else gets in, and whoever watches sees how it goes."""
    server = start_server("--metrics-port", "0", "--ready-json", "--close-timeout", "60")
    url = metrics_url(server)
    silent = SilentClient(
        type("At", (), {"port": int(json.loads(server.banner)["url"].rpartition(":")[2])})  # type: ignore[arg-type]
    )
    server.signal()
    server.wait_for_log("stopping")
    found = scrape(url)
    assert (found["trioecho_stopping"], found["trioecho_connections_open"]) == (1, 1)
    silent.close()
    assert server.wait() == 0


def test_a_port_that_is_taken_stops_the_server_with_one_line() -> None:
    """Exit status 3, as for the server's own; nothing on standard output."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        status, line = refused("--port", "0", "--metrics-port", str(port))
    assert status == 3
    assert line.startswith(f"cannot listen on 127.0.0.1 port {port} for metrics: Address already in use")
    assert line.endswith("; --metrics-port 0 takes any free port")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_at_once_stops_both(start_server: Start, number: int) -> None:
    """Whatever of the two has been started by then."""
    server = start_server("--metrics-port", "0")
    server.signal(number)
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((65536,), "metrics_port takes a whole number from 0 to 65535; you gave 65536"),
        (("9090",), "metrics_port takes a whole number from 0 to 65535; you gave '9090': write 9090"),
        ((9090, ""), "metrics_host is empty; give an address to listen at, such as '127.0.0.1'"),
    ],
)
def test_a_place_that_makes_no_sense_is_told_at_once(arguments: tuple[object, ...], sentence: str) -> None:
    """In the words of `trioecho.run`."""
    with pytest.raises((TypeError, ValueError)) as told:
        MetricsListener(*arguments)  # type: ignore[arg-type]
    assert str(told.value) == sentence


def test_without_prometheus_client_a_program_is_told_before_it_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'trioecho\[metrics\]'"):
        MetricsListener(0)


@one_way
async def test_a_listener_that_cannot_listen_raises_what_the_system_says() -> None:
    """OSError, bare, for whoever starts it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        async with serving() as server, trio.open_nursery() as nursery:
            with pytest.raises(OSError, match="in use"):
                await nursery.start(MetricsListener(taken.getsockname()[1]).serve, server)
