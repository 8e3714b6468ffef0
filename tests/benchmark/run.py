"""The benchmark: `python tests/benchmark/run.py`. See README.md beside this file.

Each contender runs as a process of its own on one core, the load generator on another. In each round of a load every
contender is started afresh, loaded and ended, in an order that changes from round to round.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from chart import draw, draw_five
from contenders import CONTENDERS, REPOSITORY, Contender, StartError, certificates, pinned, running
from loads import LOADS, Load
from machine import cores, description, versions, warnings
from report import markdown, replaced, section
from results import Results, Sample, busyness, disturbed

HERE = Path(__file__).parent
GENERATOR = HERE / "generator.py"

#: Seconds beyond those under load that one measurement may take: opening 10,000 connections, draining, closing.
ALLOWANCE = 120.0

#: File descriptors that a process needs besides its connections.
SPARE_DESCRIPTORS = 200


class MeasurementError(Exception):
    """One measurement failed; the message says how."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare trioecho with other WebSocket servers.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per load (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="seconds under load (default: %(default)s)"
    )
    repeat = "how often a measurement is made while other work disturbs it (default: %(default)s)"
    parser.add_argument("--attempts", type=int, default=3, metavar="N", help=repeat)
    loads, names = [load.name for load in LOADS], [contender.name for contender in CONTENDERS]
    parser.add_argument("--only", action="append", choices=loads, metavar="LOAD", help=", ".join(loads))
    parser.add_argument("--contender", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--output", type=Path, default=REPOSITORY / "reports" / "benchmark", metavar="DIR")
    parser.add_argument(
        "--render", type=Path, metavar="JSON", help="measure nothing, draw an earlier results.json"
    )
    parser.add_argument(
        "--publish",
        type=Path,
        nargs="?",
        const=HERE,
        metavar="DIR",
        help="put the results into README.md and beside it (default: %(const)s)",
    )
    options = parser.parse_args(argv)
    if options.publish and not options.render and (options.only or options.contender):
        parser.error("--publish is for a whole run: leave out --only and --contender")
    return options


def allow_descriptors(load: Load) -> bool:
    """Raise this process's limit for the sake of its children; False if the load needs more than is allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most >= load.idle + 2 * load.connections + SPARE_DESCRIPTORS


def measure(
    load: Load, contender: Contender, seconds: float, server_pem: Path, authority_pem: Path
) -> Sample:
    """One contender under one load. Raises StartError, MeasurementError."""
    server_core, client_core = cores()
    with running(contender, load, server_core, server_pem if load.tls else None) as (process, port):
        task = contender.task(load) | {
            "port": port,
            "server": process,
            "seconds": seconds,
            "protocol": contender.protocol,
        }
        if load.tls:
            task["authority"] = str(authority_pem)
        command = [sys.executable, str(GENERATOR), json.dumps(task)]
        with pinned(client_core):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=3 * seconds + ALLOWANCE
                )
            except subprocess.TimeoutExpired as expired:
                raise MeasurementError(f"took more than {expired.timeout:.0f} s") from None
        if done.returncode:
            raise MeasurementError(done.stderr.strip()[-300:])
        sample: Sample = json.loads(done.stdout)
        return sample


def contest(
    results: Results, load: Load, contenders: Sequence[Contender], pems: tuple[Path, Path], attempts: int
) -> None:
    """All rounds of one load. One that cannot start is left out from then on; one that fails, in that round.

    A disturbed measurement is made again up to `attempts` times in all; the least disturbed one counts.
    """
    present = [contender for contender in contenders if contender.takes(load)]
    for number in range(results.rounds):
        turn = number % max(1, len(present))
        for contender in (*present[turn:], *present[:turn]):
            sample: Sample | None = None
            try:
                sample = measure(load, contender, results.seconds, *pems)
                for _ in range(attempts - 1):
                    if not disturbed(load, sample):
                        break
                    results.disturbed += 1
                    sample = max(sample, measure(load, contender, results.seconds, *pems), key=busyness)
                said = f"{sample['value']:,.2f} {load.unit}"
            except (StartError, MeasurementError) as failure:
                said = f"failed: {failure}"
                results.failures.append(f"{load.name}, round {number + 1}, {contender.name}: {failure}")
                print(*getattr(failure, "__notes__", ()), sep="\n", file=sys.stderr)
                if isinstance(failure, StartError):
                    present = [other for other in present if other is not contender]
            results.add(load, contender.name, sample)
            print(f"{load.name:14} {number + 1}/{results.rounds}  {contender.name:20} {said}", flush=True)


def render(results: Results, folder: Path) -> None:
    """Write `results.json`, `benchmark.md` and `benchmark.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "results.json")
    draw(results, folder / "benchmark.png")
    (folder / "benchmark.md").write_text(markdown(results, "benchmark.png"))


def publish(results: Results, folder: Path) -> None:
    """Put the results into `folder`: every sample, both charts, and their section of README.md."""
    document = folder / "README.md"
    text = replaced(document.read_text(), section(results, "benchmark.png"))
    results.write(folder / "results.json")
    draw(results, folder / "benchmark.png")
    draw_five(results, folder / "five.png")
    document.write_text(text)


def main() -> int:
    """Run the benchmark; the exit code is 1 if anything failed."""
    options = arguments()
    if options.render:
        results = Results.read(options.render)
        render(results, options.output)
        if options.publish:
            publish(results, options.publish)
        return 0
    loads = [load for load in LOADS if not options.only or load.name in options.only]
    chosen = [c for c in CONTENDERS if not options.contender or c.name in options.contender]
    contenders = [c for c in chosen if not c.lacks]
    absent = [f"{c.title} left out: {c.lacks} is not installed" for c in chosen if c.lacks]
    results = Results(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=description(),
        versions=versions(contenders),
        rounds=options.rounds,
        seconds=options.seconds,
        warnings=[*warnings(), *absent],
    )
    for warning in results.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    with certificates() as pems:
        for load in loads:
            if not allow_descriptors(load):
                results.warnings.append(f"{load.name} left out: the limit of open files is too low")
                continue
            contest(results, load, contenders, pems, options.attempts)
            # After each load, so that a run broken off keeps what it has.
            render(results, options.output)
    if options.publish:
        publish(results, options.publish)
    print(f"\n{options.output / 'benchmark.md'}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main())
