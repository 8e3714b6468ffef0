"""Who is connected: by connection, user and group, and which addresses it has."""

from __future__ import annotations

from typing import Any, cast

from trioecho.hubs import Address
from trioecho.hubs.backplane import ALL
from trioecho.hubs.members import Members, own_addresses


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


def test_whoever_leaves_has_had_all_its_addresses() -> None:
    members = Members()
    a, b = somebody("a", "ann"), somebody("b", "ann")
    members.connect(a)
    members.connect(b)
    members.join(a, "red")
    members.join(b, "red")
    assert members.leave(a, "red")
    assert not members.leave(a, "red")
    assert members.disconnect(a) == own_addresses(a) == [Address("connection", "a"), Address("user", "ann")]
    assert members.disconnect(b) == [*own_addresses(b), Address("group", "red")]
    assert own_addresses(somebody("c")) == [Address("connection", "c")]
    assert vars(members) == {"connections": {}, "_groups": {}, "_users": {}}
