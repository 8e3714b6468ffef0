"""How text that a client may have sent stands in a line of the log: bounded, and never like anything else."""

from __future__ import annotations

import re

LONGEST_IN_LINE = 100
"""Characters of one text that a log line shows. A request's head may have thousands."""

_HARMLESS = re.compile(r"[A-Za-z0-9/:.\[\]_~%@&=?+*-]+")


def shown(text: str) -> str:
    """Return a client's text as it stands in a line: bare if it cannot be mistaken for anything else, otherwise
    quoted."""
    return text if len(text) <= LONGEST_IN_LINE and _HARMLESS.fullmatch(text) else in_quotes(text)


def in_quotes(text: str) -> str:
    """Return it in Python's quotes and escapes, which also cover what cannot be printed or turns the direction of
    writing; of a long text the first 100 characters."""
    if len(text) <= LONGEST_IN_LINE:
        return repr(text)
    return f"{text[:LONGEST_IN_LINE]!r}… ({len(text):,} characters)"
