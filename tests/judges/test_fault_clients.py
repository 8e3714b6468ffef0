"""Each fault is what the table of faults says, verified by clients that nobody here wrote; and what they do is told."""

from __future__ import annotations

import concurrent.futures
import re
import sys
from pathlib import Path

import pytest
from judges.fault_clients.cases import CASES
from judges.fault_clients.clients import CLIENTS, Missing, told_by
from judges.fault_clients.run import BEGIN, END, README, fault_server, visits_of
from judges.fault_clients.table import Column, as_json, as_markdown, defects
from judges.fault_clients.verdicts import Verdict, Visit

from trioecho.faults.table import FAULTS, WORDS

AT_ONCE = 5
"""Programs of a client at the same time, each with a part of the cases."""

THAT_WAIT = (
    "/silent",
    "/noclose",
    "/lateclose",
    "/close-then/open",
    "/pong",
    "/handshake?hang",
    "/slow",
    "/stall",
)
"""Faults for which a client waits some seconds."""

HERE = {client.name: client for client in CLIENTS}

OTHERWISE = {
    "websockets": {
        "/cookies?set=seen:1",
        "/badframe/length?after=1",
        "/badframe/length-64?after=1",
        "/badframe/length-sign?after=1",
        "/badframe/deflate-garbage?after=1",
    },
    "aiohttp": {
        "/close",
        "/close/65535",
        "/pong?wrong=1",
        "/handshake?hang=1",
        "/handshake?subprotocol=unasked",
        "/handshake?extension=x-unknown",
        "/subprotocol?pick=unoffered",
        "/subprotocol?pick=case",
        "/subprotocol?pick=two",
        "/subprotocol?pick=list",
        "/compression?answer=twice",
        "/compression?answer=parameter-twice",
        "/compression?answer=bad-window",
        "/compression?answer=no-window",
        "/compression?answer=unknown-extension",
        "/badframe/masked?after=1",
        "/badframe/length?after=1",
        "/badframe/length-64?after=1",
        "/badframe/length-sign?after=1",
        "/badframe/deflate-garbage?after=1",
    },
    "ws": {
        "/silent",
        "/pong?delay=0.3",
        "/pong?drop=1",
        "/pong?wrong=1",
        "/cookies?set=seen:1",
        "/compression?answer=twice",
        "/badframe/length?after=1",
        "/badframe/length-64?after=1",
        "/badframe/length-sign?after=1",
    },
}
"""Where a client does otherwise, as README.md tells. A later version of it may do better."""


def bare(path: str) -> str:
    return path.partition("?")[0]


def matches(fault: str, path: str) -> bool:
    """Whether a path is one of a row of the table: ``/close/{code}`` has ``/close/4001``."""
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", fault), bare(path)) is not None


def test_every_row_of_the_table_is_verified() -> None:
    """Each fault, each of its parameters that makes another fault of it, and each word of a choice has its case."""
    for fault in FAULTS:
        cases = [case.path for case in CASES if matches(fault.path, case.path)]
        assert cases, f"{fault.path} is verified by nobody"
    for path, name, meanings in WORDS:
        for word in meanings:
            wanted = path.replace(f"{{{name}}}", word) if f"{{{name}}}" in path else f"{path}?{name}={word}"
            assert any(case.path in (wanted, f"{wanted}?after=1") for case in CASES), wanted
    assert len({case.path for case in CASES}) == len(CASES)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Verdict] | Missing]:
    """The verdict for each path by the client's name, or why there is none. They mostly wait, so all go at once."""
    with concurrent.futures.ThreadPoolExecutor(len(OTHERWISE)) as pool:
        return dict(zip(OTHERWISE, pool.map(verdicts_of, OTHERWISE), strict=True))


def verdicts_of(name: str) -> dict[str, Verdict] | Missing:
    try:
        command, _ = HERE[name].find()
    except Missing as lacking:
        return lacking
    # Those that wait go first, so that each program gets some of them.
    cases = sorted(CASES, key=lambda case: not case.path.startswith(THAT_WAIT))
    parts = [cases[at::AT_ONCE] for at in range(AT_ONCE)]
    with fault_server() as url, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:

        def judged(number: int) -> dict[str, Verdict]:
            visits = visits_of(url, command, parts[number], f"part-{number}")
            return {case.path: case.judge(visits[case.path]) for case in parts[number]}

        return {path: verdict for part in pool.map(judged, range(AT_ONCE)) for path, verdict in part.items()}


@pytest.mark.parametrize("name", OTHERWISE)
def test_each_fault_is_what_it_says_to_clients_of_others(
    name: str, outcomes: dict[str, dict[str, Verdict] | Missing]
) -> None:
    """They fail, or come through, as they should; but for what is known of each."""
    verdicts = outcomes[name]
    if isinstance(verdicts, Missing):
        pytest.skip(f"needs {verdicts}")
    assert verdicts.keys() == {case.path for case in CASES}
    strange = {path: verdict for path, verdict in verdicts.items() if verdict.kind != "right"}
    assert strange.keys() <= OTHERWISE[name], {
        path: strange[path] for path in strange.keys() - OTHERWISE[name]
    }


def test_the_published_table_has_every_case() -> None:
    """In the order of the cases, with nine clients."""
    table = README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [case.path for case in CASES]
    head = table.splitlines()[1]
    assert all(f"| {client.name} " in head for client in CLIENTS)


TOLD = {
    "opened": True,
    "status": None,
    "subprotocol": "",
    "heard": ["first", "hello"],
    "code": None,
    "reason": "",
    "error": "",
    "ended": False,
    "accepted": 0,
    "seconds": 4.0,
}
SEEN = {"frames": [{"by": "server", "kind": "masked"}], "code_received": None}


def judged(path: str, told: dict[str, object], seen: dict[str, object]) -> Verdict:
    (case,) = [case for case in CASES if case.path == path]
    return case.judge([Visit(TOLD | told, SEEN | seen)])


def test_a_client_that_takes_what_it_must_not_is_found_out() -> None:
    """By what it heard, by its silence, or by its Close."""
    masked = "/badframe/masked?after=1"
    assert judged(masked, {}, {}) == Verdict("wrong", "takes it, hears hello")
    assert judged(masked, {"heard": ["first"]}, {}) == Verdict("wrong", "waits on")
    offended = {"heard": ["first"], "ended": True, "code": 1006}
    assert judged(masked, offended, {"code_received": 1002}).kind == "right"
    assert judged(masked, offended, {"code_received": 1011}) == Verdict("otherwise", "says 1011")
    assert judged(masked, offended, {"frames": []}) == Verdict("otherwise", "does not come to it")
    unmasked = "/badframe/length?after=1"
    assert judged(unmasked, {}, {"frames": [{"by": "server", "kind": "length"}]}).kind == "otherwise"
    assert judged("/handshake?key=wrong", {}, {}) == Verdict("wrong", "takes it")
    assert judged("/close/1006", {"heard": []}, {"code_received": 1006}) == Verdict("wrong", "answers 1006")
    assert judged("/ping?every=0.3&count=3&size=125", {"heard": ['{"pong": null}'] * 3, "count": 3}, {}) == (
        Verdict("wrong", "0 of 3")
    )


def test_a_program_that_hangs_or_dies_costs_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started again behind that."""
    monkeypatch.setattr("judges.fault_clients.clients.SPARE", 3.0)
    program = tmp_path / "client.py"
    program.write_text(
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    if line == 'die\\n': sys.exit(1)\n"
        "    if line == 'hang\\n': time.sleep(60)\n"
        '    print(\'{"error": ""}\', flush=True)\n'
    )
    lines = [("well", 0.0), ("die", 0.0), ("well", 0.0), ("hang", 0.0), ("well", 0.0)]
    told = list(told_by([sys.executable, str(program)], lines))
    assert [each["error"] for each in told] == ["", "dies", "", "hangs, and is ended", ""]


def test_the_table_is_told_to_people_and_to_programs() -> None:
    """A cell for each verdict; sums; who was not here; and what breaks the RFC."""
    verdicts = {
        "/a": Verdict("right"),
        "/b": Verdict("wrong", "takes a|b"),
        "/c": Verdict("untried", "has none"),
    }
    visits = {path: [Visit(TOLD, {})] for path in verdicts}
    column = Column("one", "1.2", verdicts, visits)
    assert as_markdown([column], {"two": "`pip install two`"}, list(verdicts)).splitlines() == [
        "| | one 1.2 |",
        "|---|---|",
        "| `/a` | ✓ |",
        r"| `/b` | ✗ takes a\|b |",
        "| `/c` | – has none |",
        "| ✓ as it should be | 1 |",
        "| · otherwise | 0 |",
        "| ✗ against the RFC | 1 |",
        "",
        "- two was not here: `pip install two`.",
    ]
    told = as_json([column], {})["clients"][0]["paths"]["/b"]
    assert (told["kind"], told["visits"][0]["told"]["heard"]) == ("wrong", ["first", "hello"])
    assert defects([column]) == "- **one 1.2**: `/b`\n"
