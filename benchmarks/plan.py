"""What making a plan costs an operation: what the first run of a graph takes longer than the second.

The graph is that of build_graph.py with its gradients, all of which runs. Times are CPU times of processes of their own,
in turns with TensorFlow's where its interpreter is given.
"""

from __future__ import annotations

import json
import statistics
import sys
from contextlib import ExitStack

import click
from build_graph import Figures, measurer


def planning(figures: Figures) -> float:
    """Microseconds an operation that the first run took for more than the step."""
    return float((figures["first"] - figures["second"]) / in_graph(figures) * 1e6)


def in_graph(figures: Figures) -> int:
    """How many operations there are, gradients included."""
    return int(figures["operations"] + figures["gradient_operations"])


def summary(runs: list[Figures]) -> Figures:
    """The median of some runs, with the least and the most."""
    costs = sorted(planning(run) for run in runs)
    step = statistics.median(run["second"] / in_graph(run) * 1e6 for run in runs)
    return {
        "operations": in_graph(runs[0]), "median": statistics.median(costs), "least": costs[0], "most": costs[-1],
        "step": step,
    }  # fmt: skip


def by_size(pythons: dict[str, str], sizes: list[int], rounds: int) -> dict[str, list[Figures]]:
    """Each library at each size, in turns. After a first graph, for what is imported and cached at first use."""
    found: dict[str, list[Figures]] = {library: [] for library in pythons}
    for size in sizes:
        runs: dict[str, list[Figures]] = {library: [] for library in pythons}
        with ExitStack() as stack:
            processes = {library: stack.enter_context(measurer(python, library)) for library, python in pythons.items()}
            for process in processes.values():
                process.measure(1000, run=True)
            for _ in range(rounds):
                for library, process in processes.items():
                    runs[library].append(process.measure(size, run=True))
        for library in pythons:
            found[library].append(summary(runs[library]))
    return found


def show(found: dict[str, list[Figures]]) -> None:
    """The figures as a table."""
    click.echo(f"{'operations run':<16}" + "".join(f"{f'{library}, µs/op':>26}" for library in found) + f"{'ratio':>8}")
    for rows in zip(*found.values(), strict=True):
        costs = "".join(f"{row['median']:.1f} ({row['least']:.1f}-{row['most']:.1f})".rjust(26) for row in rows)
        ratio = f"1/{rows[-1]['median'] / rows[0]['median']:.1f}" if len(rows) > 1 else "-"
        click.echo(f"{rows[0]['operations']:<16,}{costs}{ratio:>8}")


def show_chain(operations: int) -> None:
    """One long chain, from building it to running it a second time."""
    with measurer(sys.executable, "weft") as process:
        figures = process.measure(operations, run=True)
    click.echo(f"{operations:,} operations, {in_graph(figures):,} with their gradients")
    for what in ("build", "gradients", "first", "second"):
        click.echo(f"{what:<12}{figures[what]:>8.1f} s")
    click.echo(f"{'peak memory':<12}{figures['peak'] / 2**30:>8.2f} GiB")


@click.command(epilog="Example: python benchmarks/plan.py --peer-python ~/tf/bin/python --rounds 5")
@click.option("--peer-python", type=click.Path(exists=True), help="A Python that has TensorFlow, to measure beside.")
@click.option(
    "--size", "sizes", multiple=True, type=click.IntRange(1), default=(2_000, 10_000, 50_000, 200_000), show_default=True,
    help="How many operations to differentiate and run; may be given several times.",
)  # fmt: skip
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="How often to measure each.")
@click.option(
    "--chain",
    type=click.IntRange(1),
    help="Build, differentiate and run one chain of so many operations, and nothing else.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(peer_python: str | None, sizes: tuple[int, ...], rounds: int, chain: int | None, as_json: bool) -> None:
    """Measure what making a plan costs an operation."""
    if chain is not None:
        return show_chain(chain)
    pythons = {"weft": sys.executable} | ({"TensorFlow": peer_python} if peer_python else {})
    found = by_size(pythons, list(sizes), rounds)
    if as_json:
        return click.echo(json.dumps(found, indent=1))
    return show(found)


if __name__ == "__main__":
    main()
