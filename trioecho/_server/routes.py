"""Handlers that come with the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from trioecho._websocket.websocket import WebSocket

Handler: TypeAlias = "Callable[[WebSocket], Awaitable[Any]]"
"""An async function of one `WebSocket`; what it returns is ignored."""


async def echo(ws: WebSocket) -> None:
    """Send every message back as it came, text as text and binary as binary, until the peer closes.

    The sample of ASP.NET Core's article echoes 4 KiB pieces; this one echoes whole messages.
    """
    async for message in ws:
        await ws.send(message)
