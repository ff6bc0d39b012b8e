"""Threads that plans run in: as many as there are plans running, kept for the next step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class DeviceThreads:
    """Runs functions in threads that are made when all others are busy.

    There is no upper limit, on purpose: the plans of a step wait for each other, so a plan that got no thread while the
    others hold theirs would keep them waiting for ever.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[SimpleQueue[_Job | None]] = []
        self._busy = 0
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._closed = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in a thread of its own. Raises RuntimeError when closed, or when the system has no more threads."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot run anything more: closed")
            jobs = self._idle.pop() if self._idle else None
            self._busy += 1
        if jobs is None:
            jobs = SimpleQueue()
            try:
                threading.Thread(target=self._work, args=(jobs,), daemon=True, name=self._name).start()
            except BaseException:
                with self._lock:
                    self._busy -= 1
                raise
        jobs.put((future, function, arguments))
        return future

    def _work(self, jobs: SimpleQueue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            future, function, arguments = job
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # whoever waits for the future gets it
                future.set_exception(error)
            del job, future, function, arguments  # a thread at rest keeps nothing alive
            with self._lock:
                self._busy -= 1
                if self._closed:
                    self._ended.notify_all()
                    return
                self._idle.append(jobs)

    def close(self) -> None:
        """Let the threads end, those that are busy when they are done. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._ended.notify_all()  # somebody may wait already, and all that was begun be done
        for jobs in idle:
            jobs.put(None)

    def wait(self, timeout: float) -> bool:
        """Wait until it is closed and all that was begun is done, at most so many seconds; whether it is."""
        with self._lock:
            return self._ended.wait_for(lambda: self._closed and not self._busy, timeout)
