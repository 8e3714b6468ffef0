"""The reference is made from the docstrings without a warning, and every public name has an example that runs."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import logging
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
import trio
from serving import open_stream, serving

import trioecho
from trioecho.testing import RawClient

ROOT = Path(__file__).parents[2]
PACKAGE = Path(trioecho.__file__).parent
GUIDES = (ROOT / "README.md", ROOT / "trioecho" / "README.md")

found = re.search(
    r"^pip install 'pip>=25\.1' && pip install -e \. --group reference && pdoc -o reference (.*)$",
    (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
assert found, "CONTRIBUTING.md has no command that makes the reference"
MODULES = {name: importlib.import_module(name) for name in found[1].split()}

# `trioecho.endings`, the public name of a module that is elsewhere, is an attribute of the package.
PUBLIC = [
    f"{name}.{each}"
    for name, module in MODULES.items()
    if module is not trioecho.endings
    for each in module.__all__
]


def docstrings(file: Path) -> dict[str, str]:
    """The docstrings of a file by what they stand in."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        f"{file.relative_to(PACKAGE)}: {getattr(node, 'name', 'module')}": ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, owners)
    }


def examples_in(docstring: str) -> list[str]:
    """The indented blocks below the lines "Example:"."""
    blocks = re.findall(r"^Example:\n\n((?: {4}.*\n|\n)+)", f"{docstring}\n", re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


EXAMPLES = {
    owner: "\n".join(examples)
    for file in sorted(PACKAGE.rglob("*.py"))
    for owner, docstring in docstrings(file).items()
    if (examples := examples_in(docstring))
}


def code_that_runs() -> dict[str, str]:
    """What other tests run: the Python of the guides, the programs in tests/examples, the notebooks; and EXAMPLES."""
    code = {owner: f"import trio, trioecho\n{example}" for owner, example in EXAMPLES.items()}
    for guide in GUIDES:
        blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
        code |= {f"{guide.relative_to(ROOT)}, block {n}": block for n, block in enumerate(blocks)}
    for file in (ROOT / "tests" / "examples").glob("*.py"):
        if not file.name.startswith("test_"):
            code[file.name] = file.read_text(encoding="utf-8")
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(file, as_version=4).cells
        code[file.name] = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return code


def names_used(code: str) -> set[str]:
    """The dotted names that some code refers to, from the package's own name on."""
    plain = re.sub(r"^%.*$", "", code, flags=re.MULTILINE)
    tree = compile(plain, "example", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imported |= {
                    name.asname or name.name.split(".")[0]: name.name for name in names if name.asname
                }
                imported |= {name.name.split(".")[0]: name.name.split(".")[0] for name in names}
            case ast.ImportFrom(module=str(source), names=names):
                imported |= {name.asname or name.name: f"{source}.{name.name}" for name in names}
    used = set(imported.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            used.add(f"{imported.get(first, first)}{dot}{rest}")
    return used


USED = set().union(*map(names_used, code_that_runs().values()))


@pytest.mark.skipif(importlib.util.find_spec("pdoc") is None, reason="pdoc is not installed")
def test_the_reference_is_made_without_a_warning_and_has_every_public_name(tmp_path: Path) -> None:
    """As the command in CONTRIBUTING.md makes it: a page for each module, and in it each name with what it is."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-m", "pdoc", "-o", str(tmp_path), *MODULES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for name, module in MODULES.items():
        page = (tmp_path / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")
        for each in getattr(module, "__all__", ()):
            if not inspect.ismodule(getattr(module, each)):
                assert f'<section id="{each}">' in page, f"{name}.{each}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_described(name: str) -> None:
    """By a docstring of its own; an alias of a type, or a constant, by that of its module."""
    module, _, each = name.rpartition(".")
    value = getattr(MODULES[module], each)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        assert value.__doc__
    else:
        assert re.search(rf"`{each}`", MODULES[module].__doc__ or "")


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_a_test_runs(name: str) -> None:
    """In a docstring, a guide, an example or a notebook."""
    assert name in USED


@pytest.mark.parametrize("owner", EXAMPLES)
def test_the_example_in_a_docstring_runs(
    owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it serves answers, and its `main` returns; nothing that is logged is an error."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"trio": trio, "trioecho": trioecho, "__name__": "__main__"}
    exec(compile(EXAMPLES[owner], owner, "exec"), namespace)
    served = namespace.get("routes") or namespace.get("handler")
    main = namespace.get("main")
    assert served or main, "it has neither routes or handler to be served, nor a main"
    if main:
        trio.run(main)
    if served:
        trio.run(serve_and_visit, served if isinstance(served, Mapping) else {"/ws": served})
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def serve_and_visit(routes: Mapping[str, trioecho.Route]) -> None:
    async with serving(routes) as server:
        for path, route in routes.items():
            await visit(server, re.sub(r"\{.*\}", "", path), route)


async def visit(server: trioecho.Server, path: str, route: trioecho.Route) -> None:
    """Ask for what stands at `path`, and talk to it if it is a WebSocket."""
    client = RawClient(await open_stream(server))
    async with client.stream:
        if not isinstance(route, trioecho.WebSocketRoute) and not inspect.iscoroutinefunction(route):
            await client.stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await client.stream.receive_some()
            assert re.match(rb"HTTP/1.1 [2-4]\d\d ", head)
            return
        with contextlib.suppress(AssertionError):
            await client.handshake(path)
        if client.response.startswith(b"HTTP/1.1 101 "):
            await client.send("hello")
            assert await client.receive()
            await client.close(1000)
        else:
            assert client.response.startswith(b"HTTP/1.1 401 ")
