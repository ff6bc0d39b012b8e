"""Engines run plans: the protocol that a session speaks, and the engine of this one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from ..graph import errors
from ..graph.devices import DeviceSpec
from ..graph.state import State
from .backends.cpu import CPU
from .backends.kernels import Backend
from .compile import CompiledPlan, Frame
from .plan import StepPlan
from .rendezvous import Rendezvous


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

    def load(self, step: StepPlan) -> Any:
        """Make a step's plans ready to run, once; returns the handle that `run` takes."""
        ...

    def run(self, handle: Any, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        """Run a step. Raises StepFailure for a kernel that failed, OpError for everything else; `timeout` in seconds."""
        ...

    def close(self) -> None:
        """End steps in flight with CancelledError and let go of everything. Idempotent."""
        ...


EngineFactory = Callable[[str, Any], Engine]
_FACTORIES: dict[str, EngineFactory] = {}


def register_engine(scheme: str, factory: EngineFactory) -> None:
    """Sessions with a target `scheme://…` get their engine from `factory(target, config)`."""
    _FACTORIES[scheme] = factory


def engine_for(target: str, config: Any) -> Engine:
    """The engine of a session's target; "" is this process. Raises NotFoundError for a target nobody serves."""
    if not target:
        return LocalEngine(dict(config.device_count))
    scheme = target.partition("://")[0]
    if scheme not in _FACTORIES:
        known = ", ".join(f"'{name}://…'" for name in sorted(_FACTORIES)) or "none"
        raise errors.NotFoundError(None, None, f"No session factory for target '{target}'; known: '' (local), {known}")
    return _FACTORIES[scheme](target, config)


@dataclass(frozen=True, slots=True)
class _Loaded:
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
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._running: set[Rendezvous] = set()
        self._closed = False

    def backend(self, device: DeviceSpec) -> Backend:
        return CPU

    def load(self, step: StepPlan) -> _Loaded:
        plans = tuple(
            CompiledPlan(plan, self.backend(DeviceSpec.from_string(plan.device)), self.state) for plan in step.plans
        )
        return _Loaded(plans, step.fetches)

    def run(self, handle: _Loaded, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        if len(handle.plans) == 1 and timeout is None and not self._closed:
            return list(handle.plans[0].run(feeds, _NOBODY))
        rendezvous = Rendezvous(timeout)
        with self._lock:
            if self._closed:
                raise RuntimeError("Attempted to use a closed Session.")
            self._running.add(rendezvous)
        try:
            results = self._run(handle, feeds, rendezvous)
            rendezvous.check_deadline()
            return results
        finally:
            with self._lock:
                self._running.discard(rendezvous)

    def _run(self, handle: _Loaded, feeds: Sequence[Any], rendezvous: Rendezvous) -> list[Any]:
        parts = self._run_together(handle.plans, feeds, rendezvous)
        results: list[Any] = [None] * handle.fetches
        for plan, values in zip(handle.plans, parts, strict=True):
            for index, value in zip(plan.fetches, values, strict=True):
                results[index] = value
        return results

    def _run_together(
        self, plans: Sequence[CompiledPlan], feeds: Sequence[Any], rendezvous: Rendezvous
    ) -> list[tuple[Any, ...]]:
        """Several plans at once, each in buffers that stay its own until all have ended: others read what it sends."""
        if not plans:
            return []
        with ExitStack() as stack:
            frames = [stack.enter_context(plan.frame()) for plan in plans]
            others = [
                self._pool().submit(_run_one, plan, frame, feeds, rendezvous)
                for plan, frame in zip(plans[1:], frames[1:], strict=True)
            ]
            try:
                mine = _run_one(plans[0], frames[0], feeds, rendezvous)
                return [mine, *(other.result() for other in others)]
            except Exception as error:
                _settle(others, rendezvous, error)
                raise rendezvous.error or error from None
            except BaseException:  # Ctrl-C: no thread may go on writing into buffers of a step that has ended
                _settle(others, rendezvous, _cancelled())
                raise

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix="weft-device")
            return self._threads

    def close(self) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running)
            threads, self._threads = self._threads, None
        for rendezvous in running:
            rendezvous.abort(_cancelled())
        if threads is not None:
            threads.shutdown(wait=False)


def _run_one(plan: CompiledPlan, frame: Frame, feeds: Sequence[Any], rendezvous: Rendezvous) -> tuple[Any, ...]:
    try:
        return plan.run_in(frame, feeds, rendezvous)
    except Exception as error:
        rendezvous.abort(error)
        raise


def _settle(others: list[Future[tuple[Any, ...]]], rendezvous: Rendezvous, error: Exception) -> None:
    """End a step for the other devices too, and wait until they have ended it."""
    rendezvous.abort(error)
    for other in others:
        other.exception()


def _cancelled() -> errors.CancelledError:
    return errors.CancelledError(None, None, "Step was cancelled by an explicit call to `Session::Close()`")
