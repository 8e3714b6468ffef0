"""The table of what the clients do, for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from judges.fault_clients.verdicts import Verdict, Visit

SIGNS = {"right": "✓", "otherwise": "·", "wrong": "✗", "untried": "–"}


@dataclass(frozen=True)
class Column:
    """One client: its version, and for each path a verdict and the visits that it is of."""

    name: str
    version: str
    verdicts: Mapping[str, Verdict]
    visits: Mapping[str, Sequence[Visit]]


def _cell(verdict: Verdict) -> str:
    return f"{SIGNS[verdict.kind]} {verdict.says}".strip().replace("|", r"\|")


def as_markdown(columns: Sequence[Column], missing: Mapping[str, str], paths: Sequence[str]) -> str:
    """A row for each path, a column for each client; below, which clients were missing, and why."""
    lines = [
        "| | " + " | ".join(f"{each.name} {each.version}" for each in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for path in paths:
        cells = [_cell(each.verdicts[path]) for each in columns]
        lines.append(f"| `{path}` | " + " | ".join(cells) + " |")
    for kind, words in (
        ("right", "as it should be"),
        ("otherwise", "otherwise"),
        ("wrong", "against the RFC"),
    ):
        sums = [sum(each.kind == kind for each in column.verdicts.values()) for column in columns]
        lines.append(f"| {SIGNS[kind]} {words} | " + " | ".join(map(str, sums)) + " |")
    lines += ["", *[f"- {name} was not here: {why}." for name, why in missing.items()]]
    return "\n".join(lines).strip() + "\n"


def as_json(columns: Sequence[Column], missing: Mapping[str, str]) -> dict[str, Any]:
    """The same, with all that was told and seen."""
    return {
        "missing": dict(missing),
        "clients": [
            {
                "name": column.name,
                "version": column.version,
                "paths": {
                    path: {**asdict(verdict), "visits": [asdict(each) for each in column.visits[path]]}
                    for path, verdict in column.verdicts.items()
                },
            }
            for column in columns
        ],
    }


def defects(columns: Sequence[Column]) -> str:
    """A line for each client that does what the RFC forbids."""
    lines = []
    for column in columns:
        wrong = [f"`{path}`" for path, verdict in column.verdicts.items() if verdict.kind == "wrong"]
        if wrong:
            lines.append(f"- **{column.name} {column.version}**: {', '.join(wrong)}")
    return "\n".join(lines) + "\n"
