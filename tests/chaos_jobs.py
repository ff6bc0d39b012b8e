"""The jobs of the fault matrix whose tasks are servers, each a process, and all that is done to jobs."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chaos_program
from chaos_left import gone, listeners, processes_with
from clustered import local_cluster
from hosts import Hosts

TRANSPORTS = ("shm", "tcp", "flight")
#: Seconds without a sign of life that count, and for which a process is stopped or a cable is out.
HEARTBEAT, AWAY = 1.5, 4.0
#: Of every process. All that is sent has weft's checksum, large tensors too, which else have TCP's alone.
SETTINGS = {"WEFT_HEARTBEAT_TIMEOUT": str(HEARTBEAT), "OMP_NUM_THREADS": "1", "WEFT_CHECKSUMS": "all"}
_MOST_STARTS = 4
#: How long Ray's processes may take to notice that their node's is gone.
_TASKS_END = 60.0


@dataclass(frozen=True)
class Fault:
    """What is done to a job: by a task itself (`chaos_wire`), or from outside, by `act` to a task.

    `on_ray`: it is about Ray, and done to tasks on Ray whatever the transport.
    """

    name: str
    task: str = ""
    act: Callable[[Job, str], None] | None = None
    transports: tuple[str, ...] = TRANSPORTS
    on_ray: bool = False


class Job:
    """The processes of one job; `tick` starts again what died."""

    #: A job may take so long in all; a hang is a failure.
    patience = 150.0

    def __init__(self, mode: str, fault: Fault, folder: Path, on: Hosts | None) -> None:
        self.mode, self.fault, self.folder, self.hosts = mode, fault, folder, on
        self.mark = secrets.token_hex(32)
        self.tasks, self.training = self.programs()
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.starts = dict.fromkeys(self.tasks, 0)
        self.done: set[str] = set()
        self.error = ""

    def programs(self) -> tuple[list[str], list[str]]:
        """The processes that the job is started as, and those of them whose end is the job's."""
        self.cluster = local_cluster(ps=1, worker=2)
        if self.hosts:
            ps, *workers = self.hosts.addresses[:3]
            self.cluster = {"ps": [f"{ps}:2222"], "worker": [f"{each}:2222" for each in workers]}
        servers = ["ps0", "worker0", "worker1"]
        return (servers, servers[1:]) if self.mode == "between-graph" else ([*servers, "driver0"], ["driver0"])

    def command(self, task: str) -> list[str]:
        """What runs a program of the job."""
        told: dict[str, Any] = {"mode": self.mode, "job": task[:-1], "index": int(task[-1]), "cluster": self.cluster}
        return [sys.executable, chaos_program.__file__, json.dumps(told | self.disturbance(task))]

    def disturbance(self, task: str) -> dict[str, str]:
        """What a program is told of the folder, and of what it is to do to itself, or to wait for."""
        strikes = not self.fault.act and task == self.disturbed()
        told = {"folder": str(self.folder), "hold": "yes" if self.fault.on_ray else ""}
        return told | ({"disturbance": self.fault.name} if strikes else {})

    def untouched(self) -> str:
        """Why nothing was disturbed, if so; "" where something was."""
        if not (self.folder / "at").exists():
            return "it ended before it was disturbed"
        strikes = self.fault.task and self.fault.act is None
        return "it was never disturbed" if strikes and not (self.folder / "struck").exists() else ""

    def environment(self) -> dict[str, str]:
        return {"WEFT_CLUSTER_SECRET": self.mark} | (self.hosts.environment if self.hosts else {})

    def start(self, task: str) -> None:
        there = ["ip", "netns", "exec", self.hosts.names[self.host_of(task)]] if self.hosts else []
        with (self.folder / f"{task}.{self.starts[task]}.log").open("w") as output:
            self.processes[task] = subprocess.Popen(
                [*there, *self.command(task)], env=os.environ | SETTINGS | self.environment(), cwd=self.folder, text=True,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.starts[task] += 1

    def host_of(self, task: str) -> int:
        return {"ps0": 0, "worker0": 1, "worker1": 2, "driver0": 0}[task]

    def disturbed(self) -> str:
        """The task that the fault is about, as this job calls it: the driver of between-graph training is its chief."""
        task = self.fault.task
        return "worker0" if task == "driver0" and self.mode == "between-graph" else task

    def send(self, task: str, number: int) -> Callable[[int], None]:
        """Send a signal to a task; what sends another to the same process, if that is still there."""
        process = self.processes[task]
        process.send_signal(number)
        return process.send_signal

    def ended(self, task: str) -> Callable[[], bool]:
        """Tells whether the process that is a task now has ended."""
        process = self.processes[task]
        return lambda: process.poll() is not None

    def tick(self) -> None:
        """See who has ended: well, with an error to tell, or not at all well, and then begin again."""
        for task, process in list(self.processes.items()):
            code = process.poll()
            if code is None or task in self.done:
                continue
            if code == 0:
                self.done.add(task)
            elif code == 3:
                self.error = self.error or self.told(task)
                self.done.add(task)
            elif self.starts[task] < _MOST_STARTS:
                self.start(task)
            else:
                self.error = f"{task} ended {_MOST_STARTS} times, the last time with {code}: {self.output(task)[-300:]}"
                self.done.add(task)

    def output(self, task: str) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"{task}.*.log")))

    def told(self, task: str) -> str:
        """The error with which a task ended."""
        said = json.loads([line for line in self.output(task).splitlines() if line.startswith('{"error"')][-1])
        return f"{task}: {said['error']}: {said['message']}"

    def over(self) -> bool:
        return bool(self.error) or self.done.issuperset(self.training)

    def stop(self) -> None:
        """End what still runs; servers that nobody needs any more serve on."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def left(self) -> str:
        """What is left of a job that has ended: processes, and listeners. On hosts of its own nothing at all may listen."""
        if processes := gone(lambda: processes_with(self.mark)):
            return f"processes are left: {processes}"
        if self.hosts:
            listening = gone(lambda: set[str]().union(*map(listeners, self.hosts.names if self.hosts else ())))
        else:
            ports = {address.rpartition(":")[2] for each in self.cluster.values() for address in each}
            listening = gone(lambda: ports & listeners())
        return f"it is still listened on {listening}" if listening else ""

    def stacks(self) -> str:
        """What each process is doing."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        return "\n".join(f"--- {task}\n{self.output(task)[-3000:]}" for task in self.tasks)


# what is done from outside


def kill(job: Job, task: str) -> None:
    job.send(task, signal.SIGKILL)


def stop(job: Job, task: str) -> None:
    go_on = job.send(task, signal.SIGSTOP)
    _while(job, AWAY)
    go_on(signal.SIGCONT)


def cut(job: Job, task: str) -> None:
    assert job.hosts is not None
    host = job.host_of(task)
    job.hosts.cut(host)
    _while(job, AWAY)
    job.hosts.mend(host)


def kill_raylet(job: Job, task: str) -> None:
    assert job.hosts is not None
    ended = job.ended(task)
    job.hosts.kill_raylet(job.host_of(task))
    until = time.monotonic() + _TASKS_END
    while not ended() and time.monotonic() < until:  # they end when they notice
        job.tick()
        time.sleep(0.05)
    (job.folder / "go").touch()


def _while(job: Job, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job.tick()
        time.sleep(0.02)


def fill(job: Job, task: str) -> None:
    """The disk with the checkpoints has no room any more."""
    with (job.folder / "saved" / "else").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):  # until there is none
            pass


FAULTS = (
    Fault("nothing"),
    Fault("kill worker", "worker1", kill),
    Fault("kill ps", "ps0", kill),
    Fault("kill driver", "driver0", kill),
    Fault("kill raylet", "worker1", kill_raylet, on_ray=True),
    Fault("stop worker", "worker1", stop),
    Fault("stop ps", "ps0", stop),
    Fault("cut link", "worker1", cut, ("tcp", "flight")),
    Fault("disk full", "driver0", fill),
    Fault("commit", "driver0"),
    Fault("dropped", "worker1"),
    Fault("delayed", "worker1"),
    Fault("truncated", "worker1"),
    Fault("corrupted head", "worker1"),
    Fault("corrupted tensor", "worker1"),
    Fault("replayed", "worker1"),
)
