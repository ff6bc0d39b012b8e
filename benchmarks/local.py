"""weft beside TensorFlow, PyTorch and JAX on one machine: the same training steps, in turns.

Each contender runs each workload in a process of its own, which imports one framework and does only that workload: so
the first step is a cold start, and the peak of memory is that workload's. All are fed the same NumPy arrays.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import click
import local_report
from local_process import CONTENDERS, Contender, Failed, Worker
from tqdm import tqdm
from workloads import COLD, WORKLOADS

#: Steps in one turn, whatever they take.
FEWEST, MOST = 3, 5000

#: Idle thread pools spin for a while; the next one in turn should not feel it.
PAUSE = 0.02


def summary(first: Worker, workload: str, contender: Contender, seconds: list[float], peak: int) -> dict[str, Any]:
    """One line of the result: the seconds of a step by rounds, memory in bytes, and the losses."""
    return {
        "workload": workload,
        "contender": contender.title,
        "version": first.said["version"],
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "rounds": seconds,
        "first_step": first.first_step["wall"],
        "imported": first.said["imported"],
        "peak": peak,
        "losses": first.said["losses"],
    }


@dataclass(frozen=True)
class Runner:
    """Measures workloads: the settings, the same for all of them."""

    pythons: dict[str, str]
    size: str
    threads: int
    rounds: int
    turn: float  # seconds
    clock: str

    def measure(self, workload: str, contenders: list[Contender]) -> Iterator[dict[str, Any]]:
        """A line for each contender, the first of them that runs being the one whose losses the others should have."""
        measured = self._cold(workload, contenders) if workload in COLD else self._warm(workload, contenders)
        expected: list[float] = []
        for contender in contenders:
            row = measured[contender]
            if "error" not in row:
                expected = expected or row["losses"]
                most = max(map(abs, expected))
                pairs = zip(row["losses"], expected, strict=True)
                row["difference"] = max(abs(one - other) for one, other in pairs) / most if most else 0.0
            yield row | {"threads": self.threads, "clock": self.clock}

    def _start(self, workload: str, contender: Contender) -> Worker:
        return Worker(self.pythons[contender.framework], contender, workload, self.size, self.threads)

    def _warm(self, workload: str, contenders: list[Contender]) -> dict[Contender, dict[str, Any]]:
        """Steps of processes that stay, in turns: A B C A B C ..."""
        failed: dict[Contender, dict[str, Any]] = {}
        workers: dict[Contender, Worker] = {}
        with ExitStack() as opened:
            for contender in contenders:
                try:
                    workers[contender] = self._start(workload, contender)
                    opened.callback(workers[contender].close)
                except Failed as error:
                    failed[contender] = {"workload": workload, "contender": contender.title, "error": str(error)}
            counts = {contender: self._steps(worker) for contender, worker in workers.items()}
            seconds: dict[Contender, list[float]] = {contender: [] for contender in workers}
            peaks: dict[Contender, int] = {}
            for _ in range(self.rounds):
                for contender, worker in workers.items():
                    time.sleep(PAUSE)
                    answer = worker.turn(counts[contender])
                    seconds[contender].append(
                        answer["cpu"] if self.clock == "cpu" else statistics.median(answer["seconds"])
                    )
                    peaks[contender] = answer["peak"]
            return failed | {
                contender: summary(worker, workload, contender, seconds[contender], peaks[contender])
                for contender, worker in workers.items()
            }

    def _steps(self, worker: Worker) -> int:
        """How many steps fill a turn."""
        step = min(worker.turn(FEWEST)["seconds"])
        step = statistics.median(worker.turn(max(FEWEST, min(MOST, int(self.turn / 4 / step))))["seconds"])
        return max(FEWEST, min(MOST, int(self.turn / step)))

    def _cold(self, workload: str, contenders: list[Contender]) -> dict[Contender, dict[str, Any]]:
        """The first steps of new processes, in turns. Those of a round before are not counted: files come from the disk."""
        found: dict[Contender, dict[str, Any]] = {}
        seconds: dict[Contender, list[float]] = {contender: [] for contender in contenders}
        for turn in range(self.rounds + 1):
            for contender in contenders:
                if "error" in found.get(contender, {}):
                    continue
                try:
                    worker = self._start(workload, contender)
                    if turn == 1:
                        seconds[contender].clear()
                    seconds[contender].append(worker.first_step[self.clock])
                    found[contender] = summary(worker, workload, contender, seconds[contender], worker.turn(1)["peak"])
                    worker.close()
                except Failed as error:
                    found[contender] = {"workload": workload, "contender": contender.title, "error": str(error)}
        return found


def names(context: click.Context, parameter: click.Parameter, text: str | None) -> list[str] | None:
    """The values of an option that takes several, with commas between them."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def interpreters(settings: tuple[str, ...]) -> dict[str, str]:
    """The Python of each framework that has one: weft has the one that runs this."""
    found = {"weft": sys.executable}
    for setting in settings:
        name, separator, path = setting.partition("=")
        if not separator:
            raise click.BadParameter(f"expected NAME=PATH, got {setting!r}", param_hint="--python")
        if os.path.exists(path):
            found[name] = path
    return found


def chosen(peers: list[str] | None, without: list[str], pythons: dict[str, str]) -> list[Contender]:
    """Who takes part. A peer that has no Python here is named and left out."""
    known = [framework for framework in dict.fromkeys(c.framework for c in CONTENDERS) if framework != "weft"]
    for peer in known if peers is None else peers:
        if peer not in known:
            raise click.BadParameter(f"no such peer: {peer}. There are {', '.join(known)}.", param_hint="--peers")
        if peer not in pythons:
            click.echo(f"{peer}: left out, for no Python that has it was given (--python {peer}=PATH)", err=True)
    wanted = {"weft", *(known if peers is None else peers)} & set(pythons)
    needed = {"weft xla": "jax", "weft llvm": "llvmlite"}  # weft runs in this very Python
    left_out = {*without, *(title for title, module in needed.items() if not find_spec(module))}
    return [contender for contender in CONTENDERS if contender.framework in wanted and contender.title not in left_out]


@click.command(
    epilog="Example: python benchmarks/local.py --only mlp_small,conv --peers tf,jax "
    "--python tf=~/tf/bin/python --python jax=~/jax/bin/python --threads 1"
)
@click.option("--only", callback=names, help=f"Workloads, with commas between: {', '.join(WORKLOADS)}.")
@click.option("--peers", callback=names, help="Frameworks beside weft, with commas between; '' for weft alone.")
@click.option("--without", callback=names, help="Leave out ways to use them: 'torch compile' is slow to start.")
@click.option("--python", "pythons", multiple=True, metavar="NAME=PATH", help="The Python that has a peer.")
@click.option(
    "--threads",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Threads, and processor cores, of each process.",
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="How often each has its turn.")
@click.option(
    "--seconds",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="How long a turn is, about.",
)
@click.option(
    "--clock", type=click.Choice(["wall", "cpu"]), default="wall", show_default=True,
    help="cpu: the processor time of all of a process's threads, which other processes disturb less; with --threads 1.",
)  # fmt: skip
@click.option("--small", is_flag=True, help="Tiny sizes, which measure nothing but show that all runs.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each workload and contender.")
@click.option("--plot", "picture", type=click.Path(), help="Draw the ratios into this file (needs matplotlib).")
def main(
    only: list[str] | None,
    peers: list[str] | None,
    without: list[str] | None,
    pythons: tuple[str, ...],
    threads: int,
    rounds: int,
    seconds: float,
    clock: str,
    small: bool,
    as_json: bool,
    picture: str | None,
) -> None:
    """Measure a training step of weft and of its peers, side by side."""
    if unknown := set(only or ()) - set(WORKLOADS):
        raise click.BadParameter(f"no such workload: {', '.join(sorted(unknown))}", param_hint="--only")
    if unknown := set(without or ()) - {contender.title for contender in CONTENDERS}:
        raise click.BadParameter(f"no such contender: {', '.join(sorted(unknown))}", param_hint="--without")
    if picture and find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")
    found = interpreters(tuple(os.path.expanduser(setting) for setting in pythons))
    contenders = chosen(peers, without or [], found)
    runner = Runner(found, "small" if small else "case", threads, rounds, seconds, clock)
    rows = []
    for workload in tqdm([name for name in WORKLOADS if only is None or name in only], unit="workload", disable=None):
        for row in runner.measure(workload, contenders):
            rows.append(row)
            if as_json:
                click.echo(json.dumps(row))
    if not as_json:
        show(rows, threads, clock)
    if picture:
        local_report.plot(rows, picture)
    if any(row.get("difference", 0.0) > local_report.TOLERANCE for row in rows):
        raise click.ClickException("losses differ")


def show(rows: list[dict[str, Any]], threads: int, clock: str) -> None:
    """The tables, and under what they were measured."""
    versions = {row["contender"].split()[0]: row["version"] for row in rows if "version" in row}
    click.echo(
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}; Python {platform.python_version()}, "
        f""
        f"{threads} {'thread' if threads == 1 else 'threads'} of {os.cpu_count()} cores, {clock} time\n"
    )
    for block in local_report.tables(rows):
        click.echo(f"{block}\n")


if __name__ == "__main__":
    main()
