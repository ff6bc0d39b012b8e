"""What a step costs a client by how many tasks it has, up to a thousand: the tasks only answer, all from one process.

The client is a whole one, with a connection to each task over shared memory's sockets, a plan on each, and a message to and
from each in every step. What stands for the tasks reads all connections in one thread and computes nothing.
"""

from __future__ import annotations

import json
import resource
import select
import statistics
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from typing import Any

import click
from cluster_report import line_of
from local_report import table, time_of
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.transports.transport import Connection, listen
from weft.cluster.wire.message import Message
from weft.cluster.wire.protocol import Kind
from weft.runtime.stages.plan import Plan, StepPlan

SECRET = bytes(range(32))  # nobody else can reach either process's sockets under it, for it is one run's test only


def tasks() -> None:
    """Be all tasks: say where, and answer until standard input ends."""
    listener = listen("shm", SECRET)
    print(json.dumps(listener.address), flush=True)
    poll, connections = select.epoll(), {}

    def accept() -> None:
        while True:
            connection = listener.accept()
            connections[connection.fileno()] = connection
            poll.register(connection.fileno(), select.EPOLLIN)

    threading.Thread(target=accept, daemon=True).start()
    poll.register(sys.stdin, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == sys.stdin.fileno():
                return
            connection = connections[number]
            try:
                for message in connection.come():
                    _answer(connection, message)
            except Exception:  # the session has ended
                poll.unregister(number)


def _answer(connection: Connection, message: Message) -> None:
    kinds = {Kind.HELLO: Kind.READY, Kind.LOAD: Kind.LOADED, Kind.STEP: Kind.RESULT, Kind.PING: Kind.PONG}
    kind = kinds.get(Kind(message.kind))
    if kind is not None:
        connection.send(Message(kind, 0, message.step, message.edge))


def measured(address: str, count: int, seconds: float) -> dict[str, Any]:
    """Opening a session on so many tasks, loading a plan on each, and a step: its time, and the client's processor time."""
    names = [f"/job:worker/replica:0/task:{index}" for index in range(count)]
    started = time.perf_counter()
    engine = ClusterEngine(dict.fromkeys(names, address), SECRET, {})
    opened = time.perf_counter()
    try:
        plans = tuple(Plan(f"{name}/device:CPU:0", (), 0) for name in names)
        handle = engine.load(StepPlan(plans, 0))
        loaded = time.perf_counter()
        times: list[float] = []
        processor = time.process_time()
        while len(times) < 5 or time.perf_counter() < loaded + seconds:
            before = time.perf_counter()
            engine.run(handle, [], None)
            times.append(time.perf_counter() - before)
        processor = (time.process_time() - processor) / len(times)
    finally:
        engine.close()
    step = statistics.median(times)
    return {"tasks": count, "open": opened - started, "load": loaded - opened, "step": step, "processor": processor}


def plot(rows: list[dict[str, Any]], file: str) -> None:
    """What a step takes, and the client's processor of it, for each task, by the number of tasks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes, tasks = figure.subplots(), [row["tasks"] for row in rows]
    for name, label in (("step", "a step"), ("processor", "of it the client's processor")):
        axes.semilogx(tasks, [row[name] / row["tasks"] * 1e6 for row in rows], marker="o", label=label)
    axes.set(xlabel="tasks", ylabel="µs a task", ylim=(0, None))
    axes.set_xticks(tasks, [f"{count:,}" for count in tasks])
    axes.minorticks_off()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    figure.savefig(file)


@click.command()
@click.option("--tasks", "counts", default="10,100,1000", show_default=True, help="How many, separated by commas.")
@click.option(
    "--seconds", default=2.0, show_default=True, type=click.FloatRange(0, min_open=True), help="How long each measures."
)
@click.option(
    "--plot", "picture", type=click.Path(dir_okay=False), help="Draw a picture into this file (needs matplotlib)."
)
@click.option("--json", "as_json", is_flag=True, help="Figures in seconds, for programs.")
def main(counts: str, seconds: float, picture: str | None, as_json: bool) -> None:
    """Measure what a null step on every task costs a client, by the number of tasks."""
    if picture and find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows = []
    for count in map(int, counts.split(",")):
        with subprocess.Popen(
            [sys.executable, __file__, "be"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            rows.append(measured(json.loads(process.stdout.readline()), count, seconds))
            process.kill()
    if picture:
        plot(rows, picture)
    if as_json:
        click.echo(json.dumps(rows))
        return
    titles = ["open", "load", "step", "processor"]
    lines = [[f"{row['tasks']:,}", *(time_of(row[title]) for title in titles)] for row in rows]
    click.echo(table("tasks", ["session opened", "plans loaded", "a step", "of it the client's processor"], lines))
    if len(rows) > 1:
        base, more = line_of([row["tasks"] for row in rows], [row["step"] for row in rows])
        click.echo(f"\nA step: {base * 1e6:.0f} µs + {more * 1e6:.1f} µs a task")


if __name__ == "__main__":
    if sys.argv[1:] == ["be"]:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        tasks()
    else:
        main()
