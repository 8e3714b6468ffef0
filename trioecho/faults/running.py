"""Running one fault on one connection: parameters, limits, what is remembered, and one line in the log."""

from __future__ import annotations

import logging

import trio

from trioecho._http.messages import Request
from trioecho._http.refusals import Refused
from trioecho._server.peers import peer_of
from trioecho.faults.parameters import read_id, read_parameters
from trioecho.faults.seen import Seen, SeenConnection
from trioecho.faults.session import LONGEST, Session
from trioecho.faults.table import Fault

logger = logging.getLogger("trioecho")

MOST_AT_ONCE = 500
"""Faults that run at the same time; one more is refused with 503."""


class FaultRoute:
    """The function of a fault's `RawRoute`."""

    def __init__(self, fault: Fault, seen: Seen) -> None:
        self._fault = fault
        self._seen = seen
        self.__name__ = f"fault {fault.path}"

    async def __call__(self, request: Request, stream: trio.abc.Stream) -> None:
        """Run the fault, for `LONGEST` seconds at most, or until the server stops. Cancelled: the connection is closed
        without a word."""
        transport = getattr(stream, "transport", stream)
        stopping: trio.Event = getattr(stream, "stopping", trio.Event())
        peer, _ = peer_of(transport)
        refused: Refused | None = None
        given_id: str | None = None
        try:
            given_id = read_id(request.query)
        except Refused as error:
            refused = error.with_traceback(None)
        trace = self._seen.begin(self._fault.path, request, peer, given_id)
        self._seen.open += 1
        try:
            session = Session(request, stream, trace, self._seen)
            with trio.move_on_after(LONGEST) as scope:
                await self._run_until(stopping, session, refused)
            if scope.cancelled_caught:
                trace.error = f"the fault has lasted {LONGEST:g} seconds, and was ended"
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            trace.tcp_did("client", "RST")
        finally:
            self._seen.open -= 1
            _tell(trace)

    async def _run_until(self, stopping: trio.Event, session: Session, refused: Refused | None) -> None:
        """Run the fault until it ends, or the server stops: whatever it waits for then is not waited for."""
        async with trio.open_nursery() as nursery:

            async def wait_for_stop() -> None:
                await stopping.wait()
                session.trace.error = "the server stopped"
                running.cancel()

            with trio.CancelScope() as running:
                nursery.start_soon(wait_for_stop)
                await self._run(session, refused)
            if running.cancelled_caught:
                await session.leave()
            nursery.cancel_scope.cancel()

    async def _run(self, session: Session, refused: Refused | None) -> None:
        try:
            if refused is not None:
                raise refused
            if self._seen.open > MOST_AT_ONCE:
                raise Refused(
                    503, f"{MOST_AT_ONCE} faults run already; try again later.", {"Retry-After": "5"}
                )
            values = read_parameters(session.request, self._fault.in_path, self._fault.in_query)
            # Who checks it looks for it himself.
            values.pop("access_token", None)
            await self._fault.run(session, **values)
        except Refused as error:
            await session.refuse(error.with_traceback(None))
        else:
            await session.finish()


def _tell(trace: SeenConnection) -> None:
    trace.end()
    logger.info("%s %s %s", trace.id, trace.peer, trace, extra={"connection": trace.id})
