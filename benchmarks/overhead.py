"""What weft's executor costs over the bare kernel calls: a step beside the same step as NumPy calls written by hand.

All in one process, in turns: some steps by hand, as many by `make_callable`, as many by `Session.run`, and where llvmlite is
installed by `Session.run` with `ConfigProto(backend="llvm")`. The losses of the first steps must agree. BLAS has one thread for
all of them.
"""

from __future__ import annotations

import json
import statistics
import time
from importlib.util import find_spec
from typing import Any

import click
import models_weft
import numpy as np
from by_hand import BY_HAND, Step
from workloads import WORKLOADS, Array

#: The steps whose losses are compared, and how far they may be from those by hand, as a part of the largest.
CHECKED = 20
AGREE = 1e-4

COLUMNS = ("by hand", "callable", "run", *(["llvm"] if find_spec("llvmlite") else []))


def contenders(title: str, size: str) -> tuple[dict[str, Step], list[tuple[Array, ...]]]:
    """The ways to make a step, each from the same start, and the batches."""
    workload, by_hand = BY_HAND[title]
    case = getattr(WORKLOADS[workload], size)()
    steps = {mode: models_weft.build(workload, case, mode, 1) for mode in COLUMNS[1:]}
    return {COLUMNS[0]: by_hand(case), **steps}, case.batches


def differences(steps: dict[str, Step], batches: list[tuple[Array, ...]]) -> dict[str, float]:
    """How far the losses of the first steps are from those by hand, as a part of the largest."""
    losses = {
        way: np.array([float(step(*batches[i % len(batches)])) for i in range(CHECKED)]) for way, step in steps.items()
    }
    wanted = losses[COLUMNS[0]]
    return {way: float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))) for way, found in losses.items()}


def turn(step: Step, batches: list[tuple[Array, ...]], count: int) -> float:
    """The median seconds of that many steps."""
    seconds = []
    for i in range(count):
        batch = batches[i % len(batches)]
        begin = time.perf_counter()
        step(*batch)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def measure(title: str, rounds: int, budget: float, size: str = "case") -> dict[str, Any]:
    """A row: the median over rounds of a step's median in each way, half the range between quartiles, and ratios to by hand.

    A ratio is the median of those within a round, so that a machine that is now fast, now slow does not matter.
    """
    steps, batches = contenders(title, size)
    apart = max(differences(steps, batches).values())
    if not apart < AGREE:
        raise click.ClickException(f"{title}: losses differ from those by hand by {apart:.1e} of the largest")
    one = turn(steps[COLUMNS[0]], batches, 5)
    count = max(5, int(budget / one))
    found: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(rounds):
        for way, step in steps.items():
            found[way].append(turn(step, batches, count))
    medians = {way: statistics.median(times) for way, times in found.items()}
    ratios = {
        way: statistics.median(a / b for a, b in zip(found[way], found[COLUMNS[0]], strict=True)) for way in found
    }
    spread = {way: quartiles(times) / medians[way] for way, times in found.items()}
    return {"workload": title, "seconds": medians, "spread": spread, "ratio": ratios, "differs": apart}


def quartiles(times: list[float]) -> float:
    """Half the range of the middle half."""
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / 2


@click.command()
@click.option("--only", default="", help="Titles of rows, with commas between them; all if not given.")
@click.option("--rounds", default=40, show_default=True, type=click.IntRange(1))
@click.option(
    "--budget",
    default=0.03,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds that a turn of steps by hand takes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line a row instead of a table.")
def main(only: str, rounds: int, budget: float, as_json: bool) -> None:
    """Measure a step in weft beside the same step by hand."""
    if not as_json:
        click.echo(
            f"{'':28}"
            + "".join(f"{way + ', µs':>20}" for way in COLUMNS)
            + "".join(f"{way:>10}" for way in COLUMNS[1:])
        )
    for title in BY_HAND:
        if only and title not in only.split(",") and BY_HAND[title][0] not in only.split(","):
            continue
        row = measure(title, rounds, budget)
        if as_json:
            click.echo(json.dumps(row))
            continue
        times = "".join(f"{row['seconds'][way] * 1e6:13.1f} ±{row['spread'][way]:4.0%}" for way in COLUMNS)
        click.echo(f"{title:28}{times}" + "".join(f"{row['ratio'][way]:9.2f}x" for way in COLUMNS[1:]))


if __name__ == "__main__":
    main()
