"""What ``--hub`` serves besides the sample: a chat, and with ``--redis`` one chat of several servers."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from trioecho._server.routes import Route, Routes
from trioecho.cli.parameters import Declaration, Option, Refusal, stacked
from trioecho.options import WebSocketOptions

if TYPE_CHECKING:
    from trioecho.hubs import Backplane

LINKS: Mapping[str, str] = {"chat": "Chat"}
"""Where the sample page leads, where there is a hub."""

hubs = functools.partial(click.option, cls=Option, section="Hub, for SignalR's clients")

hub_options: Declaration = stacked(
    hubs(
        "--hub",
        is_flag=True,
        help="Serve a small chat besides the echo: its hub at /hub, its page at /chat. Needs trioecho[hubs].",
    ),
    hubs(
        "--redis",
        secret=True,
        metavar="URL",
        show_default="none",
        help="Redis by which several servers are one chat, such as redis://127.0.0.1:6379. A password is better "
        "given in TRIOECHO_REDIS than typed, where others see it. Needs trioecho[redis].",
    ),
)


def with_hub(options: WebSocketOptions, beside: Routes, redis: str | None) -> Routes:
    """Return the routes `beside` and those of the chat. Raises `Refusal` where the echo's path is one of theirs, for
    what is not installed, and for what is no URL of a Redis."""
    try:
        from trioecho.chat import chat_routes
    except ModuleNotFoundError as error:
        if error.name != "msgspec":
            raise
        raise _not_installed("--hub", "msgspec", "hubs") from None
    for path in ("/hub", "/chat"):
        if f"{options.path.lower()}/".startswith(f"{path}/"):
            raise Refusal(f"--path: {options.path} is for --hub; choose another", 2)
    served: dict[str, Route | list[Route]] = {**beside}  # type: ignore[dict-item]
    if redis is None:
        return served | chat_routes(options)
    # So that a WebSocket may come to another server than the one it was negotiated with. There is nobody to be taken
    # for another: who knows the URL may do all that the token allows without one, too.
    secret = hashlib.sha256(f"trioecho --hub {redis}".encode()).digest()
    return served | chat_routes(options, _backplane(redis), secret)


def _backplane(url: str) -> Backplane:
    try:
        from trioecho.hubs import RedisBackplane

        backplane: Backplane = RedisBackplane(url, prefix="trioecho")
    except ImportError:
        raise _not_installed("--redis", "coredis", "redis") from None
    except (TypeError, ValueError) as error:
        raise Refusal(f"--redis: {error}", 2) from None
    return backplane


def _not_installed(option: str, library: str, extra: str) -> Refusal:
    return Refusal(f"{option} needs {library}, which is not installed: pip install 'trioecho[{extra}]'", 2)
