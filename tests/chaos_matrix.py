"""The fault matrix: trainings on servers that are disturbed in every way, and what became of them.

    make chaos                                                # all of it, a table at the end
    make chaos ARGS='--only "kill worker,replayed" --mode between-graph --transport tcp'

Each cell starts a job of a ps, two workers and, where one graph drives them, a driver, as processes of their own. It
disturbs the job once, at the sixth step, and starts again what died. The job must end with the bits of an undisturbed one, or
with one clear error, in time, and nothing of it may be left. Tensors go through shared memory, or over TCP between hosts
(network namespaces).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import chaos_program
import click
import weft as wf
from clustered import local_cluster
from hosts import Hosts, hosts, reason_against
from tqdm import tqdm

MODES = ("in-graph", "between-graph", "all-reduce")
TRANSPORTS = ("shm", "tcp")
#: A job may take so long in all; a hang is a failure.
PATIENCE = 60.0
#: Seconds without a sign of life that count, and for which a process is stopped or a cable is out.
HEARTBEAT, AWAY = 1.5, 4.0
_MOST_STARTS = 4


@dataclass(frozen=True)
class Fault:
    """What is done to a job: by a task itself (`chaos_wire`), or from outside, by `act` to a task."""

    name: str
    task: str = ""
    act: Callable[[Job, str], None] | None = None
    transports: tuple[str, ...] = TRANSPORTS


#: What kind of graph, over which transport, and what happens to it.
Cell = tuple[str, str, Fault]


@dataclass
class Outcome:
    """How a job ended: the values it saved last, or an error; `wrong`: what must not be."""

    seconds: float
    values: dict[str, bytes] = field(default_factory=dict)
    error: str = ""
    wrong: str = ""
    restarts: int = 0


class Job:
    """The processes of one job; `tick` starts again what died."""

    def __init__(self, mode: str, fault: Fault, folder: Path, on: Hosts | None) -> None:
        self.mode, self.fault, self.folder, self.hosts = mode, fault, folder, on
        self.mark = secrets.token_hex(32)
        self.tasks = ["ps0", "worker0", "worker1", *(["driver0"] if mode != "between-graph" else [])]
        #: The programs whose end is the job's.
        self.training = ["worker0", "worker1"] if mode == "between-graph" else ["driver0"]
        self.cluster = local_cluster(ps=1, worker=2)
        if on:
            ps, *workers = on.addresses[:3]
            self.cluster = {"ps": [f"{ps}:2222"], "worker": [f"{each}:2222" for each in workers]}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.outputs: dict[str, list[str]] = {task: [] for task in self.tasks}
        self.starts = dict.fromkeys(self.tasks, 0)
        self.done: set[str] = set()
        self.error = ""

    def start(self, task: str) -> None:
        job, index = task[:-1], int(task[-1])
        told = {"mode": self.mode, "job": job, "index": index, "cluster": self.cluster, "folder": str(self.folder)}
        if not self.fault.act and task == self.disturbed():
            told["disturbance"] = self.fault.name
        there = ["ip", "netns", "exec", self.hosts.names[self.host_of(task)]] if self.hosts else []
        environment = os.environ | {
            "WEFT_CLUSTER_SECRET": self.mark, "WEFT_HEARTBEAT_TIMEOUT": str(HEARTBEAT), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        output = (self.folder / f"{task}.{self.starts[task]}.log").open("w")
        with output:
            self.processes[task] = subprocess.Popen(
                [*there, sys.executable, chaos_program.__file__, json.dumps(told)],
                env=environment, cwd=self.folder, text=True, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.starts[task] += 1

    def host_of(self, task: str) -> int:
        return {"ps0": 0, "worker0": 1, "worker1": 2, "driver0": 0}[task]

    def disturbed(self) -> str:
        """The task that the fault is about, as this job calls it: the driver of between-graph training is its chief."""
        task = self.fault.task
        return "worker0" if task == "driver0" and "driver0" not in self.tasks else task

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

    def stacks(self) -> str:
        """What each process is doing."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        return "\n".join(f"--- {task}\n{self.output(task)[-3000:]}" for task in self.tasks)


# what is done from outside


def kill(job: Job, task: str) -> None:
    job.processes[task].kill()


def stop(job: Job, task: str) -> None:
    process = job.processes[task]
    process.send_signal(signal.SIGSTOP)
    _while(job, AWAY)
    process.send_signal(signal.SIGCONT)


def cut(job: Job, task: str) -> None:
    assert job.hosts is not None
    job.hosts.cut(job.host_of(task))
    _while(job, AWAY)
    job.hosts.mend(job.host_of(task))


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
    Fault("stop worker", "worker1", stop),
    Fault("stop ps", "ps0", stop),
    Fault("cut link", "worker1", cut, ("tcp",)),
    Fault("disk full", "driver0", fill),
    Fault("commit", "driver0"),
    Fault("dropped", "worker1"),
    Fault("delayed", "worker1"),
    Fault("truncated", "worker1"),
    Fault("corrupted head", "worker1"),
    Fault("corrupted tensor", "worker1"),
    Fault("replayed", "worker1"),
)


@contextmanager
def disk(folder: Path, fault: Fault) -> Iterator[None]:
    """Where checkpoints go: a disk of their own, of a few MB, where one is to be full."""
    saved = folder / "saved"
    saved.mkdir()
    if fault.act is not fill:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(saved)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(saved)], check=True)


def run(mode: str, transport: str, fault: Fault) -> Outcome:
    """One job, from its start to what is left of it."""
    before = shared_memory()
    with ExitStack() as stack:
        on = stack.enter_context(hosts(3)) if transport == "tcp" else None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        stack.enter_context(disk(folder, fault))
        job = Job(mode, fault, folder, on)
        started = time.monotonic()
        try:
            outcome = _run(job, started)
            outcome.restarts = sum(job.starts.values()) - len(job.tasks)
            outcome.values = saved_values(folder / "saved")
        finally:
            job.stop()
        if left := processes_with(job.mark):
            outcome.wrong = outcome.wrong or f"processes are left: {left}"
    if left_there := shared_memory() - before:
        outcome.wrong = outcome.wrong or f"left in /dev/shm: {left_there}"
    return outcome


def _run(job: Job, started: float) -> Outcome:
    for task in job.tasks:
        job.start(task)
    struck = job.fault.act is None
    while not job.over():
        if time.monotonic() > started + PATIENCE:
            return Outcome(PATIENCE, wrong=f"it hangs\n{job.stacks()}")
        if not struck and (job.folder / "at").exists():
            struck = True
            time.sleep(secrets.randbelow(20) / 1000)  # somewhere in the step
            assert job.fault.act is not None
            job.fault.act(job, job.disturbed())
        job.tick()
        time.sleep(0.005)
    wrong = ""
    if not (job.folder / "at").exists():
        wrong = "it ended before it was disturbed"
    elif job.fault.act is None and job.fault.task and not (job.folder / "struck").exists():
        wrong = "it was never disturbed"
    return Outcome(time.monotonic() - started, error=job.error, wrong=wrong)


def saved_values(folder: Path) -> dict[str, bytes]:
    """The values in the last checkpoint, which must be whole."""
    try:
        return {
            name: wf.train.load_variable(str(folder), name).tobytes()
            for name, _ in wf.train.list_variables(str(folder))
        }
    except wf.errors.OpError as error:
        return {"no checkpoint": str(error).encode()}


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def processes_with(mark: str) -> list[str]:
    """The processes that have this in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended
            continue
    return found


def judge(outcome: Outcome, undisturbed: dict[str, bytes]) -> str:
    """What a cell of the table says; what begins with WRONG is a failure."""
    if outcome.wrong:
        return f"WRONG: {outcome.wrong}"
    if outcome.error:
        if "no checkpoint" in outcome.values:
            return f"WRONG: no checkpoint is left, after {outcome.error}"
        return outcome.error
    return "same bits" if outcome.values == undisturbed else "WRONG: other bits"


@cache
def undisturbed(mode: str) -> dict[str, bytes]:
    """What a job saves that nothing happens to."""
    plain = run(mode, "shm", FAULTS[0])
    assert not plain.wrong, plain.wrong
    assert not plain.error, plain.error
    return plain.values


def matrix(cells: Iterable[Cell], quiet: bool = False) -> Iterator[tuple[Cell, str, Outcome]]:
    """Run cells, each beside an undisturbed job of its mode."""
    for cell in tqdm(list(cells), unit="job", disable=quiet or None):
        outcome = run(*cell)
        yield cell, judge(outcome, undisturbed(cell[0])), outcome


def chosen(names: str, all_of: Iterable[Any]) -> list[Any]:
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    by_name = {getattr(each, "name", each): each for each in all_of}
    for name in wanted:
        if name not in by_name:
            raise click.BadParameter(f"there is no {name!r}: choose from {', '.join(by_name)}")
    return [by_name[name] for name in wanted] or list(by_name.values())


@click.command(help=__doc__)
@click.option("--only", default="", help="Faults, separated by commas.")
@click.option("--mode", default="", help=f"Of {', '.join(MODES)}.")
@click.option("--transport", default="", help=f"Of {', '.join(TRANSPORTS)}.")
def main(only: str, mode: str, transport: str) -> None:
    if reason := reason_against():
        raise click.ClickException(reason)
    cells = [
        (each, over, fault)
        for each in chosen(mode, MODES) for over in chosen(transport, TRANSPORTS) for fault in chosen(only, FAULTS)
        if over in fault.transports
    ]  # fmt: skip
    print("| graph | transport | disturbed by | ends with | seconds | started again |\n|---|---|---|---|---|---|")
    wrong = 0
    for (graph, over, fault), verdict, outcome in matrix(cells):
        tqdm.write(f"| {graph} | {over} | {fault.name} | {verdict} | {outcome.seconds:.1f} | {outcome.restarts} |")
        wrong += verdict.startswith("WRONG")
    if wrong:
        raise click.ClickException(f"{wrong} of {len(cells)} jobs ended as they must not")


if __name__ == "__main__":
    main()
