"""The notebooks' pictures: what they show, and that nothing in them covers anything else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest

from trioecho import pictures

HELLO_MASKED = bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")
HELLO = b"\x81\x05Hello"


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The figures that were shown, drawn into memory and not on a screen."""
    matplotlib.use("Agg")
    figures: list[Any] = []
    monkeypatch.setattr(plt, "show", lambda: figures.append(plt.gcf()))
    yield figures
    plt.close("all")


def texts(figure: Any) -> list[Any]:
    return [text for axes in figure.axes for text in axes.texts if text.get_text()]


def words(figure: Any) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in texts(figure)]


def overlapping(figure: Any) -> list[tuple[str, str]]:
    figure.canvas.draw()
    pairs = itertools.combinations(texts(figure), 2)
    # Four pixels between them, so that they can be told apart.
    return [
        (one.get_text(), other.get_text())
        for one, other in pairs
        if one.get_window_extent().padded(2).overlaps(other.get_window_extent().padded(2))
    ]


def test_parts_are_what_the_caller_says(shown: list[Any]) -> None:
    """Each byte is a box, and what a part is for stands below it; two messages stand below each other."""
    ping = (b"\x02\x91\x06", {"2 bytes": 1, "array": 1, "6:\nPing": 1})
    pictures.parts({"client": ping, "server": (b"hi", {"two letters": 2})})
    (figure,) = shown
    said = words(figure)
    assert [word for word in said if len(word) == 2] == ["02", "91", "06", "68", "69"]
    assert {"client", "server", "2 bytes", "array", "6: Ping", "two letters"} <= {*said}
    assert overlapping(figure) == []


@pytest.mark.parametrize("sizes", [{"all": 2}, {}, {"all": 4}, {"none": 0, "all": 3}])
def test_parts_that_are_not_the_whole_message_are_refused(sizes: dict[str, int]) -> None:
    """One sentence names the sender, the parts and the message."""
    with pytest.raises(ValueError, match=r"^server: parts of .* bytes are not a message of 3 bytes$"):
        pictures.parts({"server": (b"\x02\x91\x06", sizes)})


def test_frames_are_taken_apart(shown: list[Any]) -> None:
    """Each byte is a box; below stands what it is for, read from the bytes themselves."""
    pictures.frames({"client": HELLO_MASKED, "server": HELLO})
    (figure,) = shown
    said = words(figure)
    assert [word for word in said if len(word) == 2] == [
        *HELLO_MASKED.hex(" ").split(),
        *HELLO.hex(" ").split(),
    ]
    assert "final, text" in said
    assert "masked, 5 bytes" in said
    assert "unmasked, 5 bytes" in said
    assert "masking key" in said
    assert [word for word in said if len(word) == 1] == list("Hello")


@pytest.mark.parametrize(
    ("frame", "labels"),
    [
        (b"\x01\x03\x01\x02\x03", ["more follows, text", "unmasked, 3 bytes", "payload"]),
        (b"\x80\x00", ["final, continuation", "unmasked, 0 bytes"]),
        (b"\x82\x7e\x00\x80" + bytes(128), ["final, binary", "unmasked, 128 bytes", "payload"]),
        (b"\x88\x02\x03\xe8", ["final, Close", "unmasked, 2 bytes", "code 1000"]),
        (b"\x88\x08\x03\xeafault!", ["final, Close", "unmasked, 8 bytes", "code 1002", *"fault!"]),
        (b"\x89\x80\x01\x02\x03\x04", ["final, Ping", "masked, 0 bytes", "masking key"]),
        (b"\x8a\x01!", ["final, Pong", "unmasked, 1 byte", "!"]),
    ],
)
def test_every_kind_of_frame_can_be_drawn(shown: list[Any], frame: bytes, labels: list[str]) -> None:
    """Long payloads are cut short with dots; opcodes, lengths and close codes are named."""
    pictures.frames({"server": frame})
    (figure,) = shown
    boxes = [word for word in words(figure) if len(word) == 2 and word != "…"]
    assert boxes[:2] == [f"{byte:02x}" for byte in frame[:2]]
    assert ("…" in words(figure)) == (len(frame) > 20)
    assert [word for word in words(figure) if word not in {*boxes, "…", "server"}] == labels
    assert overlapping(figure) == []


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x05Hell", b"\x81\x05Hello!", b"\x83\x00"])
def test_what_is_no_frame_is_not_drawn(shown: list[Any], data: bytes) -> None:
    """Too few bytes, too many, and an opcode that is none are a ValueError that says so."""
    with pytest.raises(ValueError, match=r"server: .*not one (whole|known) frame"):
        pictures.frames({"server": data})
    assert shown == []


def test_no_label_of_a_frame_touches_another(shown: list[Any]) -> None:
    """The labels below the boxes keep apart."""
    pictures.frames({"client": HELLO_MASKED, "server": HELLO})
    assert overlapping(*shown) == []


def test_a_conversation_shows_who_said_what_when(shown: list[Any]) -> None:
    """Time runs downwards; what one side says starts at its line, and texts of one moment keep apart."""
    pictures.conversation([(4, "client", "hello"), (4, "server", "HELLO"), (10, "server", "tick")])
    (figure,) = shown
    assert set(words(figure)) == {"client", "server", "hello", "HELLO", "tick"}
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > 10 > 4 > top
    assert overlapping(figure) == []


def test_timelines_show_events_and_the_silence_that_decided(shown: list[Any]) -> None:
    """One line for each connection, its ending in words, and in red the time since the last sign that counted."""
    pictures.timelines(
        {
            "lost": [(30, "Ping"), (30, "Pong"), (60, "Ping"), (70, "1011 keep-alive timeout")],
            "idle": [(25, "message"), (75, "1001 idle timeout")],
        },
        silent_after=("Ping", "message"),
    )
    (figure,) = shown
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["lost", "idle"]
    assert words(figure) == ["1011 keep-alive timeout", "1001 idle timeout"]
    red = [
        (bar.get_x(), bar.get_x() + bar.get_width())
        for bar in axes.patches
        if bar.get_facecolor() == matplotlib.colors.to_rgba("mistyrose")
    ]
    assert red == [(60, 70), (25, 75)]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"Ping", "Pong", "message"}
    assert overlapping(figure) == []


def test_deliveries_show_what_arrived_when_and_leave_out_what_did_not(shown: list[Any]) -> None:
    """A panel for each way, a row for each message, a line as long as the message was under way."""
    pictures.deliveries(
        {"one": 1, "two": 2, "three": 3},
        {
            "loop": {"Bob": {"one": 1, "two": 6, "three": 6.5}, "Carol": {"one": 6, "Close 1008": 40}},
            "skip": {"Bob": {"one": 1}, "Carol": {}},
        },
    )
    (figure,) = shown
    loop, skip = figure.axes
    assert [axes.get_title() for axes in (loop, skip)] == ["loop", "skip"]
    assert [label.get_text() for label in loop.get_yticklabels()] == ["one", "two", "three"]
    marks = {line.get_label(): list(map(float, line.get_xdata())) for line in loop.lines}
    assert marks == {"sent": [1, 2, 3], "Bob": [1, 6, 6.5], "Carol": [6]}
    bob, carol = loop.collections
    assert [tuple(segment[:, 0]) for segment in bob.get_segments()] == [(1, 1), (2, 6), (3, 6.5)]
    assert [tuple(segment[:, 0]) for segment in carol.get_segments()] == [(1, 6)]
    heights = [line.get_ydata()[0] for line in loop.lines]
    assert heights[1] < heights[0] < heights[2], "Bob above, Carol below"
    assert [list(line.get_xdata()) for line in skip.lines] == [[1, 2, 3], [1], []]
    assert 6.5 < loop.get_xlim()[1] == skip.get_xlim()[1] < 8, "what is not drawn takes no room"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sent", "Bob", "Carol"]


def test_a_panel_of_deliveries_has_room_for_three_receivers(shown: list[Any]) -> None:
    """None is left out of the picture without a word."""
    with pytest.raises(ValueError, match=r"loop: a panel has room for 3 receivers; you gave 4"):
        pictures.deliveries({"one": 1}, {"loop": {name: {"one": 1} for name in "ABCD"}})
    assert shown == []


def test_attempts_show_who_came_back_when_and_was_let_in(shown: list[Any]) -> None:
    """A panel for each way, a row for each client, a mark for each attempt, and in grey the time without a server."""
    pictures.attempts(
        {
            "at once": [[(0, False), (1, False), (30, True)], [(0, False), (30, True)]],
            "later": [[(0, False), (40, True)]],
        },
        down_until=30,
    )
    (figure,) = shown
    at_once, later = figure.axes
    assert [axes.get_title(loc="left") for axes in (at_once, later)] == ["at once", "later"]
    marks = {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in at_once.lines}
    assert marks == {"refused": [(0, 0), (1, 0), (0, 1)], "let in": [(30, 0), (30, 1)]}
    assert [list(line.get_xdata()) for line in later.lines] == [[0], [40]]
    for axes in (at_once, later):
        (grey,) = axes.patches
        assert (grey.get_x(), grey.get_x() + grey.get_width()) == (0, 30)
        assert 40 < axes.get_xlim()[1] < 45
    bottom, top = at_once.get_ylim()
    assert bottom > 1 > 0 > top, "the first client stands at the top"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["refused", "let in"]
