"""`trioecho.testing.serve` and the fixture `trioecho_server`: a server that misbehaves, for tests of any client."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

import trioecho
import trioecho.testing

ROOT = Path(__file__).parents[1]
PATIENCE = 20.0

TEST = """
import sys

loaded = "trioecho" in sys.modules

def test_before():
    assert not loaded and "trio" not in sys.modules

def test_close(trioecho_server):
    from websockets.exceptions import ConnectionClosedError
    from websockets.sync.client import connect

    with connect(trioecho_server.at("/close/4001?reason=bye"), proxy=None) as ws:
        try:
            ws.recv()
        except ConnectionClosedError as closed:
            assert closed.rcvd.code == 4001
    assert trioecho_server.seen(ws, ended=True)["code_received"] == 4001

def test_close_by_tls(trioecho_tls_server):
    from websockets.sync.client import connect

    server = trioecho_tls_server
    with connect(server.at("/echo"), ssl=server.client_context, proxy=None) as ws:
        pass
    assert server.seen(ws, ended=True)["code_received"] == 1000
"""


def test_a_test_asserts_what_the_server_saw() -> None:
    """Close, frames, and how TCP ended; the server ends with the with."""
    with trioecho.testing.serve() as server:
        assert repr(server).startswith("<trioecho.testing.FaultServer http://127.0.0.1:")
        with connect(server.at("/reset?after=1"), proxy=None) as ws:
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"
            with pytest.raises(ConnectionClosedError):
                ws.recv(PATIENCE)
        told = server.seen(ws, ended=True)
        assert [frame["text"] for frame in told["frames"]] == ["hello", "hello"]
        assert [(each["by"], each["what"]) for each in told["tcp"]] == [("server", "RST")]
        with connect(server.websocket_url, proxy=None) as ws:
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"
            with pytest.raises(LookupError, match=r"those at the paths of trioecho\.faults are"):
                server.seen(ws)
    assert "trioecho.LiveServer" not in [thread.name for thread in threading.enumerate()]


def test_routes_of_ones_own_stand_beside_the_faults() -> None:
    """Or are refused where a fault stands already."""

    async def shout(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            await ws.send(message.upper())

    with trioecho.testing.serve({"/shout": shout}) as server, connect(server.at("/shout"), proxy=None) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "HELLO"
    with (
        pytest.raises(ValueError, match="'/echo' is a path of the faults"),
        trioecho.testing.serve({"/echo": shout}),
    ):
        pass
    with pytest.raises(TypeError, match="routes takes a mapping"), trioecho.testing.serve(shout):  # type: ignore[arg-type]
        pass


def test_a_certificate_is_made_or_given() -> None:
    """Not both; without either there is nothing to trust."""
    with trioecho.testing.serve() as server:
        assert (server.ca_file, server.client_context) == (None, None)
    with (
        pytest.raises(
            ValueError, match="tls makes a certificate of its own; give tls=True or an ssl_context"
        ),
        trioecho.testing.serve(tls=True, ssl_context=ssl.create_default_context()),
    ):
        pass


def test_what_does_not_end_is_told() -> None:
    """A silent fault does not hold the end of the server either."""
    with trioecho.testing.serve() as server:
        with pytest.raises(ValueError, match="at takes a path such as"):
            server.at("silent")
        with connect(server.at("/silent?id=mine"), proxy=None, close_timeout=0.1):
            with pytest.raises(TimeoutError, match=r"the connection mine has not ended within 0\.1 s"):
                server.seen("mine", ended=True, timeout=0.1)


def test_the_fixture_is_found_and_imports_nothing_until_it_is_used(tmp_path: Path) -> None:
    """In a run of pytest that knows nothing else; `trioecho` is imported by the first test that wants a server."""
    (tmp_path / "test_client.py").write_text(TEST, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_trioecho", "-p", "no:cacheprovider"]
    # pytest-trio imports Trio, as whoever tests with asyncio would not have it.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "test_client.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_the_entry_point_leads_to_the_fixture() -> None:
    """And the wheel has the file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"trioecho": "pytest_trioecho"}
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"pytest_trioecho.py": "pytest_trioecho.py"}
    assert (ROOT / "pytest_trioecho.py").is_file()
