"""Beyond the sample: binary messages, close codes, subprotocols, round trips, reconnecting."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from page.browser import Tab
from page.conftest import OpenTab, StartServer
from trioecho import Deflate, WebSocket


async def upper(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message.upper())


@pytest.mark.parametrize(
    "typed", ["de ad be ef 00", "DEADBEEF00", "0xde, 0xad, 0xbe, 0xef, 0x00", "de:ad:be-ef;00"]
)
def test_typed_hex_goes_out_as_binary(tab: Tab, typed: str) -> None:
    """Hex in any usual spelling is sent as a binary message; binary is shown as hex, with its size."""
    tab.connect()
    tab.open_options("Send binary")
    tab["hex"].fill(typed)
    tab["send-hex"].click()
    tab.wait_for_rows(3)
    for row in tab.rows()[1:]:
        assert row[2:4] == ["binary de ad be ef 00", "5 B"]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [("de ad xy", "“x” is not a hex digit"), ("de ad b", "5 hex digits cannot be split into bytes")],
)
def test_wrong_hex_is_explained(tab: Tab, typed: str, sentence: str) -> None:
    """What is no hex is not sent; the page says why, at the field, and the field has the focus."""
    tab.connect()
    tab.open_options("Send binary")
    tab["hex"].fill(typed)
    tab["hex"].press("Enter")
    expect(tab.page.get_by_role("alert")).to_contain_text(sentence)
    expect(tab["hex"]).to_be_focused()
    expect(tab["hex"]).to_have_accessible_description(re.compile(re.escape(sentence)))
    assert tab.conversation() == ["Connection opened"]


def test_file_goes_out_as_binary(tab: Tab, tmp_path: Path) -> None:
    """A file is sent as one binary message; of a long one the log shows the beginning and says how much is left."""
    file = tmp_path / "bytes.bin"
    file.write_bytes(bytes(range(256)) * 5)
    tab.connect()
    tab.open_options("Send binary")
    tab["file"].set_input_files(file)
    tab["send-file"].click()
    tab.wait_for_rows(3)
    for row in tab.rows()[1:]:
        assert row[2].startswith("binary 00 01 02")
        assert row[2].endswith("2e 2f … and 1,232 more bytesShow all 1,280 bytes")
        assert row[3] == "1,280 B"


def test_send_file_without_a_file_asks_for_one(tab: Tab) -> None:
    """Send File with no file chosen says so and sends nothing."""
    tab.connect()
    tab.open_options("Send binary")
    tab["send-file"].click()
    expect(tab.page.get_by_role("alert")).to_have_text("Choose a file first.")
    assert tab.conversation() == ["Connection opened"]


def test_close_code_and_reason_can_be_chosen(start: StartServer, open_tab: OpenTab) -> None:
    """Close Socket sends the code and reason from the options, and the server hears them."""
    server = start()
    tab = open_tab(server)
    tab.connect()
    tab.open_options("Connection options")
    tab["close-code"].fill("4321")
    tab["close-reason"].fill("Feierabend ☕")
    tab.close()
    assert tab.conversation()[-1] == "Connection closed. Code: 4321. Reason: Feierabend ☕"
    server.stop()
    (record,) = server.records
    assert (record.code_received, record.reason_received) == (4321, "Feierabend ☕")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("close-code", "1001", "1000 or with 3000 to 4999"),
        ("close-code", "five", "1000 or with 3000 to 4999"),
        ("close-code", "", "1000 or with 3000 to 4999"),
        ("close-reason", "ö" * 62, "124 bytes; a close frame has room for 123"),
    ],
)
def test_impossible_goodbye_is_explained(tab: Tab, field: str, value: str, sentence: str) -> None:
    """A code or reason that the browser would refuse is explained at its field; the connection stays open."""
    tab.connect()
    tab.open_options("Connection options")
    tab[field].fill(value)
    tab.open_options("Connection options")
    tab["close"].click()
    expect(tab.page.get_by_role("alert")).to_contain_text(sentence)
    expect(tab[field]).to_be_focused()
    tab.sees("Open")


def test_subprotocol_is_offered_and_shown(start: StartServer, open_tab: OpenTab) -> None:
    """The server's choice among the offered subprotocols is shown while the connection is open."""
    tab = open_tab(start(subprotocols=("superchat", "chat")))
    tab.open_options("Connection options")
    tab["subprotocols"].fill("soap, chat, chat")
    tab.connect()
    expect(tab["subprotocol"]).to_have_text("Subprotocol: chat")
    tab.close()
    expect(tab["subprotocol"]).to_be_hidden()
    tab["subprotocols"].fill("")
    tab.connect()
    expect(tab["subprotocol"]).to_be_hidden()


def test_agreed_extension_is_shown(start: StartServer, open_tab: OpenTab) -> None:
    """Its name stands in the header while the connection is open, and all that was agreed on in the log."""
    tab = open_tab(start(compression=Deflate(server_max_window_bits=10, client_max_window_bits=11)))
    expect(tab["extensions"]).to_be_hidden()
    tab.connect()
    expect(tab["extensions"]).to_have_text("Extension: permessage-deflate")
    (opened,) = tab.conversation()
    agreed = opened.removeprefix("Connection opened with ").split("; ")
    assert agreed[0] == "permessage-deflate"
    assert set(agreed[1:]) == {"server_max_window_bits=10", "client_max_window_bits=11"}
    tab.send("hello " * 1000)
    tab.wait_for_rows(3)
    tab.close()
    expect(tab["extensions"]).to_be_hidden()


def test_no_extension_is_shown_where_none_was_agreed_on(tab: Tab) -> None:
    """A server that declines what the browser offers has a page without a word about it."""
    tab.connect()
    expect(tab["extensions"]).to_be_hidden()
    assert tab.conversation() == ["Connection opened"]


def test_impossible_subprotocol_is_explained(tab: Tab) -> None:
    """A name that no header can carry is explained at its field, and nothing connects."""
    tab.open_options("Connection options")
    tab["subprotocols"].fill("chat, b@d")
    tab["connect"].click()
    expect(tab.page.get_by_role("alert")).to_contain_text("“b@d” cannot be a subprotocol")
    tab.sees("Ready to connect…")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("127.0.0.1/ws", "not a WebSocket URL. It should look like “ws://127.0.0.1:"),
        ("http://127.0.0.1:5000/ws", "Did you mean “ws://127.0.0.1:5000/ws”?"),
        ("https://example.com/ws", "Did you mean “wss://example.com/ws”?"),
        ("", "not a WebSocket URL"),
    ],
)
def test_impossible_url_is_explained(tab: Tab, url: str, sentence: str) -> None:
    """What is no WebSocket URL is explained at its field, with one that would do; nothing connects."""
    tab["url"].fill(url)
    tab["url"].press("Enter")
    expect(tab.page.get_by_role("alert")).to_contain_text(sentence)
    tab.sees("Ready to connect…")
    assert tab.conversation() == []


def test_round_trip_of_each_echo_is_shown(tab: Tab) -> None:
    """Each echo has its round trip in the log; above it the latest, the median and a curve of them."""
    tab.connect()
    expect(tab["trips"]).to_be_empty()
    for text in ("one", "two", "three"):
        tab.send(text)
    tab.wait_for_rows(7)
    trips = [row[4] for row in tab.rows()[1:] if row[0] == "Server"]
    assert all(re.fullmatch(r"\d+(\.\d)? ms", trip) for trip in trips), trips
    assert [row[4] for row in tab.rows()[1:] if row[0] == "Client"] == ["", "", ""]
    expect(tab["trips"]).to_have_text(
        f"Round trip {trips[-1]}, median {sorted(trips, key=lambda t: float(t[:-3]))[1]}"
    )
    curve = tab.page.get_by_role("img", name=re.compile("The last 3 round trips, at most"))
    assert len((curve.locator("polyline").get_attribute("points") or "").split()) == 3


def test_other_answers_have_no_round_trip(start: StartServer, open_tab: OpenTab) -> None:
    """A message that is not the echo of one that was sent gets no round trip; a later echo still does."""
    tab = open_tab(start(upper))
    tab.connect()
    tab.send("shout")
    tab.wait_for_rows(3)
    assert tab.rows()[-1] == ["Server", "Client", "SHOUT", "5 B", ""]
    tab.send("LOUD")
    tab.wait_for_rows(5)
    assert tab.rows()[-1][4].endswith(" ms")


def test_does_not_reconnect_unless_asked(start: StartServer, open_tab: OpenTab) -> None:
    """Reconnecting is off at first: after the server stops, the page stays closed and offers nothing."""
    server = start()
    tab = open_tab(server)
    tab.page.clock.install()
    expect(tab["reconnect"]).not_to_be_checked()
    tab.connect()
    server.stop()
    tab.sees("Closed")
    tab.notice("stopping or restarting")
    tab.page.clock.run_for(60_000)
    expect(tab["retry"]).to_be_hidden()
    tab.wait_for_rows(2)


def test_reconnects_after_a_server_restart(start: StartServer, open_tab: OpenTab) -> None:
    """With reconnecting on, the page is back after a restart, and the conversation goes on in the same log."""
    server = start()
    port = server.server.port
    tab = open_tab(server)
    tab.allow_failed_connection()
    tab.open_options("Connection options")
    tab["reconnect"].check()
    tab.connect()
    tab.send("before")
    tab.wait_for_rows(3)
    server.stop()
    expect(tab["retry"]).to_contain_text("Trying again in 1 second.")
    start(port=port)
    tab.sees("Open")
    expect(tab["retry"]).to_be_hidden()
    expect(tab["notice"]).to_be_empty()
    tab.send("after")
    expect(tab.page.locator("tbody tr", has_text="after")).to_have_count(2)
    assert [row[2] for row in tab.rows() if len(row) == 5] == ["before", "before", "after", "after"]


def test_waits_longer_after_each_failure(start: StartServer, open_tab: OpenTab) -> None:
    """The waits double, never more than half of one is left to chance, and Stop Trying ends them."""
    server = start()
    tab = open_tab(server)
    tab.allow_failed_connection()
    tab.page.clock.install()
    tab.open_options("Connection options")
    tab["reconnect"].check()
    tab.connect()
    # From here on the page's time goes on only where the test lets it.
    tab.page.clock.pause_at(tab.evaluate("Date.now()") + 1000)
    server.stop()
    tab.wait_for_rows(2)
    for failures, longest in enumerate((500, 1000, 2000, 4000), start=2):
        tab.page.clock.run_for(longest // 2 - 100)
        tab.wait_for_rows(failures)
        # In small steps: an attempt fails in real time, and the next wait begins where the page's time is by then.
        for _ in range(0, longest // 2 + 150, 50):
            tab.page.clock.run_for(50)
            if tab["retry"].is_hidden() or tab.page.locator("tbody tr").count() > failures:
                break
        tab.wait_for_rows(failures + 1)
    tab["stop"].click()
    expect(tab["retry"]).to_be_hidden()
    tab.page.clock.run_for(60_000)
    tab.wait_for_rows(6)


def test_does_not_reconnect_after_a_goodbye(start: StartServer, open_tab: OpenTab) -> None:
    """Neither the person's own Close Socket nor the server's 1000 is answered with a new connection."""

    async def brief(ws: WebSocket) -> None:
        await ws.receive()

    tab = open_tab(start(brief))
    tab.page.clock.install()
    tab.open_options("Connection options")
    tab["reconnect"].check()
    tab["close-code"].fill("3000")
    tab.connect()
    tab.close()
    tab.page.clock.run_for(60_000)
    tab.sees("Closed")
    tab.connect()
    tab.send("that is all")
    tab.notice("The server has finished the conversation.")
    tab.page.clock.run_for(60_000)
    tab.sees("Closed")
    assert [text for text in tab.conversation() if text == "Connection opened"] == ["Connection opened"] * 2


def test_connecting_for_long_can_be_stopped(tab: Tab, context: BrowserContext) -> None:
    """While a server leaves the handshake unanswered, the page offers to stop, and Connect can be pressed again."""
    tab.allow_failed_connection()
    tab.page.clock.install()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tab["url"].fill(f"ws://127.0.0.1:{silent.getsockname()[1]}/ws")
        tab["connect"].click()
        tab.sees("Connecting…")
        expect(tab["retry"]).to_be_hidden()
        tab.page.clock.run_for(2000)
        expect(tab["retry"]).to_contain_text("Still connecting.")
        tab["stop"].click()
        tab.sees("Closed")
    expect(tab["connect"]).to_be_focused()
    expect(tab["notice"]).to_be_empty()
    assert tab.conversation() == ["Connecting was stopped"]
