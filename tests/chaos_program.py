"""A task of the jobs that tests/chaos_matrix.py disturbs: it trains, saves each step, and says in a line of JSON how it ended.

python chaos_program.py '{"mode": "between-graph", "job": "worker", "index": 0, "cluster": {...}, "folder": ...}'
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chaos_wire
import numpy as np
import weft as wf

#: Steps of the training, and the one before which the disturbance is asked for.
STEPS, AT = 12, 5
WORKERS = 2
#: What names the backend of the sessions, in the environment.
BACKEND = "WEFT_CHAOS_BACKEND"
#: Numbers in the larger weights: enough to travel in shared memory, or in several pieces.
ROWS, COLUMNS = 200, 64


def batch(step: int, worker: int) -> Any:
    """The input depends on the step and the worker alone: a step that is taken again gets the same."""
    return np.random.default_rng((step, worker)).normal(size=(8, ROWS)).astype(np.float32)


def loss_of(x: Any) -> Any:
    first = wf.get_variable("first", [ROWS, COLUMNS], initializer=wf.truncated_normal_initializer(seed=1))
    second = wf.get_variable("second", [COLUMNS, 3], initializer=wf.truncated_normal_initializer(seed=2))
    return wf.reduce_mean(wf.square(wf.matmul(wf.tanh(wf.matmul(x, first)), second) - 1.0))


def between(cluster: Any, index: int) -> tuple[dict[int, Any], Any, Any, list[Any]]:
    """One worker of a between-graph training: its input, the global step, what trains, hooks."""
    adam = wf.train.AdamOptimizer(0.01)
    optimizer = wf.train.SyncReplicasOptimizer(adam, WORKERS, WORKERS)
    with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device=f"/job:worker/task:{index}")):
        x = wf.placeholder(wf.float32, [8, ROWS])
        step = wf.train.get_or_create_global_step()
        train_op = optimizer.minimize(loss_of(x), global_step=step)
    return {index: x}, step, train_op, [optimizer.make_session_run_hook(index == 0, num_tokens=0)]


def in_graph() -> tuple[dict[int, Any], Any, Any, list[Any]]:
    """All workers' towers in one graph, which one driver runs."""
    inputs, towers = {}, []
    with wf.device("/job:ps/task:0"):
        step = wf.train.get_or_create_global_step()
        optimizer = wf.train.AdamOptimizer(0.01)
    for index in range(WORKERS):
        with wf.variable_scope("", reuse=bool(index)), wf.device(wf.train.replica_device_setter(
            ps_tasks=1, worker_device=f"/job:worker/task:{index}"
        )):  # fmt: skip
            inputs[index] = wf.placeholder(wf.float32, [8, ROWS])
            towers.append(optimizer.compute_gradients(loss_of(inputs[index])))
    with wf.device("/job:ps/task:0"):
        means = [(wf.add_n([g for g, _ in pairs]) / WORKERS, pairs[0][1]) for pairs in zip(*towers, strict=True)]
        train_op = optimizer.apply_gradients(means, global_step=step)
    return inputs, step, train_op, []


def all_reduce() -> tuple[dict[int, Any], Any, Any, list[Any]]:
    """The weights on every worker, which add up their gradients among themselves."""
    inputs: dict[int, Any] = {}
    workers = [f"/job:worker/task:{index}" for index in range(WORKERS)]
    strategy = wf.distribute.MirroredStrategy(workers)
    with wf.device(workers[0]):
        step = wf.train.get_or_create_global_step()

    def replica() -> Any:
        inputs[len(inputs)] = x = wf.placeholder(wf.float32, [8, ROWS])
        return loss_of(x)

    losses = strategy.run(replica)
    optimizer = wf.train.MirroredOptimizer(wf.train.AdamOptimizer(0.01), strategy)
    return inputs, step, optimizer.minimize(losses, global_step=step), []


def train(
    target: str,
    chief: bool,
    built: tuple[dict[int, Any], Any, Any, list[Any]],
    told: dict[str, Any],
    look: Callable[[], None] = lambda: None,
) -> None:
    folder, hold = Path(told["folder"]), told.get("hold")
    inputs, step, train_op, hooks = built

    def one_step(step_context: Any) -> None:
        taken = int(step_context.session.run(step))
        look()
        if chief and taken == AT:
            (folder / "at").touch()
        while chief and taken == AT and hold and not (folder / "go").exists():
            time.sleep(0.02)
        step_context.run_with_hooks(train_op, {x: batch(taken, worker) for worker, x in inputs.items()})

    hooks = [*hooks, wf.train.StopAtStepHook(last_step=STEPS)]
    with wf.train.MonitoredTrainingSession(
        target, is_chief=chief, checkpoint_dir=str(folder / "saved"), hooks=hooks,
        save_checkpoint_secs=None, save_checkpoint_steps=1, save_summaries_steps=None, log_step_count_steps=None,
        config=wf.ConfigProto(operation_timeout_in_ms=60_000, backend=os.environ.get(BACKEND, "numpy")),
        recovery=wf.train.RecoveryPolicy(backoff_secs=0.1),
    ) as session:  # fmt: skip
        while not session.should_stop():
            session.run_step_fn(one_step)


def on_ray(told: dict[str, Any], folder: Path) -> None:
    """The driver of a cluster that it starts on Ray; it tells where the tasks are, again when that changes."""
    import chaos_actor
    from weft.cluster.on_ray import tasks as ray_cluster

    ray_cluster.TaskActor = chaos_actor.DisturbingActor  # type: ignore[attr-defined]
    said: list[int] = []
    with wf.cluster.start(
        {"ps": 1, "worker": WORKERS}, told["address"], told["transport"], heartbeat_timeout=1.5
    ) as cluster:  # fmt: skip

        def look() -> None:
            if cluster.epoch not in said:
                said.append(cluster.epoch)
                tasks = {chaos_actor.short(task.name): task for task in cluster.tasks}
                tell(folder, {name: (task.pid, list(task.addresses.values())) for name, task in tasks.items()})

        train(cluster.target, True, driven(told["mode"]), told, look)


def tell(folder: Path, tasks: dict[str, Any]) -> None:
    with (folder / "tasks").open("a") as file:
        file.write(json.dumps(tasks) + "\n")


def groups(told: dict[str, Any]) -> None:
    """A line of JSON with the placement groups that Ray has, those that are just being removed left time for it."""
    import ray
    from ray.util import placement_group_table

    ray.init(address=told["address"], log_to_driver=False)
    until = time.monotonic() + 10
    while True:
        found = [row["placement_group_id"] for row in placement_group_table().values() if row["state"] != "REMOVED"]
        if not found or time.monotonic() > until:
            print(json.dumps(found), flush=True)
            return
        time.sleep(0.2)


def driven(mode: str) -> tuple[dict[int, Any], Any, Any, list[Any]]:
    """What one driver runs."""
    return in_graph() if mode == "in-graph" else all_reduce()


def launched(told: dict[str, Any]) -> dict[str, Any]:
    """What `weft launch` has said of the cluster, and which task this is."""
    config = json.loads(os.environ["TF_CONFIG"])
    job, index = config["task"]["type"], config["task"]["index"]
    tell(Path(told["folder"]), {f"{job}{index}": (os.getpid(), [config["cluster"][job][index]])})
    return told | {"job": job, "index": index, "cluster": config["cluster"]}


def run(told: dict[str, Any]) -> None:
    job, index = told["job"], told["index"]
    if job == "ray":
        on_ray(told, Path(told["folder"]))
        return
    cluster = wf.train.ClusterSpec(told["cluster"])
    if job == "driver":
        train(f"weft://{told['cluster']['ps'][0]}", True, driven(told["mode"]), told)
        return
    server = wf.train.Server(cluster, job_name=job, task_index=index)
    if job == "ps" or told["mode"] != "between-graph":
        server.join()
    else:
        train(server.target, index == 0, between(cluster, index), told)


def main() -> None:
    faulthandler.register(signal.SIGUSR1)  # what it is doing, for whoever finds it hanging
    told = json.loads(sys.argv[1])
    if told["job"] == "groups":
        groups(told)
        return
    if told["job"] == "launched":
        told = launched(told)
    chaos_wire.disturb(told.get("disturbance", ""), Path(told["folder"]))
    try:
        run(told)
    except (wf.errors.OpError, OSError) as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
