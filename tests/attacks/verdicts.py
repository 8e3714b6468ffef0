"""What the goals say to an outcome, and the tables: as text for a terminal, as Markdown for README.md."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from catalogue import THEMES
from contenders import CONTENDERS
from generator import percentile
from measuring import Outcome
from neighbour import Seen
from report import table

MIB = 2**20
TITLES = {contender.name: contender.title for contender in CONTENDERS}
OURS = "trioecho"

#: The goals: the neighbour's longest round trip in milliseconds; its p99 under attack, in multiples of its quiet p99;
#: the share of the memory budget by which the process may grow.
WORST = 100.0
TIMES_QUIET = 10.0
OF_BUDGET = 1.2

#: The outcomes of a run, by attack, then by contender. None: it could not be measured.
Outcomes = dict[str, dict[str, Outcome | None]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The neighbour's round trips in milliseconds, and the worst of them by the server's own processor time."""

    median: float
    p99: float
    worst: float
    worst_cpu: float

    @classmethod
    def of(cls, seen: Seen) -> "Figures":
        """Those that were `seen`; a message that was never answered took as long as it was waited for."""
        ordered = sorted(seen.round_trips) or [0.0]
        median, p99, worst = (percentile(ordered, share) / 1000 for share in (0.5, 0.99, 1.0))
        return cls(median, p99, worst, max(seen.costs, default=0.0) * 1000)


def misses(outcome: Outcome, budget: float | None) -> Iterator[str]:
    """The goals that were missed. `budget` is the server's, in MiB, where it has one."""
    quiet, during = Figures.of(outcome.quiet), Figures.of(outcome.during)
    if outcome.died:
        yield "died"
    if outcome.during.dropped:
        yield f"dropped ({outcome.during.dropped})"
    if outcome.during.refused:
        yield "refused"
    if during.worst > WORST:
        yield "worst"
    if during.p99 > TIMES_QUIET * quiet.p99:
        yield "p99"
    if budget is not None and outcome.peak - outcome.rest > OF_BUDGET * budget * MIB:
        yield "memory"


def milliseconds(value: float) -> str:
    """As people read it."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


HEADER = (
    "attack",
    "server",
    "quiet p99",
    "median",
    "p99",
    "worst ms",
    "of CPU",
    "handshakes in",
    "worst ms",
    "MiB at rest",
    "peak",
    "CPU",
    "sent MB",
    "ended",
    "starved",
    "late ms",
    "missed",
)


def numbers(outcome: Outcome, budget: float | None) -> dict[str, Any]:
    """An outcome for programs: round trips and handshakes in milliseconds, memory and bytes in bytes."""
    return {
        "quiet": asdict(Figures.of(outcome.quiet)),
        "during": asdict(Figures.of(outcome.during)),
        "messages": len(outcome.during.round_trips),
        "unanswered": outcome.during.unanswered,
        "handshakes": len(outcome.during.handshakes),
        "worst_handshake": max(outcome.during.handshakes, default=0.0) * 1000,
        "refused": outcome.during.refused,
        "dropped": outcome.during.dropped,
        "late": outcome.during.late * 1000,
        "rest": outcome.rest,
        "peak": outcome.peak,
        "cpu": outcome.cpu,
        "starved": outcome.starved,
        "died": outcome.died,
        "attackers": asdict(outcome.tally) | {"failures": sorted(outcome.tally.failures)},
        "missed": list(misses(outcome, budget)),
    }


def row(attack: str, contender: str, outcome: Outcome, budget: float | None) -> list[str]:
    """All that there is to say of one outcome."""
    seen, during = outcome.during, Figures.of(outcome.during)
    tries = len(seen.handshakes) + len(seen.refused)
    return [
        attack,
        contender,
        milliseconds(Figures.of(outcome.quiet).p99),
        milliseconds(during.median),
        milliseconds(during.p99),
        ("≥ " if seen.unanswered else "") + milliseconds(during.worst),
        milliseconds(during.worst_cpu),
        f"{len(seen.handshakes)} of {tries}",
        milliseconds(max(seen.handshakes, default=0.0) * 1000),
        f"{outcome.rest / MIB:.0f}",
        f"{outcome.peak / MIB:.0f}",
        f"{outcome.cpu:.0%}",
        f"{outcome.tally.sent / 1e6:,.1f}",
        f"{outcome.tally.ended:,}",
        f"{outcome.starved:.0%}",
        milliseconds(seen.late * 1000),
        ", ".join(misses(outcome, budget)) or "–",
    ]


def rows(outcomes: Outcomes, budget: float | None) -> Iterator[tuple[str, list[list[str]]]]:
    """The rows of each theme that was measured."""
    for theme, attacks in THEMES.items():
        found = [
            row(attack.name, contender, outcome, budget)
            for attack in attacks
            for contender, outcome in outcomes.get(attack.name, {}).items()
            if outcome is not None
        ]
        if found:
            yield theme, found


def as_text(outcomes: Outcomes, budget: float | None) -> str:
    """Columns, for a terminal."""
    lines = []
    found = list(rows(outcomes, budget))
    everything = [HEADER, *(each for _, theme in found for each in theme)]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    for theme, of_theme in found:
        lines += ["", theme, ""]
        for cells in (HEADER, *of_theme):
            padded = (
                cell.ljust(width) if at in (0, 1, len(widths) - 1) else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def compared(outcome: Outcome | None) -> str:
    """One server's cell: the neighbour's longest round trip, and the peak of memory."""
    if outcome is None:
        return ""
    during = Figures.of(outcome.during)
    tries = len(outcome.during.handshakes) + len(outcome.during.refused)
    worst = f"{'≥ ' * bool(outcome.during.unanswered)}{milliseconds(during.worst)} ms"
    said = [f"**{worst}**" if during.worst > WORST else worst, f"{outcome.peak / MIB:,.0f} MiB"]
    if outcome.during.refused:
        said.append(f"**let in {len(outcome.during.handshakes)} of {tries}**")
    if outcome.during.dropped:
        said.append("**dropped**")
    if outcome.died:
        said.append("**died**")
    return ", ".join(said)


def as_markdown(outcomes: Outcomes, budget: float | None) -> str:
    """The servers side by side, as README.md has them, and each theme's figures below."""
    titles = {attack.name: attack for attacks in THEMES.values() for attack in attacks}
    servers = [name for name in TITLES if any(name in measured for measured in outcomes.values())]
    beside = [
        [
            f"{titles[name].title} ({titles[name].connections:,})",
            *(compared(measured.get(server)) for server in servers),
        ]
        for name, measured in outcomes.items()
    ]
    header = ["attack (connections)", *(TITLES[server] for server in servers)]
    lines = [*table(header, beside), ""]
    for theme, of_theme in rows(outcomes, budget):
        lines += [f"### {theme}", "", *table(HEADER, of_theme), ""]
    return "\n".join(lines)
