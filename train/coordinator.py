"""Coordinator: threads that stop together, and whose first error reaches the one who joins them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..compat import logging
from ..graph import errors

#: How often `join` looks whether all threads have ended while nobody has asked them to stop.
_LOOK_SECONDS = 1.0


class Coordinator:
    """Lets a set of threads stop together: any of them may ask for it, with an exception or without.

    Each thread asks `should_stop()` from time to time; `join` waits for all and raises the first exception. Exceptions of
    `clean_stop_exception_types` (by default OutOfRangeError) end the threads without being raised.
    Source: `tf.train.Coordinator`.
    """

    def __init__(self, clean_stop_exception_types: tuple[type[BaseException], ...] | None = None) -> None:
        clean = (errors.OutOfRangeError,) if clean_stop_exception_types is None else clean_stop_exception_types
        self._clean_stop_exception_types = tuple(clean)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._joined = False
        self._registered: set[threading.Thread] = set()

    def request_stop(self, ex: Any = None) -> None:
        """Ask all threads to stop, because of an exception (or what `sys.exc_info()` gives) or because all is done.

        The first exception is raised by `join`. After `join`, an exception is raised here at once.
        """
        error = ex[1] if isinstance(ex, tuple) else ex
        if isinstance(error, self._clean_stop_exception_types):
            error = None
        with self._lock:
            if self._joined and error is not None:
                raise error
            if not self._stop.is_set():
                if error is not None and self._error is None:
                    logging.info("Error reported to Coordinator: %s, %s", type(error), error)
                    self._error = error
                self._stop.set()

    def clear_stop(self) -> None:
        """Begin anew: nobody has asked to stop, and no exception was reported."""
        with self._lock:
            self._joined = False
            self._error = None
            self._stop.clear()

    def should_stop(self) -> bool:
        """Whether somebody has asked the threads to stop."""
        return self._stop.is_set()

    @contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """A block whose exception is not raised but reported to `request_stop`."""
        try:
            yield
        except BaseException:
            self.request_stop(sys.exc_info())

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait until somebody asks to stop, at most `timeout` seconds; whether somebody has."""
        return self._stop.wait(timeout)

    def register_thread(self, thread: threading.Thread) -> None:
        """Add a thread to those that `join` waits for."""
        with self._lock:
            self._registered.add(thread)

    def join(
        self, threads: Iterable[threading.Thread] | None = None, stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:  # fmt: skip
        """Wait until the threads, and those that are registered, have ended, and raise the exception that was reported.

        Once somebody has asked to stop, they have `stop_grace_period_secs` to end. Raises RuntimeError for those that have
        not, by name, unless `ignore_live_threads`.
        """
        with self._lock:
            waited = list(self._registered.union(threads or ()))
        while any(thread.is_alive() for thread in waited) and not self.wait_for_stop(_LOOK_SECONDS):
            pass
        until = time.monotonic() + stop_grace_period_secs
        for thread in waited:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        alive = " ".join(thread.name for thread in waited if thread.is_alive())
        with self._lock:
            self._joined = True
            self._registered = set()
            if self._error is not None:
                raise self._error
        if alive and not ignore_live_threads:
            raise RuntimeError(f"Coordinator stopped with threads still running: {alive}")
        if alive:
            logging.info("Coordinator stopped with threads still running: %s", alive)

    @property
    def joined(self) -> bool:
        """Whether `join` has ended."""
        return self._joined

    def raise_requested_exception(self) -> None:
        """Raise the exception that was reported, if any was."""
        with self._lock:
            if self._error is not None:
                raise self._error


class LooperThread(threading.Thread):
    """A thread that calls a function (or its own `run_loop`) again and again until its coordinator stops.

    `timer_interval_secs`: how far apart the calls begin; None: one after the other. What the function raises is reported to
    the coordinator. Source: `tf.train.LooperThread`. Raises ValueError for arguments without a target, and without a coordinator.
    """

    def __init__(
        self, coord: Coordinator, timer_interval_secs: float | None, target: Callable[..., Any] | None = None,
        args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(coord, Coordinator):
            raise ValueError(f"'coord' argument must be a Coordinator: {coord}")
        if target is None and (args or kwargs):
            raise ValueError("'args' and 'kwargs' argument require that you also pass 'target'")
        threading.Thread.__init__(self, daemon=True)
        self._coord = coord
        self._interval = timer_interval_secs
        self._called = target
        self._called_with = tuple(args or ()), dict(kwargs or {})
        coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator, timer_interval_secs: float | None, target: Callable[..., Any],
        args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:  # fmt: skip
        """Make such a thread and start it."""
        looper = LooperThread(coord, timer_interval_secs, target, args, kwargs)
        looper.start()
        return looper

    def run(self) -> None:
        with self._coord.stop_on_exception():
            self.start_loop()
            if self._interval is None:
                while not self._coord.should_stop():
                    self.run_loop()
            else:
                due = time.monotonic()
                while not self._coord.wait_for_stop(max(0.0, due - time.monotonic())):
                    due += self._interval
                    self.run_loop()
            self.stop_loop()

    def start_loop(self) -> None:
        """Called when the thread starts."""

    def stop_loop(self) -> None:
        """Called when the thread has been asked to stop."""

    def run_loop(self) -> None:
        """Called again and again."""
        if self._called is not None:
            args, kwargs = self._called_with
            self._called(*args, **kwargs)
