"""Lets other people's clients loose on a server of faults: ``PYTHONPATH=tests python -m judges.fault_clients.run``.

Prints a table of what each does with each fault, some minutes later; `--readme` and `--json` write it to files.
`--only` takes clients by the beginnings of their names, `--paths` faults by a part of their paths. A client that this
machine does not have is left out, with the reason.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from judges.fault_clients.cases import CASES, Case
from judges.fault_clients.clients import CLIENTS, Client, Missing, line_of, told_by
from judges.fault_clients.table import Column, as_json, as_markdown, defects
from judges.fault_clients.verdicts import Visit

AT_ONCE = 3
"""Clients that are tried at the same time, each with a server of its own, one case after the other."""

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
ROOT = Path(__file__).parents[3]
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def fault_server() -> Iterator[str]:
    """`python -m trioecho --faults` on a free port; its URL."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "trioecho", "--faults", "--port", "0", "--ready-json", "--exit-on-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield str(json.loads(server.stdout.readline())["url"])
    finally:
        server.stdin.close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def seen(url: str, name: str) -> dict[str, Any]:
    """What the server saw of a connection once it had ended, or two seconds later, for some faults do not end; nothing
    if it did not arrive."""
    try:
        with DIRECT.open(f"{url}/seen/{name}?wait=2", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError:
        return {}
    return found


def visits_of(url: str, command: Sequence[str], cases: Sequence[Case], name: str) -> dict[str, list[Visit]]:
    """All visits of a client's program to the server at `url`, by path; `name` is part of their ids."""
    visits: dict[str, list[Visit]] = {case.path: [] for case in cases}
    jobs = [case for case in cases for _ in range(case.times)]
    host = url.removeprefix("http://")
    lines = []
    for number, case in enumerate(jobs):
        path = f"{case.path}{'&' if '?' in case.path else '?'}id={name}-{number}"
        address = f"ws://{f'{case.user}@' if case.user else ''}{host}{path}"
        lines.append((line_of(number, address, asdict(case)), case.patience))
    for number, told in enumerate(told_by(command, lines)):
        visits[jobs[number].path].append(Visit(told, seen(url, f"{name}-{number}")))
    return visits


def run_client(client: Client, command: Sequence[str], version: str, cases: Sequence[Case]) -> Column:
    """All cases with one client."""
    with fault_server() as url:
        visits = visits_of(url, command, cases, "visit")
    print(f"{client.name} is done", file=sys.stderr)
    return Column(client.name, version, {case.path: case.judge(visits[case.path]) for case in cases}, visits)


def run(clients: Sequence[Client], cases: Sequence[Case]) -> tuple[list[Column], dict[str, str]]:
    """A column for each client that is here, and why the others are not."""
    missing: dict[str, str] = {}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = []
        for client in clients:
            try:
                command, version = client.find()
            except Missing as lacking:
                missing[client.name] = str(lacking)
            else:
                waiting.append(pool.submit(run_client, client, command, version, cases))
        return [each.result() for each in waiting], missing


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="NAME", help="clients whose names begin so"
    )
    parser.add_argument(
        "--paths", nargs="+", default=[""], metavar="PART", help="faults with this in their path"
    )
    parser.add_argument(
        "--readme", action="store_true", help="write the table into README.md beside this file"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was told here")
    given = parser.parse_args()
    cases = [case for case in CASES if any(part in case.path for part in given.paths)]
    clients = [each for each in CLIENTS if each.name.lower().startswith(tuple(map(str.lower, given.only)))]
    columns, missing = run(clients, cases)
    table = as_markdown(columns, missing, [case.path for case in cases])
    print(table)
    print(defects(columns))
    if given.readme:
        text = README.read_text(encoding="utf-8")
        above, _, rest = text.partition(BEGIN)
        README.write_text(f"{above}{BEGIN}\n{table}{END}{rest.partition(END)[2]}", encoding="utf-8")
    if given.json:
        text = json.dumps(as_json(columns, missing), indent=1, ensure_ascii=False)
        given.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
