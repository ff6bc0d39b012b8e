"""Zeros and sums of what flows backward, whatever its type: numbers, tapes, and for a variable's handle its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import resource, variant
from ..function import Argument, FunctionGraph
from ..ir import Tensor
from .arithmetic import AddN
from .constant import const
from .fills import fill, zeros, zeros_like
from .tapes import EmptyTape, TapeSum
from .variables import VariableShape


def zeros_for(tensor: Tensor) -> Tensor:
    """The gradient of a tensor that nothing depends on: zeros in its shape, in that of the variable where it is a handle."""
    if tensor.dtype is variant:
        return EmptyTape()()
    if tensor.dtype is not resource:
        return zeros_like(tensor)
    definition = made_by(tensor)
    if not hasattr(definition, "shape"):
        raise TypeError(f"{tensor} has no zeros: it is a resource, but no variable")
    if shapes.is_full(definition.shape):
        return zeros(definition.shape, definition.dtype)
    return fill(VariableShape(definition.shape)(tensor), const(np.zeros((), definition.dtype.np)))


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
