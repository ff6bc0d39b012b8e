"""A synchronous between-graph program as TensorFlow 1 writes them: all workers' gradients make one update.

SyncReplicasOptimizer and MonitoredTrainingSession do the work; `weft launch` starts the tasks and fills in their flags:

    weft launch --ps 1 --workers 2 examples/sync_digits.py --checkpoint_dir /tmp/sync_digits

With a checkpoint directory, a job goes on from its last checkpoint after a task was killed, and when it is started again
with more `--steps`. On several hosts the directory must be one that all of them see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import weft as wf
from sklearn.datasets import load_digits

flags = wf.app.flags
flags.DEFINE_string("job_name", "", "ps or worker")
flags.DEFINE_integer("task_index", 0, "Which task of the job this is")
flags.DEFINE_string("ps_hosts", "", "host:port of each parameter server, separated by commas")
flags.DEFINE_string("worker_hosts", "", "host:port of each worker, separated by commas")
flags.DEFINE_string("checkpoint_dir", "", "Where the chief saves checkpoints; empty: nowhere")
flags.DEFINE_integer("checkpoint_steps", 100, "Steps from one checkpoint to the next")
flags.DEFINE_integer("steps", 400, "Updates to make")
flags.DEFINE_integer("batch_size", 64, "Images that each worker takes for an update")
flags.DEFINE_float("learning_rate", 0.2, "Of gradient descent")
flags.DEFINE_integer("log_steps", 50, "Steps from one line about the loss to the next")
FLAGS = flags.FLAGS

HIDDEN = 128


def load_data() -> tuple[Any, Any, Any, Any]:
    """scikit-learn's digits as rows of 64 pixels in [0, 1], and what they show; every fifth is held out."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    held_out = np.arange(len(y)) % 5 == 0
    return x[~held_out], y[~held_out], x[held_out], y[held_out]


def build(cluster: wf.train.ClusterSpec, workers: int) -> dict[str, Any]:
    """This worker's graph: variables on the parameter servers, everything else here; and the hook that goes with it."""
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
        descent = wf.train.GradientDescentOptimizer(FLAGS.learning_rate)
        optimizer = wf.train.SyncReplicasOptimizer(descent, replicas_to_aggregate=workers, total_num_replicas=workers)
        train_op = optimizer.minimize(loss, global_step=step)
        accuracy = wf.reduce_mean(wf.to_float(wf.equal(wf.argmax(logits, 1), y)))
    hook = optimizer.make_session_run_hook(is_chief=FLAGS.task_index == 0)
    return {"x": x, "y": y, "step": step, "loss": loss, "train_op": train_op, "accuracy": accuracy, "hook": hook}


class ReportAccuracy(wf.train.SessionRunHook):
    """Says at the end how many of the held-out images are told right."""

    def __init__(self, model: dict[str, Any], x: Any, y: Any) -> None:
        self.model, self.feeds = model, {model["x"]: x, model["y"]: y}

    def end(self, session: Any) -> None:
        step, accuracy = session.run([self.model["step"], self.model["accuracy"]], self.feeds)
        print(f"worker {FLAGS.task_index}: after step {step} the accuracy is {accuracy:.2%}", flush=True)


def train(target: str, cluster: wf.train.ClusterSpec, workers: int) -> None:
    """Take steps until the global step has come to `--steps`."""
    chief = FLAGS.task_index == 0
    model = build(cluster, workers)
    train_x, train_y, test_x, test_y = load_data()
    hooks = [model["hook"], wf.train.StopAtStepHook(last_step=FLAGS.steps)]
    for_chief = [
        wf.train.LoggingTensorHook({"step": model["step"], "loss": model["loss"]}, every_n_iter=FLAGS.log_steps),
        ReportAccuracy(model, test_x, test_y),
    ]

    def one_step(step_context: Any) -> None:
        """The batch depends on the global step and the worker alone: a job that was disturbed takes the same ones again."""
        step = int(step_context.session.run(model["step"]))
        chosen = np.random.default_rng((step, FLAGS.task_index)).integers(len(train_y), size=FLAGS.batch_size)
        step_context.run_with_hooks(model["train_op"], {model["x"]: train_x[chosen], model["y"]: train_y[chosen]})

    with wf.train.MonitoredTrainingSession(
        target, is_chief=chief, checkpoint_dir=FLAGS.checkpoint_dir or None, hooks=hooks, chief_only_hooks=for_chief,
        save_checkpoint_secs=None, save_checkpoint_steps=FLAGS.checkpoint_steps, log_step_count_steps=FLAGS.log_steps,
    ) as session:  # fmt: skip
        while not session.should_stop():
            session.run_step_fn(one_step)


def main(_: list[str]) -> None:
    wf.logging.set_verbosity(wf.logging.INFO)
    cluster = wf.train.ClusterSpec({"ps": FLAGS.ps_hosts.split(","), "worker": FLAGS.worker_hosts.split(",")})
    server = wf.train.Server(cluster, job_name=FLAGS.job_name, task_index=FLAGS.task_index)
    if FLAGS.job_name == "ps":
        server.join()
    else:
        train(server.target, cluster, cluster.num_tasks("worker"))


if __name__ == "__main__":
    wf.app.run()
