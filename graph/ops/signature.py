"""What is known of a function's results from its inputs, and results that share no memory with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import shapes
from ..function import Function
from ..ir import Tensor
from ..opdef import Spec, TensorLike


def output_specs(function: Function, inputs: Sequence[TensorLike]) -> list[Spec]:
    """The Specs of a function's outputs; inferred anew where more is known of the inputs than when it was built."""
    if all(_same(known, tensor) for known, tensor in zip(inputs, function.inputs, strict=True)):
        return [_spec(tensor) for tensor in function.outputs]
    specs: dict[Tensor, Spec] = {
        tensor: Spec(
            tensor.dtype, _merged(tensor, known), tensor.known if known.known is None else known.known, known.entries
        )
        for tensor, known in zip(function.inputs, inputs, strict=True)
    }
    for operation in function.operations:
        inferred = operation.definition.infer(*(specs[tensor] for tensor in operation.inputs))
        found = (inferred,) if isinstance(inferred, Spec) else inferred
        for tensor, spec in zip(operation.outputs, found, strict=True):
            known = tensor.known if spec.known is None else spec.known
            specs[tensor] = Spec(spec.dtype, _merged(tensor, spec), known, spec.entries)
    return [specs[tensor] for tensor in function.outputs]


def _spec(tensor: TensorLike) -> Spec:
    return Spec(tensor.dtype, tensor.dims, tensor.known, tensor.entries)


def _same(a: TensorLike, b: TensorLike) -> bool:
    return (a.dims, a.known, a.entries) == (b.dims, b.known, b.entries)


def _merged(a: TensorLike, b: TensorLike) -> shapes.Dims:
    return shapes.merge(a.dims, b.dims) if shapes.compatible(a.dims, b.dims) else a.dims


def own(value: Any, inputs: Sequence[Any]) -> Any:
    """The value, copied where it may lie in the memory of an input."""
    if not isinstance(value, np.ndarray) or not any(
        isinstance(other, np.ndarray) and np.may_share_memory(value, other) for other in inputs
    ):
        return value
    return np.array(value, order="C")
