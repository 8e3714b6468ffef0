"""What a handler holds is the same over every transport."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from hubs.clients_of_transports import Served, receive_all, serving_route
from serving import until

from trioecho.hubs import Connection, ConnectionHandler

NAMES = {
    "websocket": "WebSockets",
    "stateful websocket": "WebSockets",
    "events": "ServerSentEvents",
    "polling": "LongPolling",
}

transports = pytest.mark.parametrize("transport", NAMES)


class Client:
    """One client over any transport: sends text, receives text until the end, and leaves."""

    def __init__(self, served: Served, transport: str) -> None:
        self.served = served
        self.transport = transport
        self.told: dict[str, Any] = {}
        self._received = ""
        self._carrier: Any = None

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        stateful = "&useStatefulReconnect=true" if self.transport.startswith("stateful") else ""
        self.told = await self.served.negotiate(f"negotiateVersion=1{stateful}")
        token = self.told["connectionToken"]
        self.target = f"/c?id={token}"
        async with contextlib.AsyncExitStack() as stack:
            if self.transport == "events":
                self._carrier = await stack.enter_async_context(self.served.events(token))
            elif self.transport == "polling":
                assert (await self.served.ask(self.target)).status == 200
            else:
                self._carrier = await stack.enter_async_context(self.served.websocket(token))
            await until(lambda: self.served.connections)
            yield self

    async def send(self, text: str) -> None:
        if self.transport.endswith("websocket"):
            await self._carrier.send(text)
        else:
            assert (await self.served.ask(self.target, "POST", body=text.encode())).status == 200

    async def receive(self, size: int) -> str:
        """That many characters, or as many as come before the end."""
        while len(self._received) < size:
            piece = await self._receive_piece()
            if piece is None:
                break
            self._received += piece
        received, self._received = self._received[:size], self._received[size:]
        return received

    async def _receive_piece(self) -> str | None:
        if self.transport == "events":
            event: str | None = await self._carrier.receive()
            return event
        if self.transport == "polling":
            answer = await self.served.ask(self.target)
            return answer.text if answer.status == 200 else None
        try:
            return str(await self._carrier.receive())
        except AssertionError:
            # A Close.
            return None

    async def leave(self) -> None:
        """In the transport's way."""
        if self.transport == "polling":
            await self.served.ask(self.target, "DELETE")
        elif self.transport == "events":
            await trio.aclose_forcefully(self._carrier.stream)
        else:
            await self._carrier.close(1000)

    async def see_the_end(self) -> None:
        """Read on as long as the server sends."""
        if self.transport.endswith("websocket"):
            await self._carrier.receive_rest()


@contextlib.asynccontextmanager
async def client_of(handler: ConnectionHandler, transport: str) -> AsyncIterator[Client]:
    """A client whose connection is with `handler`."""
    async with (
        serving_route(handler, stateful=True) as served,
        Client(served, transport).connected() as client,
    ):
        yield client


@transports
async def test_it_says_who_it_is(transport: str) -> None:
    async def handler(connection: Connection) -> None:
        connection.state["seen"] = True
        await trio.sleep_forever()

    async with client_of(handler, transport) as client:
        (connection,) = client.served.connections
        assert connection.transport == NAMES[transport]
        assert (connection.id, connection.token) == (
            client.told["connectionId"],
            client.told["connectionToken"],
        )
        assert connection.request.path == "/c"
        assert connection.stateful == transport.startswith("stateful")
        assert connection.user is None
        await until(lambda: connection.state == {"seen": True})


@transports
async def test_everything_arrives_once_and_in_order(transport: str) -> None:
    """While both sides send, the handler by `send` and `try_send`."""

    async def handler(connection: Connection) -> None:
        async def push() -> None:
            for number in range(100, 200):
                if number % 2 or not connection.try_send(f"{number}"):
                    await connection.send(f"{number}")
            done.set()

        done = trio.Event()
        received = b""
        connection.nursery.start_soon(push)
        while len(received) < 300:
            received += await connection.receive()
        assert received.decode() == "".join(map(str, range(500, 600)))
        await done.wait()
        await connection.send("all of it")

    async with client_of(handler, transport) as client:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for number in range(500, 600):
                    await client.send(f"{number}")

            nursery.start_soon(send)
            assert await client.receive(300) == "".join(map(str, range(100, 200)))
            assert await client.receive(100) == "all of it"


@transports
async def test_the_end_is_told_behind_what_was_sent_before(transport: str) -> None:
    """`receive` gives all that the client has sent, then the end; `send` raises from then on."""
    taking = trio.Event()
    received: list[bytes] = []

    async def handler(connection: Connection) -> None:
        await taking.wait()
        received.extend(await receive_all(connection))
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await send_for_ever(connection)
        with pytest.raises(trio.EndOfChannel):
            await connection.receive()
        received.append(b"told")

    async def send_for_ever(connection: Connection) -> None:
        while True:
            await connection.send("x" * 1000)

    async with client_of(handler, transport) as client:
        for each in ("one", "two"):
            await client.send(each)
        await client.leave()
        taking.set()
        await client.see_the_end()
        await until(lambda: client.served.ended)
        assert received == [b"one", b"two", b"told"]


@transports
async def test_aclose_lets_out_what_was_sent_before(transport: str) -> None:
    async def handler(connection: Connection) -> None:
        await connection.send("goodbye")
        await connection.aclose("over")

    async with client_of(handler, transport) as client:
        assert await client.receive(100) == "goodbye"


@transports
async def test_a_cancelled_receive_loses_nothing(transport: str) -> None:
    received: list[bytes] = []

    async def handler(connection: Connection) -> None:
        while len(received) < 20:
            with trio.move_on_after(0.001):
                received.append(await connection.receive())

    async with client_of(handler, transport) as client:
        for number in range(20):
            await client.send(f"{number}")
        await until(lambda: client.served.ended)
        assert received == [b"%d" % number for number in range(20)]
