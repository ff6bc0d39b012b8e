"""What the tests of replication share: a model trained through a parameter server and mirrored, and the bits of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import weft as wf

Values = dict[str, bytes]

OPTIMIZERS: dict[str, Callable[[], wf.train.Optimizer]] = {
    "descent": lambda: wf.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: wf.train.MomentumOptimizer(0.05, 0.9),
    "adam": lambda: wf.train.AdamOptimizer(0.02),
    "adagrad": lambda: wf.train.AdagradOptimizer(0.1),
    "rmsprop": lambda: wf.train.RMSPropOptimizer(0.01, momentum=0.5),
    "ftrl": lambda: wf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
}


def variables(dtype: wf.DType = wf.float32) -> list[wf.Variable]:
    """Those of a small network, with different numbers to begin with, and an embedding."""
    shapes = {"w0": [7, 33], "b0": [33], "w1": [33, 5], "b1": [5], "table": [11, 7]}
    return [
        wf.Variable(wf.random_normal(shape, seed=number, dtype=dtype), name=name)
        for number, (name, shape) in enumerate(shapes.items())
    ]


def loss_of(parts: Sequence[wf.Variable], inputs: list[Any] | None = None, rows: bool = True) -> tuple[Any, Any, Any]:
    """Placeholders and the loss of a replica; `rows`: the gradient of the table is of rows."""
    w0, b0, w1, b1, table = parts
    x, chosen = wf.placeholder(w0.dtype, [None, 7]), wf.placeholder(wf.int32, [None])
    taken = wf.gather(table, chosen) if rows else wf.matmul(wf.one_hot(chosen, 11, dtype=w0.dtype), table)
    hidden = wf.tanh(wf.matmul(x + taken, w0) + b0)
    return x, chosen, wf.reduce_mean(wf.square(wf.matmul(hidden, w1) + b1 - 0.5))


def batch(replica: int, step: int, dtype: wf.DType = wf.float32) -> tuple[Any, Any]:
    random = np.random.default_rng([replica, step])
    count = 4 + replica
    return random.normal(size=(count, 7)).astype(dtype.np), random.integers(0, 11, count)


def bits(session: wf.Session, names: Sequence[wf.Variable]) -> Values:
    """The bits of variables by name; of mirrored ones all copies must have the same."""
    found: Values = {}
    for variable in names:
        copies = list(variable.values) if isinstance(variable, MIRRORED) else [variable]
        each = {np.asarray(value).tobytes() for value in session.run(copies)}
        assert len(each) == 1, f"the copies of {variable.name} differ"
        found[variable.op.name] = each.pop()
    return found


def mirrored_class() -> Any:
    with wf.Graph().as_default(), wf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        return type(wf.Variable(0.0))


MIRRORED = mirrored_class()


def run_steps(target: Any, config: Any, fed: list[tuple[Any, Any]], train: Any, steps: int, dtype: wf.DType) -> Values:
    """Train, and the bits of all global variables at the end."""
    with wf.Session(target, config=config) as session:
        session.run(wf.global_variables_initializer())
        for step in range(steps):
            feeds = {}
            for replica, (x, chosen) in enumerate(fed):
                feeds[x], feeds[chosen] = batch(replica, step, dtype)
            session.run(train, feeds)
        return bits(session, wf.global_variables())


def through_a_ps(
    optimizer: str, workers: Sequence[str], ps: str = "/cpu:0", target: Any = "", config: Any = None, steps: int = 4,
    dtype: wf.DType = wf.float32, mean: bool = True, rows: bool = True,
) -> Values:  # fmt: skip
    """In-graph replicas as TensorFlow 1 programs have them: variables on `ps`, which adds up the gradients in order."""
    with wf.Graph().as_default():
        with wf.device(ps):
            parts = variables(dtype)
            step = wf.train.get_or_create_global_step()
        fed, gradients = [], []
        for worker in workers:
            with wf.device(worker):
                x, chosen, loss = loss_of(parts, rows=rows)
                fed.append((x, chosen))
                gradients.append(wf.gradients(loss, parts))
        with wf.device(ps):
            reduced = [
                (_added(each, mean), part) for each, part in zip(zip(*gradients, strict=True), parts, strict=True)
            ]
            train = OPTIMIZERS[optimizer]().apply_gradients(reduced, global_step=step)
        return run_steps(target, config, fed, train, steps, dtype)


def _added(each: Sequence[Any], mean: bool) -> Any:
    count = len(each) if mean else 1
    if not isinstance(each[0], wf.IndexedSlices):
        total = wf.add_n(list(each))
        return total / count if mean else total
    values = [part.values / count if mean else part.values for part in each]
    return wf.IndexedSlices(wf.concat(values, 0), wf.concat([part.indices for part in each], 0), each[0].dense_shape)


def mirrored(
    optimizer: str, strategy: Any, target: Any = "", config: Any = None, steps: int = 4, dtype: wf.DType = wf.float32,
    mean: bool = True, rows: bool = True,
) -> Values:  # fmt: skip
    """The same without a ps."""
    with wf.Graph().as_default():
        with strategy.scope():
            parts = variables(dtype)
            step = wf.train.get_or_create_global_step()
        xs, chosen, losses = strategy.run(lambda: loss_of(parts, rows=rows))
        opt = wf.train.MirroredOptimizer(OPTIMIZERS[optimizer](), strategy, "mean" if mean else "sum")
        train = opt.minimize(losses, global_step=step)
        assert wf.find_races(train) == []
        return run_steps(target, config, list(zip(xs, chosen, strict=True)), train, steps, dtype)
