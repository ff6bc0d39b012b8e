"""The Ray actor of a task that may be about to disturb its job: the fault matrix has clusters start it for TaskActor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import chaos_wire
from weft.cluster.on_ray.actor import TaskActor

#: JSON: which task disturbs, how, and the job's folder.
VARIABLE = "WEFT_CHAOS"


def short(name: str) -> str:
    """A task's name as the matrix has it: "worker1" for /job:worker/replica:0/task:1."""
    job, _, task = name.removeprefix("/job:").split("/")
    return f"{job}{task.removeprefix('task:')}"


class DisturbingActor(TaskActor):
    """A task as always, but for one whose messages get lost or changed."""

    def __init__(self, name: str) -> None:
        told = json.loads(os.environ[VARIABLE])
        if told["task"] == short(name):
            chaos_wire.disturb(told["disturbance"], Path(told["folder"]))
        super().__init__(name)
