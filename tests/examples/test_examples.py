"""The examples are short, say what they show, and stand in the list of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PROGRAMS = sorted(file for file in FOLDER.glob("*.py") if not file.name.startswith("test_"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda file: file.name)
def test_an_example_is_read_in_one_go(program: Path) -> None:
    """Fewer than 60 lines, and a docstring that says what it shows and how it is started."""
    text = program.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    about = ast.get_docstring(ast.parse(text))
    assert about
    assert re.search(r"^Shows ", about, re.MULTILINE)
    assert f"Start it with ``python {program.name}``" in about


def test_each_example_has_its_row_and_its_test() -> None:
    """The list in README.md names each of them once, and a file of tests stands beside it."""
    rows = re.findall(
        r"^\| \[(\w+\.py)\]\(\1\) \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(rows) == [program.name for program in PROGRAMS]
    for program in PROGRAMS:
        assert (FOLDER / f"test_{program.name}").is_file()
