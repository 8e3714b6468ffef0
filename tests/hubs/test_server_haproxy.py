"""Several processes of one hub behind HAProxy, one of which is killed; `farm.py` does it with ten and 2,000 clients."""

from __future__ import annotations

import os

import pytest
from hubs import farm, npm_client

PROCESSES = 3
CLIENTS = 60

pytestmark = [pytest.mark.keeps_open, pytest.mark.timeout(60)]


@pytest.fixture
def haproxy() -> None:
    """HAProxy, or the test is skipped."""
    if farm.haproxy() is None:
        reason = "needs haproxy: apt-get install haproxy"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.usefixtures("haproxy")
async def test_clients_of_a_process_that_is_killed_are_back_within_five_seconds() -> None:
    """All of them, by another process, over WebSockets without sticky sessions; the others notice nothing."""
    with farm.running(PROCESSES, CLIENTS) as processes:
        outcome = await farm.kill_one(processes, CLIENTS, patience=30)
    assert outcome.here >= CLIENTS // PROCESSES // 2, "HAProxy has not spread the clients"
    assert len(outcome.back) == outcome.here, str(outcome)
    assert outcome.back[-1] < 5, str(outcome)
    assert outcome.others == 0, str(outcome)


KILLED = """
const connections = Array.from({ length: 6 }, () => builder().withAutomaticReconnect().build());
const start = [];
for (const connection of connections) {
    await connection.start();
    start.push(await connection.invoke("Where"));
}
const here = connections.filter((_, place) => start[place] === 0);
const back = here.map((connection) => new Promise((resolve) => connection.onreconnected(resolve)));
await here[0].invoke("Kill").catch(() => {});
await Promise.all(back);
tell(await Promise.all(connections.map((connection) => connection.invoke("Where"))));
for (const connection of connections) await connection.stop();
"""


@pytest.mark.usefixtures("haproxy")
async def test_the_npm_client_is_back_by_itself_behind_haproxy() -> None:
    """It negotiates with one process and is connected to another, before and after the kill."""
    npm_client.node()
    with farm.running(PROCESSES, CLIENTS) as processes:
        url = f"http://127.0.0.1:{processes.port}/hub"
        [afterwards] = await npm_client.run(url, KILLED)
    assert set(afterwards) <= {1, 2}
