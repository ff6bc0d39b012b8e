"""Gradients of rows on their way out of branches and loops: taken apart, put together, and those of no rows at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import shapes
from ..dtypes import DType, int64
from ..indexed_slices import Gradient, IndexedSlices
from ..ir import Tensor
from .array import concat
from .cast import cast
from .constant import const
from .fills import fill
from .getitem import getitem
from .neutral import content, content_shape, zeros_for
from .segments import whole


def rows_type(grads: Sequence[Gradient | None]) -> DType | None:
    """The type of indices if all gradients of one tensor (None: there is none) are of rows, else None: it will be dense."""
    types = {grad.indices.dtype if isinstance(grad, IndexedSlices) else None for grad in grads if grad is not None}
    if None in types:
        return None
    return types.pop() if len(types) == 1 else int64


def parts_of(grad: Gradient | None, source: Tensor, rows: DType | None) -> list[Tensor]:
    """The gradient of `source` as a tensor or, with `rows`, as the values and indices of rows; zeros for None."""
    if rows is None:
        return [zeros_for(source) if grad is None else whole(grad)]
    if grad is None:
        return [_no_values(source), const(np.zeros(0, rows.np))]
    assert isinstance(grad, IndexedSlices)
    return [grad.values, cast(grad.indices, rows)]


def rows_of(source: Tensor, values: Tensor, indices: Tensor) -> IndexedSlices:
    """The gradient of `source`, of these rows."""
    return IndexedSlices(values, indices, content_shape(source))


def _no_values(source: Tensor) -> Tensor:
    """None of the rows of a tensor, or of the variable whose handle it is."""
    dtype, dims = content(source)
    if dims is not None and shapes.is_full(dims[1:]):
        return const(np.zeros((0, *(dim for dim in dims[1:] if dim is not None)), dtype.np))
    return fill(concat([[0], getitem(content_shape(source), slice(1, None))], 0), const(np.zeros((), dtype.np)))
