"""What replication costs without a parameter server and with one: null training steps on servers of this machine, in turns.

A ps and workers, each a process of its own, and a client beside them. A step reads the parameters on each worker, makes a
gradient of as many numbers there, and applies the sum: on the ps, or on every worker after an all-reduce.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import click
import numpy as np
import weft as wf
from local_report import spread_of, table

from cluster import addresses

MIB = 1 << 20
#: Steps before those that count.
WARM_UP = 3
START_SECONDS = 60.0


@contextmanager
def servers(workers: int) -> Iterator[str]:
    """A cluster of one ps and so many workers; yields the target of sessions on it."""
    cluster = addresses({"ps": 1, "worker": workers})
    with ExitStack() as stack:
        for job, hosts in cluster.items():
            for index in range(len(hosts)):
                command = [sys.executable, __file__, "--serve", json.dumps([cluster, job, index])]
                process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
                stack.callback(process.kill)
                assert process.stdout is not None
                if process.stdout.readline().strip() != "ready":
                    raise click.ClickException(f"the {job} {index} did not start")
        yield f"grpc://{cluster['worker'][0]}"


def devices(workers: int) -> list[str]:
    return [f"/job:worker/task:{number}" for number in range(workers)]


def shares(size: int, variables: int) -> list[int]:
    """How many numbers each variable has."""
    return [size // 4 // variables] * variables


def with_a_ps(size: int, variables: int, workers: int) -> tuple[Any, list[Any]]:
    """A step whose parameters are on the ps, and these."""
    with wf.device("/job:ps/task:0"):
        weights = [wf.Variable(wf.ones([count])) for count in shares(size, variables)]
        values = [each.read_value() for each in weights]
    gradients = []
    for worker in devices(workers):
        with wf.device(worker):
            gradients.append([value * 0.5 for value in values])
    with wf.device("/job:ps/task:0"):
        sums = [wf.add_n(list(each)) for each in zip(*gradients, strict=True)]
        return wf.train.GradientDescentOptimizer(1e-6).apply_gradients(list(zip(sums, weights, strict=True))), weights


def mirrored(size: int, variables: int, workers: int, bucket_bytes: int) -> tuple[Any, list[Any]]:
    """A step whose parameters are on every worker, and these."""
    strategy = wf.distribute.MirroredStrategy(devices(workers), bucket_bytes=bucket_bytes)
    with strategy.scope():
        weights = [wf.Variable(wf.ones([count])) for count in shares(size, variables)]
    gradients = strategy.run(lambda: [each.read_value() * 0.5 for each in weights])
    optimizer = wf.train.MirroredOptimizer(wf.train.GradientDescentOptimizer(1e-6), strategy, "sum")
    return optimizer.apply_gradients(list(zip(gradients, weights, strict=True))), weights


class Contender:
    """A session of one kind of training; servers keep variables by name, so each has names of its own."""

    def __init__(self, target: str, name: str, build: Callable[[], tuple[Any, list[Any]]]) -> None:
        with wf.Graph().as_default(), wf.name_scope(name):
            step, weights = build()
            self.session = wf.Session(target)
            self.session.run(wf.global_variables_initializer())
            self._step = self.session.make_callable(step)
            for _ in range(WARM_UP):
                self._step()
            self.after = [np.asarray(value).tobytes() for value in self.session.run(weights)]
        self.medians: list[float] = []

    def turn(self, seconds: float) -> None:
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            before = time.perf_counter()
            self._step()
            times.append(time.perf_counter() - before)
        self.medians.append(statistics.median(times))

    def row(self) -> dict[str, float]:
        return {"median": statistics.median(self.medians), "least": min(self.medians), "most": max(self.medians)}


def measured(
    target: str, size: int, variables: int, workers: int, bucket_bytes: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Both kinds in turns. Raises ClickException where their bits differ."""
    builds = {
        "ps": lambda: with_a_ps(size, variables, workers),
        "all-reduce": lambda: mirrored(size, variables, workers, bucket_bytes),
    }
    with ExitStack() as stack:
        contenders = {name: Contender(target, f"{name}_{size}_{workers}", build) for name, build in builds.items()}
        for each in contenders.values():
            stack.callback(each.session.close)
        if contenders["ps"].after != contenders["all-reduce"].after:
            raise click.ClickException(f"{workers} workers end with other bits than the ps")
        for _ in range(rounds):
            for each in contenders.values():
                each.turn(seconds)
        rows = {name: each.row() for name, each in contenders.items()}
    return {"megabytes": size / MIB, "workers": workers, **rows}


def report(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            f"{row['megabytes']:g} MB, {row['workers']} workers",
            spread_of(row["ps"]),
            spread_of(row["all-reduce"]),
            f"{row['all-reduce']['median'] / row['ps']['median']:.2f}",
        ]
        for row in rows
    ]
    return table("training step", ["ps", "all-reduce", "all-reduce / ps"], lines)


def plot(rows: list[dict[str, Any]], file: str) -> None:
    """Step times by the number of workers, a picture a size."""
    from matplotlib.figure import Figure

    sizes = sorted({row["megabytes"] for row in rows})
    figure = Figure(figsize=(4 * len(sizes), 4), layout="constrained")
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        mine = [row for row in rows if row["megabytes"] == size]
        for name in ("ps", "all-reduce"):
            times = [row[name]["median"] * 1e3 for row in mine]
            below = [(row[name]["median"] - row[name]["least"]) * 1e3 for row in mine]
            above = [(row[name]["most"] - row[name]["median"]) * 1e3 for row in mine]
            axes.errorbar([row["workers"] for row in mine], times, [below, above], label=name, capsize=3)
        axes.set(title=f"{size:g} MB", xlabel="workers", ylabel="ms a step", ylim=(0, None))
        axes.set_xticks([row["workers"] for row in mine])
        axes.legend()
    figure.savefig(file)


@click.command(epilog="Example: python benchmarks/allreduce.py --megabytes 64 --workers 4 --rounds 5")
@click.option("--megabytes", multiple=True, default=(1.0, 64.0), show_default=True, help="Of parameters.")
@click.option("--workers", multiple=True, default=(2, 3, 4), show_default=True, type=click.IntRange(1))
@click.option("--variables", default=1, show_default=True, type=click.IntRange(1), help="That the parameters are in.")
@click.option("--bucket-megabytes", default=4.0, show_default=True, help="Of the strategy.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--seconds",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="How long each turn measures.",
)
@click.option(
    "--plot", "picture", type=click.Path(dir_okay=False), help="Draw a picture into this file (needs matplotlib)."
)
@click.option("--json", "as_json", is_flag=True, help="Figures in seconds, for programs.")
@click.option("--serve", hidden=True, help="Be a task.")
def main(
    megabytes: tuple[float, ...], workers: tuple[int, ...], variables: int, bucket_megabytes: float, rounds: int,
    seconds: float, picture: str | None, as_json: bool, serve: str | None,
) -> None:  # fmt: skip
    """Measure null training steps of replicas, with a parameter server and with all-reduce, in turns."""
    if serve is not None:
        cluster, job, index = json.loads(serve)
        server = wf.train.Server(cluster, job, index)
        print("ready", flush=True)
        server.join()
        return
    if picture and find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")
    os.environ.setdefault("WEFT_CLUSTER_SECRET", secrets.token_hex(32))
    bucket = int(bucket_megabytes * MIB)
    with servers(max(workers)) as target:
        rows = [
            measured(target, int(size * MIB), variables, count, bucket, rounds, seconds)
            for size in megabytes
            for count in workers
        ]
    if picture:
        plot(rows, picture)
    click.echo(json.dumps(rows) if as_json else report(rows))


if __name__ == "__main__":
    main()
