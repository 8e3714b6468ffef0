"""The server that HTTP/1.1's judges are pointed at: ``python tests/judges/h1spec_server.py PORT``.

Whatever the path and the method, it answers with the body it has received. README.md says how the judges are run.
"""

from __future__ import annotations

import functools
import sys

import trio

import trioecho

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def echo_body(request: trioecho.Request) -> trioecho.Response:
    return trioecho.Response(await request.body(), content_type="text/plain")


async def main(port: int) -> None:
    route = trioecho.HttpRoute(echo_body, METHODS)
    routes = {"/": route, "/{path:path}": route}
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trioecho.serve, routes, port=port))
        print(f"echoing bodies at {server.url}", flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
