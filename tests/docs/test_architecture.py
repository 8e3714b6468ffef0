"""The shape of the package: its layers, its fences, and the size of its files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import trioecho

PACKAGE = Path(trioecho.__file__).parent

LAYERS = (
    {"_protocol"},
    {"_wire", "_http"},
    {"options"},
    {"_websocket"},
    {"_server"},
    {"live", "testing", "task_tree", "pictures", "_process"},
    {"client"},
    {"cli"},
    {"__main__"},
)
"""A package or module imports only from the layers above its own line, and from itself."""

KNOWS_NO_TRIO = {"_protocol", "options"}

FENCES: dict[str, set[str]] = {
    "trio_websocket": {"client"},
    "wsproto": set(),
    "h11": {"_http"},
    "click": {"cli"},
    "matplotlib": {"pictures"},
}
"""Who alone may know a library."""

MOST_LINES = 500

FILES = sorted(PACKAGE.rglob("*.py"))
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def part_of(file: Path) -> str:
    """The package or module of the table that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(file: Path) -> str:
    """The file as a test's name shows it."""
    return str(file.relative_to(PACKAGE))


def imports(file: Path, *, for_types: bool = False) -> set[str]:
    """The dotted names that a file imports; imports for type checkers only where asked for."""
    tree: ast.AST = ast.parse(file.read_text(encoding="utf-8"))
    if not for_types:
        tree = WithoutTypeChecking().visit(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=source, names=names, level=0):
                found |= {f"{source}.{name.name}" for name in names}
            case ast.ImportFrom():
                raise AssertionError(f"{file} imports relatively")
    return found


class WithoutTypeChecking(ast.NodeTransformer):
    """Drops what stands under ``if TYPE_CHECKING:``, which is not imported when the program runs."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)


def test_every_part_has_its_layer() -> None:
    """Each package and module stands in the table once, and each name in the table is there."""
    parts = {part_of(file) for file in FILES} - {"__init__"}
    assert set(LAYER_OF) == parts
    assert sum(map(len, LAYERS)) == len(LAYER_OF), "a part stands in two layers"


def test_the_layers_in_contributing_are_those_of_the_architecture() -> None:
    """CONTRIBUTING.md lists the layers in the order in which tests/docs/test_architecture.py has them."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\d\. (.*?):", text, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == list(LAYERS)


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) != "__init__"], ids=name_of)
def test_a_file_imports_only_from_lower_layers(file: Path) -> None:
    """Imports go one way, so each layer can be understood without those that stand on it."""
    part = part_of(file)
    used = {name.split(".")[1] for name in imports(file) if name.startswith("trioecho.")}
    above = {other for other in used - {part} if other in LAYER_OF and LAYER_OF[other] >= LAYER_OF[part]}
    assert not above, f"{name_of(file)} imports {above}"


@pytest.mark.parametrize("library", FENCES)
def test_a_fenced_library_is_known_only_where_it_may_be(library: str) -> None:
    """trio-websocket, h11, click and matplotlib stay where the design puts them."""
    knowing = {
        part_of(file)
        for file in FILES
        if any(name.split(".")[0] == library for name in imports(file, for_types=True))
    }
    assert knowing <= FENCES[library]


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) in KNOWS_NO_TRIO], ids=name_of)
def test_a_pure_file_does_not_know_trio(file: Path) -> None:
    """Facts, values and judges work without an event loop."""
    assert not {name for name in imports(file) if name.split(".")[0] == "trio"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_can_be_read_in_one_sitting(file: Path) -> None:
    """No file has more than 500 lines."""
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_says_what_it_is(file: Path) -> None:
    """Every file begins with a docstring."""
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


def test_no_file_is_a_drawer() -> None:
    """A file is named after its one concept: no utils, helpers, common or misc."""
    assert not {file.stem for file in FILES} & {"utils", "util", "helpers", "common", "misc"}


def test_the_package_itself_only_reexports() -> None:
    """``__init__.py`` holds a docstring, imports and ``__all__``."""
    body = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body[1:]
    odd = [
        ast.unparse(node)
        for node in body
        if not isinstance(node, ast.ImportFrom | ast.Import)
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    ]
    assert not odd


def test_importing_the_package_imports_nothing_that_draws() -> None:
    """matplotlib is for the notebooks: it is loaded when a picture is drawn, not before."""
    program = "import sys, trioecho.pictures, trioecho.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
