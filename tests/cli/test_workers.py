"""``--workers``: what each of several processes is given. What they then do is in tests/process/test_supervisor.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Start, echoes, options_given, refused
from server_process import PATIENCE

import trioecho
from trioecho._process.worker_process import ROLE
from trioecho._server.listening import NOT_GIVEN
from trioecho.cli.workers import place_of, role, share_of_memory


@pytest.mark.skipif(sys.platform == "win32", reason="no process starts with open sockets there")
def test_option_workers(start_server: Start) -> None:
    """So many processes serve, each with the options of all; the environment's count, too."""
    server = start_server("--path", "/elsewhere", env={"TRIOECHO_WORKERS": "2"})
    server.wait_for_log("2 workers: processes")
    assert server.websocket_url.endswith("/elsewhere")
    for _ in range(4):
        assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no process starts with open sockets there")
def test_workers_import_from_where_their_supervisor_does(tmp_path: Path) -> None:
    """As the command ``trioecho`` it imports nothing from the current directory, whatever that has."""
    command = tmp_path / "trioecho-command"
    command.write_text("from trioecho.cli.serve import main; main()", encoding="utf-8")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "click.py").write_text("raise SystemExit('not this one')", encoding="utf-8")
    process = subprocess.run(
        [sys.executable, str(command), "--workers", "2", "--port", "0", "--exit-on-eof"],
        cwd=tmp_path / "here",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": str(Path(trioecho.__file__).parents[1])},
    )
    assert (process.returncode, process.stdout.count("trioecho serves")) == (0, 1), process.stderr


def test_figures_of_one_worker_are_refused() -> None:
    """Whoever reads them among the server's paths would get those of another worker each time."""
    pytest.importorskip("prometheus_client")
    code, line = refused("--workers", "2", "--metrics")
    assert (code, line.partition(";")[2]) == (2, " use --metrics-port")


def test_faults_of_several_workers_are_refused() -> None:
    """What one has seen, or how often it has failed, the others do not know."""
    code, line = refused("--workers", "2", "--faults")
    assert (code, line.partition(";")[2]) == (2, " leave out one of them")


def test_a_count_that_is_none_is_refused() -> None:
    """With what would fit."""
    for count in ("0", "-1", "many", "1025"):
        code, line = refused("--workers", count)
        assert (code, line) == (2, f"--workers: {count!r} does not fit: write a whole number from 1 to 1024")


@pytest.mark.parametrize(
    ("most", "workers", "share"),
    [(None, 4, None), (0.5, None, 0.5), (0.5, 4, 0.125), (1000, 3, 333), (1, 3, 1), (1000, None, 1000)],
)
def test_memory_is_divided(most: float | None, workers: int | None, share: float | None) -> None:
    """A share of the machine's as well as bytes; no limit stays none."""
    assert share_of_memory(most, workers) == share


def test_a_worker_has_its_share_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """And listens where its supervisor does, whatever the command line says."""
    given = {"number": 1, "control": 7, "listen": [8, 9]}
    monkeypatch.setenv(ROLE, json.dumps(given))
    worker = role()
    assert worker is not None
    assert (worker.control, worker.listen) == (7, (8, 9))
    assert place_of(worker)["fd"] == [8, 9]
    assert place_of(worker)["port"] is NOT_GIVEN
    assert options_given("--workers", "4", "--max-memory", "1GiB").max_memory == 256 * 2**20
    assert role({}) is None
