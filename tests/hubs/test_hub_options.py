"""HubOptions: what is refused, and with which sentence."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from trioecho.hubs import HubOptions


def test_the_defaults_are_those_of_signalr() -> None:
    options = HubOptions()
    assert (options.keep_alive, options.client_timeout, options.handshake_timeout) == (15, 30, 15)
    assert (options.max_receive_size, options.stream_buffer, options.parallel_invocations) == (32_768, 10, 1)
    assert (options.stateful_buffer, options.detailed_errors) == (100_000, False)
    assert HubOptions(keep_alive=math.inf, client_timeout=math.inf).keep_alive == math.inf


def test_every_option_is_described_with_its_default() -> None:
    assert HubOptions.__doc__ is not None
    described = re.findall(r"- `(\w+)` \(default", HubOptions.__doc__)
    assert described == [field.name for field in dataclasses.fields(HubOptions)]


@pytest.mark.parametrize(
    ("option", "error", "sentence"),
    [
        ({"keep_alive": "15"}, TypeError, "keep_alive takes seconds as a number; you gave '15'"),
        ({"client_timeout": 0}, ValueError, "client_timeout must be more than 0 seconds; you gave 0"),
        ({"handshake_timeout": math.nan}, ValueError, "handshake_timeout must be more than 0 seconds"),
        ({"send_timeout": math.inf}, ValueError, "send_timeout must be finite"),
        ({"leave_timeout": math.inf}, ValueError, "leave_timeout must be finite"),
        ({"max_receive_size": 0}, ValueError, "max_receive_size must be at least 1 (bytes); you gave 0"),
        ({"stream_buffer": 2.5}, TypeError, "stream_buffer takes a whole number of items; you gave 2.5"),
        ({"parallel_invocations": True}, TypeError, "takes a whole number of invocations; you gave True"),
        ({"waiting_invocations": -1}, ValueError, "must be at least 1 (invocations)"),
        ({"max_held": 0}, ValueError, "must be at least 1 (bytes)"),
        ({"max_streams": 0}, ValueError, "must be at least 1 (streams)"),
        ({"max_client_results": 0}, ValueError, "must be at least 1 (results)"),
        ({"max_groups": "many"}, TypeError, "takes a whole number of groups"),
        ({"stateful_buffer": None}, TypeError, "takes a whole number of bytes"),
        ({"detailed_errors": 1}, TypeError, "detailed_errors takes True or False; you gave 1"),
        ({"protocols": "json"}, TypeError, "protocols takes a list such as"),
        ({"protocols": []}, ValueError, "protocols is empty"),
        ({"protocols": ["xml"]}, ValueError, "you gave 'xml'"),
        ({"slow_client": "drop"}, ValueError, 'slow_client is "wait", "skip" or "close"; you gave \'drop\''),
    ],
)
def test_what_will_not_do_is_told_in_one_sentence(
    option: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        HubOptions(**option)
