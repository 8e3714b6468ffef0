"""How text that a client may have sent stands in a line of the log: bounded, and never like anything else."""

from __future__ import annotations

import re

LONGEST_IN_LINE = 100
"""Characters of one text that a log line shows. A request's head may have thousands."""

LONGEST_SENTENCE = 1000
"""Characters of a sentence that a log line shows. Our own have fewer."""

LONGEST_IN_JSON = 500
"""Characters of one text that a JSON object of the log has. Collectors of logs cut lines at 16 KiB (Docker) or less,
and half a JSON object is none."""

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


def for_json(text: str) -> str:
    """Return it as a JSON object of the log has it: as it came, and cut after `LONGEST_IN_JSON` characters."""
    if len(text) <= LONGEST_IN_JSON:
        return text
    return f"{text[:LONGEST_IN_JSON]}… ({len(text):,} characters)"


def told(sentence: str) -> str:
    """Return an application's sentence as it stands at the end of a line: what cannot be printed is escaped, as the
    sentence may repeat what a client has sent; of a long one the first 1,000 characters."""
    cut = sentence[:LONGEST_SENTENCE]
    if not cut.isprintable():
        cut = "".join([each if each.isprintable() else repr(each)[1:-1] for each in cut])
    return cut if len(sentence) <= LONGEST_SENTENCE else f"{cut}… ({len(sentence):,} characters)"
