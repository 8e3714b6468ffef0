"""The linters, as tests: one command checks everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [
        "ruff check .",
        "ruff format --check .",
        # The standard library's types differ from version to version: the oldest supported one, and a newer.
        "mypy --python-version 3.11",
        "mypy --python-version 3.13",
    ],
)
def test_the_linter_finds_nothing(command: str) -> None:
    """ruff and mypy --strict, as configured in pyproject.toml, have nothing to say, whatever Python runs them."""
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
