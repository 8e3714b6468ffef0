"""The dashboard for Grafana: what it asks for is there, and everything that is there it shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from promtool import PROMTOOL

import trioecho
from trioecho._server.figures import METRICS

DASHBOARD = json.loads(
    (Path(trioecho.__file__).parent / "deploy" / "grafana.json").read_text(encoding="utf-8")
)

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

SERIES = {series: metric for metric in METRICS.values() for series in metric.series}
"""What each name of a series stands for."""

COLUMNS = 24
"""Of Grafana's grid."""


def expressions() -> Iterator[tuple[str, str]]:
    """The title of each panel with each expression of it."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def selectors(expression: str) -> list[str]:
    """The names of the series that are asked for."""
    return re.findall(r"\b(trioecho\w*)\{", expression)


@pytest.mark.parametrize(("title", "expression"), [*expressions()])
def test_an_expression_asks_for_what_there_is(title: str, expression: str) -> None:
    """Series that the server has, by labels that they have; counters as rates, and gauges as they are."""
    found = selectors(expression)
    assert found
    assert set(re.findall(r"trioecho\w*", expression)) == set(found)
    assert set(found) <= SERIES.keys()
    labels = {"instance", "le"}.union(*(SERIES[each].labels for each in found))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert set(group.split(", ")) <= labels
    rates = set(re.findall(r"rate\((\w+)\{[^}]*\}\[\$__rate_interval\]\)", expression))
    assert rates == {each for each in found if SERIES[each].kind != "gauge"}
    assert expression.count("{") == expression.count('{instance=~"$instance"}')


def test_every_figure_is_shown() -> None:
    """What nobody looks at need not be counted."""
    shown = {SERIES[each].name for _, expression in expressions() for each in selectors(expression)}
    assert shown == {metric.name for metric in METRICS.values()}


def test_a_legend_names_labels_that_its_expression_has() -> None:
    """An empty legend says nothing."""
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = set(", ".join(re.findall(r"by \(([^)]*)\)", target["expr"])).split(", "))
            assert named <= kept, panel["title"]
            assert target["legendFormat"]


def test_each_panel_has_its_place_and_says_what_it_shows() -> None:
    """None lies over another, and each has a title, a sentence and a unit."""
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for place in places:
        assert place["x"] + place["w"] <= COLUMNS
    for one, two in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= two["x"]
            or two["x"] + two["w"] <= one["x"]
            or one["y"] + one["h"] <= two["y"]
            or two["y"] + two["h"] <= one["y"]
        )
        assert apart, (one, two)


def test_ids_are_unique_and_the_source_is_chosen_by_whoever_looks() -> None:
    """A dashboard that names somebody's data source works for nobody else."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${source}"}
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["source", "instance"]
    assert "id" not in DASHBOARD


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_understands_every_expression(tmp_path: Path) -> None:
    """Each as a rule, with Grafana's variables filled in."""
    rules: list[dict[str, Any]] = [
        {
            "record": f"dashboard:{number}",
            "expr": expression.replace("$__rate_interval", "1m").replace("$instance", ".*"),
        }
        for number, (_, expression) in enumerate(expressions())
    ]
    # JSON is YAML.
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
