"""The main job: train a small classifier on handwritten digits, locally, on several devices, or on a Ray cluster.

The program is one and the same in all three ways, down to the last bit of the weights it ends with.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import weft as wf
from sklearn.datasets import load_digits
from tqdm import tqdm

WORKERS = 2
LAYERS = (64, 256, 128, 10)
EVALUATE_EVERY = 50

Weights = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Data:
    """Digits as rows of 64 pixels in [0, 1], and what they show."""

    train_x: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test_x: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]


def load_data(seed: int = 0) -> Data:
    """scikit-learn's bundled UCI digits, shuffled; every fifth is held out."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x = (digits.data[order] / 16).astype(np.float32)
    y = digits.target[order].astype(np.int64)
    held_out = np.arange(len(y)) % 5 == 0
    return Data(x[~held_out], y[~held_out], x[held_out], y[held_out])


@dataclass(frozen=True)
class Model:
    """The graph's handles: a pair of placeholders a replica, and what a step runs."""

    inputs: list[tuple[wf.Tensor, wf.Tensor]]
    train_op: wf.Operation
    loss: wf.Tensor
    accuracy: wf.Tensor
    variables: list[wf.Variable]


def build(ps: str, workers: list[str], learning_rate: float) -> Model:
    """Variables on `ps`, one replica of the network on each of `workers`, gradients averaged and applied on `ps`."""
    with wf.device(wf.train.replica_device_setter(ps_tasks=1, ps_device=ps, worker_device=workers[0])):
        layers = [_variables(i, *sizes) for i, sizes in enumerate(pairwise(LAYERS))]
        optimizer = wf.train.AdamOptimizer(learning_rate)
    variables = [variable for layer in layers for variable in layer]
    inputs, losses, gradients, accuracies = [], [], [], []
    for number, worker in enumerate(workers):
        with wf.device(worker), wf.name_scope(f"replica_{number}"):
            x = wf.placeholder(wf.float32, [None, LAYERS[0]], name="x")
            y = wf.placeholder(wf.int64, [None], name="y")
            logits = _network(x, layers)
            loss = wf.reduce_mean(wf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
            gradients.append(wf.gradients(loss, variables, colocate_gradients_with_ops=True))
            accuracies.append(wf.reduce_mean(wf.to_float(wf.equal(wf.argmax(logits, 1), y))))
        inputs.append((x, y))
        losses.append(loss)
    with wf.device(f"{ps}/task:0"):
        averaged = [wf.add_n(list(each)) / len(workers) for each in zip(*gradients, strict=True)]
        train_op = optimizer.apply_gradients(list(zip(averaged, variables, strict=True)))
        mean_loss = wf.add_n(losses) / len(workers)
    return Model(inputs, train_op, mean_loss, accuracies[0], variables)


def _variables(number: int, inputs: int, outputs: int) -> tuple[wf.Variable, wf.Variable]:
    spread = float(np.sqrt(2 / inputs))
    weights = wf.truncated_normal([inputs, outputs], stddev=spread, seed=number + 1)
    return wf.Variable(weights, name=f"w{number}"), wf.Variable(wf.zeros([outputs]), name=f"b{number}")


def _network(x: wf.Tensor, layers: list[tuple[wf.Variable, wf.Variable]]) -> wf.Tensor:
    for weights, bias in layers[:-1]:
        x = wf.nn.relu(wf.matmul(x, weights) + bias)
    weights, bias = layers[-1]
    return wf.add(wf.matmul(x, weights), bias)


def batches(data: Data, size: int, steps: int, seed: int = 1) -> Iterator[tuple[Any, Any]]:
    """Shuffled batches, epoch after epoch."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(data.train_y))
    for _ in range(steps):
        if len(order) < size:
            order = np.concatenate([order, random.permutation(len(data.train_y))])
        chosen, order = order[:size], order[size:]
        yield data.train_x[chosen], data.train_y[chosen]


@dataclass(frozen=True)
class Result:
    """What a run ends with."""

    accuracy: float
    weights: Weights
    seconds: float
    checkpoint: str | None


def train(target: str, config: wf.ConfigProto, model: Model, options: Options, title: str) -> Result:
    """Run the steps in a session on `target`, show how they go, and save a checkpoint."""
    data = load_data()
    saver = wf.train.Saver(model.variables)
    initialize = wf.global_variables_initializer()
    with wf.Session(target, config=config) as session:
        session.run(initialize)
        started = time.perf_counter()
        with tqdm(total=options.steps, desc=title, unit="step", disable=None) as bar:
            for step, (x, y) in enumerate(batches(data, options.batch_size, options.steps), 1):
                _, loss = session.run([model.train_op, model.loss], _feeds(model, x, y))
                bar.update()
                if step % EVALUATE_EVERY == 0 or step == options.steps:
                    bar.set_postfix(loss=f"{loss:.4f}", accuracy=f"{_accuracy(session, model, data):.2%}")
        seconds = time.perf_counter() - started
        path = Path(options.checkpoints)
        path.mkdir(parents=True, exist_ok=True)
        checkpoint = saver.save(session, str(path / title.replace(" ", "-")), global_step=options.steps)
        values = session.run(model.variables)
        weights = {variable.op.name: value for variable, value in zip(model.variables, values, strict=True)}
        return Result(_accuracy(session, model, data), weights, seconds, checkpoint)


def _feeds(model: Model, x: Any, y: Any) -> dict[Any, Any]:
    parts = len(model.inputs)
    feeds: dict[Any, Any] = {}
    for (x_part, y_part), xs, ys in zip(model.inputs, np.array_split(x, parts), np.array_split(y, parts), strict=True):
        feeds |= {x_part: xs, y_part: ys}
    return feeds


def _accuracy(session: wf.Session, model: Model, data: Data) -> float:
    x, y = model.inputs[0]
    return float(session.run(model.accuracy, {x: data.test_x, y: data.test_y}))


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 0.002
    checkpoints: str = "runs/digits"
    address: str | None = None


# One thread a kernel, in every process: the last bit of a matrix product may depend on how many threads compute it.
def _config(**options: Any) -> wf.ConfigProto:
    return wf.ConfigProto(intra_op_parallelism_threads=1, **options)


def _cluster_model(options: Options) -> Model:
    return build("/job:ps", [f"/job:worker/task:{i}" for i in range(WORKERS)], options.learning_rate)


def run_local(options: Options) -> Result:
    """One process, one device: the jobs that the graph names fall to it by soft placement."""
    with wf.Graph().as_default():
        return train("", _config(allow_soft_placement=True), _cluster_model(options), options, "local")


def run_devices(options: Options) -> Result:
    """One process, three devices: variables on the first, a replica on each of the others."""
    with wf.Graph().as_default():
        model = build("/job:localhost", [f"/cpu:{1 + i}" for i in range(WORKERS)], options.learning_rate)
        return train("", _config(device_count={"CPU": 1 + WORKERS}), model, options, "three devices")


def run_cluster(options: Options) -> Result:
    """One parameter server and two workers on Ray, each a process of its own."""
    with contextlib.ExitStack() as stack:
        print("starting the cluster on Ray ...", file=sys.stderr, flush=True)
        cluster = stack.enter_context(wf.cluster.start({"ps": 1, "worker": WORKERS}, address=options.address))
        for task in cluster.tasks:
            print(f"  {task}", file=sys.stderr)
        stack.enter_context(wf.Graph().as_default())
        return train(cluster.target, _config(), _cluster_model(options), options, "Ray cluster")


MODES = {"local": run_local, "devices": run_devices, "cluster": run_cluster}


def report(result: Result, options: Options) -> None:
    """Say how a run ended."""
    rate = options.steps / result.seconds
    print(f"accuracy on held-out digits {result.accuracy:.2%} after {options.steps} steps, {rate:,.0f} steps/s")
    print(f"checkpoint {result.checkpoint}")


def same(a: Weights, b: Weights) -> bool:
    """Whether two sets of weights agree bit for bit."""
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def demo(options: Options) -> None:
    """Local, then on Ray, and whether the weights are the same."""
    local, cluster = run_local(options), run_cluster(options)
    for title, result in (("local", local), ("Ray cluster", cluster)):
        print(f"{title}: ", end="")
        report(result, options)
    if not same(local.weights, cluster.weights):
        raise click.ClickException("the weights differ between the local run and the cluster")
    count = sum(value.size for value in local.weights.values())
    print(f"The {count:,} weights trained in one process and on the Ray cluster are identical, bit for bit.")


@click.command(epilog="Example: python train_digits.py --mode cluster --address 10.0.0.1:6379")
@click.option("--mode", type=click.Choice(sorted(MODES)), default="local", show_default=True, help="Where to run.")
@click.option("--demo", "is_demo", is_flag=True, help="Run local, then cluster, and compare the weights.")
@click.option("--address", help="A running Ray cluster (host:port or auto); without it one is started here.")
@click.option("--steps", default=Options.steps, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", default=Options.batch_size, show_default=True, type=click.IntRange(WORKERS))
@click.option("--learning-rate", default=Options.learning_rate, show_default=True, type=float)
@click.option("--checkpoints", default=Options.checkpoints, show_default=True, help="Folder for checkpoints.")
def main(mode: str, is_demo: bool, **options: Any) -> None:
    """Train a classifier with two hidden layers on scikit-learn's handwritten digits."""
    chosen = Options(**options)
    if is_demo:
        demo(chosen)
    else:
        report(MODES[mode](chosen), chosen)


if __name__ == "__main__":
    main()
