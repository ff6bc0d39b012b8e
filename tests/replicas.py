"""Trainings of a ps and two workers, of which each has half of a batch: what tests train on a cluster and in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import weft as wf

PS, WORKERS = "/job:ps/task:0", ("/job:worker/task:0", "/job:worker/task:1")


@dataclass
class Training:
    """What is to be run, and what each of the two is fed in a step."""

    fetches: list[Any]
    variables: list[Any]
    feeds: list[tuple[Any, Any]]
    batch: Callable[[int], tuple[Any, Any]]

    def step(self, number: int) -> dict[Any, Any]:
        """What is fed in the step of that number."""
        return {
            feed: half
            for feeds, halves in zip(
                self.feeds, zip(*map(np.split, self.batch(number), (2, 2)), strict=True), strict=True
            )
            for feed, half in zip(feeds, halves, strict=True)
        }

    def run(self, session: wf.Session, steps: Sequence[int], initialize: bool = True) -> list[Any]:
        """The losses of these steps, and the variables after them."""
        if initialize:
            session.run(wf.global_variables_initializer())
        losses = [session.run(self.fetches, self.step(number))[1] for number in steps]
        return [*losses, *session.run(self.variables)]

    def alone(self, steps: int) -> list[Any]:
        """The same in one process, with NumPy's kernels."""
        with wf.Session(config=wf.ConfigProto(allow_soft_placement=True)) as session:
            return self.run(session, range(steps))


def _training(variables: list[Any], model: Callable[[Any], Any], shape: tuple[int, ...], batch: Any) -> Training:
    feeds, losses, gradients = [], [], []
    for worker in WORKERS:
        with wf.device(worker):
            x, y = wf.placeholder(wf.float32, shape), wf.placeholder(wf.int64, shape[:1])
            losses.append(wf.reduce_mean(wf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=model(x))))
            gradients.append(wf.gradients(losses[-1], variables))
            feeds.append((x, y))
    with wf.device(PS):
        means = [wf.add_n(list(each)) / 2.0 for each in zip(*gradients, strict=True)]
        update = wf.train.AdamOptimizer(0.01).apply_gradients(list(zip(means, variables, strict=True)))
        fetches = [update, wf.add_n(losses) / 2.0]
    return Training(fetches, wf.global_variables(), feeds, batch)


def _variables(*shapes: tuple[int, ...]) -> list[Any]:
    random = np.random.default_rng(3)
    with wf.device(PS):
        return [
            wf.get_variable(f"v{number}", initializer=random.normal(0, 0.1, shape).astype(np.float32))
            for number, shape in enumerate(shapes)
        ]


def digits() -> Training:
    """The main job: scikit-learn's handwritten digits, 64-256-128-10, batches of 64, Adam."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images, labels = (found.data / 16).astype(np.float32), found.target.astype(np.int64)
    variables = _variables((64, 256), (256,), (256, 128), (128,), (128, 10), (10,))

    def model(x: Any) -> Any:
        for weights, bias in zip(variables[:4:2], variables[1:4:2], strict=True):
            x = wf.nn.relu(wf.matmul(x, weights) + bias)
        return wf.matmul(x, variables[4]) + variables[5]

    return _training(variables, model, (32, 64), lambda number: (
        images[64 * number : 64 * number + 64], labels[64 * number : 64 * number + 64]))  # fmt: skip


def images() -> Training:
    """A net of two convolutions, with pooling, on images of nothing."""
    variables = _variables((5, 5, 1, 32), (32,), (3, 3, 32, 32), (32,), (7 * 7 * 32, 10), (10,))

    def model(x: Any) -> Any:
        for weights, bias in zip(variables[:4:2], variables[1:4:2], strict=True):
            x = wf.nn.relu(wf.nn.bias_add(wf.nn.conv2d(x, weights, strides=[1, 1, 1, 1], padding="SAME"), bias))
            x = wf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        return wf.matmul(wf.reshape(x, [8, -1]), variables[4]) + variables[5]

    def batch(number: int) -> tuple[Any, Any]:
        random = np.random.default_rng(number)
        return random.normal(size=(16, 28, 28, 1)).astype(np.float32), random.integers(0, 10, 16)

    return _training(variables, model, (8, 28, 28, 1), batch)


TRAININGS: dict[str, Callable[[], Training]] = {"digits": digits, "images": images}
