"""``--hub`` and ``--redis``."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import Start, certificate, client, echoes, refused  # noqa: F401 (a fixture)
from server_process import PATIENCE
from websockets.exceptions import InvalidStatus

import trioecho.cli.hub
import trioecho.hubs
from trioecho import WebSocketOptions
from trioecho._server.routes import sample_routes
from trioecho.cli.hub import with_hub
from trioecho.cli.parameters import Refusal
from trioecho.hubs import LocalBackplane


def asked(url: str, *handlers: urllib.request.BaseHandler, method: str = "GET") -> tuple[str, str]:
    """What is answered, and where."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
    with opener.open(urllib.request.Request(url, method=method), timeout=PATIENCE) as answer:
        return answer.read().decode(), answer.url


def enters(url: str, connect: Callable[..., Any] = client, **options: Any) -> dict[str, Any]:
    """What a client is told at the hub's URL who enters the lobby."""
    with connect(f"{url}/hub", **options) as ws:
        ws.send('{"protocol":"json","version":1}\x1e')
        assert ws.recv(PATIENCE) == "{}\x1e"
        ws.send('{"type":1,"invocationId":"1","target":"enter","arguments":["Ada","Lobby"]}\x1e')
        while True:
            for message in ws.recv(PATIENCE).split("\x1e")[:-1]:
                if json.loads(message)["type"] == 3:
                    return json.loads(message)["result"]  # type: ignore[no-any-return]


def test_option_hub(start_server: Start) -> None:
    """--hub serves it beside the echo and its page, which leads to the chat and back; without it, it is not there."""
    server = start_server("--hub")
    base = server.url.rstrip("/")
    assert echoes(server.websocket_url) == "hello"
    assert enters(f"ws://127.0.0.1:{server.port}")["people"][0][1] == "Ada"
    assert '<a href="chat">Chat</a>' in asked(base)[0]
    page, _ = asked(f"{base}/chat")
    assert '<a href="./">' in page
    assert asked(f"{base}/chat/") == (page, f"{base}/chat")
    assert "negotiateVersion" in asked(f"{base}/hub/negotiate?negotiateVersion=1", method="POST")[0]
    plain = start_server()
    base = plain.url.rstrip("/")
    assert 'href="chat"' not in asked(base)[0]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        asked(f"{base}/chat")


def test_the_hub_goes_with_the_other_options(
    start_server: Start,
    certificate: dict[str, Path],  # noqa: F811
) -> None:
    """TLS, another path, the faults, and whose pages may connect."""
    server = start_server(
        "--hub",
        "--faults",
        "--path",
        "/live",
        "--allowed-origin",
        "self",
        "--tls-cert",
        str(certificate["both"]),
    )
    trust = ssl.create_default_context(cafile=certificate["authority"])
    base = server.url.rstrip("/")
    assert server.websocket_url.endswith("/live")
    assert echoes(server.websocket_url, ssl=trust) == "hello"
    assert enters(f"wss{base.removeprefix('https')}", ssl=trust)["room"] == "Lobby"
    https = urllib.request.HTTPSHandler(context=trust)
    assert "Faults on request" in asked(f"{base}/faults", https)[0]
    assert "<h1>Chat</h1>" in asked(f"{base}/chat", https)[0]
    with pytest.raises(InvalidStatus, match="403"):
        enters(f"wss{base.removeprefix('https')}", ssl=trust, origin="https://client.com")


def test_the_hub_goes_with_a_unix_socket(start_server: Start, tmp_path: Path) -> None:
    """As the echo does."""
    from websockets.sync.client import unix_connect

    start_server("--hub", "--unix", str(tmp_path / "s"))
    told = enters("ws://localhost", lambda url: unix_connect(str(tmp_path / "s"), url))
    assert told["transport"] == "WebSockets"


@pytest.mark.parametrize("path", ["/hub", "/HUB", "/hub/negotiate", "/chat", "/chat/more"])
def test_the_echo_stands_elsewhere(path: str) -> None:
    """What is below the hub's or the page's path is theirs; what only begins so is not."""
    assert refused("--hub", "--path", path) == (2, f"--path: {path} is for --hub; choose another")
    options = WebSocketOptions(path=f"/x{path}")
    assert f"/x{path}" in with_hub(options, sample_routes(options), None)


class FakeRedis(LocalBackplane):
    made: list[tuple[str, str]]

    def __init__(self, url: str, *, prefix: str) -> None:
        if not url.startswith("redis://"):
            raise ValueError(f"url takes the URL of a Redis such as redis://127.0.0.1; you gave {url!r}")
        self.made.append((url, prefix))


def test_option_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """--redis has the hub go by that Redis; it needs a hub, and a URL."""
    FakeRedis.made = []
    monkeypatch.setattr(trioecho.hubs, "RedisBackplane", FakeRedis, raising=False)
    options = WebSocketOptions()
    make = partial(with_hub, options, sample_routes(options))
    assert {"/ws", "/", "/healthz", "/hub", "/chat", "/chat/{path:path}"} <= set(make("redis://127.0.0.1"))
    assert FakeRedis.made == [("redis://127.0.0.1", "trioecho")]
    with pytest.raises(Refusal, match=r"^--redis: url takes the URL of a Redis such as redis://127.0.0.1; "):
        make("localhost")
    assert refused("--redis", "redis://127.0.0.1") == (2, "--redis needs --hub, whose servers it makes one")


@pytest.mark.parametrize(
    ("missing", "arguments", "sentence"),
    [
        (
            "msgspec",
            ["--hub"],
            "--hub needs msgspec, which is not installed: pip install 'trioecho[hubs]'",
        ),
        (
            "coredis",
            ["--hub", "--redis", "redis://127.0.0.1"],
            "--redis needs coredis, which is not installed: pip install 'trioecho[redis]'",
        ),
    ],
)
def test_what_is_not_installed_is_told_with_what_would_install_it(
    missing: str, arguments: list[str], sentence: str
) -> None:
    """One sentence, and the exit status of a bad option."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from trioecho.cli import main; main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (2, f"trioecho: {sentence}\n")
