"""``--metrics-port``, ``--metrics`` and what belongs to them."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from command_line import echoes, refused
from server_process import PATIENCE, ServerProcess

from trioecho.cli.metrics import metrics_listener, with_metrics
from trioecho.cli.parameters import Refusal
from trioecho.options import WebSocketOptions

Start = Callable[..., ServerProcess]


def read(url: str, **headers: str) -> tuple[int, str]:
    """Status and text of what is there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=PATIENCE) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_option_metrics_port(start_server: Start) -> None:
    """Figures at a port of their own, and not among the server's paths."""
    server = start_server("--metrics-port", "0", "--ready-json")
    ready = json.loads(server.banner)
    status, text = read(ready["metrics_url"])
    assert (status, "trioecho_connections_open 0.0" in text) == (200, True)
    assert read(ready["url"] + "/metrics")[0] == 404


def test_option_metrics_host(start_server: Start) -> None:
    """At the address that is given."""
    server = start_server("--metrics-port", "0", "--metrics-host", "127.0.0.2", "--ready-json")
    url = json.loads(server.banner)["metrics_url"]
    assert url.startswith("http://127.0.0.2:")
    assert read(url)[0] == 200
    assert refused("--metrics-host", "127.0.0.2") == (
        2,
        "--metrics-host needs --metrics-port, which it is the address of",
    )


def test_option_metrics(start_server: Start) -> None:
    """Among the server's paths, for programs on this machine that come directly; the rest is as it was."""
    server = start_server("--metrics")
    assert echoes(server.websocket_url) == "hello"
    status, text = read(f"{server.url}/metrics")
    assert (status, "trioecho_connections_total 1.0" in text) == (200, True)
    assert read(f"{server.url}/metrics", **{"X-Forwarded-For": "127.0.0.1"})[0] == 403
    assert read(f"{server.url}/healthz") == (200, "ok")
    assert read(server.url)[0] == 200
    assert "metrics" not in server.banner


def test_option_metrics_reader(start_server: Start) -> None:
    """Instead of the programs on this machine, who comes from there."""
    server = start_server("--metrics", "--metrics-reader", "192.0.2.0/24", "--metrics-reader", "198.51.100.7")
    assert read(f"{server.url}/metrics")[0] == 403
    assert refused("--metrics-reader", "192.0.2.0/24") == (
        2,
        "--metrics-reader needs --metrics, which it is for",
    )
    status, line = refused("--metrics", "--metrics-reader", "192.0.2.1/24")
    assert status == 2
    assert line == "--metrics-reader: '192.0.2.1/24' is an address within a network: write '192.0.2.0/24'"


def test_figures_and_faults_are_served_side_by_side(start_server: Start) -> None:
    """Neither takes the other's paths."""
    server = start_server("--metrics", "--faults")
    assert read(f"{server.url}/metrics")[0] == read(f"{server.url}/faults")[0] == 200
    assert refused("--metrics", "--path", "/metrics") == (
        2,
        "--path: /metrics is the path of --metrics; choose another",
    )


def test_without_prometheus_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, exit status 2."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(Refusal) as port:
        metrics_listener(9090, "127.0.0.1")
    with pytest.raises(Refusal) as path:
        with_metrics(None, WebSocketOptions(), True, ())
    for told, option in ((port, "--metrics-port"), (path, "--metrics")):
        assert told.value.exit_code == 2
        assert told.value.message == (
            f"{option}: metrics need prometheus-client: install it with pip install 'trioecho[metrics]'"
        )
