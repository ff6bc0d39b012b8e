"""A between-graph program as TensorFlow 1 writes them: each worker builds its own graph and trains shared variables.

Start it once for each task, in any order and on any hosts:

    python between_graph.py --ps_hosts a:2222 --worker_hosts b:2222,c:2222 --job_name ps --task_index 0
    python between_graph.py --ps_hosts a:2222 --worker_hosts b:2222,c:2222 --job_name worker --task_index 0
    python between_graph.py --ps_hosts a:2222 --worker_hosts b:2222,c:2222 --job_name worker --task_index 1

or `python between_graph.py --local`, which starts one ps and two workers as processes of this machine. On several hosts, all
need the cluster's secret: `WEFT_CLUSTER_SECRET_FILE` names a file with it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import weft as wf
from sklearn.datasets import load_digits

flags = wf.app.flags
flags.DEFINE_string("job_name", "", "ps or worker")
flags.DEFINE_integer("task_index", 0, "Which task of the job this is")
flags.DEFINE_string("ps_hosts", "", "host:port of each parameter server, separated by commas")
flags.DEFINE_string("worker_hosts", "", "host:port of each worker, separated by commas")
flags.DEFINE_integer("steps", 1000, "Steps that the workers make together")
flags.DEFINE_integer("batch_size", 64, "Images a step")
flags.DEFINE_float("learning_rate", 0.2, "Of gradient descent")
flags.DEFINE_boolean("local", False, "Start a ps and two workers on this machine")
FLAGS = flags.FLAGS

HIDDEN = 128
REPORT_EVERY = 100


def load_data() -> tuple[Any, Any, Any, Any]:
    """scikit-learn's digits as rows of 64 pixels in [0, 1], and what they show; every fifth is held out."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    held_out = np.arange(len(y)) % 5 == 0
    return x[~held_out], y[~held_out], x[held_out], y[held_out]


def build(cluster: wf.train.ClusterSpec) -> dict[str, Any]:
    """This worker's graph: variables on the parameter servers, everything else here."""
    device = f"/job:worker/task:{FLAGS.task_index}"
    with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device=device)):
        x = wf.placeholder(wf.float32, [None, 64], name="x")
        y = wf.placeholder(wf.int64, [None], name="y")
        step = wf.train.get_or_create_global_step()
        hidden = wf.layers.dense(
            x, HIDDEN, activation=wf.nn.relu, kernel_initializer=wf.glorot_uniform_initializer(seed=1)
        )
        logits = wf.layers.dense(hidden, 10, kernel_initializer=wf.glorot_uniform_initializer(seed=2))
        loss = wf.losses.sparse_softmax_cross_entropy(labels=y, logits=logits)
        train_op = wf.train.GradientDescentOptimizer(FLAGS.learning_rate).minimize(loss, global_step=step)
        accuracy = wf.reduce_mean(wf.to_float(wf.equal(wf.argmax(logits, 1), y)))
    return {"x": x, "y": y, "step": step, "loss": loss, "train_op": train_op, "accuracy": accuracy}


def wait_for_variables(session: wf.Session) -> None:
    """The first worker initializes; the others wait until it has."""
    if FLAGS.task_index == 0:
        session.run(wf.global_variables_initializer())
        return
    missing = wf.report_uninitialized_variables()
    while len(session.run(missing)):
        time.sleep(0.05)


def train(target: str, cluster: wf.train.ClusterSpec) -> None:
    """Take steps until all workers together have taken enough; nobody waits for anybody."""
    model = build(cluster)
    train_x, train_y, test_x, test_y = load_data()
    random = np.random.default_rng(FLAGS.task_index)
    # Updates of other workers come between reading the weights and adding to them: that is what asynchronous means.
    config = wf.ConfigProto(race_check="off", device_filters=["/job:ps", f"/job:worker/task:{FLAGS.task_index}"])
    with wf.Session(target, config=config) as session:
        wait_for_variables(session)
        taken, step = 0, 0
        while step < FLAGS.steps:
            chosen = random.integers(len(train_y), size=FLAGS.batch_size)
            feeds = {model["x"]: train_x[chosen], model["y"]: train_y[chosen]}
            _, loss, step = session.run([model["train_op"], model["loss"], model["step"]], feeds)
            if taken % REPORT_EVERY == 0:
                print(f"worker {FLAGS.task_index}: global step {step}, loss {loss:.4f}", flush=True)
            taken += 1
        accuracy = session.run(model["accuracy"], {model["x"]: test_x, model["y"]: test_y})
    print(f"worker {FLAGS.task_index}: {taken} steps of its own, loss {loss:.4f}, accuracy {accuracy:.2%}", flush=True)


def run_local() -> None:
    """One ps and two workers, each this program in a process of its own; ends when they have, as the first of them that fails."""
    with ExitStack() as stack:
        hosts = [f"localhost:{held_port(stack)}" for _ in range(3)]
        if sys.platform != "linux":  # where no other socket may have the same address
            stack.close()
        run_tasks(hosts)


def held_port(stack: ExitStack) -> int:
    """A free port that the system gives to nobody else: bound here, and not listened on, so that a task may."""
    held = stack.enter_context(socket.socket())
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return int(held.getsockname()[1])


def run_tasks(hosts: list[str]) -> None:
    """A ps at the first address, and a worker at each of the others."""
    cluster = [f"--ps_hosts={hosts[0]}", f"--worker_hosts={','.join(hosts[1:])}", *sys.argv[1:], "--nolocal"]
    tasks = [("ps", 0), ("worker", 0), ("worker", 1)]
    started = [
        subprocess.Popen([sys.executable, __file__, *cluster, f"--job_name={job}", f"--task_index={index}"])
        for job, index in tasks
    ]
    try:
        while any(process.poll() is None for process in started):
            for (job, index), process in zip(tasks, started, strict=True):
                if process.poll():
                    sys.exit(f"{job} {index} ended with status {process.returncode}")
            time.sleep(0.05)
    finally:
        for process in started:
            process.kill()
            process.wait()


def main(_: list[str]) -> None:
    if FLAGS.local:
        run_local()
        return
    cluster = wf.train.ClusterSpec({"ps": FLAGS.ps_hosts.split(","), "worker": FLAGS.worker_hosts.split(",")})
    server = wf.train.Server(cluster, job_name=FLAGS.job_name, task_index=FLAGS.task_index)
    if FLAGS.job_name == "ps":
        server.join()
    else:
        train(server.target, cluster)


if __name__ == "__main__":
    wf.app.run()
