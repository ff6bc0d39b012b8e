"""Every parser of what comes from outside, fed with many changed inputs: on all processors, in pieces, with progress.

\b
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
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import click
from tqdm import tqdm

TESTS = Path(__file__).parent
#: Inputs of a parser's first piece; then as many as take so many seconds: long against what it takes to start a process, short
#: against what hypothesis keeps of earlier inputs.
_FIRST, _SECONDS, _MOST = 1000, 60.0, 20_000
_PYTEST = [sys.executable, "-P", "-m", "pytest", "--timeout=0", "-q", "-p", "no:cacheprovider"]
#: What hypothesis says of each test.
_TRIED = re.compile(r"(\d+) passing, (\d+) failing")


@dataclass
class Parser:
    """What was done to one of the tests so far. `wanted`: inputs to be asked for in all, None for no end."""

    test: str
    wanted: int | None = None
    asked: int = 0
    tried: int = 0
    seconds: float = 0.0
    busy: bool = False

    def piece(self) -> int:
        """How many inputs to ask for next."""
        count = round(_SECONDS * self.tried / self.seconds) if self.tried else _FIRST
        left = _MOST if self.wanted is None else self.wanted - self.asked
        return max(0, min(max(count, _FIRST), _MOST, left))

    def run(self, count: int) -> str:
        """Have it try so many; its report, where it failed."""
        seed, begun = secrets.randbelow(1 << 32), time.monotonic()
        done = subprocess.run(
            [*_PYTEST, "--hypothesis-show-statistics", f"--hypothesis-seed={seed}", self.test],
            capture_output=True, text=True, check=False, env=_environment(count), cwd=TESTS.parent,
        )  # fmt: skip
        inputs = counted(done.stdout)
        self.asked, self.tried = self.asked + count, self.tried + inputs
        self.seconds += time.monotonic() - begun
        failed = done.returncode or not inputs
        return f"{self.test}, seed {seed}: {done.stdout[-6000:]}{done.stderr[-2000:]}" if failed else ""


def parsers(only: str) -> list[str]:
    """The tests that take as many inputs as they are asked for."""
    files = [str(path) for path in sorted(TESTS.glob("test_*.py")) if "@fuzzed(" in path.read_text()]
    command = [*_PYTEST, "--collect-only", "-m", "fuzz", "-k", only, *files]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(1), cwd=TESTS.parent)
    found = re.findall(r"^(tests/\S+::.+)$", listed.stdout, re.MULTILINE)
    if not found:
        raise click.ClickException(f"there is no such test: {listed.stdout}{listed.stderr}")
    return sorted(found)


def counted(statistics: str) -> int:
    """How many inputs hypothesis says that it has tried."""
    return sum(int(good) + int(bad) for good, bad in _TRIED.findall(statistics))


def _environment(count: int) -> dict[str, str]:
    return os.environ | {"WEFT_FUZZ": str(count), "OMP_NUM_THREADS": "1"}


def next_of(tests: list[Parser]) -> Parser | None:
    """Who is to try more: the one that has had the least time. None when nobody is free, or all have had what they were to."""
    free = [each for each in tests if not each.busy and each.piece()]
    return min(free, key=lambda each: each.seconds, default=None)


def rounds(tests: list[Parser], most: int, processes: int) -> Iterator[tuple[Parser, str]]:
    """Have them try inputs, until there were so many in all; each piece's parser and report."""
    running: dict[Future[str], Parser] = {}
    with ThreadPoolExecutor(processes) as pool:
        while True:
            while len(running) < processes and sum(each.tried for each in tests) < most and (found := next_of(tests)):
                found.busy = True
                running[pool.submit(found.run, found.piece())] = found
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done = running.pop(future)
                done.busy = False
                yield done, future.result()


@click.command(help=__doc__)
@click.option("--each", default=10_000, help="Inputs for each kind of what is parsed.")
@click.option("--all", "in_all", default=0, help="Instead: inputs for all of them together, which get the same time.")
@click.option("--only", default="", help="Tests to choose, as pytest's -k.")
@click.option("--processes", default=os.cpu_count() or 1, help="How many at once.")
def main(each: int, in_all: int, only: str, processes: int) -> None:
    tests = [Parser(name, None if in_all else each) for name in parsers(only)]
    most, failed = in_all or each * len(tests), 0
    often = 0.1 if sys.stderr.isatty() else 60.0  # a log gets a line a minute
    with tqdm(total=most, unit=" inputs", mininterval=often) as progress:
        for test, report in rounds(tests, most, processes):
            progress.update(sum(each.tried for each in tests) - progress.n)
            progress.set_postfix_str(test.test.partition("::")[2], refresh=False)
            if report:
                failed += 1
                tqdm.write(report)
    for test in tests:
        print(f"{test.tried:>10,} inputs in {test.seconds:6.0f} s: {test.test}")
    print(f"{sum(test.tried for test in tests):,} inputs for {len(tests)} parsers; {failed} pieces failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
