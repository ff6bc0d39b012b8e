"""The workloads that local.py measures, without any framework: their parameters, their data and their optimizers.

Every framework starts from these arrays, so that losses can be compared. What is computed from them is written in
models_graph.py (weft and TensorFlow), models_torch.py and models_jax.py, under the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: How many batches a workload goes through in turns.
BATCHES = 4


@dataclass(frozen=True)
class Case:
    """One workload: what it starts from and is fed, and how it is trained."""

    parameters: dict[str, Array]
    batches: list[tuple[Array, ...]]
    optimizer: str  # "sgd", "adam", "adagrad", or "" for no update
    rate: float = 0.0
    length: int = 0  # how often a chain repeats, or how many layers there are


class Arrays:
    """Random arrays, the same on every machine."""

    def __init__(self) -> None:
        self._random = np.random.Generator(np.random.PCG64(4))

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return np.asarray(self._random.standard_normal(shape) * scale, np.float32)

    def weights(self, *shape: int) -> Array:
        """Weights that keep the size of what passes through them; the last axis is that of the results."""
        return self.normal(*shape, scale=float(np.prod(shape[:-1])) ** -0.5)

    def integers(self, below: int, *shape: int) -> Array:
        return self._random.integers(below, size=shape).astype(np.int32)

    def layers(self, *sizes: int) -> dict[str, Array]:
        """Weights w0, w1, ... and biases b0, b1, ... of fully connected layers."""
        found = {}
        for i in range(len(sizes) - 1):
            found[f"w{i}"] = self.weights(sizes[i], sizes[i + 1])
            found[f"b{i}"] = np.zeros(sizes[i + 1], np.float32)
        return found


def scalar(value: float) -> Array:
    return np.array(value, np.float32)


def batches(make: Callable[[], tuple[Array, ...]]) -> list[tuple[Array, ...]]:
    return [make() for _ in range(BATCHES)]


def mlp(optimizer: str, rate: float, batch: int, *sizes: int) -> Case:
    new = Arrays()
    data = batches(lambda: (new.normal(batch, sizes[0]), new.integers(sizes[-1], batch)))
    return Case(new.layers(*sizes), data, optimizer, rate)


def lstm(steps: int, batch: int, inputs: int, hidden: int) -> Case:
    new = Arrays()
    parameters = {"w": new.weights(inputs + hidden, 4 * hidden), "b": np.zeros(4 * hidden, np.float32)}
    data = batches(lambda: (new.normal(steps, batch, inputs), new.integers(10, batch)))
    return Case(parameters | new.layers(hidden, 10), data, "sgd", 0.1)


def conv(batch: int, side: int, first: int, second: int, hidden: int) -> Case:
    new = Arrays()
    parameters = {"k0": new.weights(5, 5, 1, first), "k1": new.weights(5, 5, first, second)}
    parameters |= {"c0": np.zeros(first, np.float32), "c1": np.zeros(second, np.float32)}
    data = batches(lambda: (new.normal(batch, side, side, 1), new.integers(10, batch)))
    return Case(parameters | new.layers((side // 4) ** 2 * second, hidden, 10), data, "sgd", 0.01)


def embedding(optimizer: str, rows: int, width: int, batch: int) -> Case:
    new = Arrays()
    parameters = {"table": new.normal(rows, width), "w": new.weights(width, 1)}
    return Case(parameters, batches(lambda: (new.integers(rows, batch), new.normal(batch, 1))), optimizer, 0.05)


def transformer(layers: int, batch: int, sequence: int, width: int) -> Case:
    new = Arrays()
    parameters = {}
    for i in range(layers):
        parameters[f"qkv{i}"] = new.weights(width, 3 * width)
        parameters[f"out{i}"] = new.weights(width, width)
        parameters[f"up{i}"] = new.weights(width, 4 * width)
        parameters[f"down{i}"] = new.weights(4 * width, width)
        for norm in ("n", "m"):
            parameters[f"{norm}gain{i}"] = np.ones(width, np.float32)
            parameters[f"{norm}bias{i}"] = np.zeros(width, np.float32)
    data = batches(lambda: (new.normal(batch, sequence, width), new.normal(batch, sequence, width)))
    return Case(parameters, data, "adam", 1e-3, layers)


def elementwise(size: int) -> Case:
    new = Arrays()
    return Case({"w": new.normal(size, scale=0.1)}, batches(lambda: (new.normal(size),)), "sgd", 100.0, 5)


def scalars(operations: int) -> Case:
    new = Arrays()
    data = batches(lambda: (scalar(1.0 + 0.1 * float(new.normal())),))
    return Case({"v": scalar(0.5)}, data, "sgd", 0.1, operations // 4)


def penalty(batch: int, *sizes: int) -> Case:
    new = Arrays()
    return Case(new.layers(*sizes), batches(lambda: (new.normal(batch, sizes[0]),)), "adam", 1e-3, len(sizes) - 1)


def pinn(points: int, *sizes: int) -> Case:
    new = Arrays()
    data = batches(lambda: (new.normal(points, 1),))
    return Case(new.layers(*sizes), data, "adam", 1e-3, len(sizes) - 1)


def null_step() -> Case:
    return Case({}, [(scalar(i),) for i in range(BATCHES)], "")


@dataclass(frozen=True)
class Workload:
    """A workload as it is measured, a small one of the same kind for tests, and one line about it."""

    about: str
    case: Callable[[], Case]
    small: Callable[[], Case]


WORKLOADS = {
    "mlp_small": Workload(
        "MLP 64-128-128-10, batch 64, SGD",
        lambda: mlp("sgd", 0.1, 64, 64, 128, 128, 10),
        lambda: mlp("sgd", 0.1, 8, 6, 5, 4, 3),
    ),
    "mlp_large": Workload(
        "MLP 784-1024-1024-10, batch 256, Adam",
        lambda: mlp("adam", 1e-3, 256, 784, 1024, 1024, 10),
        lambda: mlp("adam", 1e-2, 8, 6, 5, 4, 3),
    ),
    "lstm_unrolled": Workload(
        "LSTM of 32 unrolled steps, batch 32, 128 inputs, 128 hidden, SGD",
        lambda: lstm(32, 32, 128, 128),
        lambda: lstm(3, 4, 5, 6),
    ),
    "lstm_loop": Workload(
        "the same as a loop: while_loop, nn.LSTM, lax.scan",
        lambda: lstm(32, 32, 128, 128),
        lambda: lstm(3, 4, 5, 6),
    ),
    "conv": Workload(
        "conv net 28x28: 5x5x32, pool, 5x5x64, pool, 128, 10; batch 32, SGD",
        lambda: conv(32, 28, 32, 64, 128),
        lambda: conv(2, 8, 3, 4, 5),
    ),
    "embedding_sgd": Workload(
        "embedding 100,000x64, 1,024 rows a step, sparse gradients, SGD",
        lambda: embedding("sgd", 100_000, 64, 1024),
        lambda: embedding("sgd", 20, 4, 8),
    ),
    "embedding_adagrad": Workload(
        "the same with Adagrad",
        lambda: embedding("adagrad", 100_000, 64, 1024),
        lambda: embedding("adagrad", 20, 4, 8),
    ),
    "transformer": Workload(
        "transformer encoder: 2 layers, d=256, 4 heads, sequence 64, batch 8, Adam; primitive ops",
        lambda: transformer(2, 8, 64, 256),
        lambda: transformer(1, 2, 3, 8),
    ),
    "elementwise": Workload(
        "chain of 20 elementwise ops over 1M floats, SGD",
        lambda: elementwise(1_000_000),
        lambda: elementwise(50),
    ),
    "scalars": Workload("chain of 1,000 scalar ops, SGD", lambda: scalars(1000), lambda: scalars(12)),
    "penalty": Workload(
        "gradient penalty on an MLP 64-128-128-1, batch 64: gradients of gradients, Adam",
        lambda: penalty(64, 64, 128, 128, 1),
        lambda: penalty(8, 4, 5, 6, 1),
    ),
    "pinn": Workload(
        "u_xx of a 1-20-20-20-1 tanh net, batch 2,000, Adam",
        lambda: pinn(2000, 1, 20, 20, 20, 1),
        lambda: pinn(10, 1, 4, 4, 1),
    ),
    "null_step": Workload("one scalar fed, one fetched", null_step, null_step),
    "first_run": Workload(
        "process start, import, build and the first step of mlp_small",
        lambda: mlp("sgd", 0.1, 64, 64, 128, 128, 10),
        lambda: mlp("sgd", 0.1, 8, 6, 5, 4, 3),
    ),
}

#: The workloads that are measured from the start of a process, a new one each round.
COLD = {"first_run"}

#: The model of a workload where it has not the workload's name.
MODELS = {
    "mlp_small": "mlp",
    "mlp_large": "mlp",
    "first_run": "mlp",
    "embedding_sgd": "embedding",
    "embedding_adagrad": "embedding",
}
