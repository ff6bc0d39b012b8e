"""A row of steps in flight on the tasks of a cluster: each task runs its parts of them in order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from ..wire.protocol import Kind
from .step import Loaded, Row, SessionStep
from .step_state import StepState


class _Engine(Protocol):
    """What begins and ends steps."""

    def begin(
        self, handle: Loaded, feeds: Sequence[Any], timeout: float | None, kind: Kind = ..., before: Row = ...
    ) -> SessionStep: ...
    def end(self, step: SessionStep) -> StepState: ...
    def give_up(self, steps: Iterable[SessionStep], text: str) -> None: ...


class ClusterStream:
    """A row of steps. A task gets each as soon as it is begun, and runs it when the one before it has ended there.

    What a step sends stays in memory until the step is over everywhere, and steps are over in order: as many steps as are in
    flight take memory.
    """

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._last: dict[str, int] = {}  #: the last step of each task
        self._flying: dict[SessionStep, Loaded] = {}

    @property
    def broken(self) -> bool:
        return any(step.state.cause is not None for step in self._flying)

    def begin(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> SessionStep:
        step = self._engine.begin(handle, feeds, timeout, before=self._last)
        self._flying[step] = handle
        self._last.update(dict.fromkeys((part.task for part in handle.parts), step.number))
        return step

    def end(self, run: SessionStep, timeout: float | None) -> list[Any]:
        run.timeout, run.deadline = timeout, None if timeout is None else time.monotonic() + timeout
        handle = self._flying.pop(run)
        return handle.results(self._engine.end(run))

    def abort(self) -> None:
        self._engine.give_up(self._flying, "a step before this one failed")
