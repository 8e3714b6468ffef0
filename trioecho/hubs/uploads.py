"""The streams that one client uploads at the moment, by the ids that it has given them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import trio

from trioecho.hubs.hub_options import HubOptions
from trioecho.hubs.messages import BadMessage, HubProtocol
from trioecho.hubs.methods import Method
from trioecho.hubs.streams import Upload


class Uploads:
    """All of one connection."""

    __slots__ = ("_by_id", "_options", "_protocol")

    def __init__(self, protocol: HubProtocol, options: HubOptions) -> None:
        self._protocol = protocol
        self._options = options
        self._by_id: dict[str, Upload] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def begin(self, ids: Iterable[str], method: Method) -> list[Upload]:
        """Make what a method gets for the streams `ids`, one for each that it takes.

        Raises `BadMessage` for an id that is taken.
        """
        begun = []
        for id, (_, kind) in zip(ids, method.uploads, strict=True):
            if id in self._by_id:
                raise BadMessage("A stream has the id of one that has not ended.")
            upload = self._by_id[id] = Upload(kind, self._options.stream_buffer)
            begun.append(upload)
        return begun

    def item(self, id: str, item: msgspec.Raw) -> bool:
        """Give an item to the method that takes the upload `id`; False where as many wait as may."""
        upload = self._by_id.get(id)
        if upload is None:
            return True
        if upload.full:
            return False
        try:
            upload.put(self._protocol.parse(item, upload.kind))
        except msgspec.DecodeError as error:
            upload.end(f"An item of the stream is not what it should be: {error}.")
        return True

    async def room(self, id: str) -> None:
        """Wait until the upload `id` would take an item. A checkpoint.

        One from which nothing is taken for `client_timeout` fails then, so that there is room.
        """
        upload = self._by_id.get(id)
        with trio.move_on_after(self._options.client_timeout):
            if upload is not None:
                await upload.room()
            await trio.lowlevel.checkpoint()
            return
        if upload is not None:
            upload.end("The stream was not taken in time.")

    def end(self, id: str, error: str | None) -> None:
        """End an upload as its client says."""
        upload = self._by_id.pop(id, None)
        if upload is not None:
            upload.end(error)

    def let_go(self, ids: Iterable[str], uploads: list[Upload]) -> None:
        """Take no more for a call that has ended, and that had these."""
        for upload in uploads:
            upload.close()
        for id in ids:
            if self._by_id.get(id) in uploads:
                del self._by_id[id]

    def close(self) -> None:
        """Take no more for any call."""
        for upload in self._by_id.values():
            upload.close()
