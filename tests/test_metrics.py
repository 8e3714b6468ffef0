"""`trioecho.metrics`: figures as Prometheus reads them, of which server, to whom, and what they cost to look at."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing
from plain_http import plain_http
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as families
from promtool import PROMTOOL
from serving import connected, one_way, serving, until, way_of_reading

import trioecho
from trioecho import Distribution, Figures
from trioecho._server.figures import METRICS
from trioecho.metrics import Metrics, exposition

__all__ = ["way_of_reading"]

pytestmark = one_way


def samples(text: str) -> dict[str, float]:
    """What was scraped: the values by name and labels."""
    return {
        sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
        for family in families(text)
        for sample in family.samples
    }


async def scrape(server: trioecho.Server, **headers: str) -> dict[str, float]:
    """What Prometheus would get at /metrics."""
    async with plain_http(server) as client:
        answer = await client.ask("/metrics", headers=tuple(headers.items()))
    assert answer.status == 200, answer.text
    assert answer["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer["cache-control"] == "no-store"
    return samples(answer.text)


def full() -> Figures:
    """Figures in which there is a sample of each."""
    return Figures(
        connections_open=3,
        connections=12,
        endings={("peer closed", "1000"): 5, ("flooding", "1008"): 4},
        refusals={("origin", "403"): 2},
        turned_away={"no room": 7},
        http_exchanges={"2xx": 9, "none": 1},
        memory_limit=1_000_000,
        sockets_limit=500,
        round_trips=Distribution((0.1, 1.0), (2, 1, 4), 13.25),
    )


async def test_figures_are_those_of_the_server_that_is_asked() -> None:
    """Gauges, counters with their labels, histograms, and those of the process."""
    async with serving({"/ws": trioecho.echo, "/metrics": Metrics()}) as server:
        async with connected(server) as client:
            await client.send("hello")
            assert await client.receive() == "hello"
            during = await scrape(server)
            await client.close(4000)
            await client.receive_rest()
        await until(lambda: not server.connections)
        after = await scrape(server)
    assert (during["trioecho_connections_open"], after["trioecho_connections_open"]) == (1, 0)
    assert during["trioecho_connections_total"] == after["trioecho_connections_total"] == 1
    assert during["trioecho_received_bytes_total"] == after["trioecho_sent_bytes_total"] == 5
    assert after["trioecho_endings_total|peer closed|4xxx"] == 1
    assert after["trioecho_connection_seconds_count"] == after["trioecho_connection_seconds_bucket|+Inf"] == 1
    assert after["trioecho_http_exchanges_total|2xx"] == 1
    assert after["trioecho_workers"] == 1
    assert after["trioecho_cpu_seconds_total"] >= during["trioecho_cpu_seconds_total"] > 0
    assert after["trioecho_resident_memory_bytes"] > 1_000_000 or sys.platform != "linux"


async def test_a_listener_of_its_own_tells_of_others_and_not_of_itself() -> None:
    """The sum of the servers that it was made with."""
    async with serving() as one, serving() as two, connected(one), connected(two), connected(two):
        async with serving({"/metrics": Metrics(one, two, readers=None)}) as listener:
            for _ in range(2):
                found = await scrape(listener)
    assert found["trioecho_connections_open"] == 3
    assert found["trioecho_workers"] == 1
    assert found["trioecho_http_exchanges_total|2xx"] == 0


async def test_figures_can_come_from_somewhere_else() -> None:
    """As from the workers of a supervisor, whose figures are theirs and not its own."""

    async def collect() -> Figures:
        await trio.lowlevel.checkpoint()
        return Figures.merge([full(), full()])

    async with serving({"/metrics": Metrics(collect=collect)}) as server:
        found = await scrape(server)
    assert found["trioecho_connections_open"] == 6
    assert found["trioecho_cpu_seconds_total"] == 0


def test_every_figure_is_in_the_text_with_its_sentence() -> None:
    """By the name and kind that its table has; buckets are cumulative, and end with +Inf."""
    text, kind = exposition(full())
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    told = {family.name: family for family in families(text.decode())}
    for metric in METRICS.values():
        family = told.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert {sample.name for sample in family.samples} <= set(metric.series)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert set(told) == {"trioecho_info"}
    found = samples(text.decode())
    assert found["trioecho_endings_total|flooding|1008"] == 4
    trips = "trioecho_ping_round_trip_seconds"
    assert [found[f"{trips}_bucket|{bound}"] for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 7]
    assert (found[f"{trips}_count"], found[f"{trips}_sum"]) == (7, 13.25)


def test_what_has_no_limit_has_no_sample() -> None:
    """A limit of nothing would be another thing."""
    text, _ = exposition(Figures())
    assert "_limit" not in text.decode()
    assert "trioecho_connections_open 0.0" in text.decode()


def test_what_has_not_happened_is_told_as_0() -> None:
    """Each ending with its own code, each class of status: a rate does not see a first one that comes from nowhere."""
    found = samples(exposition(Figures(http_exchanges={"4xx": 3}))[0].decode())
    for ending in trioecho.endings.ENDINGS:
        if ending.code is not None:
            assert found[f"trioecho_endings_total|{ending.cause}|{ending.code}"] == 0
    assert [found[f"trioecho_http_exchanges_total|{kind}"] for kind in ("2xx", "4xx")] == [0, 3]
    assert found["trioecho_turned_away_total|no room"] == 0


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    """As newer versions of Prometheus do; its own parser, which is strict, takes it."""
    text, kind = exposition(full(), "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in open_metrics(text.decode())} >= {"trioecho_endings", "trioecho"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_has_nothing_to_say() -> None:
    """Prometheus' own judge of names, units and sentences."""
    text, _ = exposition(full())
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")


async def test_who_may_read_is_said_by_networks() -> None:
    """By default programs on this machine; others get 403, and the address that is not among them."""
    routes: trioecho.Routes = {
        "/metrics": Metrics(),
        "/abroad": Metrics(readers=["192.0.2.0/24"]),
        "/all": Metrics(readers=None),
    }
    async with serving(routes) as server, plain_http(server) as client:
        assert (await client.ask("/metrics")).status == (await client.ask("/all")).status == 200
        refused = await client.ask("/abroad")
    assert refused.status == 403
    assert refused.text.rstrip() == (
        "Figures are for some addresses only, and the address '127.0.0.1' is none of them."
    )


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
async def test_who_comes_by_a_proxy_on_this_machine_is_not_taken_for_a_program_on_it(header: str) -> None:
    """Its own address says nothing; whatever it tells of its client, where it is not trusted, and where it is."""
    value = {"Forwarded": "for=203.0.113.9", "Via": "1.1 proxy"}.get(header, "203.0.113.9")
    for trusted in ((), ("127.0.0.1",)):
        async with serving(
            {"/metrics": Metrics(), "/all": Metrics(readers=None)}, trusted_proxies=trusted
        ) as server:
            async with plain_http(server) as client:
                assert (await client.ask("/metrics", headers=((header, value),))).status == 403
                assert (await client.ask("/all", headers=((header, value),))).status == 200


async def test_how_late_the_loop_is_is_measured_while_the_route_is_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Twice a second; a function that does not wait for 3 s is seen."""
    metrics, stopping = Metrics(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(metrics.run, stopping)
        await trio.sleep(10.25)
        calm = metrics.figures().loop_lag
        autojump_clock.jump(3)
        await trio.testing.wait_all_tasks_blocked()
        after = metrics.figures().loop_lag
        stopping.set()
    assert calm.count == 20
    assert calm.total == pytest.approx(0)
    assert after.count == 21
    assert after.total == pytest.approx(2.75)
    assert after.counts[-1] == 1


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        (("http://127.0.0.1",), {}, "Metrics takes servers, as trioecho.serve starts them; you gave 'http"),
        (
            (),
            {"readers": "10.0.0.0/8"},
            r"readers takes a list such as \['10.0.0.0/8'\], or None; you gave '10",
        ),
        ((), {"readers": ["10.0.0.1/8"]}, "'10.0.0.1/8' is an address within a network: write '10.0.0.0/8'"),
        ((), {"collect": lambda: Figures()}, "collect takes an async function of nothing"),
    ],
)
async def test_what_will_not_do_is_told_at_once(
    arguments: tuple[Any, ...], given: Mapping[str, Any], sentence: str
) -> None:
    """One sentence, with what was given and what would be right."""
    with pytest.raises((TypeError, ValueError), match=sentence):
        Metrics(*arguments, **given)


def test_without_prometheus_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made, before anything listens."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for need in (Metrics, functools.partial(exposition, Figures())):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'trioecho\[metrics\]'"):
            need()


async def test_what_else_the_program_measures_stays_apart() -> None:
    """Its own registry is neither shown nor added to."""
    from prometheus_client import REGISTRY, Counter

    counter = Counter("mine", "Of the program's own.", registry=REGISTRY)
    try:
        async with serving({"/metrics": Metrics()}) as server:
            assert not any(name.startswith("mine") for name in await scrape(server))
        assert REGISTRY.get_sample_value("trioecho_connections_open") is None
    finally:
        REGISTRY.unregister(counter)


async def test_a_scrape_is_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """There is one every few seconds; a refused one is told."""
    caplog.set_level("INFO", "trioecho.access")
    async with serving({"/metrics": Metrics(), "/abroad": Metrics(readers=["192.0.2.1"])}) as server:
        await scrape(server)
        assert caplog.messages == []
        async with plain_http(server) as client:
            await client.ask("/abroad")
    assert len(caplog.messages) == 1
