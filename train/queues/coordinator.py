"""Coordinator: how the threads of a training stop together, and what was wrong with the first that failed."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ...graph import errors

_log = logging.getLogger("weft")


class Coordinator:
    """Threads that share one ask it whether they should stop, and any of them may say so; `join` waits for them.

    `clean_stop_exception_types`: exceptions that, given to `request_stop`, are an end as it should be and no failure: by
    default OutOfRangeError, by which queues say that there is no more. Source: `tf.train.Coordinator`.
    """

    def __init__(self, clean_stop_exception_types: Iterable[type[BaseException]] | None = None) -> None:
        if clean_stop_exception_types is None:
            clean_stop_exception_types = (errors.OutOfRangeError,)
        self._clean = tuple(clean_stop_exception_types)
        self._lock = threading.Lock()
        self._stop_event = threading.Event()
        self._failure: BaseException | None = None
        self._joined = False
        self._threads: set[threading.Thread] = set()

    def request_stop(self, ex: Any = None) -> None:
        """From now on `should_stop` is true.

        `ex`: the exception that is the reason, or what `sys.exc_info()` says of it. That of the first call is kept and
        raised by `join`; after `join`, it is raised here.
        """
        failure = ex[1] if isinstance(ex, tuple) else ex
        if isinstance(failure, self._clean):
            failure = None
        if failure is not None and not isinstance(failure, BaseException):
            failure = ValueError(f"ex must be an exception or what sys.exc_info() gives, but got {failure!r}")
        with self._lock:
            if self._joined and failure is not None:
                raise failure
            if self._stop_event.is_set():
                return
            if failure is not None and self._failure is None:
                _log.info("Error reported to Coordinator: %s, %s", type(failure), failure)
                self._failure = failure
            self._stop_event.set()

    def clear_stop(self) -> None:
        """Forget that a stop was requested, and why."""
        with self._lock:
            self._joined = False
            self._failure = None
            self._stop_event.clear()

    def should_stop(self) -> bool:
        """Whether a stop was requested."""
        return self._stop_event.is_set()

    @contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """What is raised inside of the `with` block becomes a request to stop."""
        try:
            yield
        except BaseException:
            self.request_stop(sys.exc_info())

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait until a stop is requested, at most `timeout` seconds; whether it was."""
        return self._stop_event.wait(timeout)

    def register_thread(self, thread: threading.Thread) -> None:
        """Add a thread to those that `join` waits for."""
        with self._lock:
            self._threads.add(thread)

    def join(
        self, threads: Iterable[threading.Thread] | None = None, stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:  # fmt: skip
        """Wait for the registered threads and `threads`, then raise the exception that was the reason to stop, if any.

        Once a stop is requested, threads have `stop_grace_period_secs` to end. Raises RuntimeError, which names those
        that still run; with `ignore_live_threads` the log does.
        """
        with self._lock:
            waiting = list(self._threads.union(threads or ()))
        while any(thread.is_alive() for thread in waiting) and not self.wait_for_stop(1.0):
            pass
        end = time.monotonic() + stop_grace_period_secs
        for thread in waiting:
            if thread.is_alive():  # one that was never started cannot be joined
                thread.join(max(0.0, end - time.monotonic()))
        alive = " ".join(thread.name for thread in waiting if thread.is_alive())
        with self._lock:
            self._joined = True
            self._threads = set()
            if self._failure is not None:
                raise self._failure
        if alive and not ignore_live_threads:
            raise RuntimeError(f"Coordinator stopped with threads still running: {alive}")
        if alive:
            _log.info("Coordinator stopped with threads still running: %s", alive)

    @property
    def joined(self) -> bool:
        """Whether `join` has returned since the last `clear_stop`."""
        return self._joined

    def raise_requested_exception(self) -> None:
        """Raise the exception that was the reason to stop, if any."""
        with self._lock:
            if self._failure is not None:
                raise self._failure


class LooperThread(threading.Thread):
    """A thread that calls a function until its coordinator stops: again and again, or every `timer_interval_secs` seconds.

    An exception in it stops the coordinator. It is a daemon, and registered with the coordinator. Subclasses may define
    `start_loop`, `run_loop` (by default the call) and `stop_loop`. Source: `tf.train.LooperThread`.
    Raises ValueError for what is no coordinator, and for arguments without a function.
    """

    def __init__(
        self, coord: Coordinator, timer_interval_secs: float | None, target: Callable[..., Any] | None = None,
        args: Iterable[Any] | None = None, kwargs: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(coord, Coordinator):
            raise ValueError(f"'coord' argument must be a Coordinator: {coord}")
        if (args or kwargs) and target is None:
            raise ValueError("'args' and 'kwargs' argument require that you also pass 'target'")
        super().__init__()
        self.daemon = True
        self._coord = coord
        self._timer_interval_secs = timer_interval_secs
        self._function = target
        self._arguments = tuple(args or ()), dict(kwargs or {})
        coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator, timer_interval_secs: float | None, target: Callable[..., Any], args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> LooperThread:  # fmt: skip
        """Start a thread that calls `target`, at once and then every `timer_interval_secs` seconds."""
        looper = LooperThread(coord, timer_interval_secs, target, args, kwargs)
        looper.start()
        return looper

    def run(self) -> None:
        """What the thread does."""
        with self._coord.stop_on_exception():
            self.start_loop()
            if self._timer_interval_secs is None:
                while not self._coord.should_stop():
                    self.run_loop()
            else:
                self._run_on_time(self._timer_interval_secs)
            self.stop_loop()

    def _run_on_time(self, interval: float) -> None:
        """Calls at even times: what a call takes comes off the wait for the next one."""
        due = time.monotonic()
        while not self._coord.wait_for_stop(max(0.0, due - time.monotonic())):
            due += interval
            self.run_loop()

    def start_loop(self) -> None:
        """Called when the thread starts."""

    def stop_loop(self) -> None:
        """Called when the thread stops."""

    def run_loop(self) -> None:
        """Called at each round."""
        if self._function is not None:
            args, kwargs = self._arguments
            self._function(*args, **kwargs)
