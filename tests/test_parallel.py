"""The pool of threads for blocks: every block once, errors, nesting, forks, the end of the process, and the budget."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import parallel
from weft.graph.parallel import for_blocks, limit_threads, threads
from weft.runtime.execution.threads import kernel_threads, limit_kernel_threads

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = threads()
    limit_threads(3)
    yield
    limit_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_every_block_runs_once(count: int) -> None:
    for _ in range(20):
        seen: list[int] = []
        for_blocks(lambda block, thread, seen=seen: seen.append(block), count)  # type: ignore[misc]
        assert sorted(seen) == list(range(count))


def test_blocks_run_at_the_same_time_in_threads_with_numbers_of_their_own() -> None:
    together = threading.Barrier(3)
    numbers: list[int] = []

    def block(index: int, thread: int) -> None:
        together.wait(60)
        numbers.append(thread)

    for_blocks(block, 3)
    assert sorted(numbers) == [0, 1, 2]


def test_one_thread_is_the_callers() -> None:
    limit_threads(1)
    seen: list[tuple[int, int, int]] = []
    for_blocks(lambda block, thread: seen.append((block, thread, threading.get_ident())), 4)
    assert seen == [(block, 0, threading.get_ident()) for block in range(4)]


def test_the_error_of_the_first_block_that_fails_is_raised_and_the_rest_left_out() -> None:
    for _ in range(50):
        seen: list[int] = []

        def block(index: int, thread: int, seen: list[int] = seen) -> None:
            seen.append(index)
            if index in (5, 6, 7):
                raise ValueError(index)

        with pytest.raises(ValueError, match="5"):
            for_blocks(block, 10_000)
        assert len(seen) < 10_000


def test_blocks_within_blocks_run_in_the_thread_that_asks() -> None:
    seen: list[tuple[int, int]] = []

    def outer(index: int, thread: int) -> None:
        me = threading.get_ident()
        inner: list[int] = []
        for_blocks(lambda block, thread: inner.append(threading.get_ident()), 5)
        seen.append((index, len(inner)))
        assert set(inner) == {me}

    for_blocks(outer, 6)
    assert sorted(seen) == [(index, 5) for index in range(6)]


def test_calls_from_several_threads_do_not_mix() -> None:
    failed: list[int] = []

    def caller(number: int) -> None:
        for _ in range(50):
            seen: list[int] = []
            for_blocks(lambda block, thread: seen.append(block), 20)  # noqa: B023
            if sorted(seen) != list(range(20)):
                failed.append(number)

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not failed


def test_the_blocks_see_numpys_error_state_of_the_caller() -> None:
    together = threading.Barrier(3)
    values: list[float] = []

    def block(index: int, thread: int) -> None:
        together.wait(60)
        values.append(float(np.divide(np.float32(1), np.float32(0))))

    with np.errstate(divide="ignore"):
        for_blocks(block, 3)
    assert values == [np.inf] * 3
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        for_blocks(block, 3)


def test_a_pool_at_rest_keeps_nothing_alive() -> None:
    class Big:
        pass

    held = Big()
    gone = threading.Event()
    weakref.finalize(held, gone.set)
    for_blocks(lambda block, thread, held=held: None, 3)  # type: ignore[misc]
    del held
    assert gone.wait(60)


def _forked(results: multiprocessing.SimpleQueue[list[int]]) -> None:
    seen: list[int] = []
    for_blocks(lambda block, thread: seen.append(block), 50)
    results.put(sorted(seen))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.*JAX:RuntimeWarning")
def test_a_fork_has_threads_of_its_own_even_when_it_was_made_inside_of_a_block() -> None:
    for_blocks(lambda block, thread: None, 10)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def block(index: int, thread: int) -> None:
        if index == 0:
            child = context.Process(target=_forked, args=(results,))
            child.start()
            child.join(60)

    for_blocks(block, 3)
    assert results.get() == list(range(50))


def test_the_threads_do_not_keep_the_process_alive() -> None:
    program = (
        "import threading, atexit; from weft.graph.parallel import for_blocks, limit_threads; limit_threads(3);"
        "b = threading.Barrier(3); for_blocks(lambda i, t: b.wait(60), 3); print(threading.active_count());"
        "atexit.register(lambda: for_blocks(lambda i, t: None, 9))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=200)
    assert (done.stdout.strip(), done.returncode, done.stderr) == ("3", 0, "")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WEFT_NUM_THREADS": "5"}, "5 True"),
        ({"WEFT_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"}, "1 True"),
        ({"OPENBLAS_NUM_THREADS": "1"}, "1 True"),
        ({"WEFT_NUM_THREADS": "many", "OMP_NUM_THREADS": "1"}, "1 True"),
    ],
)
def test_the_environment_sets_the_budget_and_blas_has_one_thread(variables: dict[str, str], expected: str) -> None:
    program = (
        "import weft as wf; from weft.graph.parallel import threads; from weft.runtime.execution.threads import kernel_threads;"
        "import threadpoolctl; wf.Session(); blas = [each['num_threads'] for each in threadpoolctl.threadpool_info()];"
        "print(threads(), kernel_threads() == threads() and set(blas) <= {1})"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=inherited | variables, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == expected, done.stderr


def test_a_session_sets_the_budget() -> None:
    before = kernel_threads()
    try:
        with wf.Session(config=wf.ConfigProto(intra_op_parallelism_threads=1)):
            assert threads() == kernel_threads() == 1
        limit_kernel_threads(0)
        assert threads() == 1
    finally:
        limit_kernel_threads(before)


def test_a_helper_that_comes_too_late_keeps_nothing_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox: SimpleQueue[Any] = SimpleQueue()  # nobody reads it
    pool = parallel._Pool()
    monkeypatch.setattr(pool, "_helpers", lambda count: [inbox])
    done: list[int] = []

    def function(index: int, thread: int) -> None:
        done.append(index)

    alive = weakref.ref(function)
    pool.run(function, 3, 1)
    del function
    assert done == [0, 1, 2]
    assert inbox.qsize() == 1
    assert alive() is None


class Interrupted(SimpleQueue[Any]):
    """Ctrl-C comes when whoever called has taken a helper's message, before it is counted."""

    left = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        item = super().get(block, timeout)
        if Interrupted.left and threading.current_thread().name == "caller":
            Interrupted.left -= 1
            raise KeyboardInterrupt
        return item


@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupt_that_costs_a_helpers_message_ends_the_call_after_all_blocks(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_blocks(lambda block, thread: None, 3)  # the pool's own threads wait without interrupts
    monkeypatch.setattr(parallel, "SimpleQueue", Interrupted)
    monkeypatch.setattr(Interrupted, "left", times)
    began, go_on = threading.Barrier(3), threading.Event()
    done: list[int] = []
    ended: list[str] = []

    def block(index: int, thread: int) -> None:
        began.wait(60)
        if thread:
            go_on.wait(60)
            done.append(index)

    def call() -> None:
        try:
            for_blocks(block, 3)
        except KeyboardInterrupt:
            ended.append(f"interrupted after {len(done)} blocks")

    caller = threading.Thread(target=call, name="caller", daemon=True)
    caller.start()
    caller.join(0.1)
    go_on.set()
    caller.join(60)
    assert ended == ["interrupted after 2 blocks"]
    seen: list[int] = []
    for_blocks(lambda index, thread: seen.append(index), 5)
    assert sorted(seen) == list(range(5))
