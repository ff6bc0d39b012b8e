"""What building and differentiating a graph costs an operation: at several sizes, and beside TensorFlow.

The graph is a chain of products, sums, tanh and matrix products (graph_program.py). Times are CPU times, so that other
processes on the machine matter less; each library measures in a process of its own, in turns with the other.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

PROGRAM = Path(__file__).with_name("graph_program.py")
LIBRARIES = {"weft": "weft", "TensorFlow": "tensorflow.compat.v1"}

#: Below that many operations most of their memory is what earlier graphs have left.
ENOUGH = 50_000

Figures = dict[str, Any]


class Measurer:
    """A process that has loaded one of the libraries, and measures on demand."""

    def __init__(self, process: subprocess.Popen[str], command: list[str]) -> None:
        self._process = process
        self._command = command
        self.versions: Figures = self._answer()

    def measure(self, operations: int, run: bool = False) -> Figures:
        """The cost of one graph of that many operations, which is also run where that is asked for."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{'run ' if run else ''}{operations}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Figures:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"the process that measures ended: {' '.join(self._command)}")
        found: Figures = json.loads(line)
        return found


@contextmanager
def measurer(python: str, library: str) -> Iterator[Measurer]:
    """A process of that interpreter, which ends with the block."""
    command = [python, str(PROGRAM), LIBRARIES[library]]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield Measurer(process, command)
        assert process.stdin is not None
        process.stdin.close()


def summary(runs: list[Figures]) -> Figures:
    """Microseconds an operation, the median of some runs with their spread; and bytes, where they are enough to tell."""
    count = runs[0]["operations"]
    memory = statistics.median(run["bytes"] for run in runs) / count if count >= ENOUGH else None
    found: Figures = {"operations": count, "bytes": memory}
    for what in ("build", "gradients"):
        costs = sorted(run[what] / count * 1e6 for run in runs)
        found[what] = {"median": statistics.median(costs), "least": costs[0], "most": costs[-1]}
    return found


def beside(peer_python: str, operations: int, rounds: int) -> dict[str, Figures]:
    """Both libraries on the same graph, in turns."""
    runs: dict[str, list[Figures]] = {library: [] for library in LIBRARIES}
    with measurer(sys.executable, "weft") as ours, measurer(peer_python, "TensorFlow") as theirs:
        both = {"weft": ours, "TensorFlow": theirs}
        for library in both:
            both[library].measure(1000)  # what is imported, compiled and cached at first use
        for _ in range(rounds):
            for library, process in both.items():
                runs[library].append(process.measure(operations))
        return {library: summary(runs[library]) | both[library].versions for library in both}


def by_size(sizes: list[int], rounds: int) -> list[Figures]:
    """weft alone on graphs of growing size, each time in a new process."""
    found = []
    for size in sizes:
        runs = []
        for _ in range(rounds):
            with measurer(sys.executable, "weft") as process:
                process.measure(1000)
                runs.append(process.measure(size))
        found.append(summary(runs))
    return found


def spread(cost: Figures) -> str:
    return f"{cost['median']:.1f} ({cost['least']:.1f}-{cost['most']:.1f})"


def show(sizes: list[Figures], libraries: dict[str, Figures]) -> None:
    """The figures as tables."""
    click.echo(f"{'weft, operations':<18}{'build, µs/op':>20}{'gradients, µs/op':>22}{'bytes/op':>10}")
    for row in sizes:
        build, back = spread(row["build"]), spread(row["gradients"])
        held = "-" if row["bytes"] is None else f"{row['bytes']:.0f}"
        click.echo(f"{row['operations']:<18,}{build:>20}{back:>22}{held:>10}")
    if not libraries:
        return
    count = libraries["weft"]["operations"]
    click.echo(f"\n{f'{count:,} operations':<18}{'build, µs/op':>20}{'gradients, µs/op':>22}")
    for library, row in libraries.items():
        name = f"{library} {row['version']}"
        click.echo(f"{name:<18}{spread(row['build']):>20}{spread(row['gradients']):>22}")
    ratios = ratio(libraries)
    click.echo(f"{'weft / TensorFlow':<18}{ratios['build']:>20}{ratios['gradients']:>22}")


def ratio(libraries: dict[str, Figures]) -> dict[str, str]:
    """How weft's medians compare."""
    ours, theirs = libraries["weft"], libraries["TensorFlow"]
    return {what: f"1/{theirs[what]['median'] / ours[what]['median']:.1f}" for what in ("build", "gradients")}


@click.command(epilog="Example: python benchmarks/build_graph.py --peer-python ~/tf/bin/python --rounds 5")
@click.option("--peer-python", type=click.Path(exists=True), help="A Python that has TensorFlow, to measure beside.")
@click.option("--operations", default=10_000, show_default=True, help="How many operations to build beside TensorFlow.")
@click.option(
    "--size", "sizes", multiple=True, type=int, default=(2_000, 10_000, 100_000, 1_000_000), show_default=True,
    help="How many operations to build in weft alone; may be given several times.",
)  # fmt: skip
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="How often to measure each.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(peer_python: str | None, operations: int, sizes: tuple[int, ...], rounds: int, as_json: bool) -> None:
    """Measure what an operation costs to build and to differentiate."""
    libraries = beside(peer_python, operations, rounds) if peer_python else {}
    rows = by_size(list(sizes), rounds)
    if as_json:
        click.echo(json.dumps({"sizes": rows, "libraries": libraries}, indent=1))
    else:
        show(rows, libraries)


if __name__ == "__main__":
    main()
