"""What a client of cluster.py's does, whatever library it is of: answers with the times of the steps it is asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping

#: Steps before those that count.
WARM_UP = 3


def measure(step: Callable[[], object], seconds: float) -> list[float]:
    """How long each step took, in seconds."""
    for _ in range(WARM_UP):
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return times


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def serve(
    steps: Mapping[str, Callable[[], object]],
    begin: Mapping[str, Callable[[], object]] | None = None,
    facts: Mapping[str, Callable[[], object]] | None = None,
) -> None:
    """Read a workload and a number of seconds a line from standard input, until nothing is asked any more.

    `begin`: what comes before the steps of some workloads, each time; `facts`: what can be asked for besides times.
    """
    say("ready")
    for line in sys.stdin:
        name, seconds = json.loads(line)
        if facts and name in facts:
            say(facts[name]())
            continue
        if begin and name in begin:
            begin[name]()
        say(measure(steps[name], seconds))
