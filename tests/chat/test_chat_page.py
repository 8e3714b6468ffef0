"""The chat's page as a route's function."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import trioecho
from trioecho import Refused, Request
from trioecho.chat.chat_page import POLICY, chat_files, chat_page

PUBLISHED = "97e9b97e642a72e5a470917147a2bf79f86cad829a5c6786adb10614d248bb95"
MINIFIED = Path(trioecho.__file__).parent / "chat" / "page" / "signalr.min.js"


async def ask(path: str, name: str | None, **headers: str) -> trioecho.Response:
    request = Request("GET", path, path, {key.replace("_", "-"): value for key, value in headers.items()})
    request.path_params = {} if name is None else {"path": name}
    return await chat_page(request)


async def test_the_page_and_its_files_are_served_with_their_types_and_policy() -> None:
    page = await ask("/chat", None)
    headers = dict(page.headers)
    assert b"<h1>Chat</h1>" in page.body
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == POLICY
    script = await ask("/chat/chat.js", "chat.js")
    assert dict(script.headers)["Content-Type"].startswith("text/javascript")
    assert (await ask("/chat", None, If_None_Match=headers["ETag"])).status == 304


async def test_with_a_slash_it_is_led_to_where_it_finds_its_files() -> None:
    answer = await ask("/prefix/chat/", "")
    assert (answer.status, dict(answer.headers)["Location"]) == (308, "../chat")


@pytest.mark.parametrize("name", ["nothing.js", "../hub.py", "/etc/passwd", "index.html"])
async def test_what_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(Refused) as refused:
        await ask(f"/chat/{name}", name)
    assert refused.value.status == 404


def test_the_client_stands_beside_its_licence_as_it_was_published() -> None:
    """What npm gave out as @microsoft/signalr 10.0.11, byte for byte, and the MIT License with its copyright."""
    digest = hashlib.sha256(MINIFIED.read_bytes()).hexdigest()
    assert digest == PUBLISHED
    licence = chat_files()["/signalr.LICENSE.txt"].body.decode()
    assert "The MIT License (MIT)\n\nCopyright (c) .NET Foundation and Contributors" in licence
    assert "10.0.11" in licence
    installed = Path(os.environ.get("NODE_PATH", "")) / "@microsoft/signalr"
    if (
        '"version": "10.0.11"' in (installed / "package.json").read_text(errors="replace")
        if installed.is_dir()
        else ""
    ):
        assert (installed / "dist/browser/signalr.min.js").read_bytes() == MINIFIED.read_bytes()
