"""What a hub's methods raise, and what is told of it."""

from __future__ import annotations


class HubException(Exception):  # noqa: N818 (SignalR's name)
    """An error whose text reaches the client that has called; of any other it is told only that there was one.

    Raised by a client's method in its turn, it is what `invoke` raises on the server.

    Example:

        from trioecho.hubs import Hub, HubException, HubServer, Target

        class Shop(Hub[Target]):
            async def order(self, pieces: int) -> str:
                if pieces < 1:
                    raise HubException("order one piece or more")
                return f"{pieces} are on their way"

        routes = {"/shop": HubServer(Shop)}
    """


def invocation_failed(target: str, error: BaseException, detailed: bool) -> str:
    """Return what a client is told whose call has failed."""
    return _with_details(f"An unexpected error occurred invoking '{target}' on the server.", error, detailed)


def stream_failed(error: BaseException, detailed: bool) -> str:
    """Return what a client is told whose stream has failed after its first item."""
    return _with_details("An error occurred on the server while streaming results.", error, detailed)


def connection_failed(error: BaseException, detailed: bool) -> str:
    """Return what a client is told whose connection ends by an error."""
    return _with_details("Connection closed with an error.", error, detailed)


def cause_of(error: BaseException) -> BaseException:
    """Return the exception itself where nurseries have put it into groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _with_details(sentence: str, error: BaseException, detailed: bool) -> str:
    error = cause_of(error)
    if isinstance(error, HubException):
        return f"{sentence} HubException: {error}"
    return f"{sentence} {type(error).__name__}: {error}" if detailed else sentence
