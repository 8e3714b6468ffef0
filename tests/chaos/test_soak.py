"""The soak: hundreds of clients that behave in every way, and a server that is ended at random moments and begun anew.

It takes 15 seconds on each way of reading; ``TRIOECHO_SOAK=3600`` makes it an hour each. What it does is decided by a
seed, which it prints, and takes from ``TRIOECHO_SOAK_SEED``; only how the two processes take turns is the machine's.

The actions of the clients are a table in `actions.py`; `server.py` is the server, a process of its own that is
stopped, cancelled, aborted and interrupted by real signals. After each of its lives, what it reports is compared with
what its clients have seen.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from serving import unix_path as unix_path

from chaos.actions import behave
from chaos.client import Account
from trioecho._wire.poller import Poller

SECONDS = float(os.environ.get("TRIOECHO_SOAK", "15"))
"""How long the server is kept busy, on each way of reading."""

CLIENTS = 200
"""How many are there at once; each that is done is followed by another."""

PATIENCE = 60.0
"""Seconds after which a client, or the server, is given up. Nothing is measured with it."""

ENDINGS = {
    "stop": signal.SIGUSR1,
    "cancel": signal.SIGUSR2,
    "abort": signal.SIGTERM,
    "interrupt": signal.SIGINT,
}

MOST_MEMORY = 24 * 2**20
"""Bytes that the server's process may have more behind its last life than behind its second one: what an allocator
keeps of the busiest moment. In the first two it grows to what it needs."""

MOST_OBJECTS = 500
"""The same, in objects that the garbage collector knows: tens of thousands come and go in each life."""


class ServerProgram:
    """`server.py`, running."""

    def __init__(self, way: str, certificate: Path, unix: str) -> None:
        tests = Path(__file__).parents[1]
        paths = [str(tests), str(tests.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                str(Path(__file__).with_name("server.py")),
                way,
                str(certificate),
                unix,
            ],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def begin(self, timeout: float) -> dict[str, int | str]:  # noqa: ASYNC109
        """Begin a life; returns where the server listens."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"timeout": timeout}) + "\n")
        self.process.stdin.flush()
        return await self._line()

    async def end(self, ending: str) -> dict[str, Any]:
        """End the life; returns the report on it."""
        self.process.send_signal(ENDINGS[ending])
        return await self._line()

    async def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        with trio.move_on_after(PATIENCE):
            line = await trio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
            assert line, f"the server's program has ended with {self.process.wait()}"
            found: dict[str, Any] = json.loads(line)
            return found
        self.process.send_signal(signal.SIGHUP)
        await trio.sleep(1)
        raise AssertionError(
            f"the server has said nothing for {PATIENCE:g} seconds; stderr has what its tasks do"
        )


@contextmanager
def running(way: str, directory: Path, unix: str) -> Iterator[tuple[ServerProgram, ssl.SSLContext]]:
    """The program, and what its clients need for TLS."""
    authority = trustme.CA()
    certificate = directory / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    program = ServerProgram(way, certificate, unix)
    with program.process:
        try:
            yield program, context
            assert program.process.stdin is not None
            program.process.stdin.close()
            assert program.process.wait(PATIENCE) == 0
        finally:
            program.process.kill()


async def one_life(
    program: ServerProgram, account: Account, numbers: Iterator[int], plan: Plan
) -> dict[str, Any]:
    """Let clients come and go until the server is to end; returns its report when all of them are gone."""

    async def keep_coming() -> None:
        while not account.ending:
            await behave(account, next(numbers), PATIENCE)

    async with trio.open_nursery() as clients:
        for _ in range(CLIENTS):
            clients.start_soon(keep_coming)
        with trio.move_on_after(PATIENCE / 2):
            while account.begun < plan.clients:
                await trio.sleep(0.01)
        account.ending = plan.ending
        report = await program.end(plan.ending)
        assert report["ended by"] == plan.ending
        for stranger in account.strangers:
            stranger.cancel()
    return report


class Plan:
    """The lives of the server: after how many clients each ends, and how; each way before any for the second time."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._left: list[str] = []
        self.clients = 0
        self.ending = ""
        self.timeout = 0.0

    def next(self) -> None:
        """Decide on the next life."""
        if not self._left:
            self._left = self._dice.sample(list(ENDINGS), len(ENDINGS))
        self.ending = self._left.pop()
        self.clients = self._dice.choice((50, CLIENTS, 2 * CLIENTS)) + self._dice.randrange(CLIENTS)
        self.timeout = self._dice.choice((0.0, 0.2, 1.0))


def judge(account: Account, report: dict[str, Any]) -> list[str]:
    """What does not fit together in one life: the clients' complaints, and where the report differs from what they
    have seen."""
    records, exchanges = report["records"], report["exchanges"]
    said = {record["path"]: record["line"] for record in records}
    wrong = [f"{complaint}; on record: {said.get(path)}" for path, complaint in account.complaints]
    wrong += report["faults"]
    ids = Counter(record["id"] for record in records)
    recorded = Counter(record["path"] for record in records)
    lines = Counter(line["path"] for line in exchanges)
    answers = Counter((line["path"], line["status"]) for line in exchanges)
    opened = Counter(report["opened"])
    if ids != opened:
        wrong.append(f"opened and recorded differ: {opened - ids}, {ids - opened}")
    wrong += [f"{count} records of connection {each}" for each, count in ids.items() if count != 1]
    wrong += [f"{count} records at {path}" for path, count in recorded.items() if count != 1]
    wrong += [f"no record at {path}, which was opened" for path in account.opened if path not in recorded]
    wrong += [f"a record at {path}, where nobody asked" for path in recorded if path not in account.asked]
    wrong += [f"no cause: {record}" for record in records if not record["cause"]]
    handled = Counter(report["handled"])
    wrong += [f"handled, and neither recorded nor logged: {path}" for path in handled - (recorded + lines)]
    wrong += [f"{count} lines for {path}" for path, count in (lines - account.asked).items()]
    wrong += [f"answered and not logged so: {each}" for each in account.answered - answers]
    skipped = {record["path"]: record["messages_skipped"] for record in records}
    wrong += [
        f"{missed} broadcasts did not come at {path}, {skipped.get(path)} were skipped"
        for path, missed in account.missed_news.items()
        if missed > skipped.get(path, 0)
    ]
    if report["tasks"]:
        wrong.append(f"{report['tasks']} tasks are left")
    if report["left"]:
        wrong.append(f"objects are left: {report['left']}")
    if report["unix file"]:
        wrong.append("the file of the Unix socket is left")
    return [f"{each} (life ended by {account.ending})" for each in wrong]


@pytest.mark.timeout(SECONDS * 2 + 3 * PATIENCE)
@pytest.mark.parametrize("way", ["poller", "stream"])
async def test_nothing_is_lost_and_nothing_is_left_in_a_soak(
    way: str, tmp_path: Path, unix_path: str
) -> None:
    """Whatever clients do, and however the server ends: every honest client has its answers, once and in order, until
    then; every connection has one record, every exchange one line; no task, socket, descriptor or memory is left."""
    if way == "poller" and not Poller.available:
        pytest.skip("this platform has no epoll")
    seed = int(os.environ.get("TRIOECHO_SOAK_SEED") or random.SystemRandom().randrange(10**6))
    again = f"TRIOECHO_SOAK_SEED={seed} TRIOECHO_SOAK={SECONDS:g} pytest tests/chaos -k {way}"
    print(f"again: {again}")
    numbers = itertools.count(1)
    plan, until = Plan(random.Random(seed)), trio.current_time() + SECONDS
    done: Counter[str] = Counter()
    reports: list[dict[str, Any]] = []
    messages = connections = exchanges = 0
    with running(way, tmp_path, unix_path) as (program, context):
        # Enough lives for each ending, and for the memory to be compared.
        while trio.current_time() < until or len(reports) < len(ENDINGS):
            plan.next()
            account = Account(await program.begin(plan.timeout), context, seed)
            report = await one_life(program, account, numbers, plan)
            wrong = judge(account, report)
            assert not wrong, "\n".join([f"{len(wrong)} faults; again: {again}", *wrong[:20]])
            done += account.done
            messages += account.messages
            connections += len(report["records"])
            exchanges += len(report["exchanges"])
            reports.append({name: report[name] for name in ("descriptors", "objects", "memory")})
    print(
        f"{len(reports)} lives, {connections} WebSockets, {exchanges} HTTP exchanges, {messages} messages; {dict(done)}"
    )
    begun, ended = reports[1], reports[-1]
    assert ended["descriptors"] == reports[0]["descriptors"]
    assert ended["objects"] - begun["objects"] <= MOST_OBJECTS, [each["objects"] for each in reports]
    assert ended["memory"] - begun["memory"] <= MOST_MEMORY, [each["memory"] for each in reports]
