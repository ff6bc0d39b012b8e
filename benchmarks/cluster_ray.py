"""What cluster.py measures, with plain Ray actors: arrays go by object reference from actor to actor to the driver."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import ray
from cluster_program import HOPS, STEPS, TRANSFERS
from cluster_turns import serve


class Ps:
    """Keeps parameters."""

    def __init__(self) -> None:
        self.values = {size: np.ones(size // 4, np.float32) for size in (HOPS | STEPS).values()}

    def value(self, size: int) -> Any:
        return self.values[size]

    def apply(self, size: int, *gradients: Any) -> None:
        weights = self.values[size] = self.values[size].copy()  # what was returned is immutable
        weights -= np.float32(1e-6) * sum(gradients[1:], gradients[0])


class Worker:
    """Passes arrays on, and makes gradients of them."""

    def nothing(self) -> None:
        pass

    def reshaped(self, value: Any) -> Any:
        return value.reshape(2, -1)

    def number(self, value: Any) -> Any:
        return value[-1]

    def gradient(self, value: Any) -> Any:
        return value * np.float32(0.5)


def main() -> None:
    os.environ.pop("RAY_ADDRESS", None)
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ps = ray.remote(Ps).remote()
    workers = [ray.remote(Worker).remote() for _ in range(2)]

    def training(size: int) -> None:
        value = ps.value.remote(size)
        ray.get(ps.apply.remote(size, *[worker.gradient.remote(value) for worker in workers]))

    def hop(size: int) -> Any:
        return ray.get(workers[0].reshaped.remote(ps.value.remote(size)))

    steps: dict[str, Callable[[], object]] = {
        "null step": lambda: ray.get(workers[0].nothing.remote()),
        "null step on all workers": lambda: ray.get([worker.nothing.remote() for worker in workers]),
    }
    steps |= {f"hop {name}": partial(hop, size) for name, size in HOPS.items()}
    steps |= {
        f"transfer {name}": lambda size=size: ray.get(workers[0].number.remote(ps.value.remote(size)))  # type: ignore[misc]
        for name, size in TRANSFERS.items()
    }
    steps |= {f"training step {name}": partial(training, size) for name, size in STEPS.items()}
    assert np.array_equal(steps["hop 4 KB"](), np.ones([2, 512], np.float32))  # type: ignore[arg-type]
    try:
        serve(steps)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
