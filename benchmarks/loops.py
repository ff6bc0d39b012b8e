"""What a step of a loop costs beside the same operations unrolled in one plan, with and without gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
import weft as wf

Cell = Callable[..., Sequence[Any]]


def mixed(x: Any) -> Sequence[Any]:
    """Eleven operations on whatever shape."""
    return (wf.tanh(x * 1.0001 + 0.1) * 0.5 + x * 0.5 - 0.1 + wf.sin(x) * 0.01,)


def product(x: Any) -> Sequence[Any]:
    return (wf.tanh(wf.matmul(x, x) * 0.1),)


def lstm(x: Any, h: Any, c: Any) -> Sequence[Any]:
    with wf.variable_scope("cell", reuse=wf.AUTO_REUSE):
        weights = wf.get_variable("w", [256, 512])
    i, j, f, o = wf.split(wf.matmul(wf.concat([x, h], 1), weights), 4, 1)
    c = c * wf.sigmoid(f + 1.0) + wf.sigmoid(i) * wf.tanh(j)
    return x, wf.tanh(c) * wf.sigmoid(o), c


CELLS: dict[str, tuple[Cell, list[Any], int]] = {
    "scalars": (mixed, [np.float32(1)], 100),
    "64x64 product": (product, [np.ones((64, 64), np.float32)], 50),
    "LSTM 32x128": (lstm, [np.zeros((32, 128), np.float32)] * 3, 32),
    "1M floats": (mixed, [np.ones(1_000_000, np.float32)], 20),
}


def unrolled(cell: Cell, start: Sequence[Any], count: Any, steps: int) -> tuple[Any, list[Any]]:
    """The last value, and what a loop also computes: whether each iteration is to run."""
    now, tests = list(start), []
    index = count
    for _ in range(steps):
        tests.append(index < steps)
        now, index = list(cell(*now)), index + 1
    return now[-1], tests


def looped(cell: Cell, start: Sequence[Any], count: Any, steps: int) -> tuple[Any, list[Any]]:
    return wf.while_loop(lambda i, *_: i < steps, lambda i, *now: (i + 1, *cell(*now)), [count, *start])[-1], []


def seconds(run: Callable[[], Any], repeats: int) -> float:
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 4]


def measure(build: Callable[..., Any], name: str, gradient: bool, repeats: int) -> float:
    """Seconds a step."""
    cell, values, steps = CELLS[name]
    with wf.Graph().as_default(), wf.Session(config=wf.ConfigProto(intra_op_parallelism_threads=1)) as session:
        start = [wf.placeholder(wf.float32, np.shape(value)) for value in values]
        count = wf.placeholder(wf.int32, ())
        last, tests = build(cell, start, count, steps)
        found = wf.gradients(wf.reduce_sum(last), [*start, *wf.trainable_variables()]) if gradient else [last]
        fetches = [*tests, *(tensor for tensor in found if tensor is not None)]
        session.run(wf.global_variables_initializer())
        call = session.make_callable(fetches, [*start, count])
        return seconds(lambda: call(*values, 0), repeats) / steps


@click.command()
@click.option("--repeats", default=30, show_default=True, type=click.IntRange(1))
def main(repeats: int) -> None:
    """A line a cell: microseconds a step, unrolled and as a loop."""
    for name in CELLS:
        for gradient in (False, True):
            plain, loop = (measure(build, name, gradient, repeats) for build in (unrolled, looped))
            what = f"{name}{', gradient' if gradient else ''}"
            click.echo(f"{what:26} {plain * 1e6:9.2f} {loop * 1e6:9.2f}  {loop / plain:.2f}x")


if __name__ == "__main__":
    main()
