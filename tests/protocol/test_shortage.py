"""What is said of a resource that has run out: its beginning, its end, and once a minute."""

from __future__ import annotations

import errno
import os

import pytest

from trioecho._protocol.shortage import Shortage, lacks_room


def test_said_at_its_beginning_each_minute_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """A success right after a failure does not end it: near a limit they take turns."""
    shortage = Shortage("cannot dance", "dances again")
    assert not shortage.lasts
    for moment in range(100):
        shortage.met(OSError(errno.ENFILE, ""), 50.0 + moment)
        shortage.done(50.5 + moment)
        assert shortage.lasts
    shortage.done(150.0)
    assert not shortage.lasts
    words = os.strerror(errno.ENFILE)
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot dance: {words}",
        f"cannot dance: {words}",
        "dances again, after 99 seconds",
    ]
    shortage.met(MemoryError(), 151.0)
    assert caplog.records[-1].getMessage() == "cannot dance: Cannot allocate memory"


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (OSError(errno.EMFILE, ""), True),
        (OSError(errno.ENOBUFS, ""), True),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(errno.EIO, ""), False),
        (RuntimeError("something else"), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_what_may_pass_is_told_from_what_is_broken(error: Exception, lacks: bool) -> None:
    """A disk that fails is no lack of room."""
    assert lacks_room(error) is lacks
