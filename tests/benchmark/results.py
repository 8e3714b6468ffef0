"""What a run measured, as it is kept in `results.json`, and the few numbers that are made from it."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loads import Load

#: The contender that all others are compared with.
OURS = "trioecho"

#: From this share of its core on the load generator may have been the limit, and the number is a lower bound.
CLIENT_BUSY = 0.95

#: With so many connections, always waiting for an echo each, one side or the other has no time to spare. Where neither
#: is this busy, something else had the cores.
BUSY = 0.9

Sample = Mapping[str, float]


@dataclass(kw_only=True)
class Results:
    """One run. `samples[load][contender]` has one entry per round, None where the contender failed in it.

    `disturbed` counts the measurements that were made again because of `disturbed()`.
    """

    date: str
    machine: str
    versions: dict[str, str]
    rounds: int
    seconds: float
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    disturbed: int = 0
    samples: dict[str, dict[str, list[Sample | None]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """The run that `write` kept."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        """Keep this run."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def add(self, load: Load, contender: str, sample: Sample | None) -> None:
        """Add one round of one contender."""
        self.samples.setdefault(load.name, {}).setdefault(contender, []).append(sample)

    def _all(self, load: Load, contender: str, key: str) -> list[float]:
        samples = self.samples.get(load.name, {}).get(contender, [])
        return [sample[key] for sample in samples if sample and key in sample]

    def median(self, load: Load, contender: str, key: str = "value") -> float | None:
        """The median over the rounds, or None if there is no number."""
        values = self._all(load, contender, key)
        return statistics.median(values) if values else None

    def spread(self, load: Load, contender: str) -> float:
        """How far the rounds lie apart: half the distance from least to most, as a share of the median."""
        values = self._all(load, contender, "value")
        return (max(values) - min(values)) / 2 / abs(statistics.median(values) or 1.0)

    def extremes(self, load: Load, contender: str) -> tuple[float, float]:
        """The least and the most of the rounds."""
        values = self._all(load, contender, "value")
        return min(values), max(values)

    def ratio(self, load: Load, peer: str) -> float | None:
        """Ours to the peer's value: the median of the rounds' ratios, or None if they never ran in the same round.

        Both ran within seconds of each other in a round, so what slowed the machine down for a while slowed both.
        """
        measured = self.samples.get(load.name, {})
        pairs = zip(measured.get(OURS, []), measured.get(peer, []), strict=False)
        ratios = [
            ours["value"] / theirs["value"] for ours, theirs in pairs if ours and theirs and theirs["value"]
        ]
        return statistics.median(ratios) if ratios else None

    def client_limited(self, load: Load, contender: str) -> bool:
        """Whether the load generator, not the contender, may have been the limit of a throughput."""
        return (
            load.kind == "throughput" and (self.median(load, contender, "client_cpu") or 0.0) >= CLIENT_BUSY
        )


def busyness(sample: Sample) -> float:
    """The share of its core that the busier of server and load generator used."""
    return max(sample.get("server_cpu", 0.0), sample.get("client_cpu", 0.0))


def disturbed(load: Load, sample: Sample) -> bool:
    """Whether neither server nor load generator was busy, although the load leaves one of them no rest."""
    return load.kind in ("throughput", "crowd") and busyness(sample) < BUSY


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal of a load and what came of it."""

    load: Load
    peer: str
    goal: float
    reached: float

    @property
    def met(self) -> bool:
        """Whether the goal was reached."""
        return self.reached >= self.goal if self.load.higher_is_better else self.reached <= self.goal

    @property
    def sign(self) -> str:
        """The direction of the goal."""
        return "≥" if self.load.higher_is_better else "≤"


def verdicts(results: Results, load: Load) -> list[Verdict]:
    """The load's goals as far as there are numbers for them."""
    found = []
    for peer, goal in load.goals.items():
        reached = results.median(load, OURS) if peer == OURS else results.ratio(load, peer)
        if reached is not None:
            found.append(Verdict(load, peer, goal, reached))
    return found
