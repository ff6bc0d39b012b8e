"""What recomputing costs and saves: a deep net whose layers are in `wf.recompute()` scopes, some in each, or in none."""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from typing import Any

import click
import numpy as np
import weft as wf


def step(layers: int, together: int, batch: int, width: int) -> tuple[wf.Session, Any, dict[Any, Any]]:
    """The gradient step of a net of layers of tanh, so many of them in a scope (0: no scopes), and its feeds."""
    with wf.Graph().as_default():
        x = h = wf.placeholder(wf.float32, [batch, width])
        starts = range(0, layers, together or layers)
        for start in starts:
            with wf.recompute() if together else nullcontext():
                for layer in range(start, min(start + (together or layers), layers)):
                    w = wf.get_variable(f"w{layer}", [width, width])
                    h = wf.tanh(wf.matmul(h, w) + 0.1)
        train = wf.train.GradientDescentOptimizer(0.01).minimize(wf.reduce_mean(wf.square(h)))
        session = wf.Session()
        session.run(wf.global_variables_initializer())
    return session, train, {x: np.ones((batch, width), np.float32)}


@click.command(epilog="Example: python benchmarks/recompute.py --layers 16 --together 0 --together 4")
@click.option("--layers", default=16, show_default=True, type=click.IntRange(1), help="How many layers the net has.")
@click.option("--batch", default=1024, show_default=True, type=click.IntRange(1))
@click.option("--width", default=256, show_default=True, type=click.IntRange(1))
@click.option(
    "--together", multiple=True, type=int, default=(0, 1, 2, 4, 8), show_default=True,
    help="How many layers a scope holds, 0 for no scopes; may be given several times.",
)  # fmt: skip
@click.option(
    "--rounds", default=15, show_default=True, type=click.IntRange(1), help="How often to measure each, in turns."
)
def main(layers: int, batch: int, width: int, together: tuple[int, ...], rounds: int) -> None:
    """Measure time and memory of a training step with and without recomputing."""
    steps = {each: step(layers, each, batch, width) for each in together}
    times: dict[int, list[float]] = {each: [] for each in together}
    for _ in range(rounds + 1):
        for each, (session, train, feeds) in steps.items():
            begin = time.perf_counter()
            session.run(train, feeds)
            times[each].append(time.perf_counter() - begin)
    click.echo(f"{'layers a scope':<16}{'buffers, MB':>12}{'ms a step':>12}")
    for each, (session, train, _) in steps.items():
        size = session.plan(train).plans[0].arena_bytes / 1e6
        click.echo(f"{each or 'no scopes':<16}{size:>12.1f}{statistics.median(times[each][1:]) * 1e3:>12.1f}")


if __name__ == "__main__":
    main()
