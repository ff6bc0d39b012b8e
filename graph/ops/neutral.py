"""Zeros and sums of what flows backward, whatever its type: numbers, tapes, and for a variable's handle its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, resource, variant
from ..function import Argument, FunctionGraph
from ..ir import Tensor
from ..shapes import Dims
from .arithmetic import AddN
from .constant import const
from .fills import fill, zeros, zeros_like
from .sizes import shape
from .tapes import EmptyTape, TapeSum
from .variables import VariableShape


def zeros_for(tensor: Tensor) -> Tensor:
    """The gradient of a tensor that nothing depends on: zeros in its shape, in that of the variable where it is a handle."""
    if tensor.dtype is variant:
        return EmptyTape()()
    if tensor.dtype is not resource:
        return zeros_like(tensor)
    dtype, dims = content(tensor)
    if shapes.is_full(dims):
        return zeros(dims, dtype)
    return fill(content_shape(tensor), const(np.zeros((), dtype.np)))


def content(tensor: Tensor) -> tuple[DType, Dims]:
    """Type and static shape of a tensor, or of the variable whose handle it is. Raises TypeError for another handle."""
    if tensor.dtype is not resource:
        return tensor.dtype, tensor.dims
    definition = made_by(tensor)
    if not hasattr(definition, "shape"):
        raise TypeError(f"{tensor} has no zeros: it is a resource, but no variable")
    return definition.dtype, definition.shape


def content_shape(tensor: Tensor) -> Tensor:
    """The shape of a tensor, or of the variable whose handle it is, as a vector."""
    return VariableShape(content(tensor)[1])(tensor) if tensor.dtype is resource else shape(tensor)


def made_by(handle: Tensor) -> Any:
    """The definition of the operation that made a handle, outside of the functions that it was handed into."""
    while isinstance(handle.op.definition, Argument) and isinstance(handle.op.graph, FunctionGraph):
        source = handle.op.graph.source(handle)
        if source is None:
            break
        handle = source
    return handle.op.definition


def add_all(terms: Sequence[Tensor]) -> Tensor:
    """The sum of some tensors of one type and shape, or of tapes."""
    if len(terms) == 1:
        return terms[0]
    return (TapeSum() if terms[0].dtype is variant else AddN())(*terms)
