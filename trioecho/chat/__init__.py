"""A small chat, which ``python -m trioecho --hub`` serves: a hub at ``/hub`` and its page at ``/chat``.

It needs the extra `hubs`. Rooms are groups of the hub; nothing that is said is kept.
"""

from trioecho.chat.hub import Entered, Page
from trioecho.chat.routes import chat_routes

__all__ = ["Entered", "Page", "chat_routes"]
