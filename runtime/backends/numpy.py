"""The CPU backend: an operation's ufunc or own `compute`, and better NumPy kernels where those can write in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.opdef import OpDef, Spec
from ...graph.ops.arithmetic import AddN
from ...graph.ops.broadcasting import Sum
from ...graph.ops.linalg import MatMul, apart
from .kernels import Kernel

Maker = Callable[[Any, tuple[Spec, ...], tuple[Spec, ...]], Kernel]
_MAKERS: dict[type[OpDef], Maker] = {}

#: Ufuncs of real numbers whose result is correctly rounded whatever loop NumPy picks, so that layout and aliasing cannot
#: change bits (but for the sign of a NaN). With complex numbers even a product depends on the loop.
EXACT = frozenset(
    {
        np.add, np.subtract, np.multiply, np.divide, np.negative, np.absolute, np.maximum, np.minimum, np.square,
        np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
        np.logical_and, np.logical_or, np.logical_not, np.floor, np.ceil, np.rint, np.sign, np.sqrt,
    }
)  # fmt: skip


def kernel_of(*definitions: type[OpDef]) -> Callable[[Maker], Maker]:
    """Decorator: the function makes the kernels of these operations."""

    def bind(maker: Maker) -> Maker:
        _MAKERS.update(dict.fromkeys(definitions, maker))
        return maker

    return bind


class NumpyBackend:
    """Kernels for `/device:CPU:*`."""

    device_type = "CPU"

    def kernel(self, definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
        maker = _MAKERS.get(type(definition))
        if maker is not None:
            return maker(definition, inputs, outputs)
        ufunc = type(definition).ufunc
        if ufunc is not None and outputs and _same_loop(ufunc, inputs, outputs[0]):
            exact = ufunc in EXACT and not any(spec.dtype.is_complex for spec in inputs)
            return Kernel(ufunc, takes_out=True, exact=exact)
        return Kernel(definition.compute, needs_state=definition.stateful)


def _same_loop(ufunc: Any, inputs: tuple[Spec, ...], output: Spec) -> bool:
    """Whether the ufunc itself gives the output's type, so that `out=` involves no cast."""
    try:
        arguments = (*(spec.dtype.np for spec in inputs), *([None] * ufunc.nout))
        return bool(ufunc.resolve_dtypes(arguments)[-1] == output.dtype.np)
    except TypeError:
        return False


@kernel_of(MatMul)
def matmul(definition: MatMul, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """BLAS through np.matmul; a transposition is a view, which BLAS takes as it is."""
    if outputs[0].dtype.size == 2:  # through float32, as the definition does it
        return Kernel(definition.compute)
    a, b = definition.transpose_a, definition.transpose_b
    functions: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): np.matmul,
        (True, False): lambda x, y, out=None: np.matmul(x.T, apart(y, x), out),
        (False, True): lambda x, y, out=None: np.matmul(x, apart(y.T, x), out),
        (True, True): lambda x, y, out=None: np.matmul(x.T, y.T, out),
    }
    return Kernel(functions[a, b], takes_out=True)


@kernel_of(Sum)
def reduce_sum(definition: Sum, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """np.add.reduce with the output's own type, into the buffer."""
    reduce: Any = np.add.reduce
    axes, keepdims, dtype = definition.axes, definition.keepdims, outputs[0].dtype.np
    return Kernel(lambda x, out=None: reduce(x, axes, dtype, out, keepdims), takes_out=True)


@kernel_of(AddN)
def add_n(definition: AddN, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """Added from left to right, into the buffer."""

    def run(first: Any, *others: Any, out: Any = None) -> Any:
        if not others:
            return np.positive(first, out)
        total = np.add(first, others[0], out)
        for other in others[1:]:
            total = np.add(total, other, out)
        return total

    return Kernel(run, takes_out=True)

