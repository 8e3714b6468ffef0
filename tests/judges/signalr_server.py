"""The server that Microsoft's functional suite of SignalR's client wants: ``python -m judges.signalr_server [PORT]``.

README.md says how the suite is got and run. Further arguments are the origins of pages that may use it from elsewhere.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Sequence

import trio
from judges.signalr_hubs import hub_routes

import trioecho
from trioecho.hubs import Connection, ConnectionOptions, ConnectionRoute

REDIRECTED = ("GET", "POST", "DELETE")

ALLOWED_HEADERS = ("X-HEADER",)
"""What the suite sends, beyond what its client does."""


async def echo(connection: Connection) -> None:
    """Send everything back, as text where the transport tells it from binary."""
    while True:
        await connection.send(await connection.receive(), text=True)


async def cookies(request: trioecho.Request) -> trioecho.Accept | None:
    """Set three cookies at each negotiation, one of which has expired."""
    if not request.path.endswith("/negotiate"):
        return None
    kind = "; SameSite=None; Secure" if request.scheme == "https" else ""
    return trioecho.Accept(
        headers=[
            ("Set-Cookie", f"testCookie=testValue; Path=/{kind}"),
            ("Set-Cookie", f"testCookie2=testValue2; Path=/{kind}"),
            ("Set-Cookie", f"expiredCookie=doesntmatter; Path=/; Max-Age=0{kind}"),
        ]
    )


async def to_echo(request: trioecho.Request) -> trioecho.Response:
    """Redirect to the same below ``/echo``, query included."""
    raise trioecho.Refused(307, headers={"Location": request.target.replace("echoredirect", "echo", 1)})


async def bad_negotiate(request: trioecho.Request) -> trioecho.Response:
    raise trioecho.Refused(400, body="Some response from server")


def redirect(cors: trioecho.Cors | None) -> trioecho.HttpRoute:
    """Tell clients to negotiate at the hub, and how often that has been told."""
    numbers = itertools.count(1)

    async def tell(request: trioecho.Request) -> trioecho.Response:
        base = request.query["baseUrl"]
        return trioecho.Response.json({"url": f"{base}/testHub?numRedirects={next(numbers)}"})

    return trioecho.HttpRoute(tell, ["POST"], cors=cors)


def connection_options(origins: Sequence[str], stateful: bool = False) -> ConnectionOptions:
    return ConnectionOptions(
        allowed_origins=tuple(origins), allowed_headers=ALLOWED_HEADERS, stateful=stateful
    )


def raw_routes(origins: Sequence[str] = ()) -> dict[str, trioecho.Route]:
    """What needs no hub."""
    options = connection_options(origins)
    cors = options.cors()
    redirected = trioecho.HttpRoute(to_echo, REDIRECTED, cors=cors)
    return {
        "/echo": ConnectionRoute(echo, admit=cookies, options=options),
        "/echoredirect": redirected,
        "/echoredirect/negotiate": redirected,
        "/redirect/negotiate": redirect(cors),
        "/bad-negotiate/negotiate": trioecho.HttpRoute(bad_negotiate, ["POST"], cors=cors),
    }


def routes(
    origins: Sequence[str] = (), *, stateful: bool = False, redis: str | None = None
) -> dict[str, trioecho.Route]:
    """All that the suite wants, for pages of `origins` besides its own, with stateful reconnect or over a Redis."""
    return raw_routes(origins) | hub_routes(connection_options(origins, stateful), cookies, redis)


async def main(port: int, origins: Sequence[str]) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, routes(origins), port=port))
        print(f"SERVER_URL=';{server.url}'", flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000, sys.argv[2:])
