"""The table of faults: complete, true, and the one source of what is told elsewhere."""

from __future__ import annotations

import inspect
import json

import pytest
from fault_clients import connected_or_refused, serving_faults

from trioecho.faults import as_markdown
from trioecho.faults.table import FAULTS, WORDS, Fault, as_json, as_text

IDS = [fault.path for fault in FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=IDS)
def test_a_row_has_the_parameters_of_its_function(fault: Fault) -> None:
    """All of them, by name, but the session, and the token that is looked for by who checks it."""
    names = [each.name for each in (*fault.in_path, *fault.in_query) if each.name != "access_token"]
    assert list(inspect.signature(fault.run).parameters)[1:] == names
    assert [name for name in names if f"{{{name}}}" in fault.path] == [each.name for each in fault.in_path]


@pytest.mark.parametrize("fault", FAULTS, ids=IDS)
async def test_an_example_is_answered(fault: Fault) -> None:
    """With 101, or what the row is about; never with 400."""
    headers = (
        "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
        "Cookie: a=b\r\n"
    )
    async with serving_faults() as server:
        status = await connected_or_refused(server, fault.example, headers)
    expected = {"/status/{code}": 503, "/redirect/{n}": 307, "/flaky": 503}
    wanted = 401 if fault.path.startswith("/auth/") else expected.get(fault.path, 101)
    assert status == wanted


@pytest.mark.parametrize("fault", FAULTS, ids=IDS)
def test_every_default_is_within_its_limits(fault: Fault) -> None:
    """What is left out is what could have been given."""
    for each in fault.in_query:
        if each.default is not None and not isinstance(each.default, bool) and each.default != "":
            assert each.read(str(each.default)) == each.default, each.name


def test_what_is_told_elsewhere_is_the_table() -> None:
    """Markdown, the text of --help, and JSON have each row."""
    json.dumps(as_json())
    for fault in FAULTS:
        assert f"| `{fault.usage}` | {fault.does} |" in as_markdown()
        assert f"  {fault.usage}\n" in as_text()
    assert [row["path"] for row in as_json()] == IDS
    assert "|" not in "".join(fault.does + fault.expect for fault in FAULTS)


def test_words_are_those_of_the_choices() -> None:
    """Each with its meaning."""
    rows = {fault.path: fault for fault in FAULTS}
    for path, name, meanings in WORDS:
        (parameter,) = [each for each in (*rows[path].in_path, *rows[path].in_query) if each.name == name]
        assert tuple(parameter.choices) == tuple(meanings)  # type: ignore[attr-defined]
