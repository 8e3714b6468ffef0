"""The run as pictures: one panel per load, one bar per server. All loads, and the five that matter most."""

from pathlib import Path

from contenders import CONTENDERS, Contender
from loads import Load
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import measured, number, taking_part
from results import OURS, Results

COLUMNS = 3

#: What a user notices first: lone messages, messages in numbers, large ones, opening, and what standing by costs.
FIVE = ("small", "pipelined", "large-binary", "handshakes", "memory")

#: Ours stands out, peers are quiet, raw TCP is an outline: it is a yardstick, not a competitor.
INK, QUIET_INK = "#1b1f24", "#5f6b7a"
OUR_COLOUR, PEER_COLOUR, YARDSTICK_COLOUR = "#0a7d5c", "#b9c3cf", "#ffffff"

#: Inches: a bar with the space to the next, a panel's title, and what stands above and below all panels.
BAR, TITLE, ABOVE, BELOW = 0.26, 0.75, 0.8, 0.4

#: Inches from the left edge to the first panel's bars, and from one panel's bars to the next one's: names stand there.
MARGIN, WIDTH, ADVANCE = 1.5, 2.9, 4.6

#: Share of a panel's width that the longest bar takes; the rest is for its number.
LONGEST = 0.8


def draw(results: Results, path: Path) -> None:
    """Write the chart as a PNG."""
    loads = measured(results)
    counts = [len(bars(results, load)) for load in loads] or [1]
    # A row of panels is as high as its fullest panel, and every bar is as thick as every other.
    fullest = [max(1, *counts[start : start + COLUMNS]) for start in range(0, len(counts), COLUMNS)]
    width = MARGIN + (COLUMNS - 1) * ADVANCE + WIDTH + 0.2
    height = ABOVE + sum(TITLE + BAR * count for count in fullest) + BELOW
    figure = Figure(figsize=(width, height), facecolor="white")
    write_frame(figure, results, width, height)
    bottom = height - ABOVE
    for place, load in enumerate(loads):
        row, column = divmod(place, COLUMNS)
        tall = BAR * fullest[row]
        if column == 0:
            bottom -= TITLE + tall
        left = MARGIN + column * ADVANCE
        axes = figure.add_axes((left / width, bottom / height, WIDTH / width, tall / height))
        panel(axes, results, load, fullest[row])
    figure.savefig(path, dpi=130)


def write_frame(figure: Figure, results: Results, width: float, height: float) -> None:
    """What stands above and below the panels: what this is, how it was measured, when and where."""
    left = 0.2 / width
    title = "trioecho beside other WebSocket servers"
    figure.text(left, 1 - 0.42 / height, title, size=17, weight="bold", color=INK)
    setting = (
        f"An echo on one core, the load generator on another. Medians of {results.rounds} rounds of "
        f"{results.seconds:g} s; thin lines reach from the least to the most of them."
    )
    figure.text(left, 1 - 0.7 / height, setting, size=10.5, color=QUIET_INK)
    python = results.versions.get("Python", "").split(" ")[0]
    origin = (
        f"{results.date} · {results.machine} · Python {python} · trioecho {results.versions.get(OURS, '')}"
    )
    figure.text(left, 0.14 / height, origin, size=8.5, color=QUIET_INK)


def bars(results: Results, load: Load) -> list[Contender]:
    """Who gets a bar, best first: raw TCP only for latency; as a throughput it would dwarf all others."""
    present = taking_part(results, load)
    if load.higher_is_better:
        present = [contender for contender in present if contender.protocol != "tcp"]
    return sorted(present, key=lambda c: results.median(load, c.name) or 0.0, reverse=load.higher_is_better)


def headline(results: Results, load: Load) -> str:
    """The unit, and raw TCP's numbers where it has no bars."""
    if not load.higher_is_better:
        return f"{load.unit}, less is better"
    yardsticks = [c for c in taking_part(results, load) if c.protocol == "tcp"]
    numbers = [f"{c.title.rpartition(' ')[2]} {number(results.median(load, c.name))}" for c in yardsticks]
    return f"{load.unit} · raw TCP: {', '.join(numbers)}" if numbers else load.unit


def panel(axes: Axes, results: Results, load: Load, places: int) -> None:
    """One load: bars as long as the values, their numbers behind them; room for `places` bars."""
    present = bars(results, load)
    longest = max((results.extremes(load, contender.name)[1] for contender in present), default=0.0) or 1.0
    for place, contender in enumerate(present):
        value = results.median(load, contender.name) or 0.0
        least, most = results.extremes(load, contender.name)
        edge = QUIET_INK if contender.protocol == "tcp" else colour(contender)
        axes.barh(place, value, height=0.72, color=colour(contender), edgecolor=edge, linewidth=0.8)
        axes.hlines(place, least, most, color=QUIET_INK, linewidth=1)
        bound = "≥ " if results.client_limited(load, contender.name) else ""
        weight = "bold" if contender.name == OURS else "normal"
        behind = most + longest * 0.02
        axes.text(
            behind, place, bound + number(value, load.unit), va="center", size=9, color=INK, weight=weight
        )
    axes.set_yticks(range(len(present)), [contender.title for contender in present], size=9, color=INK)
    for tick, contender in zip(axes.get_yticklabels(), present, strict=True):
        tick.set_fontweight("bold" if contender.name == OURS else "normal")
    axes.set_ylim(places - 0.5, -0.5)
    axes.set_xlim(0, longest / LONGEST)
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    axes.set_title(load.title, loc="left", size=10.5, color=INK, weight="bold", pad=21)
    axes.annotate(
        headline(results, load),
        (0, 1),
        (0, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        size=8.5,
        color=QUIET_INK,
    )


def colour(contender: Contender) -> str:
    """The fill of a server's bars."""
    if contender.name == OURS:
        return OUR_COLOUR
    return YARDSTICK_COLOUR if contender.protocol == "tcp" else PEER_COLOUR


def draw_five(results: Results, path: Path) -> None:
    """Write the small chart as a PNG: five loads side by side, the servers' names once, ours on top."""
    loads = [load for load in measured(results) if load.name in FIVE]
    servers = [
        c for c in CONTENDERS if c.protocol == "ws" and any(c in taking_part(results, load) for load in loads)
    ]
    figure = Figure(figsize=(11.6, 0.85 + BAR * len(servers)), facecolor="white", layout="constrained")
    grid = figure.subplots(1, max(1, len(loads)), sharey=True, squeeze=False)[0]
    for axes, load in zip(grid, loads, strict=False):
        values = [results.median(load, server.name) or 0.0 for server in servers]
        axes.barh(range(len(servers)), values, height=0.72, color=[colour(server) for server in servers])
        for place, (server, value) in enumerate(zip(servers, values, strict=True)):
            bound = "≥ " if results.client_limited(load, server.name) else ""
            shown = f" {bound}{number(value, load.unit)}" if value else ""
            weight = "bold" if server.name == OURS else "normal"
            axes.text(value, place, shown, va="center", size=8.5, color=INK, weight=weight)
        axes.set_xlim(0, max(values, default=0.0) * 1.45 or 1.0)
        axes.set_ylim(len(servers) - 0.5, -0.5)
        axes.set_xticks([])
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)
        axes.set_title(
            f"{short(load.title)}\n{headline(results, load).partition(' · ')[0]}",
            loc="left",
            size=8.5,
            color=INK,
        )
    grid[0].set_yticks(range(len(servers)), [server.title for server in servers], size=9, color=INK)
    figure.supxlabel(
        f"Medians of {results.rounds} rounds of {results.seconds:g} s, {results.date[:10]}. {results.machine}.",
        x=0.01,
        ha="left",
        size=7.5,
        color=QUIET_INK,
    )
    figure.savefig(path, dpi=150)


def short(title: str) -> str:
    """A load's title, broken into two lines where it is long."""
    middle = len(title) // 2
    cut = min((i for i, c in enumerate(title) if c == " "), key=lambda i: abs(i - middle), default=0)
    return title if len(title) < 24 else f"{title[:cut]}\n{title[cut + 1 :]}"
