"""Kernels that write into the buffer what others would allocate: choices by a mask, powers, squared differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.opdef import Spec
from ...graph.ops.arithmetic import Masked
from ...graph.ops.math import Pow, SquaredDifference
from ...graph.ops.rooms import BLOCK
from ...graph.ops.selecting import Select, SelectV2
from ..kernels import Kernel

#: Integers of the sizes of other types: a choice is arithmetic of bits, for branches on random masks take ten times as long.
_BITS: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.int8),
    2: np.dtype(np.int16),
    4: np.dtype(np.int32),
    8: np.dtype(np.int64),
}


def masked(definition: Masked, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The mask becomes all bits or none in the buffer, and takes from x what it holds."""
    bits = _BITS.get(outputs[0].dtype.size)
    if bits is None:
        return Kernel(definition.compute, elementwise=True)

    def run(mask: Any, x: Any, out: Any = None) -> Any:
        if out is None:
            return np.asarray(definition.compute(mask, x), order="C")
        _spread(mask, out.view(bits))
        np.bitwise_and(out.view(bits), x.view(bits), out=out.view(bits))
        return out

    return Kernel(run, takes_out=True, elementwise=True, strided=True)


def choice(definition: SelectV2 | Select, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """y, changed by what differs where the condition holds. A vector as the condition of Select picks rows: no broadcast."""
    broadcasts = isinstance(definition, SelectV2) or all(spec.dims == outputs[0].dims for spec in inputs)
    bits = None if outputs[0].dtype.np.hasobject else _BITS.get(outputs[0].dtype.size)
    if bits is None or not broadcasts:
        return Kernel(definition.compute, elementwise=broadcasts)

    def run(condition: Any, x: Any, y: Any, out: Any = None) -> Any:
        if out is None:
            return np.asarray(definition.compute(condition, x, y), order="C")
        (work,) = BLOCK.vectors(bits, out.size, 1)
        mask, chosen, other = work.reshape(out.shape), out.view(bits), y.view(bits)
        _spread(condition, mask)
        np.bitwise_xor(x.view(bits), other, out=chosen)
        np.bitwise_and(chosen, mask, out=chosen)
        np.bitwise_xor(chosen, other, out=chosen)
        return out

    return Kernel(run, takes_out=True, elementwise=True, strided=True)


def _spread(mask: Any, out: Any) -> None:
    """All bits set where the mask holds, none elsewhere."""
    np.copyto(out, mask)
    np.negative(out, out=out)


def power(definition: Pow, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """What the definition does, with `out`."""
    if outputs[0].dtype.is_integer or outputs[0].dtype.size == 2:
        return Kernel(definition.compute, elementwise=True)

    def run(x: Any, y: Any, out: Any = None) -> Any:
        if out is None:
            return definition.compute(x, y)
        if y.ndim == 0 and y == 2:
            return np.square(x, out=out)
        if y.ndim == 0 and y == 3:
            return np.multiply(np.square(x, out=out), x, out=out)
        return np.power(x, y, out=out)

    return Kernel(run, takes_out=True, elementwise=True)


def squared_difference(definition: SquaredDifference, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The difference and its square, both in the buffer."""
    if inputs[0].dtype.is_complex:
        return Kernel(definition.compute, elementwise=True)

    def run(x: Any, y: Any, out: Any = None) -> Any:
        if out is None:
            return np.asarray(definition.compute(x, y), order="C")
        return np.multiply(np.subtract(x, y, out=out), out, out=out)

    return Kernel(run, takes_out=True, may_replace=((0, 1),), elementwise=True, strided=True)
