"""A model cut over two workers: steps a second of `Session.run_many`, by how many runs may be in flight."""

from __future__ import annotations

import json
import statistics
import time
from importlib.util import find_spec
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


def measured(
    session: wf.Session, kinds: dict[str, Any], feeds: list[Any], limits: tuple[int, ...], seconds: float
) -> list[dict[str, Any]]:
    """Steps a second of each kind of run, a pass with each limit in turns."""
    rows = []
    for name, fetches in kinds.items():
        found: dict[int, list[float]] = {limit: [] for limit in limits}
        steps_a_second(session, fetches, feeds, max(limits))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for limit in limits:
                found[limit].append(steps_a_second(session, fetches, feeds, limit))
        for limit, rates in found.items():
            quarters = statistics.quantiles(rates, n=4) if len(rates) > 1 else rates * 3
            rows.append({"run": name, "limit": limit, "median": quarters[1], "low": quarters[0], "high": quarters[2]})
    return rows


def plot(rows: list[dict[str, Any]], file: str) -> None:
    """Steps a second by how many runs may be in flight: a line a kind of run, with the half of the passes around its median."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == name]
        median = [row["median"] for row in mine]
        around = [[row["median"] - row["low"] for row in mine], [row["high"] - row["median"] for row in mine]]
        axes.errorbar([row["limit"] for row in mine], median, around, label=name, marker="o", capsize=3)
    axes.set(xlabel="runs in flight at most", ylabel="steps a second", ylim=(0, None))
    axes.set_xticks(sorted({row["limit"] for row in rows}))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    figure.savefig(file)


@click.command(epilog="Example: python benchmarks/pipeline.py --limit 1 --limit 2")
@click.option(
    "--limit", "limits", multiple=True, type=int, default=(1, 2, 4), show_default=True, help="Runs in flight."
)
@click.option(
    "--seconds", default=5.0, show_default=True, help="How long to measure the limits of one kind of run, in turns."
)
@click.option("--width", default=512, show_default=True, type=click.IntRange(1), help="The width of each layer.")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(1), help="The rows of a micro-batch.")
@click.option(
    "--plot", "picture", type=click.Path(dir_okay=False), help="Draw a picture into this file (needs matplotlib)."
)
@click.option("--json", "as_json", is_flag=True, help="Figures in steps a second, for programs.")
def main(limits: tuple[int, ...], seconds: float, width: int, batch: int, picture: str | None, as_json: bool) -> None:
    """Measure a pipeline of two workers on Ray: passes over eight micro-batches, forward alone and with training."""
    if picture and find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")
    x, loss, train = model(width)
    drawn = np.random.default_rng(0).normal(size=(MICRO_BATCHES, batch, width)).astype(np.float32)
    feeds = [{x: each} for each in drawn]
    with wf.cluster.start({"worker": len(WORKERS)}) as cluster, wf.Session(cluster.target) as session:
        session.run(wf.global_variables_initializer())
        rows = measured(session, {"forward": loss, "training": [loss, train]}, feeds, limits, seconds)
    if picture:
        plot(rows, picture)
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['run']:<10} limit {row['limit']:>2} {row['median']:>10.1f} steps/s")


if __name__ == "__main__":
    main()
