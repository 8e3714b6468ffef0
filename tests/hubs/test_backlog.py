"""What waits for one client: in order, and so much of it."""

from __future__ import annotations

from trioecho import Prepared
from trioecho.hubs.backlog import OVERHEAD, Backlog


def test_messages_wait_in_order_and_so_many_bytes_of_them() -> None:
    backlog = Backlog(3 * (10 + OVERHEAD))
    assert not backlog
    messages = [Prepared(b"%d" % number * 10) for number in range(4)]
    assert [backlog.add(each) for each in messages] == [True, True, True, False]
    assert backlog.first is messages[0]
    backlog.remove_first()
    assert backlog.first is messages[1]
    assert backlog.add(messages[3])
    for each in messages[1:]:
        assert backlog.first is each
        backlog.remove_first()
    assert not backlog


def test_one_message_may_have_any_size() -> None:
    backlog = Backlog(10)
    assert backlog.add(Prepared(b"x" * 1000))
    assert not backlog.add(Prepared(b""))
