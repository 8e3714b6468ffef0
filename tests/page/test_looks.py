"""What a careful look at the page found: room in buttons, folded bytes, errors that go, a word that covers nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from page.browser import Tab

FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "Inter")


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("width", [1280, 390])
def test_button_texts_have_room_in_any_font(tab: Tab, font: str, width: int) -> None:
    """Every button's text keeps its distance from the border, in wide fonts too, and the columns stay aligned."""
    tab.page.set_viewport_size({"width": width, "height": 800})
    tab.evaluate("(font) => { document.body.style.fontFamily = font; }", font)
    tab.open_options("Send binary")
    gaps = tab.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("main button")]
          .filter((b) => b.checkVisibility()).map((b) => {
          const range = document.createRange();
          range.selectNodeContents(b);
          const [text, box] = [range.getBoundingClientRect(), b.getBoundingClientRect()];
          return [b.textContent, Math.min(text.left - box.left, box.right - text.right)];
        }))"""
    )
    assert {text: gap for text, gap in gaps.items() if gap < 10} == {}
    rights = tab.evaluate(
        "() => ['close', 'send'].map((id) => document.getElementById(id).getBoundingClientRect().right)"
    )
    assert abs(rights[0] - rights[1]) < 1
    if width == 1280:
        fields = tab.evaluate(
            "() => ['url', 'text'].map((id) => document.getElementById(id).getBoundingClientRect().right)"
        )
        assert abs(fields[0] - fields[1]) < 1


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("width", [320, 360])
def test_the_title_stays_within_the_page_in_any_font(tab: Tab, font: str, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 800})
    tab.evaluate("(font) => { document.body.style.fontFamily = font; }", font)
    ends = "() => ['h1', 'main > header'].map((each) => document.querySelector(each).getBoundingClientRect().right)"
    title, header = tab.evaluate(ends)
    assert title <= header


def send_file(tab: Tab, file: Path, data: bytes) -> None:
    file.write_bytes(data)
    tab.open_options("Send binary")
    tab["file"].set_input_files(file)
    tab["send-file"].click()


def test_long_binary_is_folded_and_can_be_shown(tab: Tab, tmp_path: Path) -> None:
    """5 kB of bytes take a few lines on a phone, with a button that shows all of them and folds them again."""
    data = bytes(number % 251 for number in range(5000))
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.connect()
    send_file(tab, tmp_path / "data.bin", data)
    tab.wait_for_rows(3)
    row = tab.page.locator("tbody tr").nth(1)
    box = row.bounding_box()
    assert box is not None
    assert box["height"] < 180
    show = row.get_by_role("button", name="Show all 5,000 bytes")
    expect(show).to_have_attribute("aria-expanded", "false")
    show.click()
    expect(row.locator("code")).to_have_text(data.hex(" "))
    fold = row.get_by_role("button", name="Show less")
    expect(fold).to_have_attribute("aria-expanded", "true")
    expect(fold).to_be_focused()
    fold.press("Enter")
    expect(show).to_be_visible()
    again = row.bounding_box()
    assert again is not None
    assert again["height"] == box["height"]


def test_long_text_is_folded_and_can_be_shown(tab: Tab) -> None:
    """A long text is folded like bytes; what is left to say is in characters."""
    text = "Lorem ipsum dolor sit amet. " * 100
    tab.connect()
    tab.send(text)
    tab.wait_for_rows(3)
    row = tab.page.locator("tbody tr").last
    assert len(row.inner_text()) < 700
    row.get_by_role("button", name="Show all 2,800 characters").click()
    assert text in (row.locator(".data").text_content() or "")


def test_of_a_huge_message_a_part_is_kept(tab: Tab, tmp_path: Path) -> None:
    """Of a message of 200 kB the log keeps the first 64 KiB: the button says so, and what is missing is counted."""
    tab.connect()
    send_file(tab, tmp_path / "data.bin", bytes(200_000))
    tab.wait_for_rows(3)
    row = tab.page.locator("tbody tr").last
    row.get_by_role("button", name="Show the first 65,536 bytes").click()
    expect(row.locator(".data")).to_contain_text("… and 134,464 more bytes")


def test_copy_of_the_log_has_no_buttons_in_it(tab: Tab, tmp_path: Path) -> None:
    """What Copy puts on the clipboard is what was said, and not what the buttons say."""
    tab.connect()
    send_file(tab, tmp_path / "data.bin", bytes(100))
    tab.wait_for_rows(3)
    tab["copy"].click()
    expect(tab["said"]).to_have_text("Log copied")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert "00 … and 52 more bytes\t100 B" in copied
    assert "Show" not in copied


def test_error_goes_when_the_field_is_corrected(tab: Tab) -> None:
    """The first stroke of a correction takes the error away, and a screen reader is not told of it any more."""
    tab["url"].fill("nonsense")
    tab["url"].press("Enter")
    expect(tab.page.get_by_role("alert")).to_be_visible()
    tab["url"].press("x")
    expect(tab.page.get_by_role("alert")).to_have_count(0)
    expect(tab["url"]).not_to_have_attribute("aria-invalid", "true")
    expect(tab["url"]).to_have_accessible_description("")


@pytest.mark.parametrize("action", ["send", "send-file", "close", "close-code", "text"])
def test_error_goes_with_the_next_action(tab: Tab, action: str) -> None:
    """An error belongs to what was just tried: the next action takes it away."""
    tab.connect()
    tab.open_options("Send binary")
    tab["hex"].fill("xy")
    tab["send-hex"].click()
    error = tab.page.get_by_role("alert").filter(has_text="not a hex digit")
    expect(error).to_be_visible()
    if action == "text":
        tab["text"].press("Enter")
    elif action == "close-code":
        tab[action].evaluate("(field) => { field.value = 'wrong'; }")
        tab["close"].click()
        expect(tab.page.get_by_role("alert")).to_contain_text("1000 or with 3000 to 4999")
    else:
        tab[action].click()
    expect(error).to_have_count(0)
    expect(tab["hex"]).not_to_have_attribute("aria-invalid", "true")


def test_error_leaves_the_hint_of_its_field(tab: Tab) -> None:
    """A field that has a description of its own has it again after an error."""
    tab.connect()
    tab.send("x")
    expect(tab["text"]).to_have_accessible_description("Enter sends, Shift+Enter: new line")


@pytest.mark.parametrize("button", ["send", "send-hex"])
def test_what_was_sent_is_replaced_by_typing(tab: Tab, button: str) -> None:
    """A click on Send leaves the focus in the field, its text selected: type the next, or click to send it again."""
    field = {"send": "text", "send-hex": "hex"}[button]
    tab.connect()
    tab.open_options("Send binary")
    tab[field].fill("aa")
    tab[button].click()
    tab.wait_for_rows(3)
    expect(tab[field]).to_be_focused()
    tab[button].click()
    tab.wait_for_rows(5)
    tab.page.keyboard.type("bb")
    tab.page.keyboard.press("Enter")
    tab.wait_for_rows(7)
    tab.page.keyboard.press("Enter")
    tab.wait_for_rows(9)
    assert [row[2].removeprefix("binary ") for row in tab.rows()[1::2]] == ["aa", "aa", "bb", "bb"]


def test_send_by_keyboard_keeps_the_focus_on_send(tab: Tab) -> None:
    """Who presses Send with the keyboard stays on it, so that the space bar can be pressed again."""
    tab.connect()
    tab["text"].fill("again")
    tab["text"].press("Tab")
    for rows in (3, 5):
        expect(tab["send"]).to_be_focused()
        tab.page.keyboard.press("Space")
        tab.wait_for_rows(rows)
    tab.page.keyboard.press("Shift+Tab")
    tab.page.keyboard.type("replaced")
    expect(tab["text"]).to_have_value("replaced")


@pytest.mark.parametrize("width", [1280, 390])
def test_said_covers_nothing_and_moves_nothing(tab: Tab, width: int) -> None:
    """“Log copied” lies over no row, field or button, and nothing moves when it comes."""
    tab.page.set_viewport_size({"width": width, "height": 800})
    tab.connect()
    for number in range(12):
        tab.send(str(number))
    tab.wait_for_rows(25)
    places = """() => [...document.querySelectorAll("main :is(button, input, textarea, tbody tr, h1, h2, #trips)")]
      .filter((e) => e.checkVisibility()).map((e) => [e.id || e.textContent, e.getBoundingClientRect().toJSON()])"""
    tab["copy"].scroll_into_view_if_needed()
    before = tab.evaluate(places)
    tab["copy"].click()
    expect(tab["said"]).to_have_text("Log copied")
    assert tab.evaluate(places) == before
    said = tab["said"].evaluate(
        """(said) => { const range = document.createRange(); range.selectNodeContents(said);
        return range.getBoundingClientRect().toJSON(); }"""
    )
    fields = "main :is(button, input, textarea, h1, h2, #trips, #log)"
    inside = tab.page.locator(fields).evaluate_all(
        """(all) => all.filter((e) => e.checkVisibility() && !e.closest("tbody"))
          .map((e) => [e.id || e.textContent, e.getBoundingClientRect().toJSON()])"""
    )
    covered = [
        name
        for name, box in inside
        if box["left"] < said["right"]
        and said["left"] < box["right"]
        and box["top"] < said["bottom"]
        and said["top"] < box["bottom"]
    ]
    assert covered == []
