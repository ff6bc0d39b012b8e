"""Placement by cost beside all on one device: steps of several graphs, in turns, and what was predicted of them."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click
import numpy as np
import weft as wf

CLUSTER = "cluster"


class Step(NamedTuple):
    """What a graph runs."""

    fetches: Any
    feeds: dict[wf.Tensor, Any]


def drawn(*shape: int) -> Any:
    """Numbers that are the same each time."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def weights(rows: int, columns: int) -> wf.Variable:
    """Of a layer."""
    return wf.Variable(drawn(rows, columns) / np.sqrt(rows), dtype=wf.float32)


def towers() -> Step:
    """Two independent rows of heavy products."""
    x = wf.placeholder(wf.float32, [256, 384])
    ends = []
    for _ in range(2):
        value: Any = x
        for _ in range(6):
            value = wf.tanh(wf.matmul(value, weights(384, 384)))
        ends.append(wf.reduce_mean(wf.square(value)))
    loss = ends[0] + ends[1]
    return Step([loss, wf.train.GradientDescentOptimizer(1e-3).minimize(loss)], {x: drawn(256, 384)})


def chain() -> Step:
    """Forty small products, each of the one before: cutting it only hurts."""
    x = value = wf.placeholder(wf.float32, [32, 64])
    w = weights(64, 64)
    for _ in range(40):
        value = wf.tanh(wf.matmul(value, w))
    return Step(wf.reduce_mean(value), {x: drawn(32, 64)})


def wide() -> Step:
    """An MLP whose one wide layer is in two halves."""
    x = wf.placeholder(wf.float32, [128, 256])
    halves = [wf.matmul(wf.nn.relu(wf.matmul(x, weights(256, 2048))), weights(2048, 64)) for _ in range(2)]
    loss = wf.reduce_mean(wf.square(halves[0] + halves[1]))
    return Step([loss, wf.train.GradientDescentOptimizer(1e-3).minimize(loss)], {x: drawn(128, 256)})


def lstm() -> Step:
    """An unrolled LSTM of sixteen steps."""
    x = wf.placeholder(wf.float32, [32, 16, 64])
    outputs, _ = wf.nn.static_rnn(wf.nn.rnn_cell.BasicLSTMCell(64), wf.unstack(x, axis=1), dtype=wf.float32)
    loss = wf.reduce_mean(wf.square(outputs[-1]))
    return Step([loss, wf.train.GradientDescentOptimizer(1e-3).minimize(loss)], {x: drawn(32, 16, 64)})


def digits() -> Step:
    """A small classifier of 64 numbers, as for handwritten digits."""
    x, y = wf.placeholder(wf.float32, [64, 64]), wf.placeholder(wf.int64, [64])
    hidden = wf.nn.relu(wf.matmul(wf.nn.relu(wf.matmul(x, weights(64, 128))), weights(128, 128)))
    scores = wf.matmul(hidden, weights(128, 10))
    loss = wf.reduce_mean(wf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores))
    train = wf.train.AdamOptimizer().minimize(loss)
    return Step([loss, train], {x: drawn(64, 64), y: np.arange(64) % 10})


GRAPHS: dict[str, Callable[[], Step]] = {each.__name__: each for each in (towers, chain, wide, lstm, digits)}

SERVER = """
import sys, weft as wf
spec = wf.train.ClusterSpec({"worker": sys.argv[2:]})
wf.train.Server(spec, job_name="worker", task_index=int(sys.argv[1])).join()
"""


@contextmanager
def target(name: str) -> Iterator[str]:
    """Where sessions run: two devices of this process, or two processes of this machine."""
    if name != CLUSTER:
        yield ""
        return
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    command = [sys.executable, "-P", "-c", SERVER]
    tasks = [subprocess.Popen([*command, str(index), *addresses]) for index in range(2)]
    try:
        yield f"grpc://{addresses[0]}"
    finally:
        for task in tasks:
            task.kill()
            task.wait()


def measure(where: str, make: Callable[[], Step], seconds: float, threads: int) -> dict[str, Any]:
    """The times of steps, all on one device and placed by cost, in turns; and the prediction."""
    times: dict[str, list[float]] = {"one": [], "cost": []}
    with wf.Graph().as_default():
        step = make()
        initialize = wf.global_variables_initializer()

        def session(**more: Any) -> wf.Session:
            given = wf.ConfigProto(device_count={"CPU": 2}, intra_op_parallelism_threads=threads, **more)
            made = wf.Session(where, config=given)
            made.run(initialize)
            return made

        with session() as one:
            model = wf.measure_costs(one, step.fetches, step.feeds)
            with session(placer="cost", cost_model=model) as cost:
                sessions = {"one": one, "cost": cost}
                for each in sessions.values():
                    each.run(step.fetches, step.feeds)
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    for name, each in sessions.items():
                        begin = time.perf_counter()
                        each.run(step.fetches, step.feeds)
                        times[name].append(time.perf_counter() - begin)
                placement = cost.plan(step.fetches, step.feeds).placement
    assert placement is not None
    spread = len({placement.choice.homes[position] for position in placement.work.order})
    alone = placement.choice.alone
    return {**times, "predicted": placement.seconds, "predicted alone": min(alone.values()), "devices": spread}


def plot(path: str, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """Measured and predicted times beside all on one."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(1.4 * len(rows) + 2, 4))
    for at, (_, row) in enumerate(rows):
        one = statistics.median(row["one"])
        axes.bar(
            at - 0.2, statistics.median(row["cost"]) / one, 0.38, color="tab:blue", label="measured" if not at else None
        )
        axes.bar(
            at + 0.2,
            row["predicted"] / row["predicted alone"],
            0.38,
            color="tab:orange",
            label="" if at else "predicted",
        )
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(rows)), [name for name, _ in rows], rotation=30, ha="right")
    axes.set_ylabel("a step, all on one device = 1")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    figure.tight_layout()
    figure.savefig(path)


@click.command(
    epilog="Example: python benchmarks/placement.py --where local --graph towers --threads 1 --plot placement.png"
)
@click.option(
    "--where", type=click.Choice(["local", CLUSTER]), multiple=True, default=("local", CLUSTER), show_default=True
)
@click.option(
    "--graph", "graphs", type=click.Choice([*GRAPHS]), multiple=True, default=tuple(GRAPHS), help="What to run."
)
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="How long each graph is measured.",
)
@click.option("--threads", default=1, show_default=True, help="Threads that kernels of one process may use; 0: all.")
@click.option("--plot", "picture", default="", help="Draw the ratios into this file; needs matplotlib.")
def main(where: tuple[str, ...], graphs: tuple[str, ...], seconds: float, threads: int, picture: str) -> None:
    """Measure placement by cost on two devices of this process, and on two tasks of this machine."""
    rows = []
    click.echo(f"{'':<16} {'all on one':>22} {'by cost':>22} {'ratio':>6} {'predicted':>10} {'alone':>10} devices")
    for place in where:
        for name in graphs:
            with target(place) as there:  # tasks keep variables by name: each graph has tasks of its own
                row = measure(there, GRAPHS[name], seconds, threads)
            rows.append((f"{place} {name}", row))
            cells = []
            for kind in ("one", "cost"):
                low, middle, high = (1e3 * each for each in np.percentile(row[kind], [10, 50, 90]))
                cells.append(f"{middle:8.2f} ({low:.2f}-{high:.2f})")
            ratio = statistics.median(row["cost"]) / statistics.median(row["one"])
            click.echo(
                f"{rows[-1][0]:<16} {cells[0]:>22} {cells[1]:>22} {ratio:>6.2f} {row['predicted'] * 1e3:>7.2f} ms "
                f"{row['predicted alone'] * 1e3:>7.2f} ms {row['devices']:>4}"
            )
    if picture:
        plot(picture, rows)


if __name__ == "__main__":
    main()
