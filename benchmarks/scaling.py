"""How the speed of a step grows: with the batch, with the number of operations, and with a second thread.

Each figure is of processes of their own that do nothing else: how many threads there are is settled for a process as a whole.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import models_weft
import numpy as np
import weft as wf
from workloads import WORKLOADS, Case, mlp

BATCHES: dict[str, Callable[[int], Case]] = {
    "mlp_small": lambda times: mlp("sgd", 0.1, 64 * times, 64, 128, 128, 10),
    "mlp_large": lambda times: mlp("adam", 1e-3, 256 * times, 784, 1024, 1024, 10),
}
THREADED = ("mlp_large", "conv", "transformer", "elementwise")
SIZES = (100, 1_000, 10_000, 100_000)

Step = Callable[[], Any]


def chain(operations: int) -> Step:
    """A step of that many operations on 8x8 matrices: products, sums, tanh and matrix products in turns."""
    x = w = wf.placeholder(wf.float32, [8, 8])
    for _ in range(operations // 4):
        x = wf.matmul(wf.tanh(x * w + w), w)
    run = wf.Session().make_callable(x, [w])
    value = np.eye(8, dtype=np.float32) / 2
    return lambda: run(value)


def workload(name: str, threads: int, times: int = 1, mode: str = "callable") -> Step:
    """A step of a workload, on `times` its batch, over all its batches in turns."""
    case = BATCHES[name](times) if times != 1 else WORKLOADS[name].case()
    case = replace(case, batches=[tuple(np.ascontiguousarray(array) for array in batch) for batch in case.batches])
    step, count = models_weft.build(name, case, mode, threads), iter(range(1 << 60))
    return lambda: step(*case.batches[next(count) % len(case.batches)])


def seconds(step: Step, budget: float) -> float:
    """The median seconds of the steps of one turn."""
    found: list[float] = []
    end = time.perf_counter() + budget
    while len(found) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        step()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


class Process:
    """A process that makes one step after the other, for so long as it is told to."""

    def __init__(self, *what: object) -> None:
        command = [sys.executable, __file__, "--step", json.dumps(what)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.turns: list[float] = []
        self._answer()

    def turn(self, budget: float) -> None:
        self.begin(budget)
        self.end()

    def begin(self, budget: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{budget}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self.turns.append(float(self._answer()))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"a process ended with status {self._process.wait()}")
        return line

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve(what: list[Any]) -> None:
    """What such a process does."""
    kind, *arguments = what
    step = chain(*arguments) if kind == "chain" else workload(*arguments)
    for _ in range(3):
        step()
    click.echo("0")
    for line in sys.stdin:
        click.echo(repr(seconds(step, float(line))))


def compared(ways: dict[str, tuple[object, ...]], rounds: int, budget: float) -> dict[str, list[float]]:
    """The seconds a step of each way, a turn each in turns."""
    processes = {name: Process(*what) for name, what in ways.items()}
    try:
        for _ in range(rounds):
            for process in processes.values():
                process.turn(budget)
        return {name: process.turns for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.close()


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios within rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def batches(rounds: int, budget: float, threads: int) -> list[dict[str, Any]]:
    """Steps with the batch doubled: at most twice as long."""
    rows = []
    for name in BATCHES:
        found = compared({"1": ("step", name, threads, 1), "2": ("step", name, threads, 2)}, rounds, budget)
        rows.append({"workload": name, **medians(found), "ratio": ratio(found["2"], found["1"])})
    return rows


def sizes(rounds: int, budget: float) -> list[dict[str, Any]]:
    """Steps of graphs of growing size: the same time an operation."""
    found = compared({str(size): ("chain", size) for size in SIZES}, rounds, budget)
    return [{"operations": int(size), "step": statistics.median(turns)} for size, turns in found.items()]


def threads(rounds: int, budget: float, mode: str) -> list[dict[str, Any]]:
    """Steps in a mode with one and with two threads, and what two processes of one thread each do in the time of one alone.

    The last is what the machine gives: two cores may share what they compute with, and their memory.
    """
    rows = []
    for name in THREADED:
        processes = [Process("step", name, count, 1, mode) for count in (1, 2, 1, 1)]
        one, two, *both = processes
        try:
            for _ in range(rounds):
                one.turn(budget)
                two.turn(budget)
                for process in both:
                    process.begin(budget)
                for process in both:
                    process.end()
        finally:
            for process in processes:
                process.close()
        found = {"1": one.turns, "2": two.turns}
        together = [sum(pair) / 4 for pair in zip(*(process.turns for process in both), strict=True)]
        rows.append(
            {
                "workload": name,
                **medians(found),
                "ratio": ratio(found["1"], found["2"]),
                "machine": ratio(one.turns, together),
            }
        )
    return rows


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(turns) for name, turns in found.items()}


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    """The tables."""
    heads = {"batches": ("batch", "batch x2", "time x"), "threads": ("1 thread", "2 threads", "speed x", "machine x")}
    for table, rows in found.items():
        if table == "sizes":
            click.echo(f"\n{'operations':<14}{'ms a step':>12}{'µs/op':>12}")
            for row in rows:
                cost = row["step"] / row["operations"] * 1e6
                click.echo(f"{row['operations']:<14,}{row['step'] * 1e3:>12.3f}{cost:>12.3f}")
            continue
        click.echo(f"\n{'ms a step':<14}" + "".join(f"{head:>12}" for head in heads[table]))
        for row in rows:
            times = f"{row['1'] * 1e3:>12.3f}{row['2'] * 1e3:>12.3f}"
            machine = f"{row['machine']:>12.2f}" if "machine" in row else ""
            click.echo(f"{row['workload']:<14}{times}{row['ratio']:>12.2f}{machine}")


def plot(found: dict[str, list[dict[str, Any]]], file: str) -> None:
    """The cost of an operation by the size of its graph, and the ratios, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(found), 4), layout="constrained")
    for axes, (table, rows) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        if table == "sizes":
            each = [row["step"] / row["operations"] * 1e6 for row in rows]
            axes.semilogx([row["operations"] for row in rows], each, marker="o")
            axes.set(xlabel="operations", ylabel="µs an operation", ylim=(0, None))
            continue
        axes.bar([row["workload"] for row in rows], [row["ratio"] for row in rows], 0.6, label="weft")
        best = [row.get("machine", 2.0) for row in rows]
        axes.plot(
            range(len(rows)),
            best,
            "_",
            color="black",
            markersize=24,
            label="twice" if table == "batches" else "two processes",
        )
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set(
            ylabel="time for twice the rows, once = 1" if table == "batches" else "speed with two threads, one = 1"
        )
        axes.set_xticks(range(len(rows)), [row["workload"] for row in rows], rotation=30, ha="right")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    figure.savefig(file)


@click.command()
@click.option("--only", default="batches,sizes,threads", show_default=True, help="Which tables.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1))
@click.option(
    "--budget", default=0.3, show_default=True, type=click.FloatRange(0, min_open=True), help="Seconds a turn."
)
@click.option(
    "--threads", "count", default=1, show_default=True, type=click.IntRange(1), help="Threads where the batch grows."
)
@click.option(
    "--mode", type=click.Choice(["callable", "llvm"]), default="callable", show_default=True,
    help="How steps with one and two threads run.",
)  # fmt: skip
@click.option("--plot", "picture", type=click.Path(dir_okay=False), help="Draw a picture into this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--step", hidden=True, help="Be the process of one figure.")
def main(
    only: str, rounds: int, budget: float, count: int, mode: str, picture: str | None, as_json: bool, step: str | None
) -> None:
    """Measure how the speed of a step grows."""
    if step is not None:
        return serve(json.loads(step))
    tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "batches": lambda: batches(rounds, budget, count),
        "sizes": lambda: sizes(rounds, budget),
        "threads": lambda: threads(rounds, budget, mode),
    }
    found = {name: table() for name, table in tables.items() if name in only.split(",")}
    if picture:
        plot(found, str(Path(picture)))
    if as_json:
        return click.echo(json.dumps(found, indent=1))
    return show(found)


if __name__ == "__main__":
    main()
