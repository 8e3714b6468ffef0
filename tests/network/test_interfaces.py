"""What the server listens at is taken away, and comes back: it goes on by itself, and says so."""

from __future__ import annotations

import pytest
import trio

from network.forwarder import DEVICE, Cable, give_address, take_address
from network.machines import Machines
from network.machines import machines as machines
from trioecho.testing import RawClient


async def greeted(client: RawClient) -> None:
    """The client says something and has it back."""
    await client.send("hello")
    assert await client.receive() == "hello"


async def test_an_address_that_is_taken_away_and_given_back(machines: Machines) -> None:
    """Nobody gets in meanwhile; who was connected, and who comes later, is served as before."""
    machines.serve()
    async with machines.client() as client:
        await greeted(client)
        take_address(machines.ours, Cable.first)
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.3):
            async with machines.client():
                pass
        give_address(machines.ours, Cable.first)
        await greeted(client)
        async with machines.client() as another:
            await greeted(another)


async def test_an_interface_that_goes_down_and_up(machines: Machines) -> None:
    """The same where the whole interface is switched off."""
    machines.serve()
    async with machines.client() as client:
        await greeted(client)
        machines.ours.run("ip", "link", "set", DEVICE, "down")
        await client.send("while it is down")
        machines.ours.run("ip", "link", "set", DEVICE, "up")
        assert await client.receive() == "while it is down"
        async with machines.client() as another:
            await greeted(another)


@pytest.mark.parametrize("port", [5000, 0])
async def test_a_listening_socket_that_the_administrator_kills_listens_again(
    machines: Machines, port: int
) -> None:
    """At the same port, also if that was any free one; who is connected notices nothing."""
    machines.serve(port=port)
    async with machines.client() as client:
        await greeted(client)
        killed = machines.ours.run("ss", "--kill", "-tlnH", "sport", "=", f":{machines.server.port}")
        if not killed:
            pytest.skip("this kernel kills no sockets")
        machines.server.wait_for_log("it listens again")
        await greeted(client)
        async with machines.client() as another:
            await greeted(another)
        assert machines.server.process.poll() is None
