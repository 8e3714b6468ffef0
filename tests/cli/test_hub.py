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
from hubs.redis_server import running_redis
from server_process import PATIENCE
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, unix_connect

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


class Person:
    """A client of the chat's hub, on a WebSocket of it, who has entered the lobby."""

    def __init__(self, ws: ClientConnection, name: str) -> None:
        self.ws = ws
        self._heard: list[dict[str, Any]] = []
        ws.send('{"protocol":"json","version":1}\x1e')
        assert ws.recv(PATIENCE) == "{}\x1e"
        self.entered = self.call("enter", name, "Lobby")["result"]

    def call(self, target: str, *arguments: str) -> dict[str, Any]:
        """Call a method, and return its completion. What comes before it is for `hear`."""
        message = {"type": 1, "invocationId": target, "target": target, "arguments": arguments}
        self.ws.send(f"{json.dumps(message)}\x1e")
        return self._wait_for(lambda message: message["type"] == 3)

    def hear(self, target: str, *arguments: Any) -> None:
        """Wait until a method is called with the arguments; None stands for any."""

        def expected(message: dict[str, Any]) -> bool:
            told = message.get("arguments", ())
            return message.get("target") == target and all(
                one is None or one == other for one, other in zip(arguments, told, strict=True)
            )

        self._wait_for(expected)

    def _wait_for(self, expected: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            for index, message in enumerate(self._heard):
                if expected(message):
                    return self._heard.pop(index)
            text = self.ws.recv(PATIENCE)
            assert isinstance(text, str)
            self._heard += [json.loads(each) for each in text.split("\x1e")[:-1]]


def enters(url: str, connect: Callable[..., ClientConnection] = client, **options: Any) -> dict[str, Any]:
    """What a client is told at the hub's URL who enters the lobby."""
    with connect(f"{url}/hub", **options) as ws:
        return Person(ws, "Ada").entered  # type: ignore[no-any-return]


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


def test_the_hub_goes_with_the_other_options(start_server: Start) -> None:
    """Another path, the faults, and whose pages may connect."""
    server = start_server("--hub", "--faults", "--path", "/live", "--allowed-origin", "self")
    base = server.url.rstrip("/")
    assert server.websocket_url.endswith("/live")
    assert echoes(server.websocket_url) == "hello"
    hub = f"ws://127.0.0.1:{server.port}"
    assert enters(hub, origin=base)["room"] == "Lobby"
    with pytest.raises(InvalidStatus, match="403"):
        enters(hub, origin="https://client.com")
    assert "Faults on request" in asked(f"{base}/faults")[0]
    assert "<h1>Chat</h1>" in asked(f"{base}/chat")[0]


def test_the_hub_goes_with_tls(start_server: Start, certificate: dict[str, Path]) -> None:  # noqa: F811
    """The page, and the negotiation."""
    server = start_server("--hub", "--tls-cert", str(certificate["both"]))
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificate["authority"]))
    base = server.url.rstrip("/")
    assert base.startswith("https:")
    assert "<h1>Chat</h1>" in asked(f"{base}/chat", https)[0]
    assert "connectionToken" in asked(f"{base}/hub/negotiate?negotiateVersion=1", https, method="POST")[0]


def test_the_hub_goes_with_a_unix_socket(start_server: Start, tmp_path: Path) -> None:
    """As the echo does."""
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


def test_several_servers_on_one_redis_are_one_chat(start_server: Start) -> None:
    """Everybody hears and sees everybody; a server that stops takes its people along; without Redis, those of one
    server go on, and are told."""
    with running_redis() as redis:
        one, two = (start_server("--hub", env={"TRIOECHO_REDIS": redis.url}) for _ in range(2))
        with client(f"ws://127.0.0.1:{two.port}/hub") as ws:
            bob = Person(ws, "Bob")
            with client(f"ws://127.0.0.1:{one.port}/hub") as other:
                ada = Person(other, "Ada")
                for each in (ada, bob):
                    each.hear("people", "Lobby", None, 2)
                assert ada.call("say", "hello") == {"type": 3, "invocationId": "say"}
                bob.hear("message", None, "Ada", "hello")
            bob.hear("people", "Lobby", None, 1)
            with client(f"ws://127.0.0.1:{one.port}/hub") as other:
                Person(other, "Cleo")
                bob.hear("people", "Lobby", None, 2)
                assert one.stop() == 0
            bob.hear("people", "Lobby", None, 1)
            redis.kill()
            two.wait_for_log("Redis")
            assert "the other servers cannot be reached" in bob.call("say", "alone")["error"]
            bob.hear("message", None, "Bob", "alone")


def test_a_websocket_negotiated_with_one_server_may_come_to_another(start_server: Start) -> None:
    """Where they have one Redis, for then they have one secret; else it does not."""
    with running_redis() as redis:
        one, two, other = (
            start_server("--hub", *arguments) for arguments in [["--redis", redis.url]] * 2 + [[]]
        )
        answer, _ = asked(f"http://127.0.0.1:{one.port}/hub/negotiate?negotiateVersion=1", method="POST")
        token = json.loads(answer)["connectionToken"]
        with client(f"ws://127.0.0.1:{two.port}/hub?id={token}") as ws:
            assert Person(ws, "Ada").entered["id"] == json.loads(answer)["connectionId"]
        with pytest.raises(InvalidStatus, match="404"), client(f"ws://127.0.0.1:{other.port}/hub?id={token}"):
            pass


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
