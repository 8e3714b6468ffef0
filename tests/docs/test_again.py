"""`.ci/again`: tests that have failed are run once more, and only what passes then is no failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pathlib
import pytest

def test_good():
    pass

@pytest.mark.parametrize("number", range({unsteady}))
def test_unsteady(number):
    mark = pathlib.Path(f"mark{{number}}")
    if not mark.exists():
        mark.touch()
        pytest.fail("the first time only")

@pytest.mark.parametrize("number", range({bad}))
def test_bad(number):
    pytest.fail("always")
"""


def again(tmp_path: Path, tests: str, *, status: int | None = None) -> tuple[int, str]:
    """The exit status and the output of `.ci/again` after `tests` have been run, with `status` for pytest's own."""
    (tmp_path / "test_it.py").write_text(tests)
    pytest_of_ours = [sys.executable, "-m", "pytest", "-o", "cache_dir=cache", "test_it.py"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # which take seconds to load
    environment["UNSTEADY"] = str(tmp_path / "unsteady")
    first = subprocess.run(pytest_of_ours, cwd=tmp_path, env=environment, capture_output=True, check=False)
    done = subprocess.run(
        [
            ROOT / ".ci" / "again",
            str(first.returncode if status is None else status),
            "cache",
            *pytest_of_ours,
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_fails_the_first_time_only_is_named_and_no_failure(tmp_path: Path) -> None:
    """Up to five, and nothing else is run again."""
    status, output = again(tmp_path, TESTS.format(unsteady=5, bad=0))
    names = [f"test_it.py::test_unsteady[{number}]" for number in range(5)]
    assert (status, "5 passed" in output) == (0, True)
    assert output.split("UNSTEADY: failed, then passed:\n")[1].split() == names
    assert (tmp_path / "unsteady").read_text().split() == names


@pytest.mark.parametrize(("unsteady", "bad"), [(0, 1), (4, 1), (6, 0)])
def test_what_fails_again_or_is_too_much_is_a_failure(unsteady: int, bad: int, tmp_path: Path) -> None:
    """One that always fails, though others do not; and more than five."""
    status, output = again(tmp_path, TESTS.format(unsteady=unsteady, bad=bad))
    assert (status, "UNSTEADY" in output) == (1, False)
    assert not (tmp_path / "unsteady").exists()


@pytest.mark.parametrize(
    ("tests", "status", "expected"),
    [(TESTS.format(unsteady=1, bad=0), 2, 2), ("import nothing_of_that_name", None, 2), ("", 1, 1)],
    ids=["interrupted", "not imported", "no cache"],
)
def test_where_not_every_test_was_run_none_is_run_again(
    tests: str, status: int | None, expected: int, tmp_path: Path
) -> None:
    """What has passed would say nothing of the rest."""
    assert again(tmp_path, tests, status=status) == (expected, "")
