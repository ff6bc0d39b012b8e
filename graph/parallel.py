"""Blocks of one kernel's work over threads: the one pool of the process, and how many threads it and BLAS may use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue

#: Works on the block of that number. The second argument numbers the thread, below `threads()`: for memory of its own.
Block = Callable[[int, int], object]

#: The environment variables that say how many threads there may be; the first that is set counts.
VARIABLES = ("WEFT_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def for_blocks(function: Block, count: int) -> None:
    """`function(block, thread)` for each block below `count`, in the caller's thread (number 0) and those of the pool.

    Blocks are handed out in order, to whoever is free: no result may depend on who computes which. One call at a time
    has the threads; any other, a call out of a block included, runs in its own thread alone. The blocks see the caller's
    context variables, NumPy's error state among them. Where blocks fail, the error of the first of them is raised, and
    no more are begun. A block that calls BLAS should hold it to one thread, lest both compete for the cores.
    """
    pool = _pool
    helpers = min(_limit, count) - 1
    if helpers < 1 or not pool.free.acquire(blocking=False):
        for index in range(count):
            function(index, 0)
        return
    try:
        pool.run(function, count, helpers)
    finally:
        pool.free.release()


def take_threads() -> int:
    """How many threads beside the caller's may work for it until `give_threads`, in a pool of its own; 0: others have them."""
    return _limit - 1 if _limit > 1 and _pool.free.acquire(blocking=False) else 0


def give_threads() -> None:
    """To be called after a `take_threads` that gave any: others may have them."""
    _pool.free.release()


def threads() -> int:
    """How many threads one kernel may use."""
    return _limit


def limit_threads(count: int) -> None:
    """Let a kernel use `count` threads from now on, in the whole process."""
    global _limit
    _limit = max(1, count)


def threads_wanted() -> int:
    """How many threads the environment asks for; 0 where it says nothing, or no number."""
    for variable in VARIABLES:
        # OMP_NUM_THREADS may say more, for threads of threads
        first, _, _ = os.environ.get(variable, "").partition(",")
        if (text := first.strip()).isdecimal() and int(text) > 0:
            return int(text)
    return 0


class _Job:
    """Blocks that several threads take from, each the next one that is left."""

    def __init__(self, function: Block, count: int) -> None:
        self._function = function
        self._left = iter(range(count))  # one step of it is one step of the interpreter, so no block is taken twice
        #: How many blocks a helper is answerable for, from each helper when it has no more to do.
        self._ended: list[int] = []
        self._news: SimpleQueue[None] = SimpleQueue()
        self.failures: list[tuple[int, BaseException]] = []

    def work(self, thread: int) -> int:
        """Take blocks until none is left; returns how many that were. After a failure the rest counts as taken."""
        function, taken = self._function, 0
        for index in self._left:
            taken += 1
            try:
                function(index, thread)
            except BaseException as error:  # whoever waits for the blocks gets it
                self.failures.append((index, error))
                taken += self.skip()
        return taken

    def end(self, taken: int) -> None:
        """A helper has no more to do: what it is answerable for is noted before anybody can hear of it."""
        self._ended.append(taken)
        self._news.put(None)

    def wait_for_blocks(self, count: int) -> None:
        """Until helpers answer for so many blocks. What is counted is what they noted: a message may be lost to Ctrl-C."""
        while sum(self._ended) < count:
            self._news.get()

    def wait_for_helpers(self, count: int) -> None:
        """Until so many helpers have no more to do."""
        while len(self._ended) < count:
            self._news.get()

    def skip(self) -> int:
        """Leave out the blocks that nobody has begun."""
        return len(list(self._left))

    def forget(self) -> None:
        """Let go of the function, and so of its arrays: a helper that came too late may hold the job for a while yet."""
        self._function = _nothing

    def error(self) -> BaseException:
        """That of the first block that failed. All before it were begun, so there is no earlier one."""
        return min(self.failures, key=lambda failure: failure[0])[1]


def _nothing(index: int, thread: int) -> None:
    """In place of a function whose blocks are all done."""


class _Pool:
    """Threads that wait for jobs. They are made when first needed and end with the process."""

    def __init__(self) -> None:
        self.free = threading.Lock()
        self._inboxes: list[SimpleQueue[tuple[_Job, Context]]] = []

    def run(self, function: Block, count: int, helpers: int) -> None:
        """Run all blocks. Returns, also with an error, when no thread works on any of them any more."""
        inboxes = self._helpers(helpers)
        job = _Job(function, count)
        try:
            for inbox in inboxes:
                inbox.put((job, copy_context()))
            job.wait_for_blocks(count - job.work(0))  # helpers that came too late to get a block are not waited for
        except BaseException:  # Ctrl-C between two blocks
            _settle(job, inboxes)
            raise
        finally:
            job.forget()
        if job.failures:
            raise job.error()

    def _helpers(self, count: int) -> list[SimpleQueue[tuple[_Job, Context]]]:
        try:
            while len(self._inboxes) < count:
                inbox: SimpleQueue[tuple[_Job, Context]] = SimpleQueue()
                name = f"weft-block-{len(self._inboxes) + 1}"
                arguments = (inbox, len(self._inboxes) + 1)
                threading.Thread(target=_help, args=arguments, daemon=True, name=name).start()
                self._inboxes.append(inbox)
        except RuntimeError:  # the system has no more threads, or the interpreter is ending: with those that there are
            count = len(self._inboxes)
        return self._inboxes[:count]


def _settle(job: _Job, inboxes: list[SimpleQueue[tuple[_Job, Context]]]) -> None:
    """Until no helper works for a job that was interrupted, whoever of them has heard of it.

    Each takes its jobs in order: when it has ended an empty one, it has ended all before.
    """
    while True:
        try:
            job.skip()
            last = _Job(_nothing, 0)
            for inbox in inboxes:
                inbox.put((last, copy_context()))
            last.wait_for_helpers(len(inboxes))
            return
        except BaseException:  # blocks must not go on writing into memory that somebody else gets next
            continue


def _help(inbox: SimpleQueue[tuple[_Job, Context]], thread: int) -> None:
    while True:
        job, context = inbox.get()
        job.end(context.run(job.work, thread))
        del job, context  # a thread at rest keeps nothing alive


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_anew() -> None:
    """In a forked process, which has none of the threads, and where somebody may have had the pool."""
    global _pool
    _pool = _Pool()


_pool = _Pool()
_limit = threads_wanted() or _cores()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
