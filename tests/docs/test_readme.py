"""The README and the documents beside it are true: code runs, tables are the program's own, CI runs the commands."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from click import Context
from server_process import PATIENCE
from websockets.sync.client import connect

import trioecho
from trioecho import faults
from trioecho._protocol import closing, endings
from trioecho.cli.serve import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "trioecho").rglob("*.md"))
DOCUMENTS = (
    "README.md",
    *GUIDES,
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "tests/README.md",
    "tests/promises/README.md",
    "tests/benchmark/README.md",
    "tests/examples/README.md",
    "notebooks/README.md",
)
CODE = [
    (document, block)
    for document in DOCUMENTS
    for block in re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
]
MOST_LINES = 160


def between(name: str, document: str = "README.md") -> str:
    """What a document has between two markers."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name}: begin -->\n(.*?)<!-- {name}: end -->", text, re.DOTALL)
    assert found, f"{document} has no part marked {name}"
    return found[1]


def command(name: str) -> str:
    """The command below a marker."""
    found = re.search(rf"<!-- command: {name} -->\n```sh\n(.*)\n```", README)
    assert found, f"README.md has no command marked {name}"
    return found[1]


@pytest.mark.parametrize(
    ("document", "block"), CODE, ids=[f"{document}, block {n}" for n, (document, _) in enumerate(CODE)]
)
def test_the_code_runs(
    document: str,
    block: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each Python block runs as it stands, and what it calls a test passes; a server that would run for ever is
    spoken to instead. What the routes of the guide answer is looked at in test_guide.py."""
    monkeypatch.setattr(trioecho, "run", speak_to)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "static").mkdir()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, document, "exec"), namespace)
    for name in [name for name in namespace if name.startswith("test_")]:
        trio.run(namespace[name])


def speak_to(handler: Any) -> None:
    with trioecho.LiveServer(handler) as live:
        if isinstance(handler, Mapping):
            return
        with connect(live.websocket_url, proxy=None) as ws:
            ws.send("hello")
            assert ws.recv(PATIENCE) == "HELLO"


def test_there_is_code() -> None:
    """The blocks are found: a handler; and what the guide has for each of its sections, each with a test of its own in
    test_guide.py, but for programs and tests that are complete as they stand."""
    assert [document for document, _ in CODE] == ["README.md", *["trioecho/README.md"] * 17]


def test_the_readme_is_two_screens() -> None:
    """The README is read in one go: what is longer has a document of its own, to which it leads."""
    assert len(README.splitlines()) <= MOST_LINES
    for guide in (*GUIDES, *(each for each in DOCUMENTS if each.endswith("/README.md"))):
        assert f"]({guide}" in README, guide


def test_the_table_of_options_is_the_command_lines() -> None:
    """Every option of the command line has its row, with its default."""
    rows = re.findall(
        r"^\| `(--[a-z-]+)` \| (.*?) ?\|", between("options", "trioecho/cli/README.md"), re.MULTILINE
    )
    shown: dict[str, str] = {}
    for param in main.params:
        default = param.get_help_extra(Context(main)).get("default", "")  # type: ignore[attr-defined]
        shown[param.opts[0]] = default.strip("()")
    del shown["--version"]
    assert dict(rows) == shown


def test_the_table_of_endings_is_the_programs() -> None:
    """The table of endings is printed from trioecho/_protocol/endings.py."""
    table = endings.as_markdown()
    assert between("endings").strip() == table.strip(), f"put this into README.md:\n{table}"


def test_the_table_of_closing_is_the_programs() -> None:
    """The table of what either side may still say is printed from trioecho/_protocol/closing.py."""
    table = closing.as_markdown()
    shown = between("closing", "trioecho/README.md").strip()
    assert shown == table.strip(), f"put this into trioecho/README.md:\n{table}"


def test_the_table_of_faults_is_the_programs() -> None:
    """The table of faults is printed from trioecho/faults/table.py."""
    table = faults.as_markdown()
    assert between("faults", "trioecho/README.md").strip() == table.strip(), (
        f"put this into the guide:\n{table}"
    )


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
    assert script.splitlines()[-1].startswith('eval "$command"')
    assert "pytest" not in "".join(line for line in script.splitlines() if not line.startswith("#"))


def test_the_commands_install_and_do_one_thing() -> None:
    """One line installs and starts the server, one installs and runs the tests."""
    assert command("run") == "pip install . && python -m trioecho"
    assert command("test").endswith("pip install . --group test && pytest")


def test_each_promise_names_a_test_that_keeps_it() -> None:
    """The README's six promises stand in tests/promises/README.md as well, with names of tests, and those exist."""
    promises = README.split("## Six promises")[1].split("## How a connection ends")[0]
    short = re.findall(r"^(\d)\. \*\*(.*?)\.?\*\*", promises, re.MULTILINE)
    assert len(short) == 6
    full = re.split(
        r"^## ", (ROOT / "tests/promises/README.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )[1:]
    assert [item.partition("\n")[0] for item in full] == [f"{number}. {title}" for number, title in short]
    kept_by = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    for item in full:
        names = re.findall(r"`(test_\w+)`", item)
        assert names, item
        for name in names:
            assert f"def {name}(" in kept_by, name


def test_the_commands_that_talk_to_a_server_do() -> None:
    """`check` and `connect` as they are shown, against a server at another port, print what the document says."""
    text = (ROOT / "trioecho/cli/README.md").read_text(encoding="utf-8")
    section = text.split("## The client's commands")[1].split("\n## ")[0]
    shown = re.findall(r"^\$ (.*)\n((?:(?!\$ |```).*\n)*)", section, re.MULTILINE)
    assert [re.search(r"trioecho (\w+)", line)[1] for line, _ in shown] == ["check", "connect"]  # type: ignore[index]
    with trioecho.LiveServer() as live:
        url = live.websocket_url
        for line, output in shown:
            done = subprocess.run(
                ["bash", "-c", line.replace("python", sys.executable).replace("ws://127.0.0.1:5000/ws", url)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
            )
            assert times_apart(done.stdout) == times_apart(output.replace("ws://127.0.0.1:5000/ws", url))


def times_apart(text: str) -> str:
    """A text without the milliseconds in it."""
    return re.sub(r"[\d.]+ ms", "… ms", text)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """Each link to a file of the repository finds it, and each to a heading finds that."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        file = ((ROOT / document).parent / path) if path else ROOT / document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, (
                target
            )
