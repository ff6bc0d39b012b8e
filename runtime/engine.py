"""Engines run plans: the protocol that a session speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ..graph.devices import DeviceSpec
from .kernels import Backend
from .stages.plan import StepPlan


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


class Stream(Protocol):
    """Steps in flight that leave the same as if each had begun when the one before it was over.

    Each device runs its plans of these steps in their order, and none after one that failed. One thread at a time.
    """

    @property
    def broken(self) -> bool:
        """Whether a step in flight is known to have failed."""
        ...

    def begin(self, handle: Any, feeds: Sequence[Any], timeout: float | None) -> Any:
        """Begin a step after those that were begun before; returns what `end` takes. `feeds` must not change until then.

        `timeout`: how many seconds it may wait for other processes to take it. Raises OpError, TypeError.
        """
        ...

    def end(self, run: Any, timeout: float | None) -> list[Any]:
        """Wait for the oldest step, once, at most `timeout` seconds from now. Raises as `Engine.run` does."""
        ...

    def abort(self) -> None:
        """Give up all steps in flight, each of which must still be ended."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """An engine that can have several steps in flight."""

    def stream(self) -> Stream:
        """A row of steps."""
        ...
