"""The page says in words what happened and what to do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, expect
from server_process import ServerProcess
from websockets.sync.server import ServerConnection, serve

from page.browser import Tab
from page.conftest import OpenTab, StartServer
from trioecho import WebSocket


async def close_as_asked(ws: WebSocket) -> None:
    """Closes with the code and reason in the query."""
    wish = parse_qs(urlsplit(ws.target).query)
    await ws.aclose(int(wish["code"][0]), wish.get("reason", [""])[0])


def test_refused_origin(start: StartServer, open_tab: OpenTab) -> None:
    """A refused origin is named as the likely cause, with the option that allows it; that option does help."""
    server = start(allowed_origins=("https://client.com",))
    tab = open_tab(server)
    tab.allow_failed_connection()
    tab["connect"].click()
    tab.notice(
        "refused this connection", "allowed origins leave out this page", f"--allowed-origin {server.url}."
    )
    assert tab.conversation() == ["Connection could not be opened"]
    port = server.server.port
    server.stop()
    start(port=port, allowed_origins=("https://client.com", server_origin(tab)))
    tab.connect()
    expect(tab["notice"]).to_be_empty()


def server_origin(tab: Tab) -> str:
    origin: str = tab.evaluate("location.origin")
    return origin


def test_no_common_subprotocol(start: StartServer, open_tab: OpenTab) -> None:
    """Browsers give up where none of the offered subprotocols is accepted: the page says so; trying without helps."""
    tab = open_tab(start(subprotocols=("chat",)))
    tab.allow_failed_connection()
    tab.open_options("Connection options")
    tab["subprotocols"].fill("soap")
    tab["connect"].click()
    tab.notice(
        "agreed on no subprotocol",
        "If the server knows none of those offered, it accepts without one, and the browser then gives up.",
        "Offer another or none, or start the server with --subprotocol soap.",
        f"--allowed-origin {server_origin(tab)}",
    )
    expect(tab["notice"]).not_to_contain_text("refused this connection")
    assert tab.conversation() == ["Connection could not be opened"]
    tab["subprotocols"].fill("")
    tab.connect()
    expect(tab["notice"]).to_be_empty()


def test_full_server(start: StartServer, open_tab: OpenTab) -> None:
    """A server that has no room is told from one that is stopped."""
    server = start(max_connections=1)
    first, second = open_tab(server), open_tab(server)
    second.allow_failed_connection()
    first.connect()
    second["connect"].click()
    second.notice("running, but refused", "max_connections")


def test_wrong_path(tab: Tab) -> None:
    """A path without a WebSocket is named."""
    tab.allow_failed_connection()
    tab["url"].fill(tab["url"].input_value() + "/elsewhere")
    tab["url"].press("Enter")
    tab.notice("has no WebSocket at /ws/elsewhere", "the path is /ws")


def test_stopped_server(start: StartServer, open_tab: OpenTab) -> None:
    """A server that does not answer is told from one that refuses, with the command that starts it."""
    server = start()
    host = urlsplit(server.url).netloc
    tab = open_tab(server)
    tab.allow_failed_connection()
    server.stop()
    tab["connect"].click()
    tab.notice(f"The server at {host} does not answer", "python -m trioecho")


def test_other_server_that_does_not_answer(tab: Tab) -> None:
    """Of a server that is not the page's own the page knows nothing, and says what to check."""
    tab.allow_failed_connection()
    with_name = tab["url"].input_value().replace("127.0.0.1", "localhost.invalid")
    tab["url"].fill(with_name)
    tab["connect"].click()
    tab.notice(f"No WebSocket opened at {with_name}", "a server runs there", server_origin(tab))
    expect(tab["notice"]).not_to_contain_text("subprotocol")
    tab.open_options("Connection options")
    tab["subprotocols"].fill("chat")
    tab["connect"].click()
    tab.notice("knows one of the offered subprotocols")


def test_server_that_stops_says_so(start: StartServer, open_tab: OpenTab) -> None:
    """A graceful stop is a goodbye, not a failure of the network."""
    server = start()
    tab = open_tab(server)
    tab.connect()
    server.stop()
    tab.notice("The server is stopping or restarting.", "Connect again when it is back")
    assert tab.conversation()[-1].startswith("Connection closed. Code: 1001.")


def test_killed_server(start_server: Callable[..., ServerProcess], open_tab: OpenTab) -> None:
    """A server that vanishes without a goodbye is looked for, and said to be gone."""
    server = start_server()
    tab = open_tab(server)
    tab.allow_failed_connection()
    tab.connect()
    server.signal(signal.SIGKILL)
    tab.notice("gone without a goodbye", "python -m trioecho")
    assert tab.conversation()[-1] == "Connection closed. Code: 1006. Reason: (none)"


def test_server_that_does_not_answer_the_goodbye(
    start_server: Callable[..., ServerProcess], open_tab: OpenTab
) -> None:
    """Close Socket to a server that hangs stays at Closing…, and when the connection breaks the page says why."""
    server = start_server()
    tab = open_tab(server)
    tab.allow_failed_connection()
    tab.connect()
    server.signal(signal.SIGSTOP)
    tab["close"].click()
    tab.sees("Closing…")
    server.signal(signal.SIGKILL)
    tab.notice("did not answer the goodbye")


@pytest.fixture
def empty_close() -> Iterator[str]:
    """The URL of a server that closes with an empty Close when it gets "go", and answers an empty one with its like."""

    def answer(ws: ServerConnection) -> None:
        if next(iter(ws), None) == "go":
            ws.close(code=None)  # type: ignore[arg-type]

    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        server.shutdown()
        thread.join()


def test_server_that_closes_without_a_code(tab: Tab, empty_close: str) -> None:
    """An empty Close from the server is 1005 in the log, and the page says that no reason was given."""
    tab["url"].fill(empty_close)
    tab.connect()
    tab.send("go")
    tab.notice("The server closed without saying why.", "Connect again.")
    assert tab.conversation()[-1] == "Connection closed. Code: 1005 (none was given). Reason: (none)"


def test_goodbye_without_a_code(tab: Tab, empty_close: str) -> None:
    """Where this page itself closed without a code, 1005 is no trouble, and the programs close without one too."""
    tab["url"].fill(empty_close)
    tab.connect()
    (worker,) = tab.page.workers
    worker.evaluate("() => onmessage({ data: ['close'] })")
    tab.sees("Closed")
    assert tab.conversation()[-1] == "Connection closed. Code: 1005 (none was given). Reason: (none)"
    expect(tab["notice"]).to_be_empty()
    tab["code"].click()
    expect(tab.page.locator("pre")).to_contain_text("await ws.aclose(None)")
    tab.page.get_by_role("radio", name="JavaScript").check()
    code = tab.page.locator("pre").text_content()
    assert code is not None
    assert "socket.close();" in code
    tab["done"].click()
    tab.evaluate(f"async () => {{ {code} }}")
    assert tab.printed[-1].strip() == "1005"


def test_idle_timeout(start: StartServer, open_tab: OpenTab) -> None:
    """A connection that the server ended for silence says so and how to prevent it."""
    tab = open_tab(start(idle_timeout=0.2))
    tab["connect"].click()
    tab.notice("idle timeout", "send something now and then", "--idle-timeout")
    assert tab.conversation()[-1] == "Connection closed. Code: 1001. Reason: idle timeout"


@pytest.mark.parametrize("size", [2000, 1500])
def test_too_big_a_message(start: StartServer, open_tab: OpenTab, size: int) -> None:
    """A message over the limit is named with its size in bytes, and what to change."""
    tab = open_tab(start(max_message_size=1000))
    tab.connect()
    tab.send("ö" * (size // 2))
    tab.notice("too big", f"{size:,} bytes", "send less", "--max-message-size")
    assert tab.conversation()[-1].startswith("Connection closed. Code: 1009.")


def test_failing_handler(start: StartServer, open_tab: OpenTab) -> None:
    """A handler that raises is the server's affair: the page says where to look."""

    async def broken(ws: WebSocket) -> None:
        await ws.receive()
        raise RuntimeError("on purpose")

    tab = open_tab(start(broken))
    tab.connect()
    tab.send("go")
    tab.notice("handler failed", "traceback")


def test_lost_network_while_open(start: StartServer, open_tab: OpenTab, context: BrowserContext) -> None:
    """Going offline with an open connection is said at once, before any timeout, and taken back when it ends."""
    tab = open_tab(start())
    tab.connect()
    context.set_offline(True)
    tab.notice("lost its network", "send something to find out")
    context.set_offline(False)
    expect(tab["notice"]).to_be_empty()


def test_lost_network_when_the_connection_breaks(
    start_server: Callable[..., ServerProcess], open_tab: OpenTab, context: BrowserContext
) -> None:
    """A connection that breaks while the computer is offline is blamed on the network, not on the server."""
    server = start_server()
    tab = open_tab(server)
    tab.allow_failed_connection()
    tab.connect()
    context.set_offline(True)
    server.signal(signal.SIGKILL)
    tab.notice("This computer has lost its network.", "Connect again when it is back")


def test_offline_before_connecting(tab: Tab, context: BrowserContext) -> None:
    """Connect without a network says that the computer is offline."""
    tab.allow_failed_connection()
    context.set_offline(True)
    tab["connect"].click()
    tab.notice("This computer is offline.")


@pytest.mark.parametrize(
    ("code", "reason", "what", "todo"),
    [
        (1000, "", "finished the conversation", "Nothing is wrong"),
        (1001, "moving", "stopping or restarting", "Connect again when it is back"),
        (1002, "", "broke the protocol", "without a proxy"),
        (1007, "", "not valid UTF-8", "without a proxy"),
        (1008, "house rule", "do not allow", "its own log"),
        (1011, "keep-alive timeout", "A ping stayed unanswered", "asleep. Connect again"),
        (1011, "", "handler failed", "traceback"),
        (3999, "", "with the code 3999", "for the application to say"),
    ],
)
def test_codes_in_words(
    start: StartServer, open_tab: OpenTab, code: int, reason: str, what: str, todo: str
) -> None:
    """Each close code that a server may send is said in words, with what to do."""
    tab = open_tab(start(close_as_asked))
    tab["url"].fill(f"{tab['url'].input_value()}?code={code}&reason={reason}")
    tab["connect"].click()
    tab.notice(what, todo)
    assert tab.conversation()[-1] == f"Connection closed. Code: {code}. Reason: {reason or '(none)'}"
