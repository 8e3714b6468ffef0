"""The table of endings: complete, sendable, and the one place that decides between several."""

from __future__ import annotations

import itertools
import logging

import pytest

from trioecho._protocol import endings
from trioecho._protocol.endings import (
    BY_FRAME_ERROR,
    ENDINGS,
    HANDLER_RETURNED,
    IDLE_TIMEOUT,
    LOG_LEVELS,
    PEER_CLOSED,
    PEER_VANISHED,
    PROTOCOL_ERROR,
    SERVER_STOPPING,
    Ending,
    Farewell,
    decide,
)
from trioecho._protocol.frames import close_code_allowed, shortened_reason

rows = pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.cause)


def test_the_table_is_whole() -> None:
    """Every ending that the module defines stands in the table, once, under a cause of its own."""
    defined = [value for value in vars(endings).values() if isinstance(value, Ending)]
    assert sorted(defined, key=id) == sorted(ENDINGS, key=id)
    assert len({ending.cause for ending in ENDINGS}) == len(ENDINGS)


@rows
def test_what_a_row_says_fits_into_a_close(ending: Ending) -> None:
    """A code that may be sent, a reason of at most 123 bytes; and nothing where nobody is left."""
    if ending.code is not None:
        assert close_code_allowed(ending.code)
    if ending.reason is not None:
        assert shortened_reason(ending.reason) == ending.reason
    if ending.farewell is Farewell.SILENT:
        assert (ending.code, ending.reason) == (None, None)


@rows
def test_only_who_awaits_the_peers_close_can_end_cleanly(ending: Ending) -> None:
    """RFC 6455 §7.1.4: clean is a connection on which both have said Close."""
    assert ending.clean is (ending.farewell is Farewell.HANDSHAKE)


@rows
def test_the_peer_alone_can_end_without_our_doing(ending: Ending) -> None:
    """It closed, vanished, or sent what cannot be accepted; everything else we have decided."""
    peers = {"peer closed", "peer vanished", "protocol error", "invalid text", "message too big", "flooding"}
    assert ending.by_us is (ending.cause not in peers)


@rows
def test_a_record_is_logged_as_loudly_as_its_row_says(ending: Ending) -> None:
    """Ordinary endings are INFO; only a failure of ours, the handler's or the server's, is an ERROR."""
    assert LOG_LEVELS[ending.cause] == ending.log_level
    assert (ending.log_level == logging.ERROR) is (ending.reason == "internal error")


def test_each_error_of_a_frame_has_its_ending() -> None:
    """By the code that the peer is told."""
    assert {code: ending.code for code, ending in BY_FRAME_ERROR.items()} == {
        1002: 1002,
        1007: 1007,
        1009: 1009,
    }


FLAGS = list(itertools.product([False, True], repeat=2))


@pytest.mark.parametrize(("cancelled", "broken"), FLAGS)
def test_what_was_decided_comes_first_and_then_what_waits(cancelled: bool, broken: bool) -> None:
    """A timeout is not overtaken by the Close that came behind it, nor that Close by a cancellation."""
    flags = {"cancelled": cancelled, "broken": broken}
    assert decide(IDLE_TIMEOUT, PEER_CLOSED, **flags) is IDLE_TIMEOUT
    assert decide(IDLE_TIMEOUT, None, **flags) is IDLE_TIMEOUT
    assert decide(None, PROTOCOL_ERROR, **flags) is PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("cancelled", "broken", "ending"),
    [
        (False, False, HANDLER_RETURNED),
        (False, True, PEER_VANISHED),
        (True, False, SERVER_STOPPING),
        (True, True, SERVER_STOPPING),
    ],
)
def test_where_nothing_was_decided_the_handler_has_ended_it(
    cancelled: bool, broken: bool, ending: Ending
) -> None:
    """By its return, unless it was cancelled from outside, or nobody was there any more."""
    assert decide(None, None, cancelled=cancelled, broken=broken) is ending


def test_the_table_prints_one_line_per_ending() -> None:
    """The README's table is this text; another test compares."""
    head, ruler, *lines = endings.as_markdown().splitlines()
    assert {line.count("|") for line in (head, ruler, *lines)} == {7}
    assert [line.split("|")[1].strip() for line in lines] == [ending.cause for ending in ENDINGS]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:5]] for line in lines}
    assert cells["handler returned"] == ["1000", "(empty)"]
    assert cells["peer closed"] == ["as given", "as given"]
    assert cells["peer vanished"] == ["none", "none"]
    assert cells["protocol error"] == ["1002", "what was wrong"]
