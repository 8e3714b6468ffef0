"""Collections stay short in a process that serves, and nothing is left out of them for ever."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from trioecho._process import garbage
from trioecho._process.garbage import THAW, short_collections

pytestmark = pytest.mark.skipif(
    not garbage._GENERATIONS or not hasattr(gc, "freeze"),
    reason="this Python's collector is another, or cannot leave objects out of a collection",
)


class Node:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


class Clock:
    """A clock that the test turns; each collection takes `each` seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.each = 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock by which collections are measured. Collections only when the test asks for one."""
    clock = Clock()
    monkeypatch.setattr(garbage, "monotonic", clock)
    gc.collect()
    gc.disable()
    yield clock
    gc.enable()


def test_what_was_imported_is_looked_at_no_more(clock: Clock) -> None:
    """And is again afterwards."""
    before = len(gc.get_objects())
    with short_collections():
        assert gc.get_freeze_count() > before / 2
        assert len(gc.get_objects()) < before / 2
    assert gc.get_freeze_count() == 0


def test_what_survives_a_long_collection_is_left_out_of_the_next(clock: Clock) -> None:
    """What survives a short one is not, nor one of the younger objects only."""
    with short_collections():
        at_first = gc.get_freeze_count()
        nodes = [Node() for _ in range(1000)]
        gc.collect()
        assert gc.get_freeze_count() < at_first + 1000
        clock.each = 2 * garbage.LONGEST
        gc.collect(1)
        assert gc.get_freeze_count() < at_first + 1000
        gc.collect()
        assert gc.get_freeze_count() >= at_first + 1000
        del nodes


def test_after_ten_minutes_everything_is_looked_at_again(clock: Clock) -> None:
    """So a circle that died after it was left out is freed."""
    with short_collections():
        node = Node()
        gone = weakref.ref(node)
        clock.each = 2 * garbage.LONGEST
        gc.collect()
        del node
        gc.collect()
        assert gone() is not None
        clock.now += THAW
        gc.collect()
        assert gone() is None


def grow(nodes: list[Node]) -> None:
    """Add nodes, and have a long collection leave them out, until so many are left out that all are to be looked at."""
    most = garbage.GROWTH * gc.get_freeze_count()
    while gc.get_freeze_count() <= most:
        nodes.extend(Node() for _ in range(50_000))
        gc.collect()


def test_everything_is_looked_at_again_when_much_is_left_out(clock: Clock) -> None:
    """Long before the ten minutes. While nearly all of it is in use, it is left out again."""
    with short_collections():
        clock.each = 2 * garbage.LONGEST
        node = Node()
        gone = weakref.ref(node)
        nodes: list[Node] = []
        grow(nodes)
        del node
        assert gone() is not None
        gc.collect()
        assert gone() is None
        assert gc.get_freeze_count() > len(nodes)


def test_a_program_that_makes_circles_has_them_collected(clock: Clock) -> None:
    """Once that is seen, nothing is left out any more."""
    with short_collections():
        clock.each = 2 * garbage.LONGEST
        nodes: list[Node] = []
        grow(nodes)
        nodes.clear()
        gc.collect()
        assert gc.get_freeze_count() == 0
        node = Node()
        gone = weakref.ref(node)
        gc.collect()
        del node
        gc.collect()
        assert gone() is None


def test_another_kind_of_collector_is_left_as_it_is(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose collections of the third generation do not come by themselves: nothing would be looked at again."""
    monkeypatch.setattr(garbage, "_GENERATIONS", False)
    observers = list(gc.callbacks)
    with short_collections():
        assert gc.callbacks == observers
        assert gc.get_freeze_count() == 0


def test_a_program_that_takes_all_observers_away_ends_as_any_other(clock: Clock) -> None:
    """Ours among them."""
    observers = list(gc.callbacks)
    try:
        with short_collections():
            gc.callbacks.clear()
        assert gc.get_freeze_count() == 0
    finally:
        gc.callbacks[:] = observers


def test_a_program_that_leaves_objects_out_itself_is_left_as_it_is(clock: Clock) -> None:
    """Its are not put back."""
    gc.freeze()
    try:
        frozen, observers = gc.get_freeze_count(), list(gc.callbacks)
        with short_collections():
            assert gc.callbacks == observers
        assert gc.get_freeze_count() >= frozen / 2
    finally:
        gc.unfreeze()
