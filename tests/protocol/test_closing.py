"""The table of what each side has said: complete, and obeying what the RFC says of a Close."""

from __future__ import annotations

import itertools

import pytest

from trioecho._protocol.closing import CLOSING, Awaits, Delivers, Ours, Rule, Sends, Theirs, as_markdown

ROWS = [(ours, theirs, rule) for (ours, theirs), rule in CLOSING.items()]


def test_every_pair_has_its_row() -> None:
    """A connection may come to any of them, and finds what to do; in the order in which the README lists them."""
    assert [*CLOSING] == [*itertools.product(Ours, Theirs)]


@pytest.mark.parametrize("theirs", Theirs)
@pytest.mark.parametrize("ours", [Ours.CLOSED, Ours.LOST])
def test_nothing_is_sent_after_our_close(ours: Ours, theirs: Theirs) -> None:
    """RFC 6455 §5.5.1; nor where nothing can be sent."""
    assert CLOSING[ours, theirs].sends is Sends.NOTHING


@pytest.mark.parametrize("theirs", Theirs)
def test_as_long_as_we_have_not_closed_there_is_something_to_say(theirs: Theirs) -> None:
    """Once the peer has done, only the answers that are owed, and the Close behind them."""
    expected = Sends.ALL if theirs is Theirs.OPEN else Sends.ANSWERS
    assert CLOSING[Ours.OPEN, theirs].sends is expected


@pytest.mark.parametrize("ours", Ours)
@pytest.mark.parametrize("theirs", [Theirs.CLOSED, Theirs.FAILED, Theirs.ENDED])
def test_nothing_is_delivered_after_the_peer_has_done(ours: Ours, theirs: Theirs) -> None:
    """What comes behind its Close, or behind bytes that are no frames, means nothing."""
    assert CLOSING[ours, theirs].delivers is Delivers.NOTHING


def test_messages_are_counted_between_our_close_and_the_peers() -> None:
    """No handler takes them, and the peer's Close has to be found among them."""
    assert CLOSING[Ours.CLOSED, Theirs.OPEN] == Rule(Sends.NOTHING, Delivers.COUNTED, Awaits.CLOSE)


def test_what_a_lost_peer_has_said_is_still_delivered() -> None:
    """That nothing can be sent any more takes nothing from what has come."""
    assert CLOSING[Ours.LOST, Theirs.OPEN].delivers is Delivers.MESSAGES


@pytest.mark.parametrize(("ours", "theirs", "rule"), ROWS)
def test_only_what_can_still_come_is_awaited(ours: Ours, theirs: Theirs, rule: Rule) -> None:
    """The peer's Close, if it has not come; the end of TCP, where nothing else is understood; nothing of the lost."""
    if ours is Ours.LOST:
        expected = Awaits.NOTHING
    else:
        expected = {Theirs.OPEN: Awaits.CLOSE, Theirs.FAILED: Awaits.TCP}.get(theirs, Awaits.NOTHING)
    assert rule.awaits is expected


def test_the_printed_table_has_one_line_per_row() -> None:
    """Below a head of two; five columns, each row printed once and in the words of the states."""
    text = as_markdown()
    assert text.endswith("|\n")
    lines = text.splitlines()
    assert len(lines) == 2 + len(CLOSING)
    assert len(set(lines)) == len(lines)
    assert {line.count("|") for line in lines} == {6}
    for line, (ours, theirs, rule) in zip(lines[2:], ROWS, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells == [part.value for part in (ours, theirs, *rule)]
