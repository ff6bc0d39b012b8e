"""What cluster.py measures, as one program for weft and for TensorFlow: a task of the cluster, or the client of all."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from cluster_training import LOSSES, trainings
from cluster_turns import say, serve

PS, WORKERS = "/job:ps/task:0", ("/job:worker/task:0", "/job:worker/task:1")
KIB, MIB = 1 << 10, 1 << 20
HOPS = {"4 KB": 4 * KIB, "64 KB": 64 * KIB, "1 MB": MIB, "16 MB": 16 * MIB, "64 MB": 64 * MIB}
TRANSFERS = {"16 MB": 16 * MIB, "64 MB": 64 * MIB}
STEPS = {"1 MB": MIB, "64 MB": 64 * MIB}
NULL_ON_ALL = "null step on all workers"


def library(name: str) -> Any:
    """The library that is measured: TensorFlow, or weft, with one backend or the other."""
    tf = importlib.import_module("tensorflow").compat.v1 if name == "tf" else importlib.import_module("weft")
    tf.disable_eager_execution()
    return tf


def null(tf: Any) -> Any:
    """An operation that does nothing, on the task of the target."""
    return tf.no_op()


def null_on_all(tf: Any, workers: int) -> Any:
    """An operation that does nothing, on each worker."""
    found = []
    for index in range(workers):
        with tf.device(f"/job:worker/task:{index}"):
            found.append(tf.no_op())
    return found


def on_ps(tf: Any, name: str, size: int) -> tuple[Any, Any]:
    """A variable on the ps, and its value there."""
    with tf.device(PS):
        variable = tf.get_variable(f"{name}_{size}", [size // 4], initializer=tf.ones_initializer(), use_resource=True)
        return variable, variable.read_value()


def hop(tf: Any, size: int) -> Any:
    """A tensor that goes from the ps to a worker and, in another shape, which copies nothing, from there to the client."""
    _, value = on_ps(tf, "hop", size)
    with tf.device(WORKERS[0]):
        return tf.reshape(value, [2, size // 8])


def transfer(tf: Any, size: int) -> Any:
    """A tensor that goes from the ps to a worker, from which only a number comes."""
    _, value = on_ps(tf, "transfer", size)
    with tf.device(WORKERS[0]):
        return tf.reshape(value, [2, size // 8])[1, 1]


def training(tf: Any, size: int) -> Any:
    """A synchronous step: parameters to both workers, a gradient from each, their sum applied on the ps."""
    weights, value = on_ps(tf, "weights", size)
    gradients = []
    for worker in WORKERS:
        with tf.device(worker):
            gradients.append(value * 0.5)
    with tf.device(PS):
        return tf.train.GradientDescentOptimizer(1e-6).apply_gradients([(tf.add_n(gradients), weights)])


def copying(size: int) -> Callable[[], object]:
    """A copy within the client's memory."""
    there, here = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return lambda: np.copyto(here, there)


def workloads(tf: Any, workers: int = len(WORKERS)) -> dict[str, Callable[[], Any]]:
    """What can be measured, by name: each builds what is to be fetched."""
    found: dict[str, Callable[[], Any]] = {
        "null step": partial(null, tf),
        NULL_ON_ALL: partial(null_on_all, tf, workers),
    }
    if workers >= len(WORKERS):
        found |= {f"hop {name}": partial(hop, tf, size) for name, size in HOPS.items()}
        found |= {f"transfer {name}": partial(transfer, tf, size) for name, size in TRANSFERS.items()}
        found |= {f"training step {name}": partial(training, tf, size) for name, size in STEPS.items()}
    return found


def client(tf: Any, name: str, cluster: dict[str, list[str]], digits: str) -> None:
    """Serve all workloads with a library of that name.

    `digits`: where the data of that training is, "" to do without any training of models.
    """
    built = {name: build() for name, build in workloads(tf, len(cluster["worker"])).items()}
    models = trainings(tf, digits, PS, WORKERS) if digits else {}
    config = tf.ConfigProto(backend="llvm") if name == "llvm" else None
    session = tf.Session(f"grpc://{cluster['worker'][0]}", config=config)
    session.run(tf.global_variables_initializer())
    if "hop 4 KB" in built:
        value = session.run(built["hop 4 KB"])
        assert np.array_equal(value, np.ones([2, KIB // 2], np.float32)), value
    steps: dict[str, Callable[[], object]] = {name: partial(session.run, fetch) for name, fetch in built.items()}
    steps |= {f"copy of {name}": copying(size) for name, size in TRANSFERS.items()}
    for model in models.values():
        model.session = session
    steps |= {name: model.step for name, model in models.items()}
    begin = {name: model.begin for name, model in models.items()}
    serve(steps, begin, {LOSSES.format(name): model.losses for name, model in models.items()})


def main() -> None:
    name, job, index, text, digits = sys.argv[1:]
    tf, cluster = library(name), json.loads(text)
    if job == "client":
        client(tf, name, cluster, digits)
    else:
        server = tf.train.Server(cluster, job, int(index))
        say("ready")
        server.join()


if __name__ == "__main__":
    main()
