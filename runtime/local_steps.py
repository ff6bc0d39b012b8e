"""Steps in this process: where the plans of one meet, and rows of steps of which several are in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from ..graph import errors
from ..graph.record import Record, record
from .execution.compile import CompiledPlan, Frame
from .execution.device_threads import DeviceThreads
from .execution.interrupt import Stopper, set_current_stopper
from .execution.rendezvous import Rendezvous
from .execution.turns import Turn
from .reporting.tracing import TracedPlan
from .stages.parts import all_instructions
from .stages.plan import Receive


@record
class Loaded(Record):
    plans: tuple[CompiledPlan, ...]
    fetches: int


class Step:
    """A step of these plans in progress: where they meet, and what ends their functions."""

    def __init__(self, timeout: float | None, plans: Sequence[CompiledPlan | TracedPlan]) -> None:
        self.stopper = Stopper()
        self.rendezvous = Rendezvous(timeout, self.stopper.ending, partial(_edge_name, plans))
        self._timeout = timeout

    def deadline(self) -> AbstractContextManager[None]:
        """A block after which nothing of the step runs any longer than its timeout."""
        text = f"The step took longer than {self._timeout:g} s" if self._timeout is not None else ""
        return self.stopper.after(self._timeout, errors.DeadlineExceededError(None, None, text))

    def stop(self, error: Exception) -> None:
        """End it with `error`: what waits at once, what computes after the kernel that runs now."""
        self.rendezvous.abort(error)
        self.stopper.stop(error)


def _edge_name(plans: Sequence[CompiledPlan | TracedPlan], edge: int) -> str:
    """What comes over an edge, in words."""
    for plan in plans:
        for instruction in all_instructions(plan.plan.instructions):
            if isinstance(instruction, Receive) and instruction.edge == edge:
                return f"'{instruction.name}' of {instruction.device}"
    return f"edge {edge}"


def run_one(plan: CompiledPlan | TracedPlan, frame: Frame, feeds: Sequence[Any], step: Step) -> tuple[Any, ...]:
    before = set_current_stopper(step.stopper)
    try:
        return plan.run_in(frame, feeds, step.rendezvous)
    except Exception as error:
        step.rendezvous.abort(error)
        raise
    finally:
        set_current_stopper(before)


def _run_in_turn(turn: Turn, plan: CompiledPlan, frame: Frame, feeds: Sequence[Any], step: Step) -> tuple[Any, ...]:
    """Run a plan when the plan of the step before has ended on its device, if that step and this one still go on."""
    try:
        if not turn.wait():
            step.rendezvous.abort(errors.CancelledError(None, None, "A step before this one failed"))
        if step.rendezvous.error is not None:
            raise step.rendezvous.error
        results = run_one(plan, frame, feeds, step)
        turn.end(failed=False)
        return results
    finally:
        turn.end(failed=True)


def in_place(plans: Sequence[CompiledPlan | TracedPlan], fetches: int, parts: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The fetched values of a step in their order, from those of its plans."""
    results: list[Any] = [None] * fetches
    for plan, values in zip(plans, parts, strict=True):
        for index, value in zip(plan.fetches, values, strict=True):
            results[index] = value
    return results


class LocalStream:
    """A row of steps: each plan in a thread, which waits for its device's turn."""

    def __init__(self, threads: DeviceThreads, enter: Callable[[Step], None], leave: Callable[[Step], None]) -> None:
        self._threads = threads
        self._enter, self._leave = enter, leave
        self._last: dict[str, Turn] = {}
        self._flying: list[_Flight] = []

    @property
    def broken(self) -> bool:
        return any(flight.step.rendezvous.error is not None for flight in self._flying)

    def begin(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> _Flight:
        step = Step(None, handle.plans)
        self._enter(step)
        flight = _Flight(step, handle, [plan.take() for plan in handle.plans])
        self._flying.append(flight)
        for frame in flight.frames:
            step.stopper.begin(frame)
        try:
            for plan, frame in zip(handle.plans, flight.frames, strict=True):
                turn = Turn(self._last.get(plan.plan.device))
                flight.parts.append(self._threads.submit(_run_in_turn, turn, plan, frame, feeds, step))
                self._last[plan.plan.device] = turn
        except BaseException as error:  # no more threads, or Ctrl-C
            flight.step.stop(error if isinstance(error, Exception) else cancelled())
            self._settle(flight)
            raise
        return flight

    def end(self, run: _Flight, timeout: float | None) -> list[Any]:
        step = run.step
        try:
            if wait(run.parts, timeout).not_done:
                text = f"The step took longer than {timeout:g} s; it waited {step.rendezvous.waiting()}"
                step.stop(errors.DeadlineExceededError(None, None, text))
        except BaseException:  # Ctrl-C
            step.stop(cancelled())
            raise
        finally:
            self._settle(run)
        error = step.rendezvous.error or next(filter(None, [part.exception() for part in run.parts]), None)
        if error is not None:
            raise error from None
        return in_place(run.handle.plans, run.handle.fetches, [part.result() for part in run.parts])

    def abort(self) -> None:
        for flight in self._flying:
            flight.step.stop(cancelled())

    def _settle(self, flight: _Flight) -> None:
        """Wait until nothing of it runs any longer, and let go of its buffers."""
        wait(flight.parts)
        self._flying.remove(flight)
        self._leave(flight.step)
        for plan, frame in zip(flight.handle.plans, flight.frames, strict=True):
            if flight.step.stopper.end(frame):
                plan.give(frame)


class _Flight:
    """A step of a row in flight: the buffers of its plans, and what comes of each."""

    def __init__(self, step: Step, handle: Loaded, frames: list[Frame]) -> None:
        self.step = step
        self.handle = handle
        self.frames = frames
        self.parts: list[Future[tuple[Any, ...]]] = []


def cancelled() -> errors.CancelledError:
    return errors.CancelledError(None, None, "Step was cancelled by an explicit call to `Session::Close()`")
