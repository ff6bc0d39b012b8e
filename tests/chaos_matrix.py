"""The fault matrix: trainings on servers that are disturbed in every way, and what became of them.

\b
    make chaos                                                # all of it, a table at the end
    make chaos ARGS='--only "kill worker,replayed" --mode between-graph --transport tcp'

Each cell starts a job of a ps, two workers and, where one graph drives them, a driver, as processes of their own. It
disturbs the job once, at the sixth step, and starts again what died. The job must end with the bits of an undisturbed one, or
with one clear error, in time, and nothing of it may be left. Tensors go through shared memory, or over TCP or through Flight
between hosts (network namespaces). Where a node of Ray is killed, and for one driver through Flight, the tasks are on Ray.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click
import weft as wf
from certificates import Authority
from chaos_jobs import FAULTS, TRANSPORTS, Fault, Job, fill
from chaos_left import gone, left_in_shared_memory, shared_memory
from chaos_program import BACKEND
from hosts import hosts, reason_against
from tqdm import tqdm

MODES = ("in-graph", "between-graph", "all-reduce")


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


def made(stack: ExitStack, mode: str, transport: str, fault: Fault, folder: Path) -> Job:
    """The job of a cell, with the hosts that it needs."""
    if not (fault.on_ray or (transport == "flight" and mode != "between-graph")):
        on = stack.enter_context(hosts(3)) if transport != "shm" else None
        if on and transport == "flight":
            on.environment |= Authority(folder, "authority").certificate("node", *on.addresses)
            on.environment |= {"WEFT_PROTOCOL": "flight"}
        return Job(mode, fault, folder, on)
    from chaos_ray import LaunchJob, RayJob, ray_hosts

    kind = LaunchJob if mode == "between-graph" else RayJob
    return kind(mode, transport, fault, folder, ray_hosts(stack, transport, fault, folder))


def run(mode: str, transport: str, fault: Fault) -> Outcome:
    """One job, from its start to what is left of it."""
    before = shared_memory()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        stack.enter_context(disk(folder, fault))
        job = made(stack, mode, transport, fault, folder)
        started = time.monotonic()
        try:
            outcome = _run(job, started)
            outcome.restarts = sum(job.starts.values()) - len(job.tasks)
            outcome.values = saved_values(folder / "saved")
        finally:
            job.stop()
        outcome.wrong = outcome.wrong or job.left()
    if left_there := gone(lambda: left_in_shared_memory(before)):
        outcome.wrong = outcome.wrong or f"left in /dev/shm: {left_there}"
    return outcome


def _run(job: Job, started: float) -> Outcome:
    for task in job.tasks:
        job.start(task)
    struck = job.fault.act is None
    while not job.over():
        if time.monotonic() > started + job.patience:
            return Outcome(job.patience, wrong=f"it hangs\n{job.stacks()}")
        if not struck and (job.folder / "at").exists():
            struck = True
            time.sleep(secrets.randbelow(20) / 1000)  # somewhere in the step
            assert job.fault.act is not None
            job.fault.act(job, job.disturbed())
        job.tick()
        time.sleep(0.005)
    return Outcome(time.monotonic() - started, error=job.error, wrong=job.untouched())


def saved_values(folder: Path) -> dict[str, bytes]:
    """The values in the last checkpoint, which must be whole."""
    try:
        return {
            name: wf.train.load_variable(str(folder), name).tobytes()
            for name, _ in wf.train.list_variables(str(folder))
        }
    except wf.errors.OpError as error:
        return {"no checkpoint": str(error).encode()}


def judge(outcome: Outcome, undisturbed: dict[str, bytes]) -> str:
    """What a cell of the table says; what begins with WRONG is a failure."""
    if outcome.wrong:
        return f"WRONG: {outcome.wrong}"
    if outcome.error:
        if "no checkpoint" in outcome.values:
            return f"WRONG: no checkpoint is left, after {outcome.error}"
        return outcome.error
    return "same bits" if outcome.values == undisturbed else "WRONG: other bits"


@contextmanager
def with_backend(name: str) -> Iterator[None]:
    """A block whose jobs have the kernels of a backend."""
    before = os.environ.get(BACKEND, "numpy")
    os.environ[BACKEND] = name
    try:
        yield
    finally:
        os.environ[BACKEND] = before


@cache
def undisturbed(mode: str) -> dict[str, bytes]:
    """What a job saves that nothing happens to, and that has NumPy's kernels."""
    with with_backend("numpy"):
        plain = run(mode, "shm", FAULTS[0])
    assert not plain.wrong, plain.wrong
    assert not plain.error, plain.error
    return plain.values


def matrix(cells: Iterable[Cell], quiet: bool = False) -> Iterator[tuple[Cell, str, Outcome]]:
    """Run cells, each beside an undisturbed job of its mode."""
    for cell in tqdm(list(cells), unit="job", disable=quiet or None):
        outcome = run(*cell)
        yield cell, judge(outcome, undisturbed(cell[0])), outcome


def exists(transport: str, fault: Fault) -> bool:
    """Whether there is such a cell."""
    return transport in fault.transports


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
@click.option(
    "--backend", default="numpy", type=click.Choice(["numpy", "llvm"]), help="The kernels of the disturbed jobs."
)
def main(only: str, mode: str, transport: str, backend: str) -> None:
    if reason := reason_against():
        raise click.ClickException(reason)
    cells = [
        (each, over, fault)
        for each in chosen(mode, MODES) for over in chosen(transport, TRANSPORTS) for fault in chosen(only, FAULTS)
        if exists(over, fault)
    ]  # fmt: skip
    print("| graph | transport | disturbed by | ends with | seconds | started again |\n|---|---|---|---|---|---|")
    wrong = 0
    with with_backend(backend):
        for (graph, over, fault), verdict, outcome in matrix(cells):
            tqdm.write(f"| {graph} | {over} | {fault.name} | {verdict} | {outcome.seconds:.1f} | {outcome.restarts} |")
            wrong += verdict.startswith("WRONG")
    if wrong:
        raise click.ClickException(f"{wrong} of {len(cells)} jobs ended as they must not")


if __name__ == "__main__":
    main()
