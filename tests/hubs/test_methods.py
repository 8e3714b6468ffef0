"""Which methods clients may call, by which names, with which arguments."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import msgspec
import pytest

from trioecho.hubs import Hub, Target
from trioecho.hubs.methods import Method, Methods


class Mixin:
    async def mixed_in(self) -> None: ...


class Example(Mixin, Hub[Target]):
    value = 5

    async def get_user(self, name: str, age: int = 3, tags: list[str] = ["a"]) -> str:  # noqa: B006
        return f"{name} {age} {tags}"

    async def untyped(self, anything): ...  # type: ignore[no-untyped-def]

    async def nothing(self) -> None: ...

    async def count(self, to: int) -> AsyncIterator[int]:
        yield to

    async def counted(self, to: int) -> AsyncIterator[int]:
        return self.count(to)

    async def total(
        self, first: int, numbers: AsyncIterator[int], other: AsyncIterable[str], last: int = 9
    ) -> int:
        return first + last

    def plain(self) -> None: ...

    async def _private(self) -> None: ...

    @property
    def nothing_to_call(self) -> int:
        return 1

    @staticmethod
    async def static() -> None: ...


METHODS = Methods(Example, Hub)


def find(name: str) -> Method:
    method = METHODS.find(name)
    assert method is not None
    return method


def test_exposed_are_the_public_coroutines_of_the_class() -> None:
    assert {method.name for method in METHODS} == {
        "get_user",
        "untyped",
        "nothing",
        "count",
        "counted",
        "total",
        "mixed_in",
    }


@pytest.mark.parametrize("name", ["get_user", "GetUser", "getUser", "GETUSER", "Get_User"])
def test_case_and_underscores_do_not_matter(name: str) -> None:
    assert find(name).name == "get_user"


@pytest.mark.parametrize(
    "name", ["_private", "private", "_get_user", "__init__", "__class__", "life", "Life"]
)
def test_private_names_and_those_of_the_hub_cannot_be_called(name: str) -> None:
    assert METHODS.find(name) is None


@pytest.mark.parametrize("name", sorted(set(dir(Hub)) | {"plain", "value", "nothing_to_call", "static", ""}))
def test_what_every_hub_has_and_what_is_no_coroutine_cannot_be_called(name: str) -> None:
    assert METHODS.find(name) is None


def parse(method: Method, *arguments: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(arguments), type=method.arguments)


async def test_arguments_have_their_types_and_defaults() -> None:
    hub, method = Example(), find("GetUser")
    assert await method.call(hub, parse(method, "x"), []) == "x 3 ['a']"
    assert await method.call(hub, parse(method, "x", 4, ["b"]), []) == "x 4 ['b']"
    for wrong in [(), (1,), ("x", "y"), ("x", 1, [], 5), ("x", 1, "tags")]:
        with pytest.raises(msgspec.ValidationError):
            parse(method, *wrong)


def test_what_has_no_annotation_may_be_anything() -> None:
    assert parse(find("untyped"), {"a": [1]})


async def test_uploads_stand_among_the_arguments_where_they_are() -> None:
    seen: list[Any] = []

    class Uploading(Hub[Target]):
        async def total(self, first: int, numbers: AsyncIterator[int], last: int = 9) -> None:
            seen.extend([first, numbers, last])

    method = Methods(Uploading, Hub).find("total")
    assert method is not None
    assert method.uploads == ((1, int),)
    await method.call(Uploading(), parse(method, 1), ["stream"])
    assert seen == [1, "stream", 9]
    assert find("total").uploads == ((1, int), (2, str))


def test_streams_and_void_are_told_by_the_annotations() -> None:
    told = {each.name: (each.streams, each.generator, each.void) for each in METHODS}
    assert told["count"] == (True, True, False)
    assert told["counted"] == (True, False, False)
    assert told["nothing"] == (False, False, True)
    assert told["get_user"] == (False, False, False)
    assert told["untyped"] == (False, False, False)


def test_names_that_clients_cannot_tell_apart_are_refused() -> None:
    class Twice(Hub[Target]):
        async def get_user(self) -> None: ...
        async def getUser(self) -> None: ...  # noqa: N802

    with pytest.raises(TypeError, match=r"get_?[uU]ser and get_?[uU]ser, which clients cannot tell apart"):
        Methods(Twice, Hub)


def test_what_hides_a_part_of_every_hub_is_refused() -> None:
    class Hiding(Hub[Target]):
        async def close(self) -> None: ...  # type: ignore[override]

    with pytest.raises(TypeError, match=r"Hiding\.close hides"):
        Methods(Hiding, Hub)


def test_parameters_that_have_no_place_are_refused() -> None:
    class Named(Hub[Target]):
        async def call(self, *, name: str) -> None: ...

    with pytest.raises(TypeError, match=r"by position, so Named\.call"):
        Methods(Named, Hub)


def test_types_that_cannot_be_received_are_refused() -> None:
    class Odd(Hub[Target]):
        async def call(self, when: int | datetime.datetime | datetime.date) -> None: ...

    class Unknown(Hub[Target]):
        async def call(self, when: Nothing) -> None: ...  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(TypeError, match=r"Odd\.call takes what cannot be received"):
        Methods(Odd, Hub)
    with pytest.raises(TypeError, match=r"annotations of Unknown\.call"):
        Methods(Unknown, Hub)
