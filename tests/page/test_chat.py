"""The chat's page in Chromium: people, rooms, transports, the countdown, a server that goes and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

import trioecho
from page.chatting import TRANSPORTS, ChatTab
from page.test_accessibility import findings
from trioecho import LiveServer, WebSocketOptions
from trioecho._server.routes import sample_routes
from trioecho.chat import chat_routes

LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 4
LONG_NAME = "Donaudampfschifffahrtsgesellscha"

StartChat = Callable[..., LiveServer]
OpenChat = Callable[..., ChatTab]


@pytest.fixture
def start_chat() -> Iterator[StartChat]:
    """Starts the sample with the chat."""
    with ExitStack() as servers:

        def start(*, port: int = 0, **options: Any) -> LiveServer:
            chosen = WebSocketOptions(**options)
            routes: Any = {**sample_routes(chosen, {"chat": "Chat"}), **chat_routes(chosen)}
            return servers.enter_context(LiveServer(routes, port=port, options=chosen))

        yield start


@pytest.fixture
def people(browser: Browser, start_chat: StartChat) -> Iterator[OpenChat]:
    """Opens the chat's page of a server, each time in a browser of somebody else's."""
    with ExitStack() as tabs:

        def come(server: LiveServer, **options: Any) -> ChatTab:
            context: BrowserContext = browser.new_context(
                **{"viewport": {"width": 1280, "height": 800}, **options}
            )
            tabs.callback(context.close)
            context.set_default_timeout(15_000)
            return tabs.enter_context(ChatTab(context, server.url.rstrip("/")))

        yield come


def test_two_people_chat(start_chat: StartChat, people: OpenChat) -> None:
    """Each hears the other and sees who is there; markup stays text, lines stay lines."""
    server = start_chat()
    ada, bob = people(server), people(server)
    ada.join("Ada")
    ada.happens("You are in Lobby, over WebSockets.")
    expect(ada["log-title"]).to_have_text("Lobby")
    bob.join("Bob")
    ada.happens("Bob has come in.")
    for tab in (ada, bob):
        tab.here("Ada", "Bob")
        tab.rooms(Lobby=2)
    ada.say("<b>Hello</b>,\u2028Bob!")
    bob.hears("<b>Hello</b>")
    bob.say("Grüße")
    ada.hears("Grüße")
    assert ada.messages() == bob.messages() == ["Ada: <b>Hello</b>,\u2028Bob!", "Bob: Grüße"]
    expect(ada["text"]).to_have_value("")
    expect(ada.page.locator("#log .mine")).to_have_count(1)
    bob["leave"].click()
    bob.sees("Left")
    ada.happens("Bob has left.")
    ada.here("Ada")
    assert bob.events()[-1] == "You have left."


@pytest.mark.parametrize(
    ("address", "room"),
    [("#Caf%C3%A9%20%231", "Café #1"), ("#Caf%C3", "Lobby"), ("#100%", "Lobby"), ("", "Lobby")],
)
def test_an_address_names_the_room_or_none(
    start_chat: StartChat, people: OpenChat, address: str, room: str
) -> None:
    """One that was cut off, or typed, does not keep the page from starting."""
    server = start_chat()
    ada = people(server)
    ada.page.goto(f"about:blank{address}")
    ada.page.goto(f"{server.url.rstrip('/')}/chat{address}")
    expect(ada["room"]).to_have_value(room)
    ada.join("Ada")
    ada.rooms(**{room: 1})


def test_what_one_person_says_in_a_row_stands_together(start_chat: StartChat, people: OpenChat) -> None:
    """The name is seen once, and still said by screen readers."""
    tab = people(start_chat())
    tab.join("Ada")
    tab.say("one")
    tab.say("two")
    tab.hears("two")
    names = tab.page.locator("#log .said .who")
    assert names.all_text_contents() == ["Ada", "Ada"]
    assert [
        box["height"] < 2 or box["width"] < 2
        for box in names.evaluate_all(
            "(all) => all.map((each) => getComputedStyle(each).clipPath === 'none' "
            "? { height: 20, width: 20 } : { height: 1, width: 1 })"
        )
    ] == [False, True]


def test_rooms_are_apart(start_chat: StartChat, people: OpenChat) -> None:
    """By name or by a click on the list one is in another room, and hears only what is said there."""
    server = start_chat()
    ada, bob = people(server), people(server)
    ada.join("Ada")
    bob.join("Bob", "Trio")
    ada.rooms(Lobby=1, Trio=1)
    bob.say("for Trio only")
    bob.hears("for Trio only")
    ada.page.locator("#rooms button", has_text="Trio").click()
    ada.happens("You are in Trio now.")
    expect(ada["room"]).to_have_value("Trio")
    bob.happens("Ada has come in.")
    ada.rooms(Trio=2)
    bob.say("for both")
    ada.hears("for both")
    assert ada.messages() == ["Bob: for both"]
    ada["name"].fill("Ava")
    ada["name"].press("Enter")
    bob.happens("Ada is called Ava now.")
    assert ada.page.url.endswith("/chat#Trio")
    expect(ada.page).to_have_title("Trio · Chat")
    ada.page.reload()
    expect(ada["room"]).to_have_value("Trio")
    expect(ada["name"]).to_have_value("Ava")


@pytest.mark.parametrize("chosen", list(TRANSPORTS)[1:])
def test_each_transport_can_be_chosen(start_chat: StartChat, people: OpenChat, chosen: str) -> None:
    """The page says which one it uses, and everything works over it."""
    server = start_chat()
    tab, other = people(server), people(server)
    other.join("Bob")
    tab.join("Ada", over=chosen)
    expect(tab["transport-used"]).to_have_text(f"Over {TRANSPORTS[chosen]}")
    tab.happens(f"You are in Lobby, over {TRANSPORTS[chosen]}.")
    other.say("hello")
    tab.hears("hello")
    tab.say("hello yourself")
    other.hears("hello yourself")
    tab.open_options("Stream a countdown")
    tab["seconds"].fill("1")
    tab["start"].click()
    expect(tab["counted"]).to_have_text("The countdown is over.")


def test_another_transport_is_used_at_once(start_chat: StartChat, people: OpenChat) -> None:
    """Choosing it while connected connects anew; it is remembered for the next visit."""
    tab = people(start_chat())
    tab.join("Ada")
    tab["transport"].select_option("LongPolling")
    expect(tab["transport-used"]).to_have_text("Over long polling")
    tab.sees("Connected")
    tab.here("Ada")
    tab.page.reload()
    expect(tab["transport"]).to_have_value("LongPolling")


def test_countdown_is_streamed_and_cancelled(start_chat: StartChat, people: OpenChat) -> None:
    """Numbers come one by one; Cancel stops the server, too."""
    server = start_chat()
    tab = people(server)
    tab.open_options("Stream a countdown")
    expect(tab["start"]).to_be_disabled()
    tab.join("Ada")
    tab["seconds"].fill("2")
    tab["start"].click()
    expect(tab["cancel"]).to_be_focused()
    for number in ("2", "1", "0"):
        expect(tab["left"]).to_have_text(number)
    expect(tab["counted"]).to_have_text("The countdown is over.")
    expect(tab["start"]).to_be_focused()
    tab["seconds"].fill("60")
    tab["start"].click()
    expect(tab["left"]).to_have_text("59")
    tab["cancel"].click()
    expect(tab["counted"]).to_have_text(re.compile(r"Cancelled at 5\d\."))
    tab["seconds"].fill("99")
    tab["start"].click()
    expect(tab.page.get_by_role("alert")).to_have_text("Write a number of seconds from 1 to 60.")
    expect(tab["seconds"]).to_be_focused()


@pytest.mark.parametrize("over", ["WebSockets", "ServerSentEvents", "LongPolling"])
def test_reconnects_when_the_server_is_back(start_chat: StartChat, people: OpenChat, over: str) -> None:
    """The page says that it reconnects, and when; what was typed stays; then it is in the same room again."""
    server = start_chat()
    port = server.server.port
    tab = people(server)
    tab.allow_failed_connection()
    tab.join("Ada", "Trio", over=over)
    tab.open_options("Stream a countdown")
    tab["start"].click()
    expect(tab["left"]).to_have_text("10")
    tab["text"].press_sequentially("half a sen")
    server.stop()
    tab.sees("Reconnecting…")
    tab.notice("The connection is lost.", "cannot be shown")
    expect(tab["retry"]).to_contain_text("Trying again in")
    expect(tab["counted"]).to_have_text(
        re.compile(r"Lost at \d+, with the connection\.|The server has ended it at \d+\.")
    )
    expect(tab["join"]).to_be_focused()
    expect(tab.page.locator("#people li")).to_have_count(0)
    start_chat(port=port)
    tab.sees("Connected")
    expect(tab["retry"]).to_be_hidden()
    expect(tab["notice"]).to_be_empty()
    tab.here("Ada")
    expect(tab["log-title"]).to_have_text("Trio")
    expect(tab["text"]).to_have_value("half a sen")
    assert [event for event in tab.events() if "come in" in event] == []
    tab.say("back")
    tab.hears("back")


def test_trying_can_be_stopped(start_chat: StartChat, people: OpenChat) -> None:
    """And nothing is tried any more, until Join is pressed."""
    server = start_chat()
    port = server.server.port
    tab = people(server)
    tab.allow_failed_connection()
    tab.join("Ada")
    server.stop()
    tab.sees("Reconnecting…")
    tab["stop"].click()
    tab.sees("Left")
    expect(tab["retry"]).to_be_hidden()
    expect(tab["join"]).to_be_focused()
    start_chat(port=port)
    tab.sees("Left")
    tab["join"].click()
    tab.sees("Connected")


def test_a_server_that_is_not_there_is_explained(start_chat: StartChat, people: OpenChat) -> None:
    """By the transport that was chosen."""
    server = start_chat()
    tab = people(server)
    tab.allow_failed_connection()
    server.stop()
    tab["name"].fill("Ada")
    tab["transport"].select_option("WebSockets")
    tab["join"].click()
    tab.notice("There is no connection over WebSockets.", "“Automatic” tries the others.")
    tab["transport"].select_option("")
    tab.notice("Perhaps the server is not there.")


def test_what_the_hub_refuses_is_shown_in_its_words(start_chat: StartChat, people: OpenChat) -> None:
    """And what was typed is still there."""
    tab = people(start_chat())
    tab["name"].fill("A\u202eda")
    tab["join"].click()
    tab.sees("Left")
    tab.notice("You are not in.", "The name of a person has an invisible character in it: write it anew.")
    tab.join("Ada")
    tab.evaluate(
        """() => { for (let number = 0; number < 15; number++) {
          document.getElementById("text").value = `message ${number}`;
          document.getElementById("message").requestSubmit();
        } }"""
    )
    tab.notice("Perhaps not everybody has got this.", "This is faster than people can read: wait a moment.")
    expect(tab["text"]).to_have_value(re.compile("message"))


def test_fields_that_lack_something_say_so(start_chat: StartChat, people: OpenChat) -> None:
    """Nothing connects before they have it."""
    tab = people(start_chat())
    tab["join"].click()
    expect(tab.page.get_by_role("alert")).to_have_text("Say what others shall call you.")
    expect(tab["name"]).to_be_focused()
    tab["room"].fill(" ")
    expect(tab.page.get_by_role("alert")).to_have_count(0)
    tab["join"].click()
    expect(tab.page.get_by_role("alert")).to_contain_text("Name a room")
    expect(tab["room"]).to_have_accessible_description(re.compile("Name a room"))
    tab.sees("Ready to join…")


def test_new_messages_do_not_move_who_reads_old_ones(start_chat: StartChat, people: OpenChat) -> None:
    """A button counts them, and leads to the end."""
    server = start_chat()
    ada, bob = people(server, viewport={"width": 1280, "height": 600}), people(server)
    ada.join("Ada")
    bob.join("Bob")
    for number in range(6):
        bob.say(f"word {number} " + "word " * 350)
    ada.hears("word 5")
    ada.wait_until("log.scrollTop + log.clientHeight > log.scrollHeight - 10")
    ada["log"].evaluate("(log) => { log.scrollTop = 0; }")
    ada.wait_until("!log.classList.contains('follows')")
    bob.say("did you see this?")
    expect(ada["newer"]).to_have_text("1 new message")
    assert ada["log"].evaluate("(log) => log.scrollTop") == 0
    ada["newer"].click()
    ada.wait_until("log.scrollTop + log.clientHeight > log.scrollHeight - 10")
    expect(ada["newer"]).to_be_hidden()
    expect(ada["log"]).to_be_focused()


def test_the_sample_page_leads_to_the_chat_and_back(start_chat: StartChat, people: OpenChat) -> None:
    """By links that work below any path."""
    tab = people(start_chat())
    tab.page.get_by_role("link", name="WebSocket Sample").click()
    expect(tab.page).to_have_title("WebSocket Sample Application")
    tab.page.get_by_role("link", name="Chat").click()
    expect(tab.page.get_by_role("heading", name="Chat")).to_be_visible()


def test_chat_by_keyboard_alone(start_chat: StartChat, people: OpenChat) -> None:
    """Join, speak, change the room, count down and leave without a mouse; the focus is always seen, never lost."""
    tab = people(start_chat())
    keyboard = tab.page.keyboard

    def press(*keys: str) -> None:
        for key in keys:
            keyboard.press(key)
            shown = tab.evaluate(
                """() => { const style = getComputedStyle(document.activeElement);
                return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2; }"""
            )
            assert shown, f"no visible focus after {key}"

    def go_to(id: str, key: str = "Tab") -> None:
        for _ in range(30):
            if tab.evaluate("(id) => document.activeElement.id === id", id):
                return
            press(key)
        raise AssertionError(f"{key} does not lead to {id}")

    press("Tab", "Tab")
    expect(tab["name"]).to_be_focused()
    keyboard.type("Ada")
    keyboard.press("Enter")
    tab.sees("Connected")
    expect(tab["text"]).to_be_focused()
    keyboard.type("by hand")
    keyboard.press("Enter")
    tab.hears("by hand")
    expect(tab["text"]).to_be_focused()
    press("Tab", "Tab")
    keyboard.press("Enter")
    go_to("start")
    keyboard.press("Enter")
    expect(tab["cancel"]).to_be_focused()
    keyboard.press("Enter")
    expect(tab["counted"]).to_contain_text("Cancelled at")
    expect(tab["start"]).to_be_focused()
    go_to("room", "Shift+Tab")
    keyboard.press("ControlOrMeta+a")
    keyboard.type("Trio")
    keyboard.press("Enter")
    tab.happens("You are in Trio now.")
    go_to("leave", "Shift+Tab")
    keyboard.press("Enter")
    tab.sees("Left")
    expect(tab["join"]).to_be_focused()


def test_screen_reader_hears_the_chat(start_chat: StartChat, people: OpenChat) -> None:
    """State, notices and messages are live regions; everything that can be used has a name."""
    tab = people(start_chat())
    tab.open_options("Stream a countdown")
    tab.join("Ada")
    expect(tab["log"]).to_have_role("log")
    expect(tab["log"]).to_have_accessible_name("Lobby")
    for id in ("state", "notice", "counted"):
        expect(tab[id]).to_have_role("status")
    expect(tab["left"]).to_have_role("timer")
    for control in tab.page.locator("main :is(input, textarea, select, button, ul):visible").all():
        expect(control).to_have_accessible_name(re.compile(r"\w"))
    expect(tab.page.get_by_role("button", name="Lobby")).to_have_attribute("aria-current", "true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_chat_has_nothing_for_axe_and_is_not_too_wide(
    start_chat: StartChat, people: OpenChat, scheme: str, width: int
) -> None:
    """At first sight, in the middle of everything with long words, and when the connection is lost."""
    server = start_chat()
    other = people(server)
    tab = people(server, viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.allow_failed_connection()
    assert findings(tab) == []
    tab.page.locator("#join").click()
    assert findings(tab) == []
    other.join(LONG_NAME, LONG_NAME[::-1])
    tab.join("Ada", LONG_NAME[::-1])
    other.say(LONG_WORD)
    tab.hears(LONG_WORD)
    tab.say(LONG_WORD)
    tab.open_options("Stream a countdown")
    tab["start"].click()
    expect(tab["left"]).to_have_text("10")
    assert findings(tab) == []
    check_width(tab)
    server.stop()
    tab.sees("Reconnecting…")
    other.allow_failed_connection()
    assert findings(tab) == []
    check_width(tab)


def check_width(tab: ChatTab) -> None:
    """Nothing scrolls sideways but the lists of a narrow screen, nothing is cut, and no two texts overlap."""
    for element in ("document.documentElement", "log"):
        assert tab.evaluate(f"{element}.scrollWidth <= {element}.clientWidth"), element
    cut = tab.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, h1, h2, li, #state")]
          .filter((e) => !e.closest("aside ul") && e.checkVisibility() && e.getBoundingClientRect().right > innerWidth)
          .map((e) => e.outerHTML)"""
    )
    assert cut == []
    overlapping = tab.evaluate(
        """() => {
          const texts = "label, .quiet, button, h1, h2, a, #state, #left, progress, #log, .notice";
          const seen = [...document.querySelectorAll(texts)]
            .filter((e) => e.checkVisibility() && !e.closest("aside ul") && e.id !== "newer"
              && getComputedStyle(e).clipPath === "none");
          const found = [];
          for (const [index, one] of seen.entries()) for (const two of seen.slice(index + 1)) {
            if (one.contains(two) || two.contains(one)) continue;
            const [a, b] = [one, two].map((e) => e.getBoundingClientRect());
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 1 && high > 1) found.push([one.outerHTML.slice(0, 80), two.outerHTML.slice(0, 80)]);
          }
          return found;
        }"""
    )
    assert overlapping == []


def test_the_chat_is_self_contained(start_chat: StartChat, people: OpenChat) -> None:
    """All its files are asked for, of its own server alone, and what is ours of them is small."""
    folder = Path(trioecho.__file__).parent / "chat" / "page"
    files = {file.name: file for file in folder.iterdir()}
    ours = [file for name, file in files.items() if not name.startswith("signalr.")]
    assert sum(file.stat().st_size for file in ours) < 40_000
    server = start_chat()
    tab = people(server)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.reload()
    tab.join("Ada")
    base = server.url.rstrip("/")
    # The licence is for who looks for it.
    assert {
        f"{base}/chat/{name}" for name in files if name not in ("index.html", "signalr.LICENSE.txt")
    } <= set(asked)
    assert all(url.startswith(base) for url in asked)
