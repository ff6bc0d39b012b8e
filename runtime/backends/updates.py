"""Optimizers' updates of small variables: straight to their step, for around it there is more to ask than in it to compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...graph import shapes
from ...graph.opdef import Spec
from ...graph.ops.rooms import BLOCK_SIZE
from ...graph.ops.training import DenseUpdate, on_blocks
from ..kernels import Kernel
from ..memory.workspace import Kept, Workspace

Array = np.ndarray[Any, Any]
Run = Callable[..., None]


def update(definition: Any, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The definition's own; where the variables are small and it is known how small, also one that guards them itself."""
    kernel = Kernel(definition.compute, needs_state=True, moves=True)
    dims = definition.shape
    if not shapes.is_full(dims) or not 0 < math.prod(dims) <= BLOCK_SIZE:
        return kernel
    at = definition.gradient % (len(inputs) - definition.slots)

    def guarded(workspace: Workspace) -> Run:
        return _RUNS[definition.slots](Change(definition, at, workspace))

    return replace(kernel, guarded=guarded)


class Change:
    """What an update does, but for its guards: its step, in arrays that are the same in each run of its frame."""

    def __init__(self, definition: DenseUpdate, at: int, workspace: Workspace) -> None:
        shaped: Any = definition
        self.dims = shaped.shape
        #: Makes the step of what the update takes beside the variables, among which is the gradient at this place.
        self.step, self.at = definition.step, at
        self._count = definition.work
        self.room = Kept(workspace, [(self.dims, shaped.dtype.np)] * self._count)

    def elsewhere(self, slots: tuple[Any, ...], given: tuple[Any, ...]) -> None:
        """Make the change where something is not as expected, and say so if it must not be like that."""
        on_blocks(self.step(*given), slots, given[self.at], self._count)


# What follows goes straight on where all arrays are of the known shape and lie in memory of their own. Then no variable shares
# memory with the gradient: that would have been counted as one who holds its array, and the variable would have another now.


def _one(change: Change) -> Run:
    dims, at, step, room = change.dims, change.at, change.step, change.room

    def run(a: Any, *given: Any) -> None:
        with a.writing:
            try:
                a.begin_change()
                x, grad = a.value, given[at]
                if x is not None and x.base is None and x.shape == dims == grad.shape:
                    step(*given)(x, grad, *(room.arrays or room.made()))
                else:
                    change.elsewhere((a,), given)
            finally:
                a.changing = False

    return run


def _two(change: Change) -> Run:
    dims, at, step, room = change.dims, change.at, change.step, change.room

    def run(a: Any, b: Any, *given: Any) -> None:
        with a.writing, b.writing:
            try:
                a.begin_change()
                b.begin_change()
                x, y, grad = a.value, b.value, given[at]
                if _are_plain((x, y), dims) and grad.shape == dims:
                    step(*given)(x, y, grad, *(room.arrays or room.made()))
                else:
                    change.elsewhere((a, b), given)
            finally:
                a.changing = b.changing = False

    return run


def _three(change: Change) -> Run:
    dims, at, step, room = change.dims, change.at, change.step, change.room

    def run(a: Any, b: Any, c: Any, *given: Any) -> None:
        with a.writing, b.writing, c.writing:
            try:
                a.begin_change()
                b.begin_change()
                c.begin_change()
                x, y, z, grad = a.value, b.value, c.value, given[at]
                if _are_plain((x, y, z), dims) and grad.shape == dims:
                    step(*given)(x, y, z, grad, *(room.arrays or room.made()))
                else:
                    change.elsewhere((a, b, c), given)
            finally:
                a.changing = b.changing = c.changing = False

    return run


def _are_plain(arrays: tuple[Array | None, ...], dims: tuple[int, ...]) -> bool:
    plain = [array for array in arrays if array is not None and array.base is None and array.shape == dims]
    return len(plain) == len(arrays)


#: By how many variables an update changes.
_RUNS = {1: _one, 2: _two, 3: _three}
