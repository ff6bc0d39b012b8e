"""The CPU backend: an operation's ufunc or own `compute`, and better NumPy kernels where those can write in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ...graph import shapes
from ...graph.opdef import OpDef, Spec
from ...graph.ops.activations import BiasAdd, Relu, ReluGrad
from ...graph.ops.arithmetic import AddN, Binary, Unary
from ...graph.ops.broadcasting import Sum, SumTo
from ...graph.ops.cast import Cast
from ...graph.ops.compare import CheckNumerics
from ...graph.ops.conv import Conv2D, Conv2DBackpropFilter, Conv2DBackpropInput
from ...graph.ops.linalg import BatchMatMulV2, MatMul, adjoint
from ...graph.ops.pooling import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from ...graph.ops.products import form_of, is_half, product
from ...graph.ops.reduction import Max, Mean, Min
from ...graph.ops.row_sums import for_matrices, sum_in_rows, summing
from ...graph.ops.rows import take_rows
from ...graph.ops.special import SigmoidGrad
from ...graph.ops.transcendental import Rsqrt, TanhGrad
from ...graph.ops.variable_rows import ResourceGather, check_rows
from ...graph.ops.variables import ReadVariableOp
from ...graph.state import VariableSlot
from ..kernels import Kernel
from ..ufuncs import EXACT
from .rows import rectified, with_long_rows

Maker = Callable[[Any, tuple[Spec, ...], tuple[Spec, ...]], Kernel]
_MAKERS: dict[type[OpDef], Maker] = {}
_reduce: Any = np.add.reduce


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
        if ufunc is not None and outputs:
            kernel = _ufunc_kernel(ufunc, tuple([spec.dtype.np for spec in inputs]), outputs[0].dtype.np)
            if kernel is not None:
                return with_long_rows(kernel, ufunc, inputs, outputs)
        elementwise = isinstance(definition, (Unary, Binary)) and not isinstance(definition, CheckNumerics)
        writes = definition.access == "write"
        return Kernel(definition.compute, needs_state=definition.stateful, elementwise=elementwise, moves=writes)


@lru_cache(maxsize=1024)
def _ufunc_kernel(ufunc: Any, inputs: tuple[np.dtype[Any], ...], output: np.dtype[Any]) -> Kernel | None:
    """The ufunc itself, where it gives the output's type, so that `out=` involves no cast."""
    try:
        same_loop = ufunc.resolve_dtypes((*inputs, *([None] * ufunc.nout)))[-1] == output
    except TypeError:
        same_loop = False
    exact = ufunc in EXACT and not any(kind.kind == "c" for kind in inputs)
    if not same_loop:
        return None
    return Kernel(ufunc, takes_out=True, exact=exact, elementwise=True, scalar=_of_scalars(ufunc, inputs))


#: What gives the same bits for NumPy's scalars as a ufunc for arrays: for floats, integers, bools.
_OPERATORS = {
    np.add: ("{0} + {1}", "fi"), np.subtract: ("{0} - {1}", "fi"), np.multiply: ("{0} * {1}", "fi"),
    np.true_divide: ("{0} / {1}", "f"), np.negative: ("-{0}", "fi"), np.square: ("{0} * {0}", "fi"),
    np.less: ("{0} < {1}", "fi"), np.less_equal: ("{0} <= {1}", "fi"), np.greater: ("{0} > {1}", "fi"),
    np.greater_equal: ("{0} >= {1}", "fi"), np.equal: ("{0} == {1}", "fi"), np.not_equal: ("{0} != {1}", "fi"),
    np.logical_and: ("{0} & {1}", "b"), np.logical_or: ("{0} | {1}", "b"), np.logical_not: ("~{0}", "b"),
}  # fmt: skip


def _are_plain(kinds: tuple[np.dtype[Any], ...], wanted: str) -> bool:
    """Whether these types are one: that of floats ("f"), integers ("i") of 32 or 64 bits, or bools ("b")."""
    one = kinds[0]
    plain = one.kind in wanted and (one.kind == "b" or one.itemsize in (4, 8))
    return plain and all(kind == one for kind in kinds)


def _of_scalars(ufunc: Any, kinds: tuple[np.dtype[Any], ...]) -> tuple[str, Any] | None:
    """A ufunc as an expression of NumPy's scalars. One of two inputs takes longer on these, if there is no operator."""
    form, wanted = _OPERATORS.get(ufunc, ("{k}({0})", "f" if ufunc.nin == 1 else ""))
    return (form, ufunc) if _are_plain(kinds, wanted) else None


@kernel_of(MatMul)
def matmul(definition: MatMul, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """BLAS through np.matmul, in the form that suits the shapes: chosen once, where they are known."""
    dtype, (a, b) = outputs[0].dtype.np, [spec.dims for spec in inputs]
    return Kernel(form_of(dtype, a, b, definition.transpose_a, definition.transpose_b), takes_out=not is_half(dtype))


@kernel_of(BatchMatMulV2)
def batch_matmul(definition: BatchMatMulV2, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """As its definition does it, into the buffer."""
    if is_half(outputs[0].dtype.np):
        return Kernel(definition.compute)
    adj_x, adj_y = definition.adj_x, definition.adj_y

    def run(x: Any, y: Any, out: Any = None) -> Any:
        return product(adjoint(x) if adj_x else x, adjoint(y) if adj_y else y, out)

    return Kernel(run, takes_out=True)


@kernel_of(Sum)
def reduce_sum(definition: Sum, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The sum with the output's own type, into the buffer."""
    if inputs[0].dims is None or not shapes.is_full(outputs[0].dims):
        return Kernel(definition.compute)
    function = _summed(definition, inputs[0], outputs[0])
    return Kernel(function, takes_out=True, in_rows=_of_rows(definition.axes, inputs[0], outputs[0].dtype.np))


def _of_rows(axes: tuple[int, ...] | None, given: Spec, kind: np.dtype[Any]) -> Callable[[Any, Any], Any] | None:
    """What sums over rows, where that is what a sum over these axes is."""
    return sum_in_rows if summing(kind, axes, len(given.dims or ())) is sum_in_rows else None


def _summed(definition: Sum | Mean, given: Spec, made: Spec) -> Callable[..., Any]:
    """The function of x and `out` that sums over the definition's axes."""
    axes, keepdims, kind = definition.axes, definition.keepdims, made.dtype.np
    return _written(for_matrices(summing(kind, axes, len(given.dims or ())), kind, given.dims), made.dims) or (
        lambda x, out=None: _reduce(x, axes, kind, out, keepdims)
    )


def _written(function: Callable[..., Any] | None, dims: Any) -> Callable[..., Any] | None:
    """A function whose result is a vector, with results of that shape."""
    if function is None or len(dims) == 1:
        return function

    def run(x: Any, out: Any = None) -> Any:
        if out is None:
            return function(x).reshape(dims)
        function(x, out.reshape(-1))
        return out

    return run


@kernel_of(AddN)
def add_n(definition: AddN, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """Added from left to right, into the buffer."""

    def run_scalars(first: Any, *others: Any, out: Any = None) -> Any:
        total = first[()]  # a sum of NumPy's scalars takes a fifth of the time of one of arrays
        for other in others:
            total = total + other[()]
        if out is None:
            return np.asarray(total)
        out[()] = total
        return out

    if outputs[0].dtype.size > 2 and all(spec.dims == () for spec in inputs):
        plain = _are_plain(tuple([spec.dtype.np for spec in inputs]), "fi")
        terms = " + ".join(f"{{{index}}}" for index in range(len(inputs)))
        return Kernel(run_scalars, takes_out=True, scalar=(terms, None) if plain else None)

    def run(first: Any, *others: Any, out: Any = None) -> Any:
        if not others:
            return np.positive(first, out)
        total = np.add(first, others[0], out)
        for other in others[1:]:
            total = np.add(total, other, out)
        return total

    return Kernel(run, takes_out=True, may_replace=((0, 1)[: len(inputs)],), elementwise=True)


@kernel_of(Mean)
def mean(definition: Mean, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The sum and its division, both in the buffer, for floats whose number is known."""
    count, parts = shapes.count(inputs[0].dims), shapes.count(outputs[0].dims)
    dtype = outputs[0].dtype
    if count is None or parts is None or dtype.is_integer or dtype.size == 2:
        return Kernel(definition.compute)
    total = _summed(definition, inputs[0], outputs[0])
    divisor = np.array(count // max(parts, 1), dtype.np)

    def run(x: Any, out: Any = None) -> Any:
        return np.true_divide(total(x, out), divisor, out)

    def in_rows(x: Any, out: Any) -> Any:
        return np.true_divide(sum_in_rows(x, out), divisor, out)

    of_rows = _of_rows(definition.axes, inputs[0], dtype.np)
    return Kernel(run, takes_out=True, in_rows=None if of_rows is None else in_rows)


@kernel_of(Max, Min)
def extreme(definition: Max | Min, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """Its ufunc's reduction, into the buffer."""
    dims, dtype = inputs[0].dims, outputs[0].dtype
    if dims is None or not shapes.is_full(dims) or dtype.size == 2:
        return Kernel(definition.compute)
    ufunc: Any = np.maximum if isinstance(definition, Max) else np.minimum
    axes, keepdims, first = definition.axes, definition.keepdims, type(definition)().compute(np.empty(0, dtype.np))

    def run(x: Any, out: Any = None) -> Any:
        return ufunc.reduce(x, axes, None, out, keepdims, first)

    def in_rows(x: Any, out: Any) -> Any:
        return ufunc.reduce(x, 1, None, out, False, first)

    last = axes is not None and [axis % len(dims) for axis in axes] == [len(dims) - 1]
    return Kernel(run, takes_out=True, in_rows=in_rows if last else None)


@kernel_of(SumTo)
def sum_to(definition: SumTo, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """np.add.reduce over the axes that were broadcast, into the buffer."""
    whole, dims = inputs[0].dims, outputs[0].dims
    if whole is None or dims is None or not shapes.is_full(whole) or not shapes.is_full(dims):
        return Kernel(definition.compute)
    if not shapes.broadcasts_to(dims, whole):
        return Kernel(definition.compute)  # which says so
    lead = len(whole) - len(dims)
    kept = (1,) * lead + tuple(dim or 0 for dim in dims)
    axes = tuple(axis for axis, dim in enumerate(kept) if axis < lead or (dim == 1 and whole[axis] != 1))
    if not axes:
        return Kernel(definition.compute)
    kind = outputs[0].dtype.np
    vector = _written(for_matrices(summing(kind, axes, len(whole)), kind, whole), dims)
    if vector is not None:
        in_rows = _of_rows(axes, inputs[0], kind) if len(dims) == len(whole) else None
        return Kernel(lambda x, shape, out=None: vector(x, out), takes_out=True, in_rows=in_rows)

    def run(x: Any, shape: Any, out: Any = None) -> Any:
        if out is None:
            return _reduce(x, axes, kind, None, True).reshape(dims)
        _reduce(x, axes, kind, out.reshape(kept), True)
        return out

    return Kernel(run, takes_out=True)


@kernel_of(BiasAdd)
def bias_add(definition: BiasAdd, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """An addition, which broadcasts along the last dimension by itself."""
    if definition.data_format == "NCHW":
        return Kernel(definition.compute)
    kernel = Kernel(np.add, takes_out=True, exact=not outputs[0].dtype.is_complex, elementwise=True)
    return with_long_rows(kernel, np.add, inputs, outputs)


@kernel_of(Relu)
def relu(definition: Relu, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """np.maximum with 0."""
    return Kernel(rectified, takes_out=True, exact=True, elementwise=True)


@kernel_of(ReluGrad)
def relu_grad(definition: ReluGrad, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The bits of dy times 1 where x is positive, else times 0, in the buffer, which may be that of x."""
    zero = outputs[0].dtype.np.type(0)
    bits = np.dtype(f"i{outputs[0].dtype.size}")

    def run(dy: Any, x: Any, out: Any = None) -> Any:
        if out is None:
            return np.asarray(definition.compute(dy, x), order="C")
        mask = out.view(bits)
        np.greater(x, zero, out=mask)
        np.multiply(mask, dy.view(bits), out=mask)
        return out

    return Kernel(run, takes_out=True, may_replace=((1,),), elementwise=True, strided=True)


@kernel_of(Conv2D, Conv2DBackpropFilter, Conv2DBackpropInput, MaxPool, MaxPoolGrad, AvgPool, AvgPoolGrad)
def into_buffer(definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The definition's own, which takes `out`; 16-bit floats go through float32."""
    return Kernel(definition.compute, takes_out=outputs[0].dtype.size > 2)


@kernel_of(TanhGrad, SigmoidGrad)
def from_value(definition: TanhGrad | SigmoidGrad, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The slope is made in the buffer: 1 - y * y, or (1 - y) * y."""
    if outputs[0].dtype.is_complex or outputs[0].dtype.size == 2:
        return Kernel(definition.compute)
    one = outputs[0].dtype.np.type(1)
    tanh = isinstance(definition, TanhGrad)

    def run_scalar(y: Any, dy: Any, out: Any = None) -> Any:
        if out is None:
            return definition.compute(y, dy)
        y = y[()]  # arithmetic of NumPy's scalars takes a tenth of the time of that of arrays
        out[()] = dy[()] * (one - y * y if tanh else y * (one - y))
        return out

    if inputs[0].dims == inputs[1].dims == ():
        form = "{1} * ({k} - {0} * {0})" if tanh else "{1} * ({0} * ({k} - {0}))"
        return Kernel(run_scalar, takes_out=True, scalar=(form, one))

    def run(y: Any, dy: Any, out: Any = None) -> Any:
        if out is None:
            return np.asarray(definition.compute(y, dy), order="C")
        np.subtract(one, np.multiply(y, y, out=out) if tanh else y, out=out)
        if not tanh:
            np.multiply(y, out, out=out)
        return np.multiply(dy, out, out=out)

    return Kernel(run, takes_out=True, may_replace=((0,) if tanh else (),), elementwise=True, strided=True)


@kernel_of(Cast)
def cast(definition: Cast, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """Copied into the buffer, where that is a change of type and nothing more."""
    if inputs[0].dtype.is_complex:
        return Kernel(definition.compute, elementwise=True)

    def run(x: Any, out: Any = None) -> Any:
        if out is None:
            return definition.compute(x)
        np.copyto(out, x, casting="unsafe")
        return out

    return Kernel(run, takes_out=True, elementwise=True)


@kernel_of(Rsqrt)
def rsqrt(definition: Rsqrt, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The root and its reciprocal, both in the buffer."""
    return Kernel(lambda x, out=None: np.reciprocal(np.sqrt(x, out=out), out=out), takes_out=True, elementwise=True)


@kernel_of(ReadVariableOp)
def read(definition: ReadVariableOp, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The slot's own function, without the operation's state, which it does not look at."""
    return Kernel(VariableSlot.settled)


@kernel_of(ResourceGather)
def gather_rows(definition: ResourceGather, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The rows are taken into the buffer."""

    def run(state: Any, slot: Any, indices: Any, out: Any = None) -> Any:
        if out is None:
            return definition.compute(state, slot, indices)
        target = slot.settled()
        check_rows(indices, target)
        return take_rows(target, indices, out)

    return Kernel(run, takes_out=True, needs_state=True)
