"""What clients are told of exceptions."""

from __future__ import annotations

import pytest

from trioecho.hubs.exceptions import (
    HubException,
    cause_of,
    connection_failed,
    invocation_failed,
    stream_failed,
)


def test_a_hub_exception_is_told_in_its_words() -> None:
    error = HubException("say something")
    assert (
        invocation_failed("Say", error, False)
        == "An unexpected error occurred invoking 'Say' on the server. HubException: say something"
    )
    group = ExceptionGroup("tasks", [ExceptionGroup("more", [error])])
    assert invocation_failed("Say", group, False).endswith("HubException: say something")


@pytest.mark.parametrize("told", [stream_failed, connection_failed])
def test_another_exception_is_told_only_in_detail(told) -> None:  # type: ignore[no-untyped-def]
    error = ValueError("the password is 1234")
    assert "1234" not in told(error, False)
    assert told(error, True).endswith(" ValueError: the password is 1234")


def test_of_several_exceptions_none_is_the_cause() -> None:
    group = ExceptionGroup("tasks", [ValueError(), KeyError()])
    assert cause_of(group) is group
