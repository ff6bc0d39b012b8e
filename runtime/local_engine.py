"""LocalEngine: runs plans in this process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from ..graph import errors
from ..graph.aging import uncollected
from ..graph.devices import DeviceSpec
from ..graph.state import State
from .backends.named import backend_named
from .execution.compile import CompiledPlan
from .execution.device_threads import DeviceThreads
from .execution.interrupt import Stopper, set_current_stopper
from .execution.rendezvous import Rendezvous
from .kernels import Backend
from .local_steps import Loaded, LocalStream, Step, cancelled, in_place, run_one
from .reporting.tracing import StepStats, TracedPlan, time_of_day
from .stages.plan import StepPlan

#: Where a plan would send to that is alone in its step.
_NOBODY = Rendezvous()


class LocalEngine:
    """Runs all plans in this process: the first in the caller's thread, each other in a thread of its own."""

    local = True
    sends_by_reference = True

    def __init__(self, device_count: dict[str, int] | None = None, backend: str = "numpy") -> None:
        count = (device_count or {}).get("CPU", 1)
        self.devices = tuple(DeviceSpec("localhost", 0, 0, "CPU", index) for index in range(max(1, count)))
        self.default_device = self.devices[0]
        self.state = State()
        self._backend = backend_named(backend)
        self._threads = DeviceThreads("weft-device")
        self._lock = threading.Lock()
        self._running: set[Step] = set()
        #: All plans that may be running, and what ends the loops in those that run without a step of their own.
        self._plans: weakref.WeakSet[CompiledPlan] = weakref.WeakSet()
        self._stopper = Stopper()
        self._closed = False

    def backend(self, device: DeviceSpec) -> Backend:
        return self._backend

    def load(self, step: StepPlan, timeout: float | None = None) -> Loaded:
        with uncollected(lambda: sum(len(plan.instructions) for plan in step.plans)):
            plans = tuple(
                CompiledPlan(plan, self.backend(DeviceSpec.from_string(plan.device)), self.state) for plan in step.plans
            )
        with self._lock:
            self._plans.update(plans)
        return Loaded(plans, step.fetches)

    def run(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        if len(handle.plans) == 1 and timeout is None and not self._closed:
            return self._run_alone(handle.plans[0], feeds)
        return self._run_step(handle.plans, handle.fetches, feeds, timeout)

    def trace(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> tuple[list[Any], StepStats]:
        """As `run`, noting when each kernel ran."""
        offset = time_of_day()
        traced = [TracedPlan(plan, offset) for plan in handle.plans]
        results = self._run_step(traced, handle.fetches, feeds, timeout)
        return results, StepStats([plan.stats() for plan in traced])

    def _run_alone(self, plan: CompiledPlan, feeds: Sequence[Any]) -> list[Any]:
        """The one plan of a step without a deadline."""
        before = set_current_stopper(self._stopper)
        try:
            results = list(plan.run(feeds, _NOBODY))
        finally:
            set_current_stopper(before)
        if self._closed:
            raise cancelled()
        return results

    def _run_step(
        self, plans: Sequence[CompiledPlan | TracedPlan], fetches: int, feeds: Sequence[Any], timeout: float | None
    ) -> list[Any]:
        step = Step(timeout, plans)
        self._enter(step)
        try:
            parts = self._run_together(plans, feeds, step)
            step.rendezvous.check_deadline()
        finally:
            self._leave(step)
        return in_place(plans, fetches, parts)

    def _enter(self, step: Step) -> None:
        """From now on `close` ends it. Raises CancelledError."""
        with self._lock:
            if self._closed:
                raise errors.CancelledError(None, None, "Session has been closed.")
            self._running.add(step)

    def _leave(self, step: Step) -> None:
        with self._lock:
            self._running.discard(step)

    def stream(self) -> LocalStream:
        return LocalStream(self._threads, self._enter, self._leave)

    def _run_together(
        self, plans: Sequence[CompiledPlan | TracedPlan], feeds: Sequence[Any], step: Step
    ) -> list[tuple[Any, ...]]:
        """Several plans at once, each in buffers that stay its own until all have ended: others read what it sends."""
        frames = [plan.take() for plan in plans]
        for frame in frames:
            step.stopper.begin(frame)
        others: list[Future[tuple[Any, ...]]] = []
        try:
            with step.deadline():
                for plan, frame in zip(plans[1:], frames[1:], strict=True):
                    others.append(self._threads.submit(run_one, plan, frame, feeds, step))
                mine = [run_one(plan, frame, feeds, step) for plan, frame in zip(plans[:1], frames[:1], strict=True)]
                return mine + [other.result() for other in others]
        except Exception as error:
            _settle(others, step.rendezvous, error)
            raise step.rendezvous.error or error from None
        except BaseException:  # Ctrl-C: no thread may go on writing into buffers of a step that has ended
            step.stop(cancelled())
            _settle(others, step.rendezvous, cancelled())
            raise
        finally:
            for plan, frame in zip(plans, frames, strict=True):
                if step.stopper.end(frame):
                    plan.give(frame)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running)
            plans = list(self._plans)
        for step in running:
            step.stop(cancelled())
        self._stopper.stop(cancelled())
        for plan in plans:
            plan.interrupt(cancelled())
        self._threads.close()


def _settle(others: list[Future[tuple[Any, ...]]], rendezvous: Rendezvous, error: Exception) -> None:
    """End a step for the other devices too, and wait until they have ended it."""
    rendezvous.abort(error)
    for other in others:
        other.exception()
