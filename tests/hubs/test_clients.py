"""Calling clients: by name, and by the methods of a Protocol, which mypy knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest
import trio
from hubs.memory_connection import running, settled

from trioecho.hubs import Hub, HubServer, Target


class Page(Target, Protocol):
    async def message(self, user: str, text: str = "nothing") -> None: ...
    async def pick(self, most: int) -> int: ...


class Chat(Hub[Page]):
    async def say(self, text: str) -> None:
        await self.clients.all.message("ann", text)

    async def to_others(self, text: str) -> None:
        await self.clients.others.message("ann", text)

    async def ask(self) -> int:
        return await self.clients.caller.pick(9)


class Bare(Hub[Any]):
    pass


class Derived(Chat):
    pass


async def test_the_methods_of_the_protocol_are_calls() -> None:
    async with running(HubServer(Chat)) as hub:
        a, b = await hub.client("a"), await hub.client("b")
        a.say(type=1, target="say", arguments=["hello"])
        for client in (a, b):
            assert await client.hear() == {"type": 1, "target": "message", "arguments": ["ann", "hello"]}
        a.say(type=1, target="to_others", arguments=["you"])
        assert (await b.hear())["arguments"] == ["ann", "you"]
        await settled()
        assert not a.connection.sent


async def test_a_method_that_returns_something_waits_for_what_the_client_answers() -> None:
    async with running(HubServer(Derived)) as hub:
        client = await hub.client()
        asked = await client.call("ask")
        assert (asked["target"], asked["arguments"]) == ("pick", [9])
        client.say(type=3, invocationId=asked["invocationId"], result=4)
        assert (await client.hear())["result"] == 4


async def test_named_arguments_and_defaults_are_sent_in_their_places() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        client = await hub.client()
        await server.clients.all.message(text="b", user="a")
        assert (await client.hear())["arguments"] == ["a", "b"]
        await server.clients.all.message("a")
        assert (await client.hear())["arguments"] == ["a", "nothing"]


async def test_what_the_protocol_does_not_have_is_no_method() -> None:
    everybody: Any = HubServer(Chat).clients.all
    with pytest.raises(AttributeError, match="the Protocol of the clients has no method mesage"):
        everybody.mesage("x")
    with pytest.raises(TypeError):
        await everybody.message(1, 2, 3)
    with pytest.raises(AttributeError):
        everybody._private  # noqa: B018


async def test_without_a_protocol_every_name_is_a_method() -> None:
    server = HubServer(Bare)
    async with running(server) as hub:
        client = await hub.client()
        await server.clients.all.anything(1)
        assert await client.hear() == {"type": 1, "target": "anything", "arguments": [1]}


async def test_everybody_who_is_meant_gets_it_once() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        clients = {id: await hub.client(id, user=user) for id, user in [("a", "x"), ("b", "x"), ("c", "y")]}
        for id, group in [("a", "red"), ("b", "red"), ("b", "blue")]:
            await server.groups.add(id, group)
        to = server.clients
        for target, meant in [
            (to.all, "abc"),
            (to.exclude("a"), "bc"),
            (to.client("a"), "a"),
            (to.clients("a", "c"), "ac"),
            (to.user("x"), "ab"),
            (to.users("x", "y"), "abc"),
            (to.group("red"), "ab"),
            (to.group("red", "blue"), "ab"),
            (to.group("red", exclude=["a"]), "b"),
            (to.group("grey"), ""),
            (to.client("nobody"), ""),
        ]:
            await target.send("say")
            await settled()
            assert "".join(id for id in clients if clients[id].connection.sent) == meant
            for id in meant:
                await clients[id].hear()


async def test_a_result_is_asked_of_one_client() -> None:
    for target in (HubServer(Chat).clients.all, HubServer(Chat).clients.clients("a", "b")):
        with pytest.raises(TypeError, match="a result is asked of one client"):
            await target.invoke("pick")


def test_whom_to_call_is_named_by_strings() -> None:
    clients: Any = HubServer(Chat).clients
    with pytest.raises(TypeError, match="a group is named by a string; you gave 5"):
        clients.group(5)
    with pytest.raises(TypeError, match="exclude takes a list of connection ids; you gave the string 'a'"):
        clients.group("red", exclude="a")


async def test_what_cannot_be_encoded_is_told_to_the_caller() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        client = await hub.client()
        with pytest.raises(TypeError):
            await server.clients.all.send("say", object())
        await trio.lowlevel.checkpoint()
        assert not client.connection.sent


def test_a_protocol_has_coroutines() -> None:
    class Wrong(Protocol):
        def message(self, text: str) -> None: ...

    class Hubbub(Hub[Wrong]):
        pass

    with pytest.raises(TypeError, match=r"Wrong\.message is no async def"):
        HubServer(Hubbub)


PROGRAM = """
from typing import Protocol
from trioecho.hubs import Hub, HubServer, Target

class Page(Target, Protocol):
    async def message(self, user: str, text: str) -> None: ...
    async def pick(self) -> int: ...

class Chat(Hub[Page]):
    async def say(self, text: str) -> int:
        await self.clients.group("lobby").message("ann", text)
        await self.clients.others.send("anything", 1, 2)
        number = await self.clients.caller.invoke("Pick", type=int)
        return number + await self.clients.caller.pick()

chat = HubServer(Chat)

async def main() -> None:
    await chat.clients.all.message("clock", "noon")
    {mistake}
"""


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        ("pass", None),
        ('await chat.clients.all.message("clock", 12)', 'incompatible type "int"; expected "str"'),
        ('await chat.clients.user("x").message("clock")', 'Missing positional argument "text"'),
        ('await chat.clients.client("x").mesage("clock", "noon")', 'has no attribute "mesage"'),
        ('number: str = await chat.clients.client("x").pick()', "Incompatible types in assignment"),
        ('text: str = await chat.clients.client("x").invoke("Pick", type=int)', "ncompatible type"),
    ],
)
def test_mypy_knows_the_clients_methods(mistake: str, error: str | None, tmp_path: Path) -> None:
    file = tmp_path / "chat.py"
    file.write_text(PROGRAM.format(mistake=mistake))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(root / ".mypy_cache"), str(file)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if error is None:
        assert done.returncode == 0, done.stdout
    else:
        assert error in done.stdout
        assert "Found 1 error in 1 file" in done.stdout
