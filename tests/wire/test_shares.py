"""Who goes first: whoever has had the least."""

from __future__ import annotations

from trioecho._wire.shares import USUAL, Shares


def served(shares: Shares[str], costs: dict[str, float], turns: int) -> list[str]:
    """Who is served in so many turns, where all of `costs` are always ready and take so long each time."""
    order = []
    for _ in range(turns):
        who = min(costs, key=shares.place)
        shares.charge(who, costs[who])
        order.append(who)
    return order


def test_those_who_take_as_much_have_their_turns_in_a_circle() -> None:
    """In the order in which they came."""
    assert served(Shares(), {"a": USUAL, "b": USUAL, "c": USUAL}, 9) == ["a", "b", "c"] * 3


def test_who_takes_twice_as_much_has_half_as_many_turns() -> None:
    """Beyond the half of what is usual, which is free."""
    order = served(Shares(), {"dear": 20 * USUAL, "cheap": 15 * USUAL}, 4000)
    spent = order.count("dear") * 20, order.count("cheap") * 15
    assert 0.5 < spent[0] / spent[1] < 1.5


def test_who_takes_little_is_first_however_often_it_comes() -> None:
    """Also where it has more turns than all others."""
    shares = Shares[str]()
    busy = {f"busy {number}": USUAL for number in range(100)}
    for _ in range(1000):
        served(shares, busy, 1)
        assert min([*busy, "neighbour"], key=shares.place) == "neighbour" or shares.place("neighbour") == min(
            map(shares.place, busy)
        )
        shares.charge("neighbour", USUAL / 10)


def test_who_comes_back_has_saved_nothing_up() -> None:
    """Silence earns no turns in a row."""
    shares = Shares[str]()
    served(shares, {"a": USUAL, "b": USUAL}, 2)
    served(shares, {"a": USUAL}, 50)
    assert sorted(served(shares, {"a": USUAL, "b": USUAL}, 4)) == ["a", "a", "b", "b"]


def test_who_pauses_between_turns_does_not_get_ahead() -> None:
    """What it has had is remembered while others are served."""
    shares = Shares[str]()
    shares.charge("pausing", 10 * USUAL)
    assert "pausing" not in served(shares, {"a": USUAL, "b": USUAL}, 10)
    assert shares.place("pausing") > shares.place("a")


def test_another_of_the_same_name_begins_anew() -> None:
    """File numbers are handed out again."""
    shares = Shares[int]()
    shares.charge(7, 1.0)
    shares.forget(7)
    assert shares.in_order([(8, 1), (7, 1)]) == [(8, 1), (7, 1)]
    shares.charge(7, 1.0)
    shares.clear()
    assert shares.place(7) == 0
