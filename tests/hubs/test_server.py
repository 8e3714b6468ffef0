"""HubServer: what it refuses, and what it tells."""

from __future__ import annotations

from typing import Any

import pytest
from hubs.memory_connection import running

from trioecho.hubs import Hub, HubServer, Target


class Chat(Hub[Target]):
    async def echo(self, text: str) -> str:
        return text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((Chat(),), "HubServer takes a class that derives from Hub; you gave <"),
        ((Hub,), "HubServer takes a class that derives from Hub"),
        ((int,), "HubServer takes a class that derives from Hub; you gave <class 'int'>"),
    ],
)
def test_a_hub_is_a_class(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        HubServer(*arguments)


@pytest.mark.parametrize("option", [{"options": {"keep_alive": 5}}, {"backplane": "redis://"}])
def test_options_and_backplanes_are_what_they_are(option: dict[str, Any]) -> None:
    [name] = option
    with pytest.raises(TypeError, match=f"{name} takes a"):
        HubServer(Chat, **option)


async def test_it_tells_who_is_here() -> None:
    server = HubServer(Chat)
    assert repr(server) == "HubServer(Chat)"
    async with running(server) as hub:
        await hub.client("a")
        await hub.client("b")
        assert server.connection_ids == ("a", "b")
        assert server.healthy
