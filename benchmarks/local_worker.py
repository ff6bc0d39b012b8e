"""The process that runs one workload in one framework, for local.py: it needs NumPy and the framework, and nothing else.

Run as `python local_worker.py FRAMEWORK MODE WORKLOAD SIZE THREADS`. It writes a line of JSON when the first steps are
done, and then, for each number of steps that comes in on standard input, one with how long they took, by the clock and
in processor time.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from workloads import WORKLOADS

#: The steps whose losses are compared between frameworks.
CHECKED = 20


def peak_memory() -> int:
    """The most bytes of memory that this process has held."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class Stepper:
    """A workload that goes through its batches in turns."""

    def __init__(self, step: Callable[..., Any], batches: list[Any]) -> None:
        self._step = step
        self._batches = batches
        self._count = 0

    def __call__(self) -> tuple[float, float]:
        """One step: the seconds that it took, and its loss."""
        batch = self._batches[self._count % len(self._batches)]
        self._count += 1
        begin = time.perf_counter()
        loss = self._step(*batch)
        return time.perf_counter() - begin, float(loss)


def start(framework: str, mode: str, workload: str, size: str, threads: int) -> tuple[Stepper, dict[str, Any]]:
    """Import, build and make the first steps; and what is to be said about that."""
    models = importlib.import_module(f"models_{framework}")
    imported = peak_memory()
    case = getattr(WORKLOADS[workload], size)()
    stepper = Stepper(models.build(workload, case, mode, threads), case.batches)
    losses = [stepper()[1]]
    ready, busy = time.monotonic(), time.process_time()
    losses += [stepper()[1] for _ in range(CHECKED - 1)]
    return stepper, {"version": models.VERSION, "ready": ready, "cpu": busy, "imported": imported, "losses": losses}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is not an answer
    framework, mode, workload, size, threads = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])  # for thread pools that take no setting
    stepper, said = start(framework, mode, workload, size, int(threads))
    print(json.dumps(said), file=answers, flush=True)
    for line in sys.stdin:
        begin = time.process_time()
        seconds = [stepper()[0] for _ in range(int(line))]
        cpu = (time.process_time() - begin) / len(seconds)
        print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_memory()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
