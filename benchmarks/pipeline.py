"""A model cut over two workers: steps a second of `Session.run_many`, by how many runs may be in flight."""

from __future__ import annotations

import statistics
import time
from typing import Any

import click
import numpy as np
import weft as wf

WORKERS = ("/job:worker/task:0", "/job:worker/task:1")
LAYERS, MICRO_BATCHES = 4, 8


def model(width: int) -> tuple[wf.Tensor, wf.Tensor, wf.Operation]:
    """An MLP of four layers, two on each worker: what is fed, what comes out, and a training step."""
    x = value = wf.placeholder(wf.float32, [None, width])
    for layer in range(LAYERS):
        with wf.device(WORKERS[layer * len(WORKERS) // LAYERS]):
            start = np.random.default_rng(layer).normal(size=(width, width)).astype(np.float32) / np.sqrt(width)
            value = wf.tanh(wf.matmul(value, wf.Variable(start, dtype=wf.float32)))
    with wf.device(WORKERS[-1]):
        loss = wf.reduce_mean(wf.square(value))
    return x, loss, wf.train.GradientDescentOptimizer(1e-3).minimize(loss)


def steps_a_second(session: wf.Session, fetches: Any, feeds: list[Any], limit: int) -> float:
    """Of one pass over the micro-batches."""
    begin = time.perf_counter()
    count = sum(1 for _ in session.run_many(fetches, feeds, limit))
    return count / (time.perf_counter() - begin)


@click.command(epilog="Example: python benchmarks/pipeline.py --limit 1 --limit 2")
@click.option(
    "--limit", "limits", multiple=True, type=int, default=(1, 2, 4), show_default=True, help="Runs in flight."
)
@click.option(
    "--seconds", default=5.0, show_default=True, help="How long to measure the limits of one kind of run, in turns."
)
@click.option("--width", default=512, show_default=True, help="The width of each layer.")
@click.option("--batch", default=128, show_default=True, help="The rows of a micro-batch.")
def main(limits: tuple[int, ...], seconds: float, width: int, batch: int) -> None:
    """Measure a pipeline of two workers on Ray: passes over eight micro-batches, forward alone and with training."""
    x, loss, train = model(width)
    drawn = np.random.default_rng(0).normal(size=(MICRO_BATCHES, batch, width)).astype(np.float32)
    feeds = [{x: rows} for rows in drawn]
    with wf.cluster.start({"worker": len(WORKERS)}) as cluster, wf.Session(cluster.target) as session:
        session.run(wf.global_variables_initializer())
        for name, fetches in (("forward", loss), ("training", [loss, train])):
            found: dict[int, list[float]] = {limit: [] for limit in limits}
            steps_a_second(session, fetches, feeds, max(limits))
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                for limit in limits:
                    found[limit].append(steps_a_second(session, fetches, feeds, limit))
            for limit, rates in found.items():
                click.echo(f"{name:<10} limit {limit:>2} {statistics.median(rates):>10.1f} steps/s")


if __name__ == "__main__":
    main()
