"""Fuzz: ``python tests/fuzzing/run.py --seconds 600 decoder head``, all targets without a name; prints a table.

Needs atheris (``pip install atheris``). What is found is written to a file whose path is printed, with the traceback;
``python tests/fuzzing/run.py --show FILE decoder`` runs that one input.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
# As in targets.py, which is imported only where it is instrumented.
NAMES = [
    "decoder",
    "piecewise",
    "inflating",
    "extensions",
    "head",
    "handshake",
    "body",
    "paths",
    "names",
    "connection",
]
WITHIN = "--within"
"""The first argument of the process that is given to libFuzzer."""
LONGEST_INPUT = 4096
MOST_SECONDS_FOR_ONE = 10
MOST_MEBIBYTES = 1024


def main() -> int:
    """Returns the exit status: 1 if a target has shown a defect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--show", type=Path, help="run one input, and nothing else")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    failed = 0
    if options.show is not None:
        for name in options.names:
            failed |= started(name, [str(options.show)]).wait()
        return failed
    for name in options.names or NAMES:
        failed |= run(name, options.seconds)
    return failed


def run(name: str, seconds: int) -> int:
    """Fuzz one target, and print its row."""
    with tempfile.TemporaryDirectory() as work:
        found = Path(tempfile.gettempdir()) / f"trioecho-{name}-"
        arguments = [
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_INPUT}",
            f"-timeout={MOST_SECONDS_FOR_ONE}",
            f"-rss_limit_mb={MOST_MEBIBYTES}",
            f"-artifact_prefix={found}",
            work,
            str(CORPUS / name),
        ]
        process = started(name, arguments)
        assert process.stderr is not None
        executions, coverage, said = 0, "", []
        for line in process.stderr:
            if progress := re.match(r"#([0-9]+)\s.*cov: ([0-9]+)", line):
                executions, coverage = int(progress[1]), progress[2]
            elif done := re.match(r"Done ([0-9]+) runs", line):
                executions = int(done[1])
            elif not line.startswith(("INFO", "#", "WARNING")):
                said.append(line)
        failed = process.wait()
        print(
            f"{name:12} {executions:>12,} executions, coverage {coverage:>5}, {'DEFECT' if failed else 'right'}",
            flush=True,
        )
        if failed:
            print("".join(said[-60:]), flush=True)
    return min(failed, 1)


def started(name: str, arguments: list[str]) -> subprocess.Popen[str]:
    """libFuzzer in a process of its own, which it ends itself."""
    command = [sys.executable, __file__, WITHIN, name, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE if len(arguments) > 1 else None, text=True)


def fuzz(name: str, *arguments: str) -> None:
    """Hand the target to libFuzzer, which ends the process."""
    import atheris

    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    with atheris.instrument_imports(include=["trioecho", "h11"]):
        from fuzzing.targets import TARGETS
    assert tuple(TARGETS) == tuple(NAMES)
    atheris.Setup([__file__, *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [WITHIN]:
        fuzz(*sys.argv[2:])
    sys.exit(main())
