"""The hubs that Microsoft's functional suite of SignalR's client talks to, and what it asks of them over HTTP."""

from __future__ import annotations

import datetime
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
import trio

import trioecho
from trioecho.hubs import (
    ConnectionOptions,
    Hub,
    HubException,
    HubOptions,
    HubServer,
    RedisBackplane,
    Target,
)


class InvalidOperationException(Exception):  # noqa: N818 (the suite reads its name)
    """What .NET's methods raise."""


class CustomObject(msgspec.Struct, rename="pascal"):
    name: str
    value: int


class ComplexObject(msgspec.Struct, rename="pascal"):
    byte_array: bytes
    date_time: datetime.datetime
    guid: uuid.UUID
    int_array: list[int]
    string: str


class TestHub(Hub[Target]):
    __test__ = False

    async def echo(self, message: str) -> str:
        return message

    async def get_caller_connection_id(self) -> str:
        return self.connection_id

    async def get_num_redirects(self) -> int:
        return int(self.request.query["numRedirects"])

    async def throw_exception(self, message: str) -> None:
        raise InvalidOperationException(message)

    async def invoke_with_string(self, message: str) -> None:
        await self.clients.client(self.connection_id).send("Message", message)

    async def send_custom_object(self, custom: CustomObject) -> None:
        await self.clients.client(self.connection_id).send("CustomObject", custom)

    async def stream(self) -> AsyncIterator[str]:
        for letter in "abc":
            yield letter

    async def infinite_stream(self) -> AsyncIterator[str]:
        try:
            await trio.sleep_forever()
            yield ""
        finally:
            with trio.move_on_after(1, shield=True):
                await self.clients.caller.send("StreamCanceled")

    async def streaming_concat(self, stream: AsyncIterator[str]) -> str:
        return "".join([each async for each in stream])

    async def empty_stream(self) -> AsyncIterator[int]:
        for number in ():
            yield number

    async def stream_throw_exception(self, message: str) -> AsyncIterator[str]:
        raise InvalidOperationException(message)
        yield ""

    async def get_active_transport_name(self) -> str:
        return self.transport

    async def echo_complex_object(self, complex: ComplexObject) -> ComplexObject:
        return complex

    async def send_complex_object(self) -> ComplexObject:
        return ComplexObject(
            byte_array=b"\x01\x02\x03",
            date_time=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
            guid=uuid.UUID("00010203-0405-0607-0706-050403020100"),
            int_array=[1, 2, 3],
            string="hello world",
        )

    async def get_content_type_header(self) -> str | None:
        return self.request.headers.get("content-type")

    async def get_header(self, name: str) -> str | None:
        return self.request.headers.get(name)

    async def get_cookie(self, name: str) -> str | None:
        return self.request.cookies.get(name)


class UncreatableHub(Hub[Target]):
    def __init__(self) -> None:
        raise InvalidOperationException("Unable to resolve service for type 'System.Object'.")


class AuthorizedHub(Hub[Target]):
    async def echo(self, message: str) -> str:
        return message


def hub_routes(
    options: ConnectionOptions,
    admit: Callable[[trioecho.Request], Awaitable[trioecho.Accept | None]],
    redis: str | None = None,
    **hub: Any,
) -> dict[str, trioecho.Route]:
    """The hubs, whose connections have `options`, and what belongs to them; with the URL of a Redis, over that."""
    tokens: set[str] = set()
    prefix = secrets.token_hex(4)
    details = HubOptions(detailed_errors=True)

    def serve(hub_class: type[Hub[Target]], **more: Any) -> HubServer[Target]:
        if redis is not None:
            more["backplane"] = RedisBackplane(redis, prefix)
        return HubServer(
            hub_class, **{"admit": admit, "options": details, "connection_options": options} | hub | more
        )

    async def authorize(request: trioecho.Request) -> trioecho.Accept | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.query.get("access_token") or ""
        if token not in tokens:
            raise trioecho.Refused(401, headers={"WWW-Authenticate": "Bearer"}, body="")
        request.state["user"] = "testuser"
        return await admit(request)

    async def generate_token(request: trioecho.Request) -> trioecho.Response:
        token = secrets.token_urlsafe()
        tokens.add(token)
        return trioecho.Response(token)

    async def client_result(request: trioecho.Request) -> trioecho.Response:
        client = asking.clients.client(request.path_params["id"])
        try:
            return trioecho.Response(str(await client.invoke("Result", type=int)))
        except HubException as error:
            return trioecho.Response(str(error))

    test_hub = serve(TestHub)
    without_websockets = replace(options, transports=("server-sent-events", "long-polling"))
    cors = options.cors()
    more: dict[str, trioecho.Route] = {}
    asking = test_hub
    if redis is not None:
        # As in another process: what is asked goes to the client over Redis.
        more["/elsewhere"] = asking = serve(TestHub)
    return more | {
        "/testhub": test_hub,
        "/testhub-nowebsockets": serve(TestHub, connection_options=without_websockets),
        "/uncreatable": serve(UncreatableHub),
        "/authorizedhub": serve(AuthorizedHub, admit=authorize),
        "/generateJwtToken": trioecho.HttpRoute(generate_token, cors=cors),
        "/clientresult/{id}": trioecho.HttpRoute(client_result, cors=cors),
    }
