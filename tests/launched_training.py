"""A program for `weft launch` that saves each step, and of which one task is killed in the middle: `--kill ps0`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import weft as wf

#: Steps of the training, and the step from which on the task is killed.
STEPS, KILLED_AT = 16, 6
#: Where the chief saves, below the working directory.
FOLDER = "saved"


def build(optimizer: Any) -> tuple[Any, Any, Any]:
    """The input, the global step, and the operation that trains."""
    x = wf.placeholder(wf.float32, [8, 4])
    w = wf.get_variable("w", [4, 3], initializer=wf.truncated_normal_initializer(seed=1))
    step = wf.train.get_or_create_global_step()
    loss = wf.reduce_mean(wf.square(wf.matmul(x, w) - 1.0))
    return x, step, optimizer.minimize(loss, global_step=step)


def batch(step: int) -> Any:
    """The input depends on the global step alone: a step that is taken again gets the same."""
    return np.random.default_rng(step).normal(size=(8, 4)).astype(np.float32)


def kill(task: str) -> None:
    """Kill a task's program, somewhere in the step or while its checkpoint is saved."""
    time.sleep(0.005)
    process = int(Path(f"{task}.pid").read_text())
    Path("killed").touch()
    os.kill(process, signal.SIGKILL)


def train(target: str, cluster: wf.train.ClusterSpec, index: int, killed: str) -> None:
    """One worker's training; of several workers the gradients make one update."""
    chief, workers = index == 0, cluster.num_tasks("worker")
    optimizer: Any = wf.train.AdamOptimizer(0.01)
    hooks: list[wf.train.SessionRunHook] = [wf.train.StopAtStepHook(last_step=STEPS)]
    with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device=f"/job:worker/task:{index}")):
        if workers > 1:
            optimizer = wf.train.SyncReplicasOptimizer(optimizer, workers, workers)
        x, step, train_op = build(optimizer)
    if workers > 1:
        hooks.append(optimizer.make_session_run_hook(chief))

    def one_step(step_context: Any) -> None:
        taken = int(step_context.session.run(step))
        if taken >= KILLED_AT and f"worker{index}" in ("worker0", killed) and not Path("killed").exists():
            threading.Thread(target=kill, args=(killed,)).start()
        step_context.run_with_hooks(train_op, {x: batch(taken)})

    with wf.train.MonitoredTrainingSession(
        target, is_chief=chief, checkpoint_dir=FOLDER, hooks=hooks, save_checkpoint_secs=None, save_checkpoint_steps=1,
        save_summaries_steps=None, log_step_count_steps=None, recovery=wf.train.RecoveryPolicy(backoff_secs=0.1),
    ) as session:  # fmt: skip
        while not session.should_stop():
            session.run_step_fn(one_step)


def main() -> None:
    for name in ("job_name", "ps_hosts", "worker_hosts", "kill"):
        wf.flags.DEFINE_string(name, "", "")
    wf.flags.DEFINE_integer("task_index", 0, "")
    flags = wf.flags.FLAGS
    cluster = wf.train.ClusterSpec({"ps": flags.ps_hosts.split(","), "worker": flags.worker_hosts.split(",")})
    new = Path(f"{flags.job_name}{flags.task_index}.new")
    new.write_text(str(os.getpid()))
    new.rename(new.with_suffix(".pid"))
    server = wf.train.Server(cluster, job_name=flags.job_name, task_index=flags.task_index)
    if flags.job_name == "ps":
        server.join()
        sys.exit()
    train(server.target, cluster, flags.task_index, flags.kill)


if __name__ == "__main__":
    main()
