"""Who is connected: by connection, user and group, and which addresses begin and cease to matter."""

from __future__ import annotations

from typing import Any, cast

from trioecho.hubs import Address
from trioecho.hubs.backplane import ALL
from trioecho.hubs.members import Members


class Somebody:
    def __init__(self, id: str, user: str | None = None) -> None:
        self.id = id
        self.user = user
        self.groups: set[str] = set()


def somebody(id: str, user: str | None = None) -> Any:
    return cast(Any, Somebody(id, user))


def ids(members: Members, *addresses: Address, exclude: tuple[str, ...] = ()) -> list[str]:
    return [each.id for each in members.find(addresses, exclude)]


def test_everybody_is_found_by_each_address_once() -> None:
    members = Members()
    a, b, c = somebody("a", "ann"), somebody("b", "ann"), somebody("c")
    for each in (a, b, c):
        members.connect(each)
    members.join(a, "red")
    members.join(c, "red")
    members.join(c, "blue")
    assert len(members) == 3
    assert ids(members, ALL) == ["a", "b", "c"]
    assert ids(members, ALL, exclude=("b",)) == ["a", "c"]
    assert ids(members, Address("user", "ann")) == ["a", "b"]
    assert ids(members, Address("group", "red"), Address("group", "blue")) == ["a", "c"]
    assert ids(members, Address("connection", "c"), Address("connection", "x")) == ["c"]
    assert ids(members, Address("user", "nobody"), Address("group", "grey")) == []


def test_the_first_that_joins_and_the_last_that_leaves_are_told() -> None:
    members = Members()
    a, b = somebody("a", "ann"), somebody("b", "ann")
    members.connect(a)
    members.connect(b)
    assert members.join(a, "red")
    assert not members.join(b, "red")
    assert members.leave(a, "red") == []
    assert members.leave(a, "red") == []
    assert members.leave(b, "red") == [Address("group", "red")]
    members.join(b, "red")
    assert members.disconnect(a) == [Address("connection", "a")]
    assert members.disconnect(b) == [
        Address("connection", "b"),
        Address("user", "ann"),
        Address("group", "red"),
    ]
    assert vars(members) == {"connections": {}, "_groups": {}, "_users": {}}
