"""The routes of all faults, and of the paths that tell what was seen."""

from __future__ import annotations

import trio

from trioecho._http.fields import Headers
from trioecho._http.messages import Request, Response
from trioecho._http.refusals import Refused, quoted
from trioecho._server.routes import HttpRoute, RawRoute, Route, Routes
from trioecho.faults.page import fault_page
from trioecho.faults.parameters import Seconds, read_parameters
from trioecho.faults.running import FaultRoute
from trioecho.faults.seen import Seen
from trioecho.faults.table import FAULTS, as_json

LONGEST_WAIT = 30.0
_WAIT = Seconds("wait", "seconds to wait for the connection's end", 0.0, LONGEST_WAIT)
_NOT_KEPT = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


def routes(seen: Seen | None = None) -> Routes:
    """Make the routes of a server that misbehaves on request, for tests of WebSocket clients.

    `seen` is where they remember what they see; by default, one of their own, which `/seen` tells. They can be served
    beside others. Do not serve them where strangers can connect: they waste time and bandwidth on purpose, and `/seen`
    tells everybody what others have sent.

    Example:

        import trioecho.faults

        routes = {"/ws": trioecho.echo, **trioecho.faults.routes()}

    Raises TypeError for a `seen` that is none.
    """
    if seen is None:
        seen = Seen()
    elif not isinstance(seen, Seen):
        raise TypeError(f"routes takes a trioecho.faults.Seen, or None; you gave {seen!r}")
    found: dict[str, Route] = {each.path: RawRoute(FaultRoute(each, seen)) for each in FAULTS}
    told = _Told(seen)
    found["/faults"] = HttpRoute(told.faults)
    found["/seen"] = HttpRoute(told.recent)
    found["/seen/{id}"] = HttpRoute(told.one, while_client_stays=True)
    return found


class _Told:
    """What answers plain HTTP."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def faults(self, request: Request) -> Response:
        """The table: a page for people, JSON for programs."""
        if wants_json(request.headers):
            return Response.json({"faults": as_json(), "counts": dict(self._seen.counts)}, headers=_NOT_KEPT)
        return fault_page()

    async def recent(self, request: Request) -> Response:
        """All connections that are remembered, the oldest first."""
        return Response.json(
            {
                "open": self._seen.open,
                "counts": dict(self._seen.counts),
                "connections": [each.as_dict() for each in self._seen.connections],
            },
            headers=_NOT_KEPT,
        )

    async def one(self, request: Request) -> Response:
        """One connection, at once or when it has ended."""
        wait = read_parameters(request, (), (_WAIT,))["wait"]
        wanted = request.path_params["id"]
        found = self._seen.find(wanted)
        if found is None:
            raise Refused(404, f"No connection {quoted(wanted)} is remembered; /seen has those that are.")
        with trio.move_on_after(wait):
            await found.ended.wait()
        return Response.json(found.as_dict(), headers=_NOT_KEPT)


def wants_json(headers: Headers) -> bool:
    """Whether a client accepts JSON and does not ask for HTML, as browsers do."""
    accept = ",".join(headers.get_all("accept")).lower()
    return "application/json" in accept and "text/html" not in accept
