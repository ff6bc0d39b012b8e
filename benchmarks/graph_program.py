"""The program that build_graph.py and plan.py measure: it runs under weft or under TensorFlow, and needs nothing else.

Run as `python graph_program.py MODULE`: for each number of operations that comes in on standard input, a line of JSON with
CPU seconds and bytes goes out. After `run` and a number, the graph is also run, twice.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np


def memory() -> int:
    """The bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def forward(tf: Any, x: Any, w: Any, operations: int) -> Any:
    """A chain of that many operations on matrices: products, sums, tanh and matrix products in turns."""
    for _ in range(operations // 4):
        x = tf.matmul(tf.tanh(x * w + w), w)
    return x


def measure(tf: Any, operations: int, run: bool) -> dict[str, float]:
    """What one graph of that many operations, and its gradients, cost to build; and to run, for the first time and again."""
    gc.collect()
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [8, 8])
        w = tf.placeholder(tf.float32, [8, 8])
        held = memory()
        begin = time.process_time()
        y = forward(tf, x, w, operations)
        built = time.process_time()
        grown = memory() - held
        before = len(graph.get_operations())
        start = time.process_time()
        gradients = tf.gradients(y, [x, w])
        end = time.process_time()
        return {
            "operations": operations,
            "build": built - begin,
            "gradients": end - start,
            "gradient_operations": len(graph.get_operations()) - before,
            "bytes": grown,
            **(runs(tf, [y, *gradients], x, w) if run else {}),
        }


def runs(tf: Any, fetches: list[Any], x: Any, w: Any) -> dict[str, float]:
    """What the first and the second run of a new session cost, and how much memory the process has held at most."""
    feeds = {x: np.eye(8) / 2, w: np.eye(8) / 2}
    with tf.Session() as session:
        start = time.process_time()
        session.run(fetches, feeds)
        first = time.process_time()
        session.run(fetches, feeds)
        second = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"first": first - start, "second": second - first, "peak": peak}


def main() -> None:
    tf = importlib.import_module(sys.argv[1])
    if hasattr(tf, "disable_v2_behavior"):
        tf.disable_v2_behavior()
    print(json.dumps({"version": tf.__version__, "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        *run, operations = line.split()
        print(json.dumps(measure(tf, int(operations), bool(run))), flush=True)


if __name__ == "__main__":
    main()
