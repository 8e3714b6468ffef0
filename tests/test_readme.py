"""The README is true: its code runs, its tables are the program's own, and CI runs its commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click import Context
from server_process import PATIENCE
from websockets.sync.client import connect

import trioecho
from trioecho._protocol.endings import as_markdown
from trioecho.cli.serve import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def between(name: str) -> str:
    """What the README has between two markers."""
    found = re.search(rf"<!-- {name}: begin -->\n(.*?)<!-- {name}: end -->", README, re.DOTALL)
    assert found, f"README.md has no part marked {name}"
    return found[1]


def command(name: str) -> str:
    """The command below a marker."""
    found = re.search(rf"<!-- command: {name} -->\n```sh\n(.*)\n```", README)
    assert found, f"README.md has no command marked {name}"
    return found[1]


@pytest.mark.parametrize("number", range(len(CODE)))
def test_the_code_runs(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each Python block runs as it stands; a server that would run for ever is spoken to instead."""
    monkeypatch.setattr(trioecho, "run", speak_to)
    exec(compile(CODE[number], f"README.md, block {number}", "exec"), {"__name__": "__main__"})


def speak_to(handler: Any) -> None:
    with trioecho.LiveServer(handler) as live, connect(live.websocket_url, proxy=None) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "HELLO"


def test_there_is_code() -> None:
    """The blocks are found: a handler, a program, a test."""
    assert len(CODE) == 3


def test_the_table_of_options_is_the_command_lines() -> None:
    """Every option of the command line has its row, with its default."""
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (.*?) ?\|", between("options"), re.MULTILINE)
    shown: dict[str, str] = {}
    for param in main.params:
        default = param.get_help_extra(Context(main)).get("default", "")  # type: ignore[attr-defined]
        shown[param.opts[0]] = default.strip("()")
    del shown["--version"]
    assert dict(rows) == shown


def test_the_table_of_endings_is_the_programs() -> None:
    """The table of endings is printed from trioecho/endings.py."""
    table = as_markdown()
    assert between("endings").strip() == table.strip(), f"put this into README.md:\n{table}"


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    """.ci/run finds the test command below the README's marker, and has none of its own."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (extraction,) = [line for line in script.splitlines() if line.startswith("command=")]
    found = subprocess.run(
        ["bash", "-c", f'{extraction}; printf %s "$command"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == command("test")
    assert script.rstrip().endswith('eval "$command"')
    assert "pytest" not in "".join(line for line in script.splitlines() if not line.startswith("#"))


def test_the_commands_install_and_do_one_thing() -> None:
    """One line installs and starts the server, one installs and runs the tests."""
    assert command("run") == "pip install . && python -m trioecho"
    assert command("test").endswith("pip install . --group test && pytest")


def test_each_promise_names_a_test_that_keeps_it() -> None:
    """The six promises each name tests, and those exist."""
    promises = README.split("## Six promises")[1].split("## How a connection ends")[0]
    items = re.split(r"^\d\. ", promises, flags=re.MULTILINE)[1:]
    assert len(items) == 6
    kept_by = (ROOT / "tests" / "test_promises.py").read_text(encoding="utf-8")
    for item in items:
        names = re.findall(r"`(test_\w+)`", item)
        assert names, item
        for name in names:
            assert f"def {name}(" in kept_by, name


def test_links_lead_somewhere() -> None:
    """Each link to a file of the repository finds it."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
