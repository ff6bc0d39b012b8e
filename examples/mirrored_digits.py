"""Training without a parameter server: every replica keeps the weights, and gradients are added up between them.

python mirrored_digits.py --local            # one process, a device for each replica
python mirrored_digits.py --cluster          # Ray: a worker for each replica
python mirrored_digits.py --cluster --compare  # and once more with a parameter server, in one process: the same bits
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
import numpy as np
import weft as wf
from sklearn.datasets import load_digits
from tqdm import tqdm

HIDDEN = 256
#: One thread a kernel, wherever it runs: the last bit of a matrix product may depend on how many threads compute it.
THREADS = 1

Arrays = tuple[Any, Any, Any, Any]
Weights = dict[str, np.ndarray[Any, Any]]


def load_data() -> Arrays:
    """scikit-learn's digits as rows of 64 pixels in [0, 1], and what they show; every fifth is held out."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    held_out = np.arange(len(y)) % 5 == 0
    return x[~held_out], y[~held_out], x[held_out], y[held_out]


def replica() -> dict[str, wf.Tensor]:
    """The network of one replica. Layers make their variables in the first one, and share them in the others."""
    x = wf.placeholder(wf.float32, [None, 64], name="x")
    y = wf.placeholder(wf.int64, [None], name="y")
    hidden = wf.layers.dense(x, HIDDEN, activation=wf.nn.relu, kernel_initializer=wf.glorot_uniform_initializer(seed=1))
    logits = wf.layers.dense(hidden, 10, kernel_initializer=wf.glorot_uniform_initializer(seed=2))
    loss = wf.reduce_mean(wf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    accuracy = wf.reduce_mean(wf.to_float(wf.equal(wf.argmax(logits, 1), y)))
    return {"x": x, "y": y, "loss": loss, "accuracy": accuracy}


Model = tuple[Sequence[dict[str, wf.Tensor]], wf.Operation, wf.Tensor]


def mirrored(devices: Sequence[str], cluster: Any, learning_rate: float) -> Model:
    """The replicas, what trains them, and the mean of their losses."""
    strategy = wf.distribute.MirroredStrategy(devices, cluster)
    model = strategy.run(replica)
    optimizer = wf.train.MirroredOptimizer(wf.train.AdamOptimizer(learning_rate), strategy)
    train_op = optimizer.minimize(model["loss"])
    replicas = [{name: value[number] for name, value in model.items()} for number in range(len(devices))]
    return replicas, train_op, strategy.reduce(wf.distribute.ReduceOp.MEAN, model["loss"])


def with_a_ps(count: int, learning_rate: float) -> Model:
    """The same with the weights on a parameter server, which adds up the gradients in the order of the replicas."""
    replicas = []
    with wf.device("/job:ps"):
        for number in range(count):
            with wf.variable_scope(wf.get_variable_scope(), reuse=number > 0):
                replicas.append(replica())
        variables = wf.trainable_variables()
        each = [wf.gradients(one["loss"], variables) for one in replicas]
        averaged = [wf.add_n(list(gradients)) / count for gradients in zip(*each, strict=True)]
        train_op = wf.train.AdamOptimizer(learning_rate).apply_gradients(list(zip(averaged, variables, strict=True)))
        return replicas, train_op, wf.add_n([one["loss"] for one in replicas]) / count


def batches(size: int, steps: int, data: Arrays) -> Iterator[tuple[Any, Any]]:
    """A batch a step, drawn by the number of the step alone."""
    for step in range(steps):
        chosen = np.random.default_rng(step).integers(len(data[1]), size=size)
        yield data[0][chosen], data[1][chosen]


def train(target: str, config: wf.ConfigProto, model: Model, steps: int, batch_size: int, title: str) -> Weights:
    """Take the steps, each replica on its part of the batch; says how well that went, and returns the weights."""
    replicas, train_op, loss = model
    data = load_data()
    with wf.Session(target, config=config) as session:
        session.run(wf.global_variables_initializer())
        started = time.perf_counter()
        for x, y in tqdm(batches(batch_size, steps, data), total=steps, desc=title, unit="step", disable=None):
            feeds: dict[Any, Any] = {}
            parts = zip(np.array_split(x, len(replicas)), np.array_split(y, len(replicas)), strict=True)
            for one, (xs, ys) in zip(replicas, parts, strict=True):
                feeds |= {one["x"]: xs, one["y"]: ys}
            _, mean = session.run([train_op, loss], feeds)
        rate = steps / (time.perf_counter() - started)
        first = replicas[0]
        accuracy = session.run(first["accuracy"], {first["x"]: data[2], first["y"]: data[3]})
        variables = wf.trainable_variables()
        values = session.run(variables)
    print(
        f"{title}: loss {mean:.4f}, accuracy on held-out digits {accuracy:.2%} after {steps} steps, {rate:,.0f} steps/s"
    )
    return {variable.op.name: value for variable, value in zip(variables, values, strict=True)}


def compare(weights: Weights, count: int, learning_rate: float, steps: int, batch_size: int) -> None:
    """Train with a parameter server in this process. Raises ClickException where the weights differ in a bit."""
    config = wf.ConfigProto(allow_soft_placement=True, intra_op_parallelism_threads=THREADS)
    with wf.Graph().as_default():
        others = train("", config, with_a_ps(count, learning_rate), steps, batch_size, "with a parameter server")
    if any(others[name].tobytes() != value.tobytes() for name, value in weights.items()):
        raise click.ClickException("the weights differ from those of a parameter server")
    total = sum(value.size for value in weights.values())
    print(f"The {total:,} weights trained with and without a parameter server are identical, bit for bit.")


@click.command(epilog="Example: python mirrored_digits.py --cluster --address 10.0.0.1:6379 --replicas 4")
@click.option("--local/--cluster", "local", default=True, help="One process with a device for each replica, or Ray.")
@click.option(
    "--compare", "is_compared", is_flag=True, help="Train with a parameter server, too, and compare the weights."
)
@click.option("--address", help="A running Ray cluster (host:port or auto); without it one is started here.")
@click.option("--replicas", default=2, show_default=True, type=click.IntRange(1))
@click.option("--steps", default=400, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(1), help="Of all replicas together.")
@click.option("--learning-rate", default=0.002, show_default=True, type=float)
def main(
    local: bool,
    is_compared: bool,
    address: str | None,
    replicas: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Train a classifier of handwritten digits on replicas that keep the weights among themselves."""
    if batch_size < replicas:
        raise click.BadParameter("each replica needs an image of a batch", param_hint="--batch-size")
    options: dict[str, Any] = {"intra_op_parallelism_threads": THREADS}
    with contextlib.ExitStack() as stack:
        cluster, target = None, ""
        devices = [f"/cpu:{number}" for number in range(replicas)]
        if local:
            options["device_count"] = {"CPU": replicas}
        else:
            print("starting the workers on Ray ...", file=sys.stderr, flush=True)
            cluster = stack.enter_context(wf.cluster.start({"worker": replicas}, address=address))
            devices, target = [f"/job:worker/task:{number}" for number in range(replicas)], cluster.target
        stack.enter_context(wf.Graph().as_default())
        model = mirrored(devices, cluster, learning_rate)
        title = f"{replicas} replicas {'in one process' if local else 'on Ray'}"
        weights = train(target, wf.ConfigProto(**options), model, steps, batch_size, title)
    if is_compared:
        compare(weights, replicas, learning_rate, steps, batch_size)


if __name__ == "__main__":
    main()
