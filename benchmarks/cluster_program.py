"""What cluster.py measures, as one program for weft and for TensorFlow: a task of the cluster, or the client of all.

The client reads a workload and a number of seconds a line from its standard input and answers how long its steps took.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

PS, WORKERS = "/job:ps/task:0", ("/job:worker/task:0", "/job:worker/task:1")
KIB, MIB = 1 << 10, 1 << 20
HOPS = {"4 KB": 4 * KIB, "64 KB": 64 * KIB, "1 MB": MIB, "16 MB": 16 * MIB, "64 MB": 64 * MIB}
STEPS = {"1 MB": MIB, "64 MB": 64 * MIB}
#: Steps before those that count.
WARM_UP = 3


def library(name: str) -> Any:
    """The library that is measured."""
    tf = importlib.import_module("tensorflow").compat.v1 if name == "tf" else importlib.import_module("weft")
    tf.disable_eager_execution()
    return tf


def null(tf: Any) -> Any:
    """An operation that does nothing, on the task of the target."""
    return tf.no_op()


def hop(tf: Any, size: int) -> Any:
    """A tensor that goes from the ps to a worker and, in another shape, which copies nothing, from there to the client."""
    with tf.device(PS):
        variable = tf.get_variable(f"hop_{size}", [size // 4], initializer=tf.ones_initializer(), use_resource=True)
        value = variable.read_value()
    with tf.device(WORKERS[0]):
        return tf.reshape(value, [2, size // 8])


def training(tf: Any, size: int) -> Any:
    """A synchronous step: parameters to both workers, a gradient from each, their sum applied on the ps."""
    with tf.device(PS):
        weights = tf.get_variable(f"weights_{size}", [size // 4], initializer=tf.ones_initializer(), use_resource=True)
        value = weights.read_value()
    gradients = []
    for worker in WORKERS:
        with tf.device(worker):
            gradients.append(value * 0.5)
    with tf.device(PS):
        return tf.train.GradientDescentOptimizer(1e-6).apply_gradients([(tf.add_n(gradients), weights)])


def workloads(tf: Any) -> dict[str, Callable[[], Any]]:
    """What can be measured, by name: each builds what is to be fetched."""
    found: dict[str, Callable[[], Any]] = {"null step": partial(null, tf)}
    found |= {f"hop {name}": partial(hop, tf, size) for name, size in HOPS.items()}
    found |= {f"training step {name}": partial(training, tf, size) for name, size in STEPS.items()}
    return found


def measure(session: Any, fetch: Any, seconds: float) -> list[float]:
    """How long each step took, in seconds."""
    for _ in range(WARM_UP):
        session.run(fetch)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        before = time.perf_counter()
        session.run(fetch)
        times.append(time.perf_counter() - before)
    return times


def client(tf: Any, cluster: dict[str, list[str]]) -> None:
    """Answer what is asked, until nothing is any more."""
    built = {name: build() for name, build in workloads(tf).items()}
    session = tf.Session(f"grpc://{cluster['worker'][0]}")
    session.run(tf.global_variables_initializer())
    value = session.run(built["hop 4 KB"])
    assert np.array_equal(value, np.ones([2, KIB // 2], np.float32)), value
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, seconds = json.loads(line)
        print(json.dumps(measure(session, built[name], seconds)), flush=True)


def main() -> None:
    name, job, index, text = sys.argv[1:]
    tf, cluster = library(name), json.loads(text)
    if job == "client":
        client(tf, cluster)
    else:
        server = tf.train.Server(cluster, job, int(index))
        print(json.dumps("ready"), flush=True)
        server.join()


if __name__ == "__main__":
    main()
