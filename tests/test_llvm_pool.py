"""Blocks of compiled functions over threads: each runs once, by whoever is free; all threads are of one budget."""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from weft.graph import parallel

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import pool
from weft.runtime.backends.llvm.compiling import compiler
from weft.runtime.backends.llvm.frame import Array, begun, closing, opening, place_of, room_of_thread, working
from weft.runtime.backends.llvm.text import Text


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = parallel.threads()
    parallel.limit_threads(3)
    yield
    parallel.limit_threads(before)


@cache
def counting(count: int, rounds: int = 0, long: bool = True) -> Any:
    """A function that counts for each block how often it ran, and who ran it, after so many rounds of doing nothing."""
    text = Text()
    data = [*opening(text, [Array("int64", (count,), True), Array("int64", (count,), True)]), place_of(text, 3)]
    working(text, data, (), count, release=True, long=long)
    closing(text, 0)
    runs, threads, rooms = begun(text, len(data))
    room = room_of_thread(text, rooms, 8)
    text.loop("0", str(rounds), 1, lambda number: text.put(f"store volatile i64 {number}, ptr {room}, align 8"))
    place = text.let(f"getelementptr i64, ptr {runs}, i64 %block")
    before = text.let(f"load i64, ptr {place}, align 8")
    text.put(f"store i64 {text.let(f'add i64 {before}, 1')}, ptr {place}, align 8")
    text.put(f"store i64 %thread, ptr {text.let(f'getelementptr i64, ptr {threads}, i64 %block')}, align 8")
    text.end()
    return compiler().function(text.whole(), library=pool.pool_library())


def counted(count: int, rounds: int = 0, long: bool = True) -> set[int]:
    """Who ran the blocks, each of which ran once."""
    runs, threads = np.zeros(count, np.int64), np.full(count, -1)
    assert pool.in_threads(counting(count, rounds, long), (runs, threads), runs, 8)
    assert runs.tolist() == [1] * count
    return {*threads.tolist()}


@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_every_block_runs_once(count: int) -> None:
    for _ in range(500):
        assert counted(count) <= {0, 1, 2}


def test_threads_that_sleep_are_woken() -> None:
    for pause in (0, 0.0001, 0.001, 0.05):
        for _ in range(10):
            time.sleep(pause)
            counted(9, 1000)


def word(name: str) -> ctypes.c_uint64:
    """A word of the pool's memory."""
    return ctypes.c_uint64.from_address(pool._pool().start + pool._PLACES[name])


def test_only_one_short_job_after_the_other_wakes_threads() -> None:
    end = time.monotonic() + 60
    all_asleep(end)
    word("skipped").value = 0
    for _ in range(pool.SKIPS):
        assert counted(64, 1000, long=False) == {0}
    seen: set[int] = set()
    while seen != {0, 1, 2} and time.monotonic() < end:
        seen |= counted(64, 1000, long=False)
    assert seen == {0, 1, 2}


def all_asleep(end: float) -> None:
    """Wait until all threads of the pool sleep; first until all are awake, for who was woken may count as asleep a while."""
    counted(9, 1000)
    threads = max(2, pool._pool()._count)
    parallel.limit_threads(threads + 1)
    while counted(64, 1_000_000) != {*range(threads + 1)} and time.monotonic() < end:
        pass
    while word("sleepers").value < threads and time.monotonic() < end:
        time.sleep(0.01)
    parallel.limit_threads(3)


def until(limit: int, wanted: set[int]) -> None:
    """Jobs until all of these threads have run a block. No other ever does."""
    seen: set[int] = set()
    end = time.monotonic() + 60
    while seen != wanted and time.monotonic() < end:
        seen |= counted(64, 10_000)
        assert seen <= {*range(limit)}
    assert seen == wanted


def test_all_threads_of_the_budget_help_and_no_more() -> None:
    for limit in (3, 1, 2, 3):
        parallel.limit_threads(limit)
        until(limit, {*range(limit)})


def test_one_call_at_a_time_has_the_threads() -> None:
    """Whoever else has them, Python's blocks included, all others compute alone."""
    assert pool.borrow() == 2
    assert pool.borrow() == 0
    assert counted(16, 1000) == {0}
    seen: set[int] = set()
    parallel.for_blocks(lambda block, thread: seen.add(thread), 50)
    assert seen == {0}
    pool.give_back()
    parallel.for_blocks(lambda block, thread: seen.update(counted(16, 100)), 3)
    assert seen == {0}
    assert pool.borrow() == 2
    pool.give_back()


def test_calls_from_several_threads_do_not_mix() -> None:
    failed: list[BaseException] = []

    def caller(count: int) -> None:
        try:
            for _ in range(200):
                counted(count, 50)
        except BaseException as error:
            failed.append(error)

    callers = [threading.Thread(target=caller, args=(count,)) for count in (5, 16, 33, 64)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not failed


def test_arrays_that_are_not_taken_are_said_so() -> None:
    wrong = np.zeros(7, np.int32)
    assert not pool.in_threads(counting(7), (wrong, np.zeros(7, np.int64)), wrong, 8)
    assert pool.borrow() == 2
    pool.give_back()


def _forked(results: Any) -> None:
    counted(50, 100)
    until(3, {0, 1, 2})
    results.put("all blocks ran")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.*JAX:RuntimeWarning")
def test_a_fork_has_threads_of_its_own() -> None:
    counted(10)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_forked, args=(results,))
    child.start()
    child.join(90)
    assert child.exitcode == 0
    assert results.get() == "all blocks ran"
    counted(10)


def test_the_threads_do_not_keep_the_process_alive() -> None:
    program = (
        "import weft as wf, numpy as np\n"
        "config = wf.ConfigProto(backend='llvm', intra_op_parallelism_threads=3)\n"
        "x = wf.placeholder(wf.float32, [1 << 20])\n"
        "step = wf.Session(config=config).make_callable(wf.tanh(x) * 2.0 + x, [x])\n"
        "for _ in range(20): step(np.ones(1 << 20, np.float32))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_threads_the_caller_computes_alone_and_others_may_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(pool._pool(), "_count", 0)
    assert pool.borrow() == 0
    assert counted(16, 1000) == {0}
    monkeypatch.undo()
    assert pool.borrow() == 2
    pool.give_back()
