"""Long polling: a client asks again and again, and is answered when there is something to say.

An answer of 200 carries what there is, or nothing: at once to the first poll, and after `poll_timeout`. 204 ends: the
connection, or a poll in whose place another came.
"""

from __future__ import annotations

import trio

from trioecho import Request, Response
from trioecho.hubs.absences import Absences
from trioecho.hubs.connection_options import ConnectionOptions
from trioecho.hubs.http_connection import HttpConnection
from trioecho.hubs.tokens import Claim

_NOT_KEPT = {"Cache-Control": "no-store"}


class PollingConnection(HttpConnection):
    """One client that polls. Between two polls it is away."""

    transport = "LongPolling"

    def __init__(
        self,
        claim: Claim,
        request: Request,
        user: str | None,
        options: ConnectionOptions,
        stopping: trio.Event,
        absences: Absences,
    ) -> None:
        super().__init__(claim, request, user, options, stopping)
        self._absences = absences
        self._poll: trio.CancelScope | None = None
        absences.add(self)

    @property
    def attached(self) -> bool:
        """See `HttpConnection`: while there is a poll."""
        return self._poll is not None

    async def poll(self) -> Response:
        """Answer a poll, in the place of one that still waits. Cancelled, as when its client goes: nothing is lost."""
        if self._poll is not None:
            self._poll.cancel()
        self._absences.discard(self)
        scope = self._poll = trio.CancelScope(deadline=trio.current_time() + self._options.poll_timeout)
        try:
            with scope:
                await self._outgoing.wait()
        finally:
            replaced = self._poll is not scope
            if not replaced:
                self._poll = None
                if not self.gone:
                    self._absences.add(self)
        if replaced:
            return Response(status=204, headers=_NOT_KEPT)
        return self._answer()

    def lose(self) -> None:
        """See `LogicalConnection`."""
        super().lose()
        self._absences.discard(self)

    def _answer(self) -> Response:
        waited = self._outgoing.take_all()
        ended = self._outgoing.ended
        if ended and (not waited or self._stopping.is_set()):
            # It will not ask again, or nobody would answer.
            self._told.set()
        if ended and not waited:
            return Response(status=204, headers=_NOT_KEPT)
        return Response(b"".join(waited), headers=_NOT_KEPT, content_type="application/octet-stream")


def first_answer() -> Response:
    """Return the answer to the first poll, by which the client knows that it is connected."""
    return Response(headers=_NOT_KEPT)
