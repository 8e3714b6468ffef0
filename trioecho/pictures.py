"""Pictures for teaching: frames and messages byte by byte, a conversation, signs of life, who got what when, and
who came back when.

    pictures.frames({"client": bytes.fromhex("81 85 37fa213d 7f9f4d5158")})
    pictures.parts({"client": (b"\x91\x06", {"array of 1": 1, "6: Ping": 1})})
    pictures.conversation([(4, "client", "hello"), (4, "server", "HELLO")])

Each function draws one picture and shows it with `matplotlib.pyplot.show`: in a notebook below the cell. They need
matplotlib, which the ``notebooks`` extra installs and which is imported only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trioecho._protocol.counted import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["attempts", "conversation", "deliveries", "frames", "parts", "timelines"]

FLAGS, LENGTH, MASK, CODE, PAYLOAD = "#f4b183", "#ffe08a", "#9dc3e6", "#f8c6d8", "#a9d8a0"
"""The colours of a frame's parts."""

COLOURS = (LENGTH, FLAGS, MASK, CODE, PAYLOAD, "#cbb8e8", "#a8d5d1")
"""The colours of a message's parts, in turn."""

OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "Close", 9: "Ping", 10: "Pong"}

MOST_BOXES = 14
"""Boxes for the payload of one frame; of a longer one the last box holds dots."""

MARKS = {
    "Ping": ("v", "tab:green", 0.16),
    "Pong": ("^", "tab:blue", -0.16),
    "message": ("o", "tab:blue", 0.0),
}
"""Marker, colour and height above the line of each sign of life."""

RECEIVERS = (("o", "tab:blue", 0.13), ("D", "tab:orange", -0.13), ("s", "tab:green", 0.0))
"""Marker, colour and height above the line of each receiver of messages."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Neighbouring bytes that mean one thing."""

    data: bytes
    colour: str
    label: str


def frames(of: Mapping[str, bytes]) -> None:
    """Draws frames, one a row below each other: each byte is a box, and below stands what it is for.

    `of` maps the sender's name to the bytes of one whole frame. Raises ValueError for bytes that are not.
    """
    _draw({sender: list(_frame(sender, data)) for sender, data in of.items()})


def parts(of: Mapping[str, tuple[bytes, Mapping[str, int]]]) -> None:
    """Draws messages as `frames` draws frames, where the caller says what their bytes are for.

    `of` maps the sender's name to the bytes of a message and to its parts in order: what stands below each, maybe in
    several lines, and of how many bytes it is. Raises ValueError for parts that are not the whole message.
    """
    rows: dict[str, list[_Part]] = {}
    for sender, (data, sizes) in of.items():
        if sum(sizes.values()) != len(data) or min(sizes.values(), default=1) < 1:
            raise ValueError(
                f"{sender}: parts of {', '.join(map(str, sizes.values())) or 'no'} bytes are not a message of "
                f"{counted(len(data), 'byte')}"
            )
        rows[sender] = []
        at = 0
        for number, (label, size) in enumerate(sizes.items()):
            rows[sender].append(_Part(data[at : at + size], COLOURS[number % len(COLOURS)], label))
            at += size
    _draw(rows)


def _draw(rows: Mapping[str, Sequence[_Part]]) -> None:
    import matplotlib.pyplot as plt

    width = max(sum(min(len(part.data), MOST_BOXES) for part in row) for row in rows.values())
    _, axes = plt.subplots(figsize=(1.6 + 0.8 * max(width, 4), 0.3 + 1.25 * len(rows)), layout="constrained")
    for number, (sender, row) in enumerate(rows.items()):
        axes.text(-0.3, 0.3 - 1.6 * number, sender, ha="right", va="center")
        x = 0
        for part in row:
            x = _boxes(axes, part, x, -1.6 * number)
    axes.set(xlim=(-1.5, max(width, 4)), ylim=(-1.6 * len(rows) + 0.75, 0.7))
    axes.axis("off")
    plt.show()


def _frame(sender: str, data: bytes) -> Iterator[_Part]:
    """Takes a frame apart, as RFC 6455 section 5.2 lays it out."""
    opcode = OPCODES.get(data[0] & 0x0F) if data else ""
    if opcode is None:
        raise ValueError(
            f"{sender}: {data[0]:#04x} begins not one known frame: its opcode is {data[0] & 0x0F}"
        )
    size_bytes = {126: 2, 127: 8}.get(data[1] & 0x7F, 0) if len(data) > 1 else 0
    masked = len(data) > 1 and data[1] >= 0x80
    start = 2 + size_bytes + 4 * masked
    size = int.from_bytes(data[2 : 2 + size_bytes]) if size_bytes else data[1] & 0x7F if len(data) > 1 else 0
    if len(data) != start + size:
        raise ValueError(f"{sender}: {len(data)} bytes are not one whole frame, which has {start + size}")
    yield _Part(data[:1], FLAGS, ("final" if data[0] & 0x80 else "more\nfollows") + f",\n{opcode}")
    amount = counted(size, "byte")
    yield _Part(data[1 : 2 + size_bytes], LENGTH, ("masked" if masked else "unmasked") + f",\n{amount}")
    payload = data[start:]
    if masked:
        yield _Part(data[start - 4 : start], MASK, "masking key")
        if payload:
            yield _Part(payload, PAYLOAD, "payload: each byte XOR a byte of the key")
        return
    if opcode == "Close" and size >= 2:
        yield _Part(payload[:2], CODE, f"code {int.from_bytes(payload[:2])}")
        payload = payload[2:]
    if payload.isascii() and payload.decode().isprintable() and len(payload) <= MOST_BOXES:
        for byte in payload:
            yield _Part(bytes([byte]), PAYLOAD, chr(byte))
    elif payload:
        yield _Part(payload, PAYLOAD, "payload")


def _boxes(axes: Axes, part: _Part, x: int, y: float) -> int:
    """Draws a part from `x` on; returns where the next one begins."""
    from matplotlib.patches import Rectangle

    shown = [f"{byte:02x}" for byte in part.data]
    if len(shown) > MOST_BOXES:
        shown[MOST_BOXES - 1 :] = ["…"]
    for box, text in enumerate(shown, x):
        axes.add_patch(Rectangle((box, y), 0.94, 0.6, color=part.colour))
        axes.text(box + 0.47, y + 0.3, text, ha="center", va="center", family="monospace", size=13)
    end = x + len(shown)
    axes.text((x + end - 0.06) / 2, y - 0.1, part.label, ha="center", va="top", size=9)
    return end


def conversation(
    events: Sequence[tuple[float, str, str]], sides: tuple[str, str] = ("client", "server")
) -> None:
    """Draws who said what to whom, time running downwards.

    An event is its time in seconds, one of the two `sides`, and what that one said. The left one's words stand above
    their arrow and the right one's below, so that a question and its answer in the same moment do not touch.
    """
    import matplotlib.pyplot as plt

    last = max(when for when, _, _ in events)
    # A row of text for each unit of time, but no fewer than it takes to keep texts apart.
    unit = max(last, 10) / 34
    _, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for x, (side, colour) in enumerate(zip(sides, ("tab:blue", "tab:green"), strict=True)):
        axes.axvline(x, color=colour, linewidth=3)
        axes.text(x, -1.6 * unit, side, ha="center", weight="bold", color=colour)
        for when, who, what in events:
            if who == side:
                y = when + 0.8 * x * unit
                axes.annotate("", (1 - x, y), (x, y), arrowprops={"arrowstyle": "->", "color": colour})
                place, above = ((0.02, "left"), "bottom") if x == 0 else ((0.98, "right"), "top")
                axes.text(place[0], y + 0.25 * x * unit, what, ha=place[1], va=above, color=colour)
    axes.set(xlim=(-0.15, 1.15), ylim=(last + 3 * unit, -0.5 * unit), xticks=[], ylabel="seconds")
    axes.set_frame_on(False)
    plt.show()


def timelines(of: Mapping[str, Sequence[tuple[float, str]]], *, silent_after: Sequence[str]) -> None:
    """Draws the signs of life on connections, one a row, and in red the silence that ended each.

    `of` maps a row's name to its events: the time in seconds, and ``"Ping"``, ``"Pong"``, ``"message"`` or, last, how
    the connection ended. `silent_after` says for each row after the last event of which kind the silence began.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 1.1 + 0.7 * len(of)), layout="constrained")
    for row, (events, kind) in enumerate(zip(of.values(), silent_after, strict=True)):
        end, ending = events[-1]
        since = max(when for when, what in events if what == kind)
        axes.barh(row, since, height=0.22, color="lightgrey")
        axes.barh(row, end - since, left=since, height=0.22, color="mistyrose")
        for when, what in events[:-1]:
            marker, colour, up = MARKS[what]
            axes.plot(when, row - up, marker, color=colour, markersize=9)
        axes.plot(end, row, "X", color="tab:red", markersize=10)
        axes.text(end * 1.025, row, ending, va="center", color="tab:red")
    for name, (marker, colour, _) in MARKS.items():
        axes.plot([], [], marker, color=colour, label=name)
    longest = max(events[-1][0] for events in of.values())
    axes.set(xlabel="seconds", xlim=(-0.02 * longest, 1.4 * longest), ylim=(len(of) - 0.5, -0.5))
    axes.set_yticks(range(len(of)), list(of))
    axes.set_frame_on(False)
    figure.legend(loc="outside upper right", ncols=len(MARKS), frameon=False)
    plt.show()


def deliveries(sent: Mapping[str, float], received: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Draws when messages were sent and when they arrived, one panel for each way of delivering them.

    `sent` maps each message to its time in seconds; they are the rows, the first one at the top. `received` maps the
    title of each panel to its receivers, at most three, and each of these to the messages that arrived, with their
    times. A line leads from when a message was sent to when it arrived. One that did not arrive has no mark, and what
    is not in `sent`, such as a Close, is not drawn. Raises ValueError for a panel with more receivers.
    """
    for title, people in received.items():
        if len(people) > len(RECEIVERS):
            raise ValueError(
                f"{title}: a panel has room for {len(RECEIVERS)} receivers; you gave {len(people)}"
            )
    import matplotlib.pyplot as plt

    arrived = {
        title: {
            receiver: {message: when for message, when in times.items() if message in sent}
            for receiver, times in people.items()
        }
        for title, people in received.items()
    }
    every_time = [when for people in arrived.values() for times in people.values() for when in times.values()]
    last = max([*sent.values(), *every_time])
    row = {message: number for number, message in enumerate(sent)}
    figure, (panels,) = plt.subplots(
        1,
        len(arrived),
        figsize=(1.4 + 1.6 * len(arrived), 1.4 + 0.24 * len(sent)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, (title, people) in zip(panels, arrived.items(), strict=True):
        axes.plot(list(sent.values()), list(row.values()), "|", color="grey", markersize=9, label="sent")
        for (receiver, times), (marker, colour, up) in zip(people.items(), RECEIVERS, strict=False):
            heights = [row[message] - up for message in times]
            axes.hlines(heights, [sent[message] for message in times], list(times.values()), color=colour)
            axes.plot(list(times.values()), heights, marker, color=colour, markersize=5, label=receiver)
        axes.set(title=title, xlim=(0, 1.06 * last), ylim=(len(sent) - 0.5, -0.5))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(list(row.values()), list(row))
    figure.supxlabel("seconds", size="medium")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    plt.show()


def attempts(of: Mapping[str, Sequence[Sequence[tuple[float, bool]]]], *, down_until: float) -> None:
    """Draws when clients tried to connect, one panel for each way of coming back and one row for each client.

    `of` maps the title of each panel to its clients, and each client is its attempts in order: the time in seconds, and
    whether it was let in. Until `down_until`, in seconds, nobody could be: that time is grey.
    """
    import matplotlib.pyplot as plt

    last = max(when for clients in of.values() for client in clients for when, _ in client)
    height = sum(0.55 + 0.1 * len(clients) for clients in of.values())
    figure, panels = plt.subplots(
        len(of), 1, figsize=(9, 0.8 + height), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, (title, clients) in zip(panels[:, 0], of.items(), strict=True):
        axes.axvspan(0, down_until, color="whitesmoke", zorder=0)
        for colour, admitted, label in (("tab:red", False, "refused"), ("tab:green", True, "let in")):
            points = [
                (when, row)
                for row, client in enumerate(clients)
                for when, let_in in client
                if let_in == admitted
            ]
            axes.plot(
                [when for when, _ in points],
                [row for _, row in points],
                "o",
                color=colour,
                markersize=4,
                label=label,
            )
        axes.set_title(title, loc="left", size="medium")
        axes.set(xlim=(-0.02 * last, 1.03 * last), ylim=(len(clients) - 0.25, -0.75), yticks=[])
        axes.set_ylabel("clients", size="small")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("seconds")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    plt.show()
