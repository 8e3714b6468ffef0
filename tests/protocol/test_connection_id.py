"""Names of connections: short, each once, and unlike their neighbours'."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys

import pytest

from trioecho._protocol.connection_id import new_id


def test_an_id_is_eight_letters_and_digits_and_none_comes_twice() -> None:
    """100,000 of them, each without the letters that are taken for digits."""
    ids = [new_id() for _ in range(100_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-hjkmnp-tv-z]{8}", each) for each in ids)


def test_ids_that_follow_one_another_look_different() -> None:
    """They differ in their first two characters, at which people look."""
    ids = [new_id() for _ in range(100)]
    assert all(one[:2] != other[:2] for one, other in itertools.pairwise(ids))


def test_another_process_has_others() -> None:
    """The first ids of a process are not those of the process before it."""
    program = "from trioecho._protocol.connection_id import new_id; print(*(new_id() for _ in range(100)))"
    runs = [subprocess.check_output([sys.executable, "-c", program]).split() for _ in range(2)]
    assert not set(runs[0]) & set(runs[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_process_has_others() -> None:
    """A child does not go on counting where its parent does."""
    program = (
        "import os; from trioecho._protocol.connection_id import new_id\n"
        "child = os.fork(); child and os.waitpid(child, 0)\n"
        "print(*(new_id() for _ in range(100)))"
    )
    ids = subprocess.check_output([sys.executable, "-c", program]).split()
    assert len(set(ids)) == 200
