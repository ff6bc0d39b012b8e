"""Where the walk starts and what stands for nothing: the gradients of ys, and zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import shapes
from ..graph.indexed_slices import Gradient, IndexedSlices
from ..graph.ir import Graph, Tensor
from ..graph.ops.constant import const
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import OnesLike
from ..graph.ops.identity import Identity

_SMALL = 1000


def seeds(graph: Graph, ys: Sequence[Tensor], grad_ys: Sequence[Any], colocate: bool) -> list[tuple[Tensor, Gradient]]:
    """Each y with the gradient that was given for it, or ones.

    Raises TypeError where a given gradient's type does not go with the y's, or nothing was given and ones do not.
    """
    made: list[tuple[Tensor, Gradient]] = []
    given = [_given(grad_y, f"grad_y_{index}") for index, grad_y in enumerate(grad_ys)]
    for index, (y, grad_y) in enumerate(zip(ys, given, strict=True)):
        with graph.differentiating(y.op):
            if colocate:
                with graph.colocate_with(y.op):
                    made.append((y, _seed(y, grad_y, index)))
            else:
                made.append((y, _seed(y, grad_y, index)))
    return made


def _given(grad_y: Any, name: str) -> Gradient | None:
    """A gradient that was given, an array or number as a constant: that goes where the caller says, not where its y is."""
    return grad_y if grad_y is None or isinstance(grad_y, IndexedSlices) else convert_to_tensor(grad_y, name=name)


def _seed(y: Tensor, grad_y: Gradient | None, index: int) -> Gradient:
    name = f"grad_ys_{index}"
    if grad_y is None:
        return _ones(y, name)
    _check_dtype(y, grad_y)
    return _copied(grad_y, name)


def _copied(given: Gradient, name: str) -> Gradient:
    """The same through identities, which are the first operations of the scope."""
    if isinstance(given, Tensor):
        return Identity()(given, name=name)
    shape = given.dense_shape
    return IndexedSlices(
        _copied(given.values, f"{name}_values"),
        Identity()(given.indices, name=f"{name}_indices"),
        None if shape is None else Identity()(shape, name=f"{name}_shape"),
    )


def _ones(y: Tensor, name: str) -> Tensor:
    if y.dtype.is_complex:
        raise TypeError(f"Gradients of complex tensors ({y}) must set grad_ys (y.dtype = {y.dtype.name})")
    if not (y.dtype.is_numeric or y.dtype.is_bool):
        raise TypeError(f"{y} of type {y.dtype.name} has no gradient of ones: it must be numeric")
    if shapes.is_full(y.dims) and (shapes.count(y.dims) or 0) <= _SMALL:
        return const(np.ones([d for d in y.dims or () if d is not None], y.dtype.np), name)
    return OnesLike()(y, name=name)


def _check_dtype(y: Tensor, given: Gradient) -> None:
    dtype = given.dtype
    if y.dtype.is_floating or y.dtype.is_integer:
        if not (dtype.is_floating or dtype.is_integer):
            raise TypeError(
                f"Gradient type {dtype.name} generated for real or integer-valued tensor {y} with type "
                f"{y.dtype.name} must be real or integer"
            )
    elif y.dtype.is_complex:
        if not dtype.is_complex:
            raise TypeError(
                f"Gradient type {dtype.name} generated for complex-valued tensor {y} with type {y.dtype.name} must be "
                "complex"
            )
    elif y.dtype.name == "resource":
        if dtype.name == "resource":
            raise TypeError(f"Input gradient {given} for resource tensor {y} should not be a resource")
    else:
        raise TypeError(f"Tensor {y} with type {y.dtype.name} must be numeric to obtain a default gradient")
