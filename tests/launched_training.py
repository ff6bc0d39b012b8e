"""A program for `weft launch` that saves each step, and whose tasks are killed in the middle.

`--kill=ps0:6:5,worker1:9:0`: the ps 5 milliseconds after step 6 was begun, and a worker at once when step 9 is.
`--hold=3` waits at step 3, once the file `held` is there, for a file `go`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import weft as wf

#: Steps of the training, as long as `--steps` says nothing else.
STEPS = 16
#: Where the chief saves, below the working directory.
FOLDER = "saved"


def loss_of(x: Any) -> Any:
    """The loss of one worker's batch."""
    w = wf.get_variable("w", [4, 3], initializer=wf.truncated_normal_initializer(seed=1))
    b = wf.get_variable("b", [3], initializer=wf.zeros_initializer())
    return wf.reduce_mean(wf.square(wf.tanh(wf.matmul(x, w) + b) - 1.0))


def build(optimizer: Any) -> tuple[Any, Any, Any]:
    """The input, the global step, and the operation that trains."""
    x = wf.placeholder(wf.float32, [8, 4])
    step = wf.train.get_or_create_global_step()
    return x, step, optimizer.minimize(loss_of(x), global_step=step)


def build_alone(optimizer: Any, workers: int) -> tuple[list[Any], Any]:
    """The same without a cluster: the inputs of all workers, and the operation that trains with their mean gradient."""
    step = wf.train.get_or_create_global_step()
    inputs, found = [], []
    with wf.variable_scope("", reuse=wf.AUTO_REUSE):
        for _ in range(workers):
            inputs.append(wf.placeholder(wf.float32, [8, 4]))
            found.append(optimizer.compute_gradients(loss_of(inputs[-1])))
    mean = [(sum(g for g, _ in same) / float(workers), same[0][1]) for same in zip(*found, strict=True)]
    return inputs, optimizer.apply_gradients(mean, global_step=step)


def batch(step: int, worker: int) -> Any:
    """The input depends on the global step and the worker alone: a step that is taken again gets the same."""
    return np.random.default_rng((step, worker)).normal(size=(8, 4)).astype(np.float32)


def kill(task: str, delay: float) -> None:
    """Kill a task's program, somewhere in the step or while its checkpoint is saved."""
    time.sleep(delay)
    process = int(Path(f"{task}.pid").read_text())
    os.kill(process, signal.SIGKILL)


def kill_if_due(kills: str, step: int) -> None:
    """Begin the kills that are due and that nobody has begun."""
    for number, each in enumerate(filter(None, kills.split(","))):
        task, at, milliseconds = each.split(":")
        if step >= int(at):
            with suppress(FileExistsError):
                Path(f"killed{number}").touch(exist_ok=False)
                threading.Thread(target=kill, args=(task, int(milliseconds) / 1000)).start()


def train(target: str, cluster: wf.train.ClusterSpec, index: int, flags: Any) -> None:
    """One worker's training; of several workers the gradients make one update."""
    chief, workers = index == 0, cluster.num_tasks("worker")
    optimizer: Any = wf.train.AdamOptimizer(0.01)
    hooks: list[wf.train.SessionRunHook] = [wf.train.StopAtStepHook(last_step=flags.steps)]
    with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device=f"/job:worker/task:{index}")):
        if workers > 1:
            optimizer = wf.train.SyncReplicasOptimizer(optimizer, workers, workers)
        x, step, train_op = build(optimizer)
    if workers > 1:
        hooks.append(optimizer.make_session_run_hook(chief))

    def one_step(step_context: Any) -> None:
        taken = int(step_context.session.run(step))
        kill_if_due(flags.kill, taken)
        while flags.hold and taken >= flags.hold and not Path("go").exists():
            Path("held").touch()
            time.sleep(0.05)
        step_context.run_with_hooks(train_op, {x: batch(taken, index)})

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
    wf.flags.DEFINE_integer("steps", STEPS, "")
    wf.flags.DEFINE_integer("hold", 0, "")
    flags = wf.flags.FLAGS
    cluster = wf.train.ClusterSpec({"ps": flags.ps_hosts.split(","), "worker": flags.worker_hosts.split(",")})
    new = Path(f"{flags.job_name}{flags.task_index}.new")
    new.write_text(str(os.getpid()))
    new.rename(new.with_suffix(".pid"))
    server = wf.train.Server(cluster, job_name=flags.job_name, task_index=flags.task_index)
    if flags.job_name == "ps":
        server.join()
        sys.exit()
    train(server.target, cluster, flags.task_index, flags)


if __name__ == "__main__":
    main()
