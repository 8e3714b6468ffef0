"""Authentication by cookie: a form sets it, and the WebSocket is opened only to who has it.

Shows an `HttpRoute` that takes a POST, `admit`, which is asked first and tells the handler who it is, and a page.

Start it with ``python login.py``, open http://127.0.0.1:5000, and log in with any name and the password ``sesame``.
Without the cookie there is no WebSocket: ``python -m trioecho check ws://127.0.0.1:5000/ws`` tells of a 403.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from pathlib import Path
from urllib.parse import parse_qs

import trioecho
from trioecho import HttpRoute, Refused, Request, Response, WebSocketRoute

PAGE = Path(__file__).with_name("login.html").read_text(encoding="utf-8")
users: dict[str, str] = {}  # by the session's token, which nobody can guess


async def page(request: Request) -> Response:
    return Response(PAGE, content_type="text/html; charset=utf-8")


async def login(request: Request) -> Response:
    form = parse_qs((await request.body()).decode(errors="replace"))
    name, password = form.get("name", [""])[0], form.get("password", [""])[0]
    if not name or not hmac.compare_digest(password.encode(), b"sesame"):
        raise Refused(403, "Wrong password, or no name.")
    token = secrets.token_urlsafe()
    users[token] = name
    # HttpOnly: no script can read it. SameSite: other sites' pages cannot use it. Behind TLS, add Secure.
    cookie = f"session={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=3600"
    return Response(status=303, headers={"Location": "/", "Set-Cookie": cookie})


async def admit(request: Request) -> None:
    token = request.cookies.get("session", "")
    if token not in users:
        raise Refused(403, "Log in first.")
    request.state["user"] = users[token]


async def talk(ws: trioecho.WebSocket) -> None:
    user = ws.request.state["user"]
    await ws.send(f"Welcome, {user}.")
    async for message in ws:
        await ws.send(f"{user} said: {message}")


# Browsers send cookies along from any page that opens a WebSocket: only this server's own page may.
socket = WebSocketRoute(talk, admit=admit, options={"allowed_origins": ["self"]})
routes = {"/": HttpRoute(page), "/login": HttpRoute(login, ["POST"]), "/ws": socket}

if __name__ == "__main__":
    trioecho.run(routes, port=int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
