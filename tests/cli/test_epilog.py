"""What --help says below the options is true."""

from __future__ import annotations

import re
import shlex

from command_line import help_text

import trioecho.cli.serve
from trioecho.cli.epilog import EPILOG
from trioecho.faults.table import FAULTS


def test_every_option_in_the_examples_is_one() -> None:
    """A typing mistake would be copied."""
    options = {name for param in trioecho.cli.serve.main.params for name in param.opts}
    commands = re.findall(r"^ +(?:TRIOECHO_\S+ )*python -m trioecho (.*)$", EPILOG, re.MULTILINE)
    used = {word for command in commands for word in shlex.split(command) if word.startswith("--")}
    assert {"--faults", "--unix"} <= used <= options


def test_every_fault_is_listed() -> None:
    """As the table has it, and nothing of it is broken into other lines."""
    text = help_text()
    for fault in FAULTS:
        assert f"\n    {fault.usage}\n" in text
        assert fault.does.split(" ")[0] in text
