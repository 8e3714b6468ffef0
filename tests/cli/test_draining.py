"""The options of a stop: each has its effect on a server that is told to stop."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from command_line import Start, client, close_code_seen, echoes, refused
from server_process import PATIENCE, ServerProcess
from websockets.exceptions import InvalidStatus


def status(server: ServerProcess, path: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{server.url}{path}", timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def test_option_drain_delay(start_server: Start) -> None:
    """Not ready, and all else as before; a second signal stops at once."""
    server = start_server("--drain-delay", "1000")
    assert [status(server, path) for path in ("/readyz", "/livez", "/healthz")] == [200, 200, 200]
    server.signal()
    server.wait_for_log(
        "stopping: not ready for 1000 s; no connection is open; a second signal stops at once"
    )
    assert [status(server, path) for path in ("/readyz", "/livez", "/healthz")] == [503, 200, 200]
    assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0


def test_option_drain_window(start_server: Start) -> None:
    """One client after the other is told, and newcomers are told when to come back."""
    server = start_server("--drain-window", "1000")
    with client(server.websocket_url) as first, client(server.websocket_url) as second:
        server.signal()
        assert close_code_seen(first) == (1001, "server is stopping")
        with pytest.raises(InvalidStatus) as newcomer:
            client(server.websocket_url)
        assert newcomer.value.response.status_code == 503
        assert int(newcomer.value.response.headers["Retry-After"]) > 0
        second.send("not yet")
        assert second.recv(PATIENCE) == "not yet"
        server.signal()
        assert close_code_seen(second)[0] == 1001
    assert server.wait() == 0


def test_option_restart_code(start_server: Start) -> None:
    """1012 instead of 1001."""
    server = start_server("--restart-code")
    with client(server.websocket_url) as ws:
        ws.send("x")
        ws.recv(PATIENCE)
        server.signal()
        assert close_code_seen(ws) == (1012, "server is restarting")
    assert server.wait() == 0


def test_seconds_that_are_none_are_refused() -> None:
    """In one line, with status 2."""
    for option in ("--drain-delay", "--drain-window"):
        code, line = refused(option, "-1")
        assert code == 2
        assert line.startswith(f"{option}: '-1' is not a time in seconds")
