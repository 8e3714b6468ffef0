"""The shape of the package: its floors, its fences, and the size of its files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trioecho

PACKAGE = Path(trioecho.__file__).parent

FLOORS: dict[int, set[str]] = {
    0: {"endings", "origins", "handlers", "masking", "linger", "parking"},
    1: {"options", "frames", "record", "logs", "option_types", "poller"},
    2: {"handshake", "frame_decoder", "inbox", "outbox", "keep_alive", "tls"},
    3: {"responses", "sorter", "websocket"},
    4: {"front_door", "reading", "service"},
    5: {"greeting", "frame_stream"},
    6: {"engine"},
    7: {"goodbye"},
    8: {"connection"},
    9: {"server"},
    10: {"live", "testing", "process", "task_tree"},
    11: {"cli"},
    12: {"__main__"},
}
"""A file imports only from lower floors, so that each can be understood without those above it."""

KNOWS_NO_TRIO = {
    "endings",
    "origins",
    "handlers",
    "masking",
    "options",
    "frames",
    "record",
    "handshake",
    "frame_decoder",
    "responses",
}

FENCES: dict[str, set[str]] = {
    "trio_websocket": {"engine"},
    "wsproto": set(),
    "h11": {"front_door", "responses", "handshake"},
    "trio.lowlevel": {"parking", "inbox", "outbox", "frame_stream", "poller", "live", "task_tree"},
    "click": {"cli", "option_types", "process"},
}
"""Who alone may know a module. `live` needs trio.lowlevel for the token that other threads reach a run by."""

HARMLESS = {"trio.lowlevel", "trio.lowlevel.checkpoint"}
"""Every function that may return without waiting needs a checkpoint. The name before the last dot is no use of it."""

LONGEST_FILE = 300

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
FLOOR_OF = {module: floor for floor, modules in FLOORS.items() for module in modules}


def imports(module: str, *, for_types: bool = False) -> set[str]:
    """The dotted names that a module imports or uses; imports for type checkers only where asked for."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    if not for_types:
        tree = WithoutTypeChecking().visit(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=source, names=names, level=level):
                base = ".".join(filter(None, ("trioecho" if level else "", source)))
                found |= {base} | {f"{base}.{name.name}" for name in names}
            case ast.Attribute():
                # `import trio` gives `trio.lowlevel` too.
                found.add(ast.unparse(node))
    return found - HARMLESS


class WithoutTypeChecking(ast.NodeTransformer):
    """Drops what stands under ``if TYPE_CHECKING:``, which is not imported when the program runs."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)


def inside(module: str) -> set[str]:
    """The modules of this package that a module imports when the program runs."""
    names = {name.removeprefix("trioecho.").split(".")[0] for name in imports(module) if "trioecho" in name}
    return names & set(MODULES)


def test_every_module_has_its_floor() -> None:
    """Each file of the package stands on one floor, and each name in the table is a file."""
    assert set(FLOOR_OF) == set(MODULES)
    assert sum(map(len, FLOORS.values())) == len(FLOOR_OF), "a module stands on two floors"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_lower_floors(module: str) -> None:
    """No module imports from its own floor or a higher one, so there are no cycles either."""
    floor = FLOOR_OF[module]
    above = {other: FLOOR_OF[other] for other in inside(module) if FLOOR_OF[other] >= floor}
    assert not above, f"{module} (floor {floor}) imports {above}"


@pytest.mark.parametrize("library", FENCES)
def test_a_fenced_library_is_known_only_where_it_may_be(library: str) -> None:
    """trio-websocket, h11, trio.lowlevel and click stay where the design puts them."""
    knowing = {
        module
        for module in MODULES
        if any(name == library or name.startswith(f"{library}.") for name in imports(module, for_types=True))
    }
    assert knowing <= FENCES[library]


@pytest.mark.parametrize("module", sorted(KNOWS_NO_TRIO))
def test_a_pure_module_does_not_know_trio(module: str) -> None:
    """Facts, values and judges work without an event loop."""
    assert not {name for name in imports(module) if name.split(".")[0] == "trio"}


@pytest.mark.parametrize("module", [*MODULES, "__init__"])
def test_a_file_can_be_read_in_one_sitting(module: str) -> None:
    """No file of the package reaches 300 lines."""
    lines = len((PACKAGE / f"{module}.py").read_text(encoding="utf-8").splitlines())
    assert lines < LONGEST_FILE


@pytest.mark.parametrize("module", [*MODULES, "__init__"])
def test_a_file_says_what_it_is(module: str) -> None:
    """Every file begins with a docstring."""
    assert ast.get_docstring(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")))


def test_no_module_is_a_drawer() -> None:
    """A file is named after its one concept: no utils, helpers, common or misc."""
    assert not set(MODULES) & {"utils", "util", "helpers", "common", "misc"}


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
