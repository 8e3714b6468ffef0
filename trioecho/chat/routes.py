"""The routes of the chat: its hub, and its page."""

from __future__ import annotations

from trioecho import HttpRoute, Route, WebSocketOptions
from trioecho.chat.chat_page import chat_page
from trioecho.chat.hub import chat_hub
from trioecho.chat.people import MOST_PEOPLE, People
from trioecho.chat.presence import Presence
from trioecho.hubs import Backplane, ConnectionOptions, HubOptions, HubServer, LocalBackplane

HUB = "/hub"
PAGE = "/chat"

HUB_OPTIONS = HubOptions(
    # The room, and no other.
    max_groups=1,
    max_streams=5,
    waiting_invocations=20,
    # Who does not read is soon put out, for the others wait for him.
    send_timeout=3,
)


def chat_routes(
    options: WebSocketOptions, backplane: Backplane | None = None, secret: bytes | None = None
) -> dict[str, Route]:
    """Make the hub at ``/hub`` and the page at ``/chat``; the page also needs those of the sample page beside it.

    `options` are the server's: which pages may connect, for the hub goes by the same. `backplane` makes one chat of
    several servers; None: this is the only one. `secret` is `ConnectionOptions.secret`.
    """
    people = People()
    presence = Presence(LocalBackplane() if backplane is None else backplane, people)
    hub = HubServer(
        chat_hub(people, presence),
        options=HUB_OPTIONS,
        connection_options=ConnectionOptions(
            max_connections=MOST_PEOPLE,
            # Requests with credentials are for pages that have a name: the others may use WebSockets alone.
            allowed_origins=tuple(each for each in options.allowed_origins if each not in ("*", "null")),
            websocket={"allowed_origins": options.allowed_origins},
            secret=secret,
        ),
        backplane=presence,
    )
    return {
        HUB: hub,
        PAGE: HttpRoute(chat_page),
        f"{PAGE}/{{path:path}}": HttpRoute(chat_page),
    }
