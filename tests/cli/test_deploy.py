"""``python -m trioecho deploy``: every file of the package's can be printed, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import refused
from server_process import PATIENCE

import trioecho
from trioecho.cli.deploy import FILES, printed

FOLDER = Path(trioecho.__file__).parent / "deploy"


def output(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "trioecho", "deploy", *arguments],
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    ).stdout.decode()


def test_every_file_has_its_name() -> None:
    """None in the folder cannot be printed, and none is missing there."""
    assert {each for files in FILES.values() for each in files.names} == {
        each.name for each in FOLDER.iterdir()
    }


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_printed_as_it_is(name: str) -> None:
    """With a comment that says what was and what was not tried, or how its servers are started."""
    text = printed(name)
    for each in FILES[name].names:
        assert (FOLDER / each).read_text(encoding="utf-8") in text
    if name != "grafana":
        assert text.startswith("# ")


def test_the_program_prints_it() -> None:
    """Both units, each under its path."""
    text = output("systemd")
    assert re.findall(r"^# (/etc/\S+)$", text, re.MULTILINE) == [
        "/etc/systemd/system/trioecho.socket",
        "/etc/systemd/system/trioecho.service",
    ]
    assert output("nginx") == (FOLDER / "nginx.conf").read_text(encoding="utf-8")


def test_help_lists_what_there_is() -> None:
    """Each name with a sentence."""
    text = " ".join(output("--help").split())
    for name, files in FILES.items():
        assert f"{name} {files.sentence}" in text


def test_an_unknown_name_is_told_in_one_line() -> None:
    """With the nearest that there is, or all; and so is that there is none."""
    assert refused("deploy", "ngnix") == (2, "there is no file for 'ngnix': did you mean nginx?")
    assert refused("deploy", "abcdefg") == (2, f"there is no file for 'abcdefg': there is {', '.join(FILES)}")
    sentence = f"deploy needs the name of what to print a file for: there is {', '.join(FILES)}"
    assert refused("deploy") == (2, sentence)
