"""Who goes first: whoever has had the least, of those whose address has had the least."""

from __future__ import annotations

import pytest

from trioecho._wire.shares import LONGEST, OFTEN, USUAL, Queue, Shares


def served(queue: Queue[str], costs: dict[str, float], turns: int) -> list[str]:
    """Who is served in so many turns, where all of `costs` are always ready and take so long each time."""
    order = []
    for _ in range(turns):
        who = min(costs, key=queue.mark)
        queue.charge(who, costs[who])
        order.append(who)
    return order


def test_those_who_take_as_much_have_their_turns_in_a_circle() -> None:
    """In the order in which they came."""
    assert served(Queue(), {"a": USUAL, "b": USUAL, "c": USUAL}, 9) == ["a", "b", "c"] * 3


def test_who_takes_twice_as_much_has_half_as_many_turns() -> None:
    """Beyond the half of what is usual, which is free."""
    order = served(Queue(), {"dear": 20 * USUAL, "cheap": 15 * USUAL}, 4000)
    spent = order.count("dear") * 20, order.count("cheap") * 15
    assert 0.5 < spent[0] / spent[1] < 1.5


def test_who_takes_little_is_first_however_often_it_comes() -> None:
    """Also where it has more turns than all others."""
    queue = Queue[str]()
    busy = {f"busy {number}": USUAL for number in range(100)}
    served(queue, {"neighbour": USUAL / 10}, 1)
    for _ in range(1000):
        served(queue, busy, 1)
        assert queue.mark("neighbour") <= min(map(queue.mark, busy)) + USUAL / 5
        queue.charge("neighbour", USUAL / 10)


def test_those_who_take_nearly_nothing_take_turns() -> None:
    """Though they are named in the same order each time."""
    queue = Queue[str]()
    queue.charge("dear", USUAL)
    names = ["a", "b", "c"]
    first = []
    for _ in range(24):
        who, _ = queue.in_order([(name, 1) for name in names])[0]
        queue.charge(who, USUAL / 100)
        first.append(who)
    assert min(map(first.count, names)) >= 6


def test_one_turn_that_was_measured_long_is_soon_forgotten() -> None:
    """The garbage was collected in it: it costs a few usual turns, and not as many as fit into it."""
    queue = Queue[str]()
    busy = {f"busy {number}": USUAL for number in range(10)}
    served(queue, busy, 100)
    queue.charge("unlucky", 10_000 * USUAL)
    assert "unlucky" in served(queue, busy | {"unlucky": USUAL / 10}, 150)


def test_who_comes_back_has_saved_nothing_up() -> None:
    """Silence earns no turns in a row."""
    queue = Queue[str]()
    served(queue, {"a": USUAL, "b": USUAL}, 2)
    served(queue, {"a": USUAL}, 50)
    assert sorted(served(queue, {"a": USUAL, "b": USUAL}, 4)) == ["a", "a", "b", "b"]


def test_who_pauses_between_turns_does_not_get_ahead() -> None:
    """What it has had is remembered while others are served."""
    queue = Queue[str]()
    busy = {"a": USUAL, "b": USUAL}
    served(queue, busy | {"pausing": USUAL}, 9)
    for _ in range(OFTEN):
        queue.charge("pausing", 10 * USUAL)
    assert "pausing" not in served(queue, busy | {"pausing": USUAL}, 4)
    assert queue.mark("pausing") > max(queue.mark("a"), queue.mark("b"))


def test_whoever_has_just_come_is_served_behind_those_who_want_little() -> None:
    """However many come: each is owed a turn, but not before a client that was here, and has had next to nothing."""
    queue = Queue[str]()
    served(queue, {"neighbour": USUAL / 10, "dear": USUAL}, 20)
    newcomers = {f"newcomer {number}": USUAL for number in range(300)}
    queue.in_order([(name, 1) for name in newcomers])
    while newcomers:
        assert queue.mark("neighbour") < min(map(queue.mark, newcomers))
        queue.charge("neighbour", USUAL / 10)
        del newcomers[served(queue, newcomers, 1)[0]]


def test_whoever_has_just_come_is_served_though_others_always_want_more() -> None:
    """Within a few turns of each of them."""
    queue = Queue[str]()
    busy = {f"busy {number}": USUAL for number in range(10)}
    served(queue, busy, 100)
    assert "newcomer" in served(queue, busy | {"newcomer": USUAL}, 10 * (LONGEST + 2) * 2)


def test_whoever_has_just_come_is_served_after_very_many_others_came_and_went() -> None:
    """While there was enough for all, or not: they do not stand between it and those who have stayed."""
    for scarce in (False, True):
        queue = Queue[str]()
        busy = {f"busy {number}": USUAL for number in range(10)}
        for name in busy:
            queue.enter(name)
        for _ in range(300_000):
            if scarce:
                queue.mark("gone")
            else:
                queue.enter("gone")
            queue.forget("gone")
        assert "newcomer" in served(queue, busy | {"newcomer": USUAL}, 10 * 2 * (2 * LONGEST + 2))


def test_another_of_the_same_name_begins_anew() -> None:
    """File numbers are handed out again."""
    queue = Queue[int]()
    queue.charge(7, 1.0)
    queue.charge(8, 1.0)
    queue.forget(7)
    assert queue.mark(7) == pytest.approx(queue.mark(9), rel=0.001)


def group_of_the_first(shares: Shares[str], names: list[str]) -> str:
    """Serve whoever of `names` is first, for as long as is usual."""
    first, _ = shares.in_order([(name, 1) for name in names])[0]
    shares.charge(first, USUAL)
    return first.split()[0]


def test_addresses_share_before_their_connections_do() -> None:
    """Whoever is alone at its address has every second turn beside a hundred of another; and each of those has one."""
    shares = Shares[str]()
    crowd = [f"crowd {number}" for number in range(100)]
    for name in crowd:
        shares.enter(name, "192.0.2.1", scarce=False)
    shares.enter("alone", "192.0.2.2", scarce=True)
    turns = [group_of_the_first(shares, [*crowd, "alone"]) for _ in range(220)]
    assert 100 <= turns.count("alone") <= 112
    assert min(map(shares.mark, crowd)) > (0, 0)


def test_an_address_is_forgotten_with_the_last_of_its_connections() -> None:
    """So that thousands that came and went take no memory."""
    shares = Shares[str]()
    for name in ("a", "b"):
        shares.enter(name, "192.0.2.1", scarce=False)
        shares.charge(name, USUAL)
    for name in ("a", "a", "b", "nobody"):
        shares.forget(name)
    assert not shares._sizes
    assert not shares._group_of
    assert not shares._groups._marks
    assert not shares._members._marks
