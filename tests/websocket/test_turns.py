"""The queue of those who wait for room on one connection."""

from __future__ import annotations

from trioecho._websocket.turns import Sender, Shared, Turns


def test_a_sender_is_told_and_stays_a_message_leaves() -> None:
    """The first is called; a sender leaves by itself, when it has put its message."""
    sender, shared = Sender(), Shared(b"frame", 5)
    turns = Turns([shared, sender])
    assert turns.call() is shared
    assert turns.call() is None
    assert sender.called.is_set()
    assert list(turns) == [sender]


def test_a_message_is_settled_when_it_waits_nowhere() -> None:
    """Some took it, others ended."""
    shared = Shared(b"frame", 5)
    shared.waits = 2
    shared.leave(given=True)
    assert not shared.settled.is_set()
    shared.leave(given=False)
    assert (shared.settled.is_set(), shared.given) == (True, 1)


def test_the_dismissed_need_not_wait() -> None:
    """Senders are told; messages are given to nobody."""
    sender, shared = Sender(), Shared(b"frame", 5)
    shared.waits = 1
    turns = Turns([sender, shared])
    turns.dismiss()
    assert not turns
    assert sender.called.is_set()
    assert (shared.settled.is_set(), shared.given) == (True, 0)
