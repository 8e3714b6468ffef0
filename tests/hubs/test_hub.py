"""What a hub knows of its connection."""

from __future__ import annotations

from typing import Any

import pytest
from hubs.memory_connection import running

from trioecho.hubs import Hub, HubServer, Target


class Knowing(Hub[Target]):
    calls = 0

    async def known(self) -> list[Any]:
        self.calls += 1
        return [
            self.connection_id,
            self.user,
            self.transport,
            self.request.query.get("a"),
            self.request.headers.get("x-name"),
            self.calls,
        ]


async def test_a_hub_knows_its_connection_and_keeps_what_belongs_to_it() -> None:
    async with running(HubServer(Knowing)) as hub:
        a, b = await hub.client("a", user="ann"), await hub.client("b", transport="LongPolling")
        assert await a.result("known") == ["a", "ann", "WebSockets", "1", "value", 1]
        assert await a.result("known") == ["a", "ann", "WebSockets", "1", "value", 2]
        assert await b.result("known") == ["b", None, "LongPolling", "1", "value", 1]


def test_in_init_there_is_no_connection_yet() -> None:
    hub = Knowing()
    for name in ("connection_id", "user", "nursery", "request", "transport", "groups", "clients"):
        with pytest.raises(RuntimeError, match=r"when life\(\) is entered"):
            getattr(hub, name)
