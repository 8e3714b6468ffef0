"""SECURITY.md is true: the tests that it names exist, the defaults that it tells are the program's, and it is found."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path

import pytest

import trioecho

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
MOST_LINES = 250
NAMED = re.findall(r"\[`(\w+)`\]\((tests/[\w/.]+\.py)\)", TEXT)
ROWS = [
    line
    for table in re.findall(r"^\|.*\| test \|\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    for line in table.splitlines()
]
OPTIONS = re.findall(r"`(\w+)` \(([^)]+)\)", TEXT)


@pytest.mark.parametrize(("name", "file"), NAMED, ids=[name for name, _ in NAMED])
def test_a_named_test_exists(name: str, file: str) -> None:
    """In the file that the link leads to, so that whoever doubts a row can run it."""
    assert re.fullmatch(r"test_\w+", name)
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{file} has no {name}"


def test_each_row_names_one_test() -> None:
    """Nothing is claimed that nothing shows; the last cell of a row is the name."""
    assert len(ROWS) == len(NAMED) > 80
    for row in ROWS:
        assert re.search(r"\| \[`test_\w+`\]\([^)]+\) \|$", row), row


def as_told(name: str, default: object) -> set[str]:
    """How SECURITY.md may write the default of an option."""
    match default:
        case ():
            return {"every"} if name.startswith("allowed_") else {"none"}
        case False:
            return {"off"}
        case None:
            return {"from `ulimit -n`"} if name == "max_sockets" else {"no limit", "off"}
        case float() if default == math.inf:
            return {"off"}
        case float() if not name.startswith("max_"):
            return {f"{default:g} s"}
        case 1_048_576:
            return {"1 MiB"}
        case int() if name == "flood_limit":
            return {f"{default:,} a second"}
        case int() | float():
            return {f"{default:,}"}
    raise AssertionError(f"{name} has the default {default!r}, and no way to tell it")


def test_the_defaults_are_the_options() -> None:
    """Each option that is named with its default exists, and has that."""
    options = trioecho.WebSocketOptions()
    assert len(OPTIONS) > 20
    for name, told in OPTIONS:
        assert told in as_told(name, getattr(options, name)), name


def test_the_supported_version_is_the_packages() -> None:
    """A new minor version changes whom a fix reaches."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    minor = project["version"].rpartition(".")[0]
    assert f"the newest release of {minor}, " in TEXT


def test_it_is_short_and_found() -> None:
    """The README leads to it at its end, where GitHub's readers and everybody else look."""
    assert len(TEXT.splitlines()) <= MOST_LINES
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](SECURITY.md)" in readme.rpartition("\n## ")[2]
    assert [
        each for each in ("Reporting a vulnerability", "Supported versions") if f"\n## {each}\n" in TEXT
    ] == [
        "Reporting a vulnerability",
        "Supported versions",
    ]
