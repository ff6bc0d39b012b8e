"""Engines run plans: the protocol that a session speaks, and the engine of this one process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..graph import errors
from ..graph.aging import uncollected
from ..graph.devices import DeviceSpec
from ..graph.record import Record, record
from ..graph.state import State
from .backends.cpu import CPU
from .backends.kernels import Backend
from .compile import CompiledPlan, Frame
from .device_threads import DeviceThreads
from .interrupt import Stopper, set_current_stopper
from .plan import StepPlan
from .rendezvous import Rendezvous
from .tracing import StepStats, TracedPlan


class Engine(Protocol):
    """What a session needs of whatever runs its steps."""

    #: The devices there are, by full name.
    devices: tuple[DeviceSpec, ...]
    #: Where operations go that request nothing.
    default_device: DeviceSpec
    #: Whether all tasks are this process, so that soft placement may change the task.
    local: bool
    #: Whether a sent value stays in the sender's memory until the step ends.
    sends_by_reference: bool

    def backend(self, device: DeviceSpec) -> Backend:
        """The kernels of a device."""
        ...

    def load(self, step: StepPlan, timeout: float | None = None) -> Any:
        """Make a step's plans ready to run, once; returns the handle that `run` takes. When nobody refers to that any more,
        the plans are forgotten.

        `timeout`: how many seconds it may wait for other processes. Raises OpError.
        """
        ...

    def run(self, handle: Any, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        """Run a step. Raises StepFailure for a kernel that failed, OpError for everything else; `timeout` in seconds."""
        ...

    def close(self) -> None:
        """End steps in flight with CancelledError and let go of everything. Idempotent."""
        ...


EngineFactory = Callable[[str, Any], Engine]
Reset = Callable[[str, Sequence[str], Any], None]
_FACTORIES: dict[str, EngineFactory] = {}
_RESETS: dict[str, Reset] = {}


def register_engine(scheme: str, factory: EngineFactory, reset: Reset | None = None) -> None:
    """Sessions with a target `scheme://…` get their engine from `factory(target, config)`.

    `reset(target, containers, config)` forgets the variables of containers there.
    """
    _FACTORIES[scheme] = factory
    if reset is not None:
        _RESETS[scheme] = reset


def reset_target(target: str, containers: Sequence[str], config: Any) -> None:
    """Forget the variables of containers there. Raises NotFoundError, UnimplementedError, and what it itself raises."""
    scheme = scheme_of(target)
    if scheme not in _RESETS:
        raise errors.UnimplementedError(None, None, f"{target} cannot be reset: end it and start it anew")
    _RESETS[scheme](target, containers, config)


def engine_for(target: str, config: Any) -> Engine:
    """The engine of a session's target; "" is this process. Raises NotFoundError for a target nobody serves."""
    if not target:
        return LocalEngine(dict(config.device_count))
    return _FACTORIES[scheme_of(target)](target, config)


def scheme_of(target: str) -> str:
    """The scheme of a target that somebody serves. Raises NotFoundError."""
    scheme = target.partition("://")[0]
    if scheme not in _FACTORIES:
        known = ", ".join(f"'{name}://…'" for name in sorted(_FACTORIES)) or "none"
        raise errors.NotFoundError(None, None, f"No session factory for target '{target}'; known: '' (local), {known}")
    return scheme


@record
class _Loaded(Record):
    plans: tuple[CompiledPlan, ...]
    fetches: int


#: Where a plan would send to that is alone in its step.
_NOBODY = Rendezvous()


class LocalEngine:
    """Runs all plans in this process: the first in the caller's thread, each other in a thread of its own."""

    local = True
    sends_by_reference = True

    def __init__(self, device_count: dict[str, int] | None = None) -> None:
        count = (device_count or {}).get("CPU", 1)
        self.devices = tuple(DeviceSpec("localhost", 0, 0, "CPU", index) for index in range(max(1, count)))
        self.default_device = self.devices[0]
        self.state = State()
        self._threads = DeviceThreads("weft-device")
        self._lock = threading.Lock()
        self._running: set[_Step] = set()
        #: All plans that may be running, and what ends the loops in those that run without a step of their own.
        self._plans: weakref.WeakSet[CompiledPlan] = weakref.WeakSet()
        self._stopper = Stopper()
        self._closed = False

    def backend(self, device: DeviceSpec) -> Backend:
        return CPU

    def load(self, step: StepPlan, timeout: float | None = None) -> _Loaded:
        with uncollected(lambda: sum(len(plan.instructions) for plan in step.plans)):
            plans = tuple(
                CompiledPlan(plan, self.backend(DeviceSpec.from_string(plan.device)), self.state) for plan in step.plans
            )
        with self._lock:
            self._plans.update(plans)
        return _Loaded(plans, step.fetches)

    def run(self, handle: _Loaded, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        if len(handle.plans) == 1 and timeout is None and not self._closed:
            return self._run_alone(handle.plans[0], feeds)
        return self._run_step(handle.plans, handle.fetches, feeds, timeout)

    def trace(self, handle: _Loaded, feeds: Sequence[Any], timeout: float | None) -> tuple[list[Any], StepStats]:
        """As `run`, noting when each kernel ran."""
        traced = [TracedPlan(plan) for plan in handle.plans]
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
            raise _cancelled()
        return results

    def _run_step(
        self, plans: Sequence[CompiledPlan | TracedPlan], fetches: int, feeds: Sequence[Any], timeout: float | None
    ) -> list[Any]:
        step = _Step(timeout)
        with self._lock:
            if self._closed:
                raise errors.CancelledError(None, None, "Session has been closed.")
            self._running.add(step)
        try:
            parts = self._run_together(plans, feeds, step)
            step.rendezvous.check_deadline()
        finally:
            with self._lock:
                self._running.discard(step)
        results: list[Any] = [None] * fetches
        for plan, values in zip(plans, parts, strict=True):
            for index, value in zip(plan.fetches, values, strict=True):
                results[index] = value
        return results

    def _run_together(
        self, plans: Sequence[CompiledPlan | TracedPlan], feeds: Sequence[Any], step: _Step
    ) -> list[tuple[Any, ...]]:
        """Several plans at once, each in buffers that stay its own until all have ended: others read what it sends."""
        frames = [plan.take() for plan in plans]
        for frame in frames:
            step.stopper.begin(frame)
        others: list[Future[tuple[Any, ...]]] = []
        try:
            with step.deadline():
                for plan, frame in zip(plans[1:], frames[1:], strict=True):
                    others.append(self._threads.submit(_run_one, plan, frame, feeds, step))
                mine = [_run_one(plan, frame, feeds, step) for plan, frame in zip(plans[:1], frames[:1], strict=True)]
                return mine + [other.result() for other in others]
        except Exception as error:
            _settle(others, step.rendezvous, error)
            raise step.rendezvous.error or error from None
        except BaseException:  # Ctrl-C: no thread may go on writing into buffers of a step that has ended
            step.stop(_cancelled())
            _settle(others, step.rendezvous, _cancelled())
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
            step.stop(_cancelled())
        self._stopper.stop(_cancelled())
        for plan in plans:
            plan.interrupt(_cancelled())
        self._threads.close()


class _Step:
    """A step in progress: where its plans meet, and what ends their functions."""

    def __init__(self, timeout: float | None) -> None:
        self.stopper = Stopper()
        self.rendezvous = Rendezvous(timeout, self.stopper.ending)
        self._timeout = timeout

    def deadline(self) -> AbstractContextManager[None]:
        """A block after which nothing of the step runs any longer than its timeout."""
        text = f"The step took longer than {self._timeout:g} s" if self._timeout is not None else ""
        return self.stopper.after(self._timeout, errors.DeadlineExceededError(None, None, text))

    def stop(self, error: Exception) -> None:
        """End it with `error`: what waits at once, what computes after the kernel that runs now."""
        self.rendezvous.abort(error)
        self.stopper.stop(error)


def _run_one(plan: CompiledPlan | TracedPlan, frame: Frame, feeds: Sequence[Any], step: _Step) -> tuple[Any, ...]:
    before = set_current_stopper(step.stopper)
    try:
        return plan.run_in(frame, feeds, step.rendezvous)
    except Exception as error:
        step.rendezvous.abort(error)
        raise
    finally:
        set_current_stopper(before)


def _settle(others: list[Future[tuple[Any, ...]]], rendezvous: Rendezvous, error: Exception) -> None:
    """End a step for the other devices too, and wait until they have ended it."""
    rendezvous.abort(error)
    for other in others:
        other.exception()


def _cancelled() -> errors.CancelledError:
    return errors.CancelledError(None, None, "Step was cancelled by an explicit call to `Session::Close()`")
