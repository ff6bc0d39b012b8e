"""One budget of threads: however many kernels, blocks and products there are, no more threads compute than were asked for."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import numpy as np
import weft as wf

def ticks():
    found = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        found[task] = int(fields[11]) + int(fields[12])
    return found

asked = int(sys.argv[1])
a, b = wf.placeholder(wf.float32, [512, 1024]), wf.placeholder(wf.float32, [1024, 1024])
y = wf.matmul(a, b)
x = wf.placeholder(wf.float32, [1 << 20])
z = x
for _ in range(10):
    z = wf.tanh(z) * 0.5 + x
config = wf.ConfigProto(intra_op_parallelism_threads=asked, inter_op_parallelism_threads=asked)
with wf.Session(config=config) as sess:
    step = sess.make_callable([wf.reduce_sum(y), wf.reduce_sum(z), wf.matrix_inverse(b[:256, :256])], [a, b, x])
    values = np.ones((512, 1024), np.float32), np.eye(1024, dtype=np.float32), np.ones(1 << 20, np.float32)
    for _ in range(3):
        step(*values)
    before = ticks()
    while True:
        step(*values)
        used = {task: now - before.get(task, 0) for task, now in ticks().items()}
        if sum(used.values()) >= 60:
            break
print(sum(count >= 3 for count in used.values()))
"""


def computing(asked: int, **environment: str) -> int:
    """How many threads of a process use its processor time."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(asked)], capture_output=True, text=True, timeout=200,
        env=kept | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize("blas", ["1", "2", "4"])
def test_one_thread_computes_where_one_is_asked_for_whatever_blas_was_told(blas: str) -> None:
    assert computing(1, OPENBLAS_NUM_THREADS=blas) == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_the_environment_asks_where_the_session_does_not() -> None:
    assert computing(0, WEFT_NUM_THREADS="1", OPENBLAS_NUM_THREADS="4") == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize("asked", [2, 3])
def test_weft_and_blas_together_keep_to_the_budget(asked: int) -> None:
    assert computing(asked, OPENBLAS_NUM_THREADS="4") <= asked


CHECK = """
import weft as wf
from weft.runtime.execution.threads import kernel_threads
wf.Session(graph=wf.Graph())
print(kernel_threads())
"""


def told(**environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-P", "-c", CHECK], capture_output=True, text=True, timeout=200, env=kept | environment
    )


def test_the_environment_may_say_more_for_threads_of_threads() -> None:
    assert told(OMP_NUM_THREADS="3,2").stdout == "3\n"
