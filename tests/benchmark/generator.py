"""The load generator: `python generator.py JSON` loads one contender and prints what it measured as JSON.

It is a process of its own, started by `run.py` on another core than the contender's. The JSON has the fields of `Task`.
Exit code 1 and a sentence on stderr mean that the contender failed; then there is no number.
"""

import json
import resource
import socket
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hub_messages
from deflating import Deflating, deflated_pool
from exchange import Exchange, Sample
from fanout import FanOut
from opening import PATIENCE, ContenderError, Opener, say_goodbye
from pinging import INTERVAL, Pinging
from prebuilt import CLOSE, client_frame, frame_pool, ping_pool

#: Before the clock starts: part of the measured time, for JIT compilers, caches and the kernel's buffers to settle.
WARM_UP = 0.2

#: Handshakes are timed in stretches of so many, all closed in between, outside the timed part.
STRETCH = 200

CLOSE_FRAME = client_frame(CLOSE, (1000).to_bytes(2), b"\x21\x43\x65\x87")


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement. `kind` is the name of a function of this module; `seconds` is the time under load."""

    kind: str
    port: int
    server: int  # process id
    seconds: float
    connections: int
    depth: int = 1
    size: int = 64
    text: bool = True
    idle: int = 0
    extension: str = ""
    hub: str = ""
    dialect: str = ""
    protocol: str = "ws"
    authority: str | None = None


def cpu_seconds(process: int) -> float:
    """CPU time of a process with all its threads so far, user and system.

    The clock that clock_getcpuclockid(3) names, by the kernel's own number for it: it counts nanoseconds, while
    /proc/PID/stat counts hundredths of a second, which are many Pings.
    """
    return time.clock_gettime(~process << 3 | 2)


def memory_bytes(process: int) -> int:
    """Proportional set size of a process: resident memory, shared pages by share (proc(5): smaps_rollup)."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ContenderError(f"process {process} has no memory map")


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the values lie, in microseconds."""
    return ordered[int((len(ordered) - 1) * share)] * 1e6


def summary(sample: Sample, task: Task, server_cpu: float) -> dict[str, float]:
    """The numbers of one stretch under load. Latency is a batch's: from its first byte sent to its last received."""
    ordered = sorted(sample.latencies)
    if not ordered:
        raise ContenderError(f"no echo in {sample.elapsed:.1f} s")
    return {
        "value": len(ordered) * task.depth / sample.elapsed,
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "server_cpu": server_cpu / sample.elapsed,
        "client_cpu": sample.cpu / sample.elapsed,
    }


def under_load(exchange: Exchange, task: Task) -> dict[str, float]:
    """Warm up, then measure."""
    exchange.run(task.seconds * WARM_UP)
    before = cpu_seconds(task.server)
    sample = exchange.run(task.seconds)
    return summary(sample, task, cpu_seconds(task.server) - before)


def unloaded_exchange(task: Task) -> Exchange:
    """The task's messages, and no connection yet."""
    if task.extension:
        return Deflating(deflated_pool(size=task.size))
    if task.hub:
        return Exchange(hub_messages.echoes(task.hub, size=task.size, depth=task.depth, dialect=task.dialect))
    return Exchange(frame_pool(size=task.size, depth=task.depth, text=task.text, protocol=task.protocol))


def loaded_exchange(task: Task, opener: Opener) -> Exchange:
    """The task's busy connections, all open before the first of them sends."""
    exchange = unloaded_exchange(task)
    for connection in [opener.open() for _ in range(task.connections)]:
        exchange.busy(connection)
    return exchange


def throughput(task: Task, opener: Opener) -> dict[str, float]:
    """Messages per second with `connections` × `depth` messages in flight."""
    exchange = loaded_exchange(task, opener)
    result = under_load(exchange, task)
    exchange.finish()
    return result


def latency(task: Task, opener: Opener) -> dict[str, float]:
    """Like `throughput`; the value is the median latency in microseconds."""
    result = throughput(task, opener)
    return result | {"value": result["p50"]}


def deflated(task: Task, opener: Opener) -> dict[str, float]:
    """Like `throughput`; the value is microseconds of server CPU for each message, inflated and deflated again."""
    result = throughput(task, opener)
    return result | {"value": result["server_cpu"] / result["value"] * 1e6}


def crowd(task: Task, opener: Opener) -> dict[str, float]:
    """Throughput among `idle` other connections, as a share of the same contender's just before without them."""
    exchange = loaded_exchange(task, opener)
    alone = under_load(exchange, task)
    exchange.finish()
    for _ in range(task.idle):
        exchange.idle(opener.open())
    for connection in [opener.open() for _ in range(task.connections)]:
        exchange.busy(connection)
    among = under_load(exchange, task)
    exchange.finish()
    share = {"value": among["value"] / alone["value"], "alone": alone["value"], "among": among["value"]}
    # The less busy stretch stands for both: if other work had the cores in one of them, the share means nothing.
    quieter = min(alone, among, key=lambda stretch: max(stretch["server_cpu"], stretch["client_cpu"]))
    return among | share | {key: quieter[key] for key in ("server_cpu", "client_cpu")}


def handshakes(task: Task, opener: Opener) -> dict[str, float]:
    """Connections opened per second one after the other: TCP connect, request, checked answer."""
    times: list[float] = []
    stretch(opener, max(1, STRETCH // 4))
    before, cpu = cpu_seconds(task.server), time.process_time()
    start = time.perf_counter()
    while time.perf_counter() - start < task.seconds:
        times += stretch(opener, STRETCH)
    elapsed = time.perf_counter() - start
    ordered = sorted(times)
    return {
        "value": len(times) / sum(times),
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "server_cpu": (cpu_seconds(task.server) - before) / elapsed,
        "client_cpu": (time.process_time() - cpu) / elapsed,
    }


def stretch(opener: Opener, count: int) -> list[float]:
    """The seconds each of `count` handshakes took; the connections are closed afterwards."""
    times: list[float] = []
    opened: list[socket.socket] = []
    for _ in range(count):
        start = time.perf_counter()
        opened.append(opener.open())
        times.append(time.perf_counter() - start)
    for connection in opened:
        say_goodbye(connection, CLOSE_FRAME)
    return times


def memory(task: Task, opener: Opener) -> dict[str, float]:
    """KiB of server memory per connection that has echoed one message and idles since."""
    exchange = unloaded_exchange(task)

    def open_and_echo(count: int) -> None:
        for _ in range(count):
            exchange.busy(opener.open())
            exchange.finish()

    open_and_echo(task.connections)
    before = settled_memory(task.server)
    open_and_echo(task.idle)
    return {"value": (settled_memory(task.server) - before) / task.idle / 1024}


def settled_memory(process: int) -> int:
    """Memory of a process once it no longer changes, measured ten times a second for at most `PATIENCE`."""
    deadline = time.perf_counter() + PATIENCE
    last = -1
    while last != (now := memory_bytes(process)) and time.perf_counter() < deadline:
        last = now
        time.sleep(0.1)
    return now


def pings(task: Task, opener: Opener) -> dict[str, float]:
    """Milliseconds of server CPU for the Pings of one second. The latencies are the Pongs'."""
    exchange = Pinging(ping_pool())
    for connection in [opener.open() for _ in range(task.connections)]:
        exchange.add(connection)
    result = under_load(exchange, task)
    exchange.finish()
    # A server that is behind was sent fewer: what counts is the price of one.
    return result | {"value": result["server_cpu"] / result["value"] * task.connections / INTERVAL * 1000}


def broadcasts(task: Task, opener: Opener) -> dict[str, float]:
    """Microseconds of server CPU for each client of a broadcast. The latencies are those of whole broadcasts."""
    if task.hub:
        pool = hub_messages.broadcasts(task.hub, size=task.size, dialect=task.dialect)
    else:
        pool = frame_pool(size=task.size, depth=1, text=task.text, protocol=task.protocol)
    fan_out = FanOut(pool, partial(cpu_seconds, task.server))
    for _ in range(task.idle):
        fan_out.listener(opener.open())
    fan_out.speaker(opener.open())
    # Who has just connected may not be among those who are sent something.
    time.sleep(task.seconds * WARM_UP)
    result = under_load(fan_out, task)
    deliveries = result["value"] * (task.idle + 1)
    return result | {"value": result["server_cpu"] / deliveries * 1e6}


KINDS = {
    kind.__name__: kind
    for kind in (throughput, latency, deflated, crowd, handshakes, memory, pings, broadcasts)
}


def main() -> None:
    """Run the task of the command line."""
    task = Task(**json.loads(sys.argv[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        opener = Opener(
            task.port,
            protocol=task.protocol,
            authority=task.authority,
            extension=task.extension,
            greet=partial(hub_messages.greet, protocol=task.hub) if task.hub else None,
        )
        print(json.dumps(KINDS[task.kind](task, opener)))
    except (ContenderError, OSError) as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")


if __name__ == "__main__":
    main()
