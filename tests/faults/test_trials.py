"""The trials of the page: one at least for each fault and each word, with what is expected said in words."""

from __future__ import annotations

import json

import pytest
from fault_clients import connected_or_refused, serving_faults

from trioecho.faults.table import FAULTS, WORDS, as_json
from trioecho.faults.trials import TRIALS, Shown, Trial

ALL = [trial for trials in TRIALS.values() for trial in trials]


def test_every_fault_is_tried() -> None:
    """In the order of the table, whose JSON has them; no path twice."""
    assert list(TRIALS) == [fault.path for fault in FAULTS]
    assert all(TRIALS.values())
    assert len({trial.path for trial in ALL}) == len(ALL)
    rows = json.loads(json.dumps(as_json()))
    assert [[trial["path"] for trial in row["trials"]] for row in rows] == [
        [trial.path for trial in trials] for trials in TRIALS.values()
    ]


def test_every_word_is_tried() -> None:
    """Of the choices that have a list of words."""
    for path, name, meanings in WORDS:
        tried = {trial.path for trial in TRIALS[path]}
        for word in meanings:
            assert any(each.endswith((f"/{word}", f"{name}={word}")) for each in tried), word


async def test_every_path_is_one_of_its_fault() -> None:
    """With parameters that fit: nothing is answered with 400 but what a browser can offer, or is asked for."""
    offers = (
        "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
        "Authorization: Basic YWRhOmVuZ2luZQ==\r\n"
    )
    async with serving_faults() as server:
        for trial in ALL:
            if "hang" in trial.path:
                continue
            for path in (*trial.before, trial.path):
                status = await connected_or_refused(server, path.replace("{run}", "it"), offers)
                assert status != 400 or path == "/status/400", path
                assert status != 404 or path == "/status/404", path


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (Shown(), "opens"),
        (Shown(opened=False, code=1006, reason="", clean=False), "does not open, 1006, not clean"),
        (
            Shown(heard=("a", "b"), count=2, code=4001, reason="c", clean=True),
            "opens, “a”, “b”, 4001 “c”, clean",
        ),
        (Shown(count=0, state="closing"), "opens, no messages, stays closing"),
        (Shown(count=1, waiting=True), "opens, one message, cannot send all"),
        (Shown(protocol="chat", extensions=""), "opens, subprotocol chat, no extension"),
        (Shown(extensions="permessage-deflate", count=1000), "opens, permessage-deflate, 1000 messages"),
    ],
)
def test_what_is_expected_is_said_in_words(shown: Shown, words: str) -> None:
    """From the values that are compared, so that the two cannot differ."""
    assert str(shown) == words
    assert Trial("/echo", shown).as_dict()["shows"] == words


def test_a_run_is_bounded() -> None:
    """Also where nothing is as expected."""
    assert all(0 < trial.seconds <= 15 for trial in ALL)
    assert sum(trial.seconds for trial in ALL if trial.expect.state != "closed") < 10
