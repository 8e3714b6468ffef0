"""A call of clients' methods, encoded at most once for each protocol however many clients it goes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trioecho import Prepared
from trioecho.hubs.handshake import PROTOCOLS
from trioecho.hubs.messages import HubProtocol


class OutgoingCall(Mapping[str, bytes]):
    """One call. As a mapping: the whole message by protocol, for a backplane.

    Encoding raises `TypeError` or `ValueError` for arguments that cannot be encoded.
    """

    __slots__ = ("_arguments", "_prepared", "_protocols", "_target")

    def __init__(self, target: str, arguments: tuple[Any, ...], protocols: tuple[str, ...]) -> None:
        self._target = target
        self._arguments = arguments
        self._protocols = protocols
        self._prepared: dict[str, Prepared] = {}

    def prepared(self, protocol: HubProtocol) -> Prepared:
        """Return it as it is sent in `protocol`."""
        message = self._prepared.get(protocol.name)
        if message is None:
            encoded = protocol.invocation(self._target, protocol.value(self._arguments))
            message = self._prepared[protocol.name] = prepared_for(protocol, encoded)
        return message

    def __getitem__(self, protocol: str) -> bytes:
        return bytes(self.prepared(PROTOCOLS[protocol]).payload)

    def __iter__(self) -> Iterator[str]:
        return iter(self._protocols)

    def __len__(self) -> int:
        return len(self._protocols)


class OutgoingArguments(Mapping[str, bytes]):
    """The arguments of a call of one client: by protocol, encoded when asked for."""

    __slots__ = ("_arguments", "_protocols")

    def __init__(self, arguments: tuple[Any, ...], protocols: tuple[str, ...]) -> None:
        self._arguments = arguments
        self._protocols = protocols

    def __getitem__(self, protocol: str) -> bytes:
        return PROTOCOLS[protocol].value(self._arguments)

    def __iter__(self) -> Iterator[str]:
        return iter(self._protocols)

    def __len__(self) -> int:
        return len(self._protocols)


class EncodedCall:
    """A call that came encoded over a backplane."""

    __slots__ = ("_messages", "_prepared")

    def __init__(self, messages: Mapping[str, bytes]) -> None:
        self._messages = messages
        self._prepared: dict[str, Prepared] = {}

    def prepared(self, protocol: HubProtocol) -> Prepared:
        """Return it as it is sent in `protocol`. Raises `KeyError` where it was not encoded for that."""
        message = self._prepared.get(protocol.name)
        if message is None:
            encoded = self._messages[protocol.name]
            message = self._prepared[protocol.name] = prepared_for(protocol, encoded)
        return message


def prepared_for(protocol: HubProtocol, encoded: bytes) -> Prepared:
    """Return a message as it is sent to any number of connections."""
    return Prepared(encoded, text=True) if protocol.text else Prepared(encoded)
