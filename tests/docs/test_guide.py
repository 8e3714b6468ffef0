"""The examples of the library's guide, trioecho/README.md: what their routes answer is what the text around says."""

from __future__ import annotations

import base64
import contextlib
import http.client
import inspect
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hubs.redis_server import running_redis
from server_process import PATIENCE
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import trioecho
from trioecho import hubs
from trioecho.hubs import RedisBackplane
from trioecho.testing import SAMPLE_KEY

GUIDE = (Path(__file__).parents[2] / "trioecho" / "README.md").read_text(encoding="utf-8")

HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": SAMPLE_KEY,
}


def routes_of(section: str, number: int = 0) -> dict[str, Any]:
    """The routes that an example makes."""
    routes: dict[str, Any] = made_by(section, number)["routes"]
    return routes


def made_by(section: str, number: int = 0) -> dict[str, Any]:
    """What an example makes, by name."""
    text = GUIDE.split(f"## {section}\n")[1].split("\n## ")[0]
    namespace: dict[str, Any] = {"__name__": "guide"}
    exec(compile(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number], section, "exec"), namespace)
    return namespace


class Client:
    """Plain requests and WebSockets to a server that is running."""

    def __init__(self, live: trioecho.LiveServer) -> None:
        self._authority = live.url.partition("://")[2]

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, Any, str]:
        """Status, headers and body of what answers one request."""
        connection = http.client.HTTPConnection(self._authority, timeout=PATIENCE)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
            )
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()

    def connect(self, path: str, **options: Any) -> Any:
        return connect(f"ws://{self._authority}{path}", proxy=None, **options)

    def refusal(self, path: str, **options: Any) -> Any:
        """What answers a handshake that is refused."""
        with pytest.raises(InvalidStatus) as caught, self.connect(path, **options):
            pass
        return caught.value.response


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., trioecho.LiveServer]:
    """Starts the routes of an example, in a folder where `static` is."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "style.css").write_text("body { margin: 0 }")
    (tmp_path / "static" / ".secret").write_text("hidden")
    monkeypatch.chdir(tmp_path)
    return lambda section, number=0: trioecho.LiveServer(routes_of(section, number))


def test_the_tables_are_complete() -> None:
    """Whatever a handler can do with a WebSocket, and all that a route can be given, is named."""
    section = GUIDE.split("## What a handler holds\n")[1].split("\n## A chat")[0]
    members = [name for name in dir(trioecho.WebSocket) if not name.startswith("_")]
    assert [name for name in members if not re.search(rf"\b{name}\b", section)] == []
    for kind in (trioecho.WebSocketRoute, trioecho.HttpRoute):
        (row,) = re.findall(rf"^\| `{kind.__name__}\((.*?)\)`", GUIDE, re.MULTILINE)
        assert re.findall(r"\w+", row) == list(inspect.signature(kind).parameters)


def test_routes(serve: Callable[..., trioecho.LiveServer]) -> None:
    """The more specific path wins, options and subprotocols are the route's, and a 404 tells of no other path."""
    with serve("Routes") as live:
        client = Client(live)
        with client.connect("/rooms/caf%C3%A9") as ws:
            assert ws.recv(PATIENCE) == "Welcome to café"
        with client.connect("/rooms/lobby", subprotocols=["chat.v1"]) as ws:
            assert ws.subprotocol == "chat.v1"
            ws.send("x" * 4097)
            with pytest.raises(ConnectionClosed):
                ws.recv(PATIENCE)
            assert ws.close_code == 1009
        assert client.refusal("/rooms/lobby", origin="https://evil.example").status_code == 403
        assert client.ask("GET", "/health")[::2] == (200, "ok")
        with client.connect("/health") as ws:
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"
        assert client.ask("GET", "/")[::2] == (404, "Nothing is served at '/'.\n")
        assert client.ask("GET", "/healthz")[0] == 404


def test_the_sample_page_is_mounted(serve: Callable[..., trioecho.LiveServer]) -> None:
    """Below its path it has its files, and it finds the WebSocket."""
    with serve("Routes", 1) as live:
        client = Client(live)
        status, headers, _ = client.ask("GET", "/demo")
        assert (status, headers["Location"]) == (308, "./demo/")
        assert '<meta name="trioecho-endpoint" content="/chat">' in client.ask("GET", "/demo/")[2]
        assert client.ask("GET", "/demo/page.js")[0] == 200


def test_conflicting_routes_are_refused() -> None:
    """Two paths of which neither is more specific: as soon as the server is made, in one sentence."""
    with pytest.raises(ValueError, match=r"/a/\{x\}"):
        trioecho.LiveServer({"/{x}/b": trioecho.echo, "/a/{x}": trioecho.echo}).start()


def test_admission(serve: Callable[..., trioecho.LiveServer]) -> None:
    """A redirect instead of a WebSocket; a cookie on the 101; a password."""
    with serve("Admission") as live:
        client = Client(live)
        # By hand: websockets' client would go where it is sent.
        status, headers, sentence = client.ask("GET", "/show", **HANDSHAKE)
        assert (status, headers["Location"], sentence) == (303, "/tickets", "Get a ticket first.\n")
        with client.connect("/show?ticket=7") as ws:
            assert ws.recv(PATIENCE) == "ticket 7"
            assert ws.response.headers["Set-Cookie"] == "seen=1; HttpOnly; SameSite=Strict"
        refused = client.refusal("/backstage")
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        password = base64.b64encode(b"ada:engine-1843").decode()
        with client.connect("/backstage", additional_headers={"Authorization": f"Basic {password}"}):
            pass


def test_http_beside_websockets(serve: Callable[..., trioecho.LiveServer]) -> None:
    """JSON, a stream, events, files, and pages of another origin."""
    with serve("HTTP beside WebSockets") as live:
        client = Client(live)
        assert client.ask("POST", "/items", "hello")[::2] == (201, '{"received":5}')
        assert client.ask("POST", "/items", "x" * 65_537)[0] == 413
        assert client.ask("GET", "/items")[0] == 405
        _, headers, _ = client.ask(
            "OPTIONS", "/items", Origin="https://client.com", Access_Control_Request_Method="POST"
        )
        assert headers["Access-Control-Allow-Origin"] == "https://client.com"
        status, headers, body = client.ask("GET", "/export")
        assert (status, headers["Content-Type"], body) == (200, "text/csv", "0,0\n1,1\n2,4\n")
        assert headers["Transfer-Encoding"] == "chunked"
        status, headers, body = client.ask("GET", "/static/style.css")
        assert (status, headers["Content-Type"], body) == (
            200,
            "text/css; charset=utf-8",
            "body { margin: 0 }",
        )
        assert client.ask("GET", "/static/.secret")[0] == 404
        assert client.ask("HEAD", "/static/style.css")[::2] == (200, "")


def test_events(serve: Callable[..., trioecho.LiveServer]) -> None:
    """The first event comes while the stream goes on, and the client may go."""
    with serve("HTTP beside WebSockets") as live:
        connection = http.client.HTTPConnection(live.url.partition("://")[2], timeout=PATIENCE)
        connection.request("GET", "/clock")
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.readline().startswith(b"id: ")
        assert response.readline() == b"data: tick\n"
        response.close()
        connection.close()


def test_messages_in_pieces(serve: Callable[..., trioecho.LiveServer]) -> None:
    """A piece comes back while the message is still being sent."""
    with serve("Messages in pieces") as live, Client(live).connect("/shout") as ws:
        ws.send(["hel", "lo"])
        assert ws.recv(PATIENCE) == "HELLO"
        answered = ws.recv_streaming()

        def pieces() -> Any:
            yield "one"
            assert next(answered) == "ONE"
            yield "two"

        ws.send(pieces())
        assert "".join(answered) == "TWO"


def test_broadcast(serve: Callable[..., trioecho.LiveServer]) -> None:
    """Whoever is connected hears it, the sender too."""
    with serve("Broadcast") as live:
        client = Client(live)
        with client.connect("/news") as one, client.connect("/news") as other:
            one.send("hello")
            assert one.recv(PATIENCE) == other.recv(PATIENCE) == "hello"


def test_hubs(serve: Callable[..., trioecho.LiveServer]) -> None:
    """As JSON on the wire, without the negotiation before: calls both ways, an error of one's own, and a stream."""

    def calls(*messages: str) -> str:
        return "".join(f"{message}\x1e" for message in messages)

    with serve("Hubs, for SignalR's clients") as live, Client(live).connect("/chat") as page:
        page.send(calls('{"protocol":"json","version":1}'))
        page.send(
            calls(
                '{"type":1,"target":"join","arguments":["kitchen"]}',
                '{"type":1,"invocationId":"1","target":"say","arguments":["kitchen","hello"]}',
                '{"type":1,"invocationId":"2","target":"say","arguments":["kitchen",""]}',
                '{"type":4,"invocationId":"3","target":"countdown","arguments":[2]}',
            )
        )
        told = ""
        while told.count("\x1e") < 7:
            told += page.recv(PATIENCE)
    handshake, said, first, second, *counted = [json.loads(each) for each in told.split("\x1e")[:7]]
    assert handshake == {}
    assert said == {"type": 1, "target": "said", "arguments": ["hello"]}
    assert first == {"type": 3, "invocationId": "1"}
    assert second["error"].endswith("HubException: say something")
    assert [each.get("item") for each in counted] == [2, 1, None]


def test_hubs_over_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes serve one hub; a negotiation with one counts at the other, and both are healthy."""
    monkeypatch.setenv("BOARD_SECRET", "as good as random")
    section = "Hubs, for SignalR's clients"
    with running_redis() as redis, contextlib.ExitStack() as stack:
        monkeypatch.setattr(hubs, "RedisBackplane", lambda url, prefix: RedisBackplane(redis.url, prefix))
        lives = [stack.enter_context(trioecho.LiveServer(routes_of(section, 1))) for _ in range(2)]
        negotiated = json.loads(Client(lives[0]).ask("POST", "/board/negotiate?negotiateVersion=1", "")[2])
        query = f"/board?id={negotiated['connectionToken']}"
        with Client(lives[1]).connect(query) as reader, Client(lives[0]).connect("/board") as writer:
            for page in (reader, writer):
                page.send('{"protocol":"json","version":1}\x1e')
                assert page.recv(PATIENCE) == "{}\x1e"
            writer.send('{"type":1,"target":"post","arguments":["hello"]}\x1e')
            said = json.loads(reader.recv(PATIENCE).rstrip("\x1e"))
            assert said == {"type": 1, "target": "posted", "arguments": ["hello"]}
            assert "hello" in writer.recv(PATIENCE)
            redis.hang()
            healthy = Client(lives[0])
            while healthy.ask("GET", "/healthz")[0] == 200:
                time.sleep(0.01)
            writer.send('{"type":1,"target":"post","arguments":["hello"]}\x1e')
            assert "hello" in writer.recv(PATIENCE)
            assert "seen by some only" in writer.recv(PATIENCE)
            redis.go_on()
            while healthy.ask("GET", "/healthz")[0] != 200:
                time.sleep(0.01)
        for live in lives:
            while Client(live).ask("GET", "/healthz")[::2] != (200, "ok"):
                time.sleep(0.01)


def test_behind_a_proxy() -> None:
    """A trusted proxy tells who asked for what."""
    made = made_by("Behind a proxy")
    with trioecho.LiveServer(made["routes"], options=made["options"]) as live:
        told = {
            "X_Forwarded_For": "203.0.113.9",
            "X_Forwarded_Proto": "https",
            "X_Forwarded_Host": "client.com",
        }
        _, _, body = Client(live).ask("GET", "/who", **told)
    assert body == "('203.0.113.9', 0) asks for https://client.com/who"
