"""Every parser of what comes from outside, fed with many changed inputs: on all processors, in pieces, with progress.

    make fuzz FUZZ=10000                       # so many inputs for each kind of what is parsed
    make fuzz FUZZ=10000 ARGS="--only plans"

A piece is one test (`tests/hostile.py` says which these are) with a seed of its own, in a process of its own: what hypothesis
remembers of earlier inputs does not grow for ever. A piece that fails says with which seed it can be had again.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import click
from tqdm import tqdm

TESTS = Path(__file__).parent
#: Inputs of one piece: many against what it takes to start, few against what hypothesis keeps of them.
_PIECE = 5000
_PYTEST = [sys.executable, "-P", "-m", "pytest", "--timeout=0", "-q", "-p", "no:cacheprovider"]
#: What hypothesis says of each test.
_TRIED = re.compile(r"(\d+) passing, (\d+) failing")


@dataclass(frozen=True)
class Piece:
    """So many inputs for one test."""

    test: str
    count: int
    seed: int


@dataclass(frozen=True)
class Ran:
    """What came of a piece: inputs that were tried, and the test's report if it failed."""

    piece: Piece
    inputs: int
    report: str = ""


def parsers(only: str) -> list[str]:
    """The tests that take as many inputs as they are asked for."""
    files = [str(path) for path in sorted(TESTS.glob("test_*.py")) if "@fuzzed(" in path.read_text()]
    command = [*_PYTEST, "--collect-only", "-m", "fuzz", "-k", only, *files]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(1), cwd=TESTS.parent)
    found = re.findall(r"^(tests/\S+::.+)$", listed.stdout, re.MULTILINE)
    if not found:
        raise click.ClickException(f"there is no such test: {listed.stdout}{listed.stderr}")
    return sorted(found)


def tried(piece: Piece) -> Ran:
    """Run a piece."""
    command = [*_PYTEST, "--hypothesis-show-statistics", f"--hypothesis-seed={piece.seed}", piece.test]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(piece.count), cwd=TESTS.parent
    )
    inputs = counted(done.stdout)
    if done.returncode or not inputs:
        return Ran(piece, inputs, f"seed {piece.seed}: {done.stdout[-6000:]}{done.stderr[-2000:]}")
    return Ran(piece, inputs)


def counted(statistics: str) -> int:
    """How many inputs hypothesis says that it has tried."""
    return sum(int(good) + int(bad) for good, bad in _TRIED.findall(statistics))


def _environment(count: int) -> dict[str, str]:
    return os.environ | {"WEFT_FUZZ": str(count), "OMP_NUM_THREADS": "1"}


def pieces(tests: list[str], each: int) -> Iterator[Piece]:
    """The tests in turn, so that what ends early has seen a bit of everything."""
    for begun in range(0, each, _PIECE):
        for test in tests:
            yield Piece(test, min(_PIECE, each - begun), secrets.randbelow(1 << 32))


@click.command(help=__doc__)
@click.option("--each", default=10_000, help="Inputs for each kind of what is parsed.")
@click.option("--all", "in_all", default=0, help="Instead: inputs for all of them together.")
@click.option("--only", default="", help="Tests to choose, as pytest's -k.")
@click.option("--processes", default=os.cpu_count() or 1, help="How many at once.")
def main(each: int, in_all: int, only: str, processes: int) -> None:
    tests = parsers(only)
    each = -(-in_all // len(tests)) if in_all else each
    todo = list(pieces(tests, each))
    failed, inputs = 0, 0
    often = 0.1 if sys.stderr.isatty() else 60.0  # a log gets a line a minute
    with (
        ThreadPoolExecutor(processes) as pool,
        tqdm(total=each * len(tests), unit=" inputs", mininterval=often) as progress,
    ):
        for future in as_completed([pool.submit(tried, piece) for piece in todo]):
            ran = future.result()
            inputs += ran.inputs
            failed += bool(ran.report)
            progress.update(ran.inputs)
            progress.set_postfix_str(ran.piece.test.partition("::")[2], refresh=False)
            if ran.report:
                tqdm.write(ran.report)
    print(f"{inputs:,} inputs for {len(tests)} parsers, {failed} of {len(todo)} pieces failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
