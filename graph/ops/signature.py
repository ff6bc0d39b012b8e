"""What is known of a function's tensors from its inputs, and results that share no memory with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from .. import shapes
from ..dtypes import variant
from ..function import Function
from ..ir import Operation, Tensor
from ..opdef import Known, Spec, TensorLike

#: The Specs of a function's tensors, as far as they differ from what the tensors themselves know.
Inner = dict[Tensor, Spec]


def inner_specs(function: Function, inputs: Sequence[TensorLike]) -> Inner:
    """Shape inference once more, where more is known of the inputs than when the function was built.

    An operation whose shapes turn out not to fit fails when it runs, if it does: here its results are left as they were.
    """
    if all(_same(known, tensor) for known, tensor in zip(inputs, function.inputs, strict=True)):
        return {}
    specs: Inner = {
        tensor: Spec(tensor.dtype, _merged(tensor, known), _known(tensor, known), known.entries)
        for tensor, known in zip(function.inputs, inputs, strict=True)
    }
    for operation in function.operations:
        for tensor, spec in zip(operation.outputs, _inferred(operation, specs), strict=True):
            specs[tensor] = Spec(spec.dtype, _merged(tensor, spec), _known(tensor, spec), spec.entries)
    return specs


def _inferred(operation: Operation, specs: Inner) -> Sequence[TensorLike]:
    try:
        inferred = operation.definition.infer(*(specs[tensor] for tensor in operation.inputs))
    except (ValueError, TypeError):
        return operation.outputs
    return (inferred,) if isinstance(inferred, Spec) else inferred


def output_specs(function: Function, inner: Inner) -> list[Spec]:
    """The Specs of a function's outputs."""
    return [
        inner.get(tensor, Spec(tensor.dtype, tensor.dims, tensor.known, tensor.entries)) for tensor in function.outputs
    ]


def tape_spec(*inner: Inner) -> Spec:
    """What is known of the tape of functions: the shapes of the entries that are known better than when it was built."""
    known = tuple(
        (tensor.name, spec.known if spec.dtype is variant else spec.dims)
        for specs in inner
        for tensor, spec in specs.items()
        if (spec.known if spec.dtype is variant else spec.dims != tensor.dims)
    )
    return Spec(variant, (), cast(Known, known or None))


def entry_known(tape: TensorLike, entry: str) -> Any:
    """What the tape's Spec tells of one entry: its shape, of an entry that is a tape the same of its entries; or None."""
    pairs = cast(Any, tape.known) or ()
    return next((known for name, known in pairs if name == entry), None)


def _same(a: TensorLike, b: TensorLike) -> bool:
    return (a.dims, a.known, a.entries) == (b.dims, b.known, b.entries)


def _known(tensor: TensorLike, now: TensorLike) -> Known:
    return tensor.known if now.known is None else now.known


def _merged(a: TensorLike, b: TensorLike) -> shapes.Dims:
    return shapes.merge(a.dims, b.dims) if shapes.compatible(a.dims, b.dims) else a.dims


def own(value: Any, inputs: Sequence[Any]) -> Any:
    """The value, copied where it may lie in the memory of an input."""
    if not isinstance(value, np.ndarray) or not any(
        isinstance(other, np.ndarray) and np.may_share_memory(value, other) for other in inputs
    ):
        return value
    return np.array(value, order="C")
