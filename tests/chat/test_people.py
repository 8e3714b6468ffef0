"""Who is in which room, here and on the other servers."""

from __future__ import annotations

from trioecho.chat import people as module
from trioecho.chat.people import MOST_LISTED, MOST_PEOPLE, MOST_SERVERS, SILENCE, People, Person

ADA, BOB, CLEO = Person("a", "Ada", "Lobby"), Person("b", "Bob", "Lobby"), Person("c", "cleo", "Trio")


def test_what_changes_tells_whose_rooms_are_others_now() -> None:
    people = People()
    assert people.enter(ADA) == {"Lobby"}
    assert people.enter(ADA) == set()
    assert people.enter(Person("a", "Ada", "Trio")) == {"Lobby", "Trio"}
    assert people.enter(Person("a", "Ava", "Trio")) == {"Trio"}
    assert people.leave("a") == {"Trio"}
    assert people.leave("a") == set()
    assert list(people.everybody()) == []


def test_other_servers_count_as_this_one_does() -> None:
    people = People()
    people.enter(BOB)
    assert people.hear("s1", [ADA, CLEO], 0.0) == {"Lobby", "Trio"}
    assert people.hear("s1", [ADA, CLEO], 1.0) == set()
    assert people.in_room("Lobby") == ([ADA, BOB], 2)
    assert people.rooms() == [("Lobby", 2), ("Trio", 1)]
    assert people.here == (BOB,)
    assert people.hear("s1", [ADA], 2.0) == {"Trio"}
    assert people.rooms() == [("Lobby", 2)]


def test_a_server_that_says_nothing_is_forgotten_with_its_people() -> None:
    people = People()
    people.hear("s1", [ADA], 0.0)
    people.hear("s2", [CLEO], 10.0)
    assert people.forget(SILENCE) == set()
    assert people.forget(SILENCE + 0.1) == {"Lobby"}
    assert list(people.everybody()) == [CLEO]


def test_what_others_say_is_bounded(monkeypatch) -> None:
    people = People()
    many = [Person(str(number), "x", "Lobby") for number in range(MOST_PEOPLE + 5)]
    people.hear("s1", many, 0.0)
    assert people.in_room("Lobby")[1] == MOST_PEOPLE
    monkeypatch.setattr(module, "MOST_SERVERS", 2)
    assert MOST_SERVERS > 2
    assert people.hear("s2", [ADA], 0.0)
    assert people.hear("s3", [BOB], 0.0) == set()
    assert people.hear("s2", [BOB], 0.0)


def test_pages_are_told_of_some_and_how_many_there_are() -> None:
    people = People()
    for number in range(MOST_LISTED + 5):
        people.enter(Person(f"a{number}", "x", "Lobby"))
        people.hear(f"s{number}", [Person(f"b{number}", "x", f"Room {number}")], 0.0)
    listed, number = people.in_room("Lobby")
    assert (len(listed), number) == (MOST_LISTED, MOST_LISTED + 5)
    assert len(people.rooms()) == MOST_LISTED
    assert people.rooms()[0] == ("Lobby", MOST_LISTED + 5)
