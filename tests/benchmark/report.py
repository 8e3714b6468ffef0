"""The run as Markdown: goals, ratios, and the numbers behind them."""

from collections.abc import Iterable, Sequence

from contenders import CONTENDERS, Contender
from loads import LOADS, Load
from results import OURS, Results, verdicts

#: Between these two lines README.md has the section of the published run.
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"

TITLES = {contender.name: contender.title for contender in CONTENDERS}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table whose first column is text and whose others are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def number(value: float | None, unit: str = "") -> str:
    """A number as people read it."""
    if value is None:
        return ""
    if unit.startswith("share") or abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def measured(results: Results) -> list[Load]:
    """The loads of this run, in the order of `loads.py`."""
    return [load for load in LOADS if load.name in results.samples]


def taking_part(results: Results, load: Load) -> list[Contender]:
    """The contenders with a number in this load."""
    return [c for c in CONTENDERS if results.median(load, c.name) is not None]


def goals(results: Results) -> list[str]:
    """Every goal beside what was reached."""
    rows = []
    for load in measured(results):
        for v in verdicts(results, load):
            against = "itself" if v.peer == OURS else TITLES[v.peer]
            met = "yes" if v.met else "no"
            rows.append((load.title, against, f"{v.sign} {v.goal:g}", f"**{v.reached:.2f}**", met))
    header = ("load", "trioecho against", "goal", "measured", "met")
    return ["### Goals", "", *table(header, rows), ""] if rows else []


def ratios(results: Results) -> list[str]:
    """Our ratio to each peer under each load."""
    loads = [load for load in measured(results) if results.median(load, OURS) is not None]
    peers = [c for c in CONTENDERS if c.name != OURS and any(results.ratio(load, c.name) for load in loads)]
    if not peers:
        return []
    rows = []
    for load in loads:
        title = load.title if load.higher_is_better else f"{load.title} (less is better)"
        rows.append([title, *(number(results.ratio(load, peer.name)) for peer in peers)])
    note = "trioecho's value divided by the peer's: the median of the ratios of each round."
    return ["### Ratios", "", note, "", *table(("load", *(peer.title for peer in peers)), rows), ""]


def details(results: Results, load: Load) -> list[str]:
    """The numbers of one load, best first."""
    present = taking_part(results, load)
    present.sort(key=lambda c: results.median(load, c.name) or 0.0, reverse=load.higher_is_better)
    rows = []
    for contender in present:
        bound = "≥ " if results.client_limited(load, contender.name) else ""
        row = [
            f"**{contender.title}**" if contender.name == OURS else contender.title,
            bound + number(results.median(load, contender.name), load.unit),
            f"± {results.spread(load, contender.name):.0%}",
        ]
        row += [number(results.median(load, contender.name, key)) for key in ("p50", "p99")]
        for key in ("server_cpu", "client_cpu"):
            share = results.median(load, contender.name, key)
            row.append("" if share is None else f"{share:.0%}")
        rows.append(row)
    header = ("server", load.unit, "spread", "p50 µs", "p99 µs", "server's core", "generator's core")
    return [f"### {load.title}", "", *table(header, rows), ""]


def section(results: Results, chart: str) -> str:
    """Everything that a run has to say, below a heading; `chart` is the picture's file name beside it."""
    lines = [
        f"{results.date} · {results.machine} · {results.rounds} rounds of {results.seconds:g} s each, medians",
        "",
        " · ".join(f"{name} {version}" for name, version in results.versions.items()),
        "",
        *(f"> Warning: {warning}\n" for warning in results.warnings),
        *[f"> Disturbed by other work on the machine and repeated: {results.disturbed} measurements\n"]
        * bool(results.disturbed),
        *(f"> Failed: {failure}\n" for failure in results.failures),
        f"![what each server reached under each load]({chart})",
        "",
        *goals(results),
        *ratios(results),
        "A batch (16 messages where 16 are in flight, else one) counts as answered when its last byte is back; p50",
        "and p99 are of batches. “≥”: the load generator had no time left, so the server may be faster than shown.",
        "Raw TCP is the generator's ceiling (epoll) and what Trio costs without a protocol (trio.SocketStream).",
        "",
    ]
    for load in measured(results):
        lines += details(results, load)
    return "\n".join(lines).rstrip() + "\n"


def markdown(results: Results, chart: str) -> str:
    """The whole report."""
    return f"# Benchmark of trioecho\n\n{section(results, chart)}"


def replaced(document: str, content: str) -> str:
    """`document` with `content` between its two markers of results. Raises ValueError if it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"there is no place for results between {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{content}\n{end}{after}"
