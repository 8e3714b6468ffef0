"""The targets of the fuzzer, in the suite: on the corpus that is kept, and on what Hypothesis makes up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import run
from fuzzing.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"

MOST_BYTES = 100_000
"""Of the whole corpus: it is read at every run of the suite, and by whoever clones the repository."""


def test_the_fuzzer_has_every_target_and_a_corpus_for_each() -> None:
    """`run.py` cannot import the targets before it instruments them, and so has their names itself."""
    assert tuple(run.NAMES) == tuple(TARGETS)
    assert sorted(each.name for each in CORPUS.iterdir()) == sorted(TARGETS)
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) <= MOST_BYTES


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_shows_no_defect(name: str) -> None:
    """What has once reached a place of the code reaches it again."""
    files = sorted((CORPUS / name).iterdir())
    assert files
    for file in files:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_show_no_defect(name: str, data: st.DataObject) -> None:
    """Bytes at random, and those of the corpus with other bytes in their midst."""
    files = sorted((CORPUS / name).iterdir())
    seed = data.draw(st.sampled_from(files)).read_bytes()
    begin, end = sorted((data.draw(st.integers(0, len(seed))), data.draw(st.integers(0, len(seed)))))
    TARGETS[name](seed[:begin] + data.draw(st.binary(max_size=100)) + seed[end:])
