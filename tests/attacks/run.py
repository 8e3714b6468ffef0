"""The attacks: `python tests/attacks/run.py`. See README.md beside this file.

Each contender is started afresh for each attack. A well-behaved neighbour's round trips are measured before the attack
and during it; what is judged is what the attack does to them, and to the server's memory.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmark"))

from attack import Attack, Service
from catalogue import ATTACKS
from contenders import CONTENDERS, REPOSITORY, Contender, StartError, certificates
from loads import Group
from machine import description, versions, warnings
from measuring import Outcome, Run, allow_descriptors, measure, serving
from report import replaced
from target import AttackError
from themes.http import FILE, FILE_SIZE
from verdicts import OURS, Outcomes, as_markdown, as_text, numbers, row

HERE = Path(__file__).parent

#: Those that are attacked, and those of them that answer plain HTTP.
ATTACKED = (OURS, "websockets-asyncio", "websockets-trio", "aiohttp-uvloop")
ANSWER_HTTP = (OURS, "aiohttp-uvloop")

#: Seconds: how long an attack takes that does not say so itself, and the quiet before it.
SECONDS = 4.0
QUIET = 1.5


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Attack trioecho and other WebSocket servers on this machine."
    )
    names = [attack.name for attack in ATTACKS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--contender", action="append", choices=ATTACKED, metavar="NAME", help=", ".join(ATTACKED)
    )
    seconds = f"seconds under each attack (default: {SECONDS:g}, more where an attack needs more to show)"
    parser.add_argument("--seconds", type=float, metavar="S", help=seconds)
    parser.add_argument(
        "--connections", type=int, metavar="N", help="of each attack (default: its own number)"
    )
    addresses = "addresses that the attackers come from (default: %(default)s)"
    parser.add_argument("--addresses", type=int, default=1, metavar="N", help=addresses)
    budget = "the server's memory budget, to be judged by (default: memory is not judged)"
    parser.add_argument("--budget", type=float, metavar="MIB", help=budget)
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE, as JSON")
    reuse = "start a server once for all attacks of a kind: quicker, but what one leaves is there in the next"
    parser.add_argument("--reuse", action="store_true", help=reuse)
    publish = "put the results into README.md in DIR (default: %(const)s)"
    parser.add_argument("--publish", type=Path, nargs="?", const=HERE, metavar="DIR", help=publish)
    options = parser.parse_args(argv)
    for name in ("seconds", "connections", "addresses", "budget"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name} takes a number above 0; you gave {value:g}")
    if options.addresses > 200:
        parser.error(f"--addresses takes a number up to 200; you gave {options.addresses}")
    return options


def takes_part(contender: Contender, attack: Attack) -> bool:
    """Whether a contender does what an attack is on."""
    if attack.service is Service.DEFLATE:
        return Group.DEFLATE in contender.groups
    return attack.service is not Service.HTTP or contender.name in ANSWER_HTTP


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with the file that servers which answer plain HTTP have."""
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / FILE).write_bytes(os.urandom(FILE_SIZE))
        yield Path(path)


class Servers:
    """The servers that are running; with `reuse`, they go on after an attack. Leaving ends them."""

    def __init__(self, *, reuse: bool) -> None:
        self._reuse = reuse
        self._running: dict[tuple[str, Service], tuple[int, int]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def outcome(self, attack: Attack, contender: Contender, run: Run) -> Outcome:
        """One attack on a contender. Raises AttackError, StartError."""
        if not self._reuse:
            with serving(attack, contender, run) as (process, port):
                return measure(attack, process, port, run)
        key = (contender.name, attack.service)
        if key not in self._running:
            self._running[key] = self._stack.enter_context(serving(attack, contender, run))
        return measure(attack, *self._running[key], run)


def attacked(
    servers: Servers, attack: Attack, contender: Contender, run: Run, budget: float | None
) -> Outcome | None:
    """One attack on one contender, said as it goes; None where it could not be measured."""
    try:
        came = servers.outcome(attack, contender, run)
    except (AttackError, StartError) as failure:
        print(f"{attack.name:18} {contender.name:20} failed: {failure}", file=sys.stderr, flush=True)
        print(*getattr(failure, "__notes__", ()), sep="\n", file=sys.stderr)
        return None
    _, _, quiet, median, p99, worst, of_cpu, entered, _, rest, peak, cpu, *_, missed = row(
        "", "", came, budget
    )
    print(
        f"{attack.name:18} {contender.name:20} quiet p99 {quiet}, median {median}, p99 {p99}, worst {worst} ms, "
        f"of the server's time {of_cpu}; handshakes {entered}; {rest} to {peak} MiB; CPU {cpu}; missed: {missed}",
        file=sys.stderr,
        flush=True,
    )
    for failure in came.tally.failures:
        print(f"{'':18} attackers: {failure}", file=sys.stderr)
    return came


def main(argv: Sequence[str] | None = None) -> int:
    """Attack, print, return the exit code: 1 if an attack could not be measured."""
    options = arguments(argv)
    contenders = [c for c in CONTENDERS if c.name in (options.contender or ATTACKED)]
    attacks = [attack for attack in ATTACKS if not options.only or attack.name in options.only]
    allow_descriptors()
    remarks = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {description()}",
        " · ".join(f"{name} {version}" for name, version in versions(contenders).items()),
        *(f"> Warning: {warning}" for warning in warnings()),
    ]
    outcomes: Outcomes = {}
    with certificates() as pems, folder() as files, Servers(reuse=options.reuse) as servers:
        for attack in attacks:
            seconds = options.seconds or attack.seconds or SECONDS
            run = Run(
                seconds=seconds,
                quiet=min(QUIET, seconds),
                connections=options.connections,
                addresses=tuple(f"127.0.1.{number + 1}" for number in range(options.addresses)),
                server_pem=pems[0],
                authority_pem=pems[1],
                folder=files,
                budget=options.budget,
            )
            present = [contender for contender in contenders if takes_part(contender, attack)]
            outcomes[attack.name] = {
                c.name: attacked(servers, attack, c, run, options.budget) for c in present
            }
    if options.json:
        found = {
            name: {contender: came and numbers(came, options.budget) for contender, came in each.items()}
            for name, each in outcomes.items()
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    markdown = "\n\n".join((*remarks, as_markdown(outcomes, options.budget)))
    print(markdown if options.markdown else "\n".join((*remarks, as_text(outcomes, options.budget))))
    if options.publish:
        document = options.publish / "README.md"
        document.write_text(replaced(document.read_text(), markdown))
    return 1 if any(None in came.values() for came in outcomes.values()) else 0


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main())
