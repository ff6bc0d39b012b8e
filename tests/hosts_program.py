"""What tests run on several hosts: the training of test_cluster.py, or steps until one fails, told in lines of JSON."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import weft as wf


def endless(address: str, heartbeat: float) -> None:
    """Steps over all tasks; a line for the tasks, one when steps run, and one for the error that ends them."""
    with wf.device("/job:ps/task:0"):
        total = wf.Variable(wf.zeros([1000]))
    parts = []
    for number in range(2):
        with wf.device(f"/job:worker/task:{number}"):
            parts.append(wf.square(total) + 1.0)
    step = total.assign_add(wf.add_n(parts) * 1e-3)
    with (
        wf.cluster.start({"ps": 1, "worker": 2}, address=address, heartbeat_timeout=heartbeat) as cluster,
        wf.Session(cluster.target) as session,
    ):
        tell(tasks={task.name: task.addresses["tcp"] for task in cluster.tasks})
        session.run(wf.global_variables_initializer())
        session.run(step)
        tell(running=True)
        last = time.monotonic()
        try:
            while True:
                session.run(step)
                last = time.monotonic()
        except wf.errors.OpError as error:
            tell(error=type(error).__name__, message=error.message, seconds=time.monotonic() - last)


def training(address: str) -> None:
    """The values that training ends with, in one process and on the hosts."""
    from test_cluster import train

    local = train("", steps=5)
    with wf.cluster.start({"ps": 1, "worker": 2}, address=address) as cluster:
        there = train(cluster.target, steps=5)
        tell(tasks={task.name: task.addresses["tcp"] for task in cluster.tasks})
    tell(values=len(there), same=there == local, finite=bool(np.isfinite(np.frombuffer(there[-3], np.float32)).all()))


def recovering(address: str, folder: str) -> None:
    """A training that saves each step: where its tasks are before each, and whether it ends as in one process."""
    from test_cluster_recovery import trained, undisturbed

    with wf.cluster.start({"ps": 1, "worker": 2}, address=address, heartbeat_timeout=3) as cluster:

        def say(step: int) -> None:
            tell(step=step, tasks={task.name: task.addresses["tcp"] for task in cluster.tasks}, epoch=cluster.epoch)
            if step == 3 and not cluster.epoch:
                while not Path(folder, "go").exists():
                    time.sleep(0.05)

        there = trained(Path(folder, "there"), cluster.target, say)
        tell(same=there == undisturbed(Path(folder, "here")), epoch=cluster.epoch)


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["endless", address, heartbeat]:
            endless(address, float(heartbeat))
        case ["recovering", address, folder]:
            recovering(address, folder)
        case ["training", address]:
            training(address)
