"""`Figures`: carried to another process as JSON, and added up; and what they are called."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from trioecho._protocol.histogram import Distribution
from trioecho._server.figures import LOOP_LAG_BOUNDS, METRICS, Figures, nothing


def some(factor: int = 1) -> Figures:
    """Figures of which each is something else, and none is nothing."""
    values: dict[str, Any] = {}
    for number, (name, metric) in enumerate(METRICS.items(), 1):
        value = number * factor
        if metric.kind == "histogram":
            empty = getattr(Figures(), name)
            values[name] = Distribution(empty.bounds, (value,) * len(empty.counts), float(value))
        elif metric.labels:
            labels = tuple(f"{label} {number}" for label in metric.labels)
            values[name] = {labels if len(labels) > 1 else labels[0]: value, ("a", "b")[: len(labels)]: 1}
            if len(labels) == 1:
                values[name] = {labels[0]: value, "a": 1}
        else:
            values[name] = value
    return Figures(**values)


def test_figures_go_through_json_and_come_out_equal() -> None:
    """Labels, distributions, what is None."""
    for figures in (some(), Figures(), dataclasses.replace(some(), memory_limit=None)):
        assert Figures.from_dict(json.loads(json.dumps(figures.as_dict()))) == figures


def test_figures_of_another_version_are_read_as_far_as_they_are_known() -> None:
    """While a server is updated, two versions may run side by side."""
    plain = some().as_dict() | {"to_come": 7}
    del plain["workers"]
    assert Figures.from_dict(plain) == dataclasses.replace(some(), workers=0)


def test_a_sum_has_all_of_each() -> None:
    """Numbers, labels that one has and the other has not, distributions."""
    merged = Figures.merge([some(), some(10)])
    for name, metric in METRICS.items():
        number = [*METRICS].index(name) + 1
        value = getattr(merged, name)
        if metric.kind == "histogram":
            assert set(value.counts) == {11 * number}
            assert value.total == 11 * number
        elif metric.labels:
            assert sorted(value.values()) == sorted([2, 11 * number])
        else:
            assert value == 11 * number, name


def test_a_sum_of_none_is_nothing_and_of_one_is_that() -> None:
    """As for any sum."""
    assert Figures.merge([]) == Figures()
    assert Figures.merge([some()]) == some()


def test_where_one_has_no_limit_all_together_have_none() -> None:
    """Whatever the others may hold."""
    without = dataclasses.replace(some(), memory_limit=None)
    assert Figures.merge([some(), without, some()]).memory_limit is None
    assert Figures.merge([without, some()]).memory_limit is None


def test_counters_alone_change_no_gauge_and_no_limit_of_a_sum() -> None:
    """What a server counted that has ended is added to what others do."""
    ended = some().only_counters
    assert Figures.merge([some(10), ended]).connections == some(10).connections + some().connections
    assert Figures.merge([some(10), ended]).endings == Figures.merge([some(10), some()]).endings
    assert Figures.merge([some(10), ended]).lifetimes == Figures.merge([some(10), some()]).lifetimes
    for name in ("connections_open", "memory_limit", "workers"):
        assert getattr(Figures.merge([some(10), ended]), name) == getattr(some(10), name)


def test_labels_of_one_do_not_change_with_the_sum() -> None:
    """Figures are values."""
    one = Figures(http_exchanges={"2xx": 1})
    assert Figures.merge([one, one]).http_exchanges == {"2xx": 2}
    assert one.http_exchanges == {"2xx": 1}


@pytest.mark.parametrize("name", METRICS)
def test_a_name_follows_the_rules_of_prometheus(name: str) -> None:
    """prometheus.io/docs/practices/naming: a prefix, a unit in the plural and without a multiple, _total for counters
    and for nothing else, and a sentence. `promtool check metrics` looks at the same (tests/test_metrics.py)."""
    metric = METRICS[name]
    assert re.fullmatch(r"trioecho(_[a-z]+)+", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert not re.search(r"_(count|sum|bucket|info|created|gauge|counter|histogram)\b", metric.name)
    assert not re.search(r"_(ms|millis\w*|kib|kb|mib|minutes|hours|percent)(_|\b)", metric.name)
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
    assert re.fullmatch(r"[A-Z].*\.", metric.help)
    assert not set(metric.labels) & {"le", "quantile", "instance", "job"}


def test_each_figure_is_called_something_else() -> None:
    """Nor does a name stand for a sample of another one."""
    names = [series for metric in METRICS.values() for series in metric.series]
    assert len(names) == len(set(names))


def test_nothing_has_counted_nothing() -> None:
    """Between all bounds, and above them."""
    empty = nothing(LOOP_LAG_BOUNDS)
    assert empty.count == 0
    assert len(empty.counts) == len(LOOP_LAG_BOUNDS) + 1
