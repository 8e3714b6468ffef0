"""The shape of the package: its layers, its fences, the size of its files, and where each is tested."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
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
    {"faults"},
    {"metrics", "task_tree"},
    {"live", "pictures", "_process"},
    {"testing"},
    {"client", "hubs"},
    {"chat"},
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
    "msgspec": {"hubs"},
    "coredis": {"hubs"},
    "matplotlib": {"pictures"},
    "trustme": {"_process"},
    "prometheus_client": {"metrics"},
}
"""Who alone may know a library."""

CALLED_DOWN = ("_protocol", "_wire", "_http", "_websocket")
"""Whose parts know nothing of their owners: they return what happened, and nobody sets callbacks on them."""

TESTS = Path(__file__).parents[1]

OF_BEHAVIOUR = {
    "attacks",
    "benchmark",
    "chaos",
    "deploy",
    "docs",
    "examples",
    "fuzzing",
    "judges",
    "network",
    "page",
    "promises",
}
"""The folders of tests that follow a promise, a page, a document, an example or a judge, and no source file."""

WITHOUT_TESTS: set[str] = set()
"""Source files that have no file of tests, each with the reason in a comment."""

WITHOUT_SOURCE: set[str] = set()
"""Files of tests, outside of those folders, that belong to no source file, each with the reason in a comment."""

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
    rows = re.findall(r"^\d+\. (.*?):", text, re.MULTILINE)
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


def test_importing_the_package_does_not_import_what_only_hubs_need() -> None:
    """msgspec comes with the extra `hubs`, and who has no hubs need not have it."""
    program = "import sys, trioecho, trioecho.cli; sys.exit('msgspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_hubs_without_what_they_need_say_how_to_get_it() -> None:
    """One sentence, and no traceback of where in the package it is wanted first."""
    program = "import sys; sys.modules['msgspec'] = None; import trioecho.hubs"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    sentence = "ModuleNotFoundError: trioecho.hubs needs msgspec: pip install 'trioecho[hubs]'"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, sentence)


def test_importing_the_package_does_not_import_what_only_metrics_need() -> None:
    """prometheus-client comes with the extra `metrics`."""
    program = "import sys, trioecho.metrics, trioecho.cli; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def where_tested(file: Path) -> str:
    """Where a source file is tested: ``_wire/socket.py`` in ``wire/test_socket.py``."""
    *folders, name = file.relative_to(PACKAGE).parts
    return "/".join([*(folder.removeprefix("_") for folder in folders), f"test_{name}"])


def sources_to_test() -> dict[str, str]:
    """The source files by their file of tests; an ``__init__`` and ``__main__`` are tested through what they name."""
    return {where_tested(file): name_of(file) for file in FILES if not file.stem.startswith("__")}


def test_each_source_file_has_its_file_of_tests() -> None:
    """``tests/`` follows the packages, so whoever changes a file knows where its tests are."""
    lacking = {source for test, source in sources_to_test().items() if not (TESTS / test).is_file()}
    assert lacking == WITHOUT_TESTS


def test_each_file_of_tests_has_its_source_file() -> None:
    """A file that was renamed or deleted takes its tests along."""
    tests = {file.relative_to(TESTS).as_posix() for file in TESTS.rglob("test_*.py")}
    followed = {test for test in tests if test.split("/")[0] not in OF_BEHAVIOUR}
    sources = {test.removesuffix(".py") for test in sources_to_test()}
    # Where a file of tests grows too long, the second one's name begins with the first one's: test_files_streamed.py.
    lone = {
        test
        for test in followed
        if not any(test == f"{each}.py" or test.startswith(f"{each}_") for each in sources)
    }
    assert lone == WITHOUT_SOURCE


class Names(ast.NodeVisitor):
    """What is called what in some files: functions, methods, and attributes that are data in some class."""

    def __init__(self, trees: Iterable[ast.AST]) -> None:
        self.functions: set[str] = set()
        self.methods: set[str] = set()
        self.data: set[str] = set()
        for tree in trees:
            self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for each in node.body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                is_property = any("property" in ast.unparse(mark) for mark in each.decorator_list)
                (self.data if is_property else self.methods).add(each.name)
                for inner in each.body:
                    self.visit(inner)
            else:
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    self.data.add(each.target.id)
                self.visit(each)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.functions.add(node.name)
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 (ast's name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            self.data.add(node.attr)
        self.generic_visit(node)

    def can_be_called(self, value: ast.expr) -> bool:
        """Whether an expression is a function, a bound method or a lambda, as far as its name tells."""
        match value:
            case ast.Lambda():
                return True
            case ast.Name(id=name):
                return name in self.functions or isinstance(getattr(builtins, name, None), type)
            case ast.Attribute(attr=name):
                return name in self.methods - self.data
            case ast.Call(func=called, args=[first, *_]):
                return ast.unparse(called).endswith("partial") and self.can_be_called(first)
            case ast.BoolOp(values=values):
                return any(map(self.can_be_called, values))
            case ast.IfExp(body=body, orelse=other):
                return self.can_be_called(body) or self.can_be_called(other)
        return False


def assignments(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each target in a file with the value that it gets, ``setattr`` and lists of targets included."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                        yield from zip(target.elts, value.elts, strict=False)
                    else:
                        yield target, value
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield target, value
            case ast.Call(func=ast.Name(id="setattr"), args=[owner, _, value]):
                yield ast.Attribute(owner, "setattr"), value


def callbacks_set(tree: ast.AST, names: Names) -> set[str]:
    """What is set to something to be called, on an object other than one's own."""
    return {
        f"{ast.unparse(target)} = {ast.unparse(value)}"
        for target, value in assignments(tree)
        if isinstance(target, ast.Attribute)
        and ast.unparse(target.value) not in ("self", "cls")
        and names.can_be_called(value)
    }


def names_of_callbacks(tree: ast.AST) -> set[str]:
    """The attributes, methods, slots and parameters that are called ``on_...``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.arg(arg=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Constant(value=str(name)) | ast.keyword(arg=str(name)):
                found.add(name)
    return {name for name in found if re.fullmatch(r"_*on_\w+", name)}


PARSED = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES if part_of(file) in CALLED_DOWN}
NAMES = Names(PARSED.values())


@pytest.mark.parametrize("file", PARSED, ids=name_of)
def test_parts_return_what_happened_and_call_nobody(file: Path) -> None:
    """Whoever reads a part sees all that it does; who owns it sees all that is done about it."""
    assert not callbacks_set(PARSED[file], NAMES)
    assert not names_of_callbacks(PARSED[file])


@pytest.mark.parametrize(
    "upward",
    [
        "part.told = self._act",
        "self._part.told = self._act",
        "self._part.told = self._other.act",
        "self._part.told: Callable[[], None] = self._act",
        "self._part.told = told = self._act",
        "self._part.told, self._part.size = self._act, 0",
        "self._part.told = lambda: None",
        "self._part.told = act",
        "self._part.told = bool",
        "self._part.told = functools.partial(self._act, 1)",
        "self._part.told = self._act if self.size else None",
        "setattr(self._part, 'told', self._act)",
    ],
)
def test_a_callback_that_is_set_from_outside_is_seen(upward: str) -> None:
    """In each way of writing it; what is no function may be set, and so may what is one's own."""
    known = ast.parse("class Owner:\n def _act(self): self.size = 0\n def act(self): 0\ndef act(): 0\n")
    names = Names([known])
    assert callbacks_set(ast.parse(upward), names)
    allowed = "self.told = self._act\npart.size = self.size\npart.size = self._act()\npart.told = None"
    assert not callbacks_set(ast.parse(allowed), names)


@pytest.mark.parametrize(
    "text",
    [
        "self.on_ended = None",
        "part.on_ended()",
        "class Part:\n on_ended: Callable[[], None]",
        "class Part:\n def on_ended(self): ...",
        "__slots__ = ('on_ended',)",
        "def start(on_ended): ...",
        "start(on_ended=None)",
    ],
)
def test_the_name_of_a_callback_is_seen(text: str) -> None:
    """Wherever it stands; `once` and `honour_on_time` are other words."""
    assert names_of_callbacks(ast.parse(text)) == {"on_ended"}
    assert not names_of_callbacks(ast.parse(text.replace("on_ended", "once_on_time")))
