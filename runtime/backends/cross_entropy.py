"""The cross entropy of a matrix of few classes, with its gradient: as its definition computes it, in memory that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph import shapes
from ...graph.opdef import Spec
from ...graph.ops.losses import SparseSoftmaxCrossEntropyWithLogits, check_labels
from ...graph.ops.row_sums import for_matrices, sum_in_rows
from ...graph.ops.rows import as_unsigned
from ...graph.ops.softmax import NARROW
from ..kernels import Kernel
from ..memory.workspace import Kept, Workspace

_INT64 = np.dtype(np.int64)
#: Called with the axis, type and `out` by place; its declared signatures know these only by name.
_largest: Any = np.maximum.reduce


def cross_entropy(
    definition: SparseSoftmaxCrossEntropyWithLogits, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]
) -> Kernel:
    """The definition's own, or for matrices of few columns one that knows their shape."""
    dims, dtype = inputs[0].dims, inputs[0].dtype
    if dims is None or not shapes.is_full(dims) or len(dims) != 2 or dtype.size == 2:
        return Kernel(definition.compute)
    rows, width = (dim or 0 for dim in dims)
    if not rows or not 0 < width <= NARROW or inputs[1].dims != (rows,):
        return Kernel(definition.compute)

    def in_frame(workspace: Workspace) -> Callable[..., Any]:
        return _run(workspace, rows, width, dtype.np)

    def alone(logits: Any, labels: Any, out: Any = (None, None)) -> Any:
        return in_frame(Workspace())(logits, labels, out)

    return Kernel(alone, takes_out=True, may_replace=((), (0,)), in_frame=in_frame)


def _run(workspace: Workspace, rows: int, width: int, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """The kernel for matrices of this shape and type."""
    matrix, vector = (rows, width), (rows,)
    room = Kept(workspace, [((width, rows), dtype), (matrix, dtype), *[(vector, dtype)] * 3, (vector, _INT64)])
    total_of: Any = for_matrices(sum_in_rows, dtype, matrix)
    starts, one = np.arange(rows) * width, np.ones((), dtype)

    def run(logits: Any, labels: Any, out: Any = (None, None)) -> Any:
        if labels.shape != vector or _largest(as_unsigned(labels)) >= width:
            check_labels(logits.shape, labels)
        turned, shifted, highest, total, picked, chosen = room.arrays or room.made()
        loss, back = out
        loss = np.empty(vector, dtype) if loss is None else loss
        back = np.empty(matrix, dtype) if back is None else back
        np.copyto(turned, logits.T)
        _largest(turned, 0, None, highest)
        np.subtract(logits, highest[:, None], shifted)
        np.exp(shifted, back)
        total_of(back, total)
        # where in a flat vector the classes that are asked for lie
        np.add(starts, labels, chosen)
        np.log(total, loss)
        np.subtract(loss, shifted.take(chosen, None, picked, "clip"), loss)
        np.divide(back, total[:, None], back)
        np.subtract(back.take(chosen, None, picked, "clip"), one, picked)
        back.put(chosen, picked, "clip")
        return loss, back

    return run
