"""Synchronous training that cluster.py measures: whole models, written once for weft and for TensorFlow.

The variables and their optimizer are on the ps, a replica of the model on each worker takes half of a batch; the ps averages
the gradients and applies them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from models_graph import OPTIMIZERS, mlp
from workloads import BATCHES, WORKLOADS, Array, Arrays, Case

#: How many losses of a training are compared, and how far they may differ, relative to the largest.
COMPARED, TOLERANCE = 20, 2e-3
TRAININGS = ("training digits", "training MLP large")
#: What the losses of a training are asked for by.
LOSSES = "losses of {}"


def save_digits(path: Path) -> None:
    """scikit-learn's bundled digits as arrays, for those whose Python does not have them. Raises ImportError."""
    from sklearn.datasets import load_digits

    found = load_digits()
    np.savez(path, x=(found.data / 16).astype(np.float32), y=found.target.astype(np.int32))


def digits(path: str) -> Case:
    """The model of examples/train_digits.py: 64-256-128-10, batch 64, Adam."""
    size, new = 64, Arrays()
    with np.load(path, allow_pickle=False) as saved:
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(saved["y"]))
        x, y = saved["x"][order], saved["y"][order]
    batches: list[tuple[Array, ...]] = [(x[at : at + size], y[at : at + size]) for at in range(0, size * BATCHES, size)]
    return Case(new.layers(64, 256, 128, 10), batches, "adam", 0.002)


class Training:
    """A model in training: `step` runs one step and returns its loss, `begin` starts from the beginning."""

    def __init__(self, tf: Any, name: str, case: Case, ps: str, workers: tuple[str, ...]) -> None:
        self._case, self._batches = case, self._forever()
        self.session: Any = None
        self._feeds: list[list[Any]] = []
        before = len(tf.global_variables())
        with tf.variable_scope(name.replace(" ", "_")):
            with tf.device(ps):
                variables = {
                    key: tf.get_variable(key, initializer=value, use_resource=True)
                    for key, value in case.parameters.items()
                }
            losses, gradients = [], []
            for worker in workers:
                with tf.device(worker):
                    feeds = [tf.placeholder(part.dtype.name, part.shape) for part in _halves(case.batches[0])[0]]
                    losses.append(mlp(tf, variables, case, *feeds))
                    gradients.append(tf.gradients(losses[-1], list(variables.values())))
                self._feeds.append(feeds)
            with tf.device(ps):
                means = [tf.add_n(list(each)) / len(workers) for each in zip(*gradients, strict=True)]
                optimizer = getattr(tf.train, OPTIMIZERS[case.optimizer])(case.rate)
                update = optimizer.apply_gradients(list(zip(means, variables.values(), strict=True)))
                self._fetches = [update, tf.add_n(losses) / len(workers)]
        self._initialize = tf.variables_initializer(tf.global_variables()[before:])

    def begin(self) -> None:
        self.session.run(self._initialize)
        self._batches = self._forever()

    def step(self) -> float:
        feeds = next(self._batches)
        return float(self.session.run(self._fetches, feeds)[1])

    def losses(self) -> list[float]:
        """The first losses of the training."""
        self.begin()
        return [self.step() for _ in range(COMPARED)]

    def _forever(self) -> Iterator[dict[Any, Any]]:
        while True:
            for batch in self._case.batches:
                parts = zip(self._feeds, _halves(batch), strict=True)
                yield {feed: array for feeds, half in parts for feed, array in zip(feeds, half, strict=True)}


def _halves(batch: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """A batch's part for each of the two workers."""
    return [tuple(array[: len(array) // 2] for array in batch), tuple(array[len(array) // 2 :] for array in batch)]


def trainings(tf: Any, digits_at: str, ps: str, workers: tuple[str, ...]) -> dict[str, Training]:
    """The models by the name that they are measured under; that of digits needs the place of their file."""
    cases: dict[str, Callable[[], Case]] = {"training MLP large": WORKLOADS["mlp_large"].case}
    if digits_at:
        cases["training digits"] = lambda: digits(digits_at)
    return {name: Training(tf, name, cases[name](), ps, workers) for name in TRAININGS if name in cases}


def difference(losses: list[float], others: list[float]) -> float:
    """How far two rows of losses are apart, relative to the largest."""
    return max(abs(a - b) for a, b in zip(losses, others, strict=True)) / max(map(abs, losses))
