"""Groups: joined and left by hubs and by the server, bounded, and left at the end."""

from __future__ import annotations

import pytest
from hubs.memory_connection import running, settled

from trioecho.hubs import Hub, HubException, HubOptions, HubServer, Target


class Rooms(Hub[Target]):
    async def join(self, group: str) -> None:
        await self.groups.add(group)

    async def leave(self, group: str) -> None:
        await self.groups.remove(group)

    async def mine(self) -> list[str]:
        assert len(self.groups) == len(list(self.groups))
        return sorted(group for group in self.groups if group in self.groups)


async def test_a_group_is_joined_and_left_any_number_of_times() -> None:
    async with running(HubServer(Rooms)) as hub:
        client = await hub.client()
        for group in ("a", "b", "a"):
            await client.result("join", group)
        assert await client.result("mine") == ["a", "b"]
        for group in ("a", "a", "never"):
            await client.result("leave", group)
        assert await client.result("mine") == ["b"]


async def test_the_server_puts_any_connection_into_groups() -> None:
    server = HubServer(Rooms)
    async with running(server) as hub:
        client = await hub.client()
        assert await server.groups.add("c1", "a")
        assert await client.result("mine") == ["a"]
        assert await server.groups.remove("c1", "a")
        assert await client.result("mine") == []
        assert not await server.groups.add("c2", "a")
        assert not await server.groups.remove("c2", "a")


async def test_a_connection_leaves_its_groups_at_its_end() -> None:
    server = HubServer(Rooms)
    async with running(server) as hub:
        client = await hub.client()
        await client.result("join", "a")
        client.connection.hang_up()
        await settled()
        assert not server.members._groups


async def test_a_million_joins_are_refused_by_a_message() -> None:
    server = HubServer(Rooms, options=HubOptions(max_groups=10))
    async with running(server) as hub:
        client = await hub.client()
        errors = [await client.call("join", f"group {number}") for number in range(1000)]
        assert sum("error" in each for each in errors) == 990
        assert errors[-1]["error"].endswith("HubException: a client can be in 10 groups")
        assert len(server.members._groups) == 10


@pytest.mark.parametrize("name", ["", "x" * 257])
async def test_names_of_groups_are_bounded(name: str) -> None:
    server = HubServer(Rooms)
    async with running(server) as hub:
        client = await hub.client()
        assert "has 1 to 256 characters" in await client.error("join", name)
        with pytest.raises(HubException):
            await server.groups.add("c1", name)
        with pytest.raises(TypeError, match="named by a string"):
            await server.groups.add("c1", 5)  # type: ignore[arg-type]
