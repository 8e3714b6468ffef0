"""Where a server can be reached: wildcards, and the URLs that it names."""

from __future__ import annotations

import functools
import socket
from contextlib import closing

import trio

import trioecho
from trioecho._server.addresses import addresses


def test_a_wildcard_stands_for_every_address_of_this_machine() -> None:
    """0.0.0.0 and :: are no addresses to open; those that they stand for are, the loopback first."""
    assert addresses("192.0.2.1") == ("192.0.2.1",)
    here = addresses("0.0.0.0")
    assert here[0] == "127.0.0.1"
    assert len(set(here)) == len(here)
    assert not any(":" in address or address == "0.0.0.0" for address in here)
    assert addresses("::")[0] == "::1"
    assert all(":" in address and not address.startswith("fe80") for address in addresses("::"))


async def test_every_address_that_is_listed_can_be_opened() -> None:
    """Server.urls begins with `url` and names each address of each host once; each is this server's."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            functools.partial(trioecho.serve, host=["127.0.0.2", "127.0.0.3"], port=0)
        )
        assert server.urls == (f"http://127.0.0.2:{server.port}", f"http://127.0.0.3:{server.port}")
        assert server.urls[0] == server.url
        server.stop()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, host="0.0.0.0", port=0))
        assert server.urls[0] == server.url == f"http://127.0.0.1:{server.port}"
        for url in server.urls:
            host = url.removeprefix("http://").rpartition(":")[0]
            with closing(socket.create_connection((host, server.port), 5)):
                pass
        server.stop()
