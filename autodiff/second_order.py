"""Beyond one gradient: Hessians, Jacobians, gradients of each example, and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..graph import context, shapes
from ..graph.ir import Tensor
from ..graph.ops.arithmetic import add
from ..graph.ops.array import concat
from ..graph.ops.compare import less
from ..graph.ops.constant import const
from ..graph.ops.convert import convert_to_tensor, stack
from ..graph.ops.fills import zeros_like
from ..graph.ops.gathering import one_hot
from ..graph.ops.loops import while_loop
from ..graph.ops.math import maximum
from ..graph.ops.reshaping import reshape
from ..graph.ops.sizes import shape, size
from ..graph.ops.tensor_array import TensorArray
from .gradients import UnconnectedGradients, common_graph, gradients

#: Up to so many elements each has its gradient in the graph, which runs faster; more share one, in a loop.
UNROLLED = 16

#: Takes the gradient to start from, and gives that of each x.
_Row = Callable[[Tensor], list[Any]]


def hessians(
    ys: Any, xs: Any, name: str = "hessians", colocate_gradients_with_ops: bool = False, gate_gradients: bool = False,
    aggregation_method: int | None = None,
) -> list[Tensor]:  # fmt: skip
    """The second derivatives of the sum of `ys` by each of `xs` (with itself), a tensor of shape(x) + shape(x) for each.

    xs: a tensor, a variable or a list of them, of any shape, known or not. Zeros where the derivative does not depend on x.
    Differentiable again. Source: `tf.hessians`. Raises ValueError for an x that ys do not depend on; otherwise as `gradients`.
    """
    sources = _as_list(xs)
    options: dict[str, Any] = {
        "colocate_gradients_with_ops": colocate_gradients_with_ops,
        "gate_gradients": gate_gradients,
        "aggregation_method": aggregation_method,
    }
    firsts = gradients(ys, sources, name=name, **options)
    return [_hessian(first, x, name, options) for first, x in zip(firsts, sources, strict=True)]


def _hessian(first: Any, x: Any, name: str, options: dict[str, Any]) -> Tensor:
    if first is None:
        raise ValueError(f"None values not supported: ys do not depend on {x}, so it has no Hessian")
    (hessian,) = _jacobian(convert_to_tensor(first), [x], UnconnectedGradients.ZERO, name, options)
    return convert_to_tensor(hessian)


def jacobian(ys: Any, xs: Any, unconnected_gradients: Any = UnconnectedGradients.NONE, name: str = "jacobian") -> Any:
    """The derivatives of every element of `ys` by every element of each of `xs`: tensors of shape(y) + shape(x).

    Returns a list as long as xs, with None where y does not depend on x (zeros with `unconnected_gradients="zero"`); when
    ys is a list, a list of such lists. Shapes need not be known; for a y of many elements the graph grows by one gradient,
    in a loop over them. Raises as `gradients`.
    """
    _needs_a_graph("jacobian")
    if isinstance(ys, (list, tuple)):
        return [jacobian(y, xs, unconnected_gradients, name) for y in ys]
    return _jacobian(convert_to_tensor(ys), _as_list(xs), unconnected_gradients, name, {})


def per_example_gradients(
    losses: Any, xs: Any, unconnected_gradients: Any = UnconnectedGradients.NONE, name: str = "per_example"
) -> list[Any]:
    """For each of `xs` the gradients of each of the `losses` (shape [batch]): tensors of shape [batch] + shape(x).

    None where the losses do not depend on x (zeros with `unconnected_gradients="zero"`). The batch may be of any length,
    as in `jacobian`. Raises ValueError for losses that are no vector; otherwise as `gradients`.
    """
    _needs_a_graph("per_example_gradients")
    tensor = convert_to_tensor(losses)
    if tensor.dims is None or len(tensor.dims) != 1:
        raise ValueError(f"per_example_gradients takes a vector of losses, one for each example, not {tensor}")
    return _jacobian(tensor, _as_list(xs), unconnected_gradients, name, {})


def hessian_vector_product(ys: Any, xs: Any, vectors: Any, name: str = "hessian_vector_product") -> list[Any]:
    """The Hessian of the sum of `ys` by all `xs` together, times `vectors` (one an x, of its shape): one tensor an x.

    Costs two gradients, whatever the size of xs: the Hessian itself is never made. None where ys do not depend on x, zeros
    where the second derivatives vanish. Raises ValueError for another number of vectors or other shapes; and as `gradients`.
    """
    sources, directions = _as_list(xs), _as_list(vectors)
    if len(sources) != len(directions):
        raise ValueError(f"Length mismatch. Passed {len(directions)} vectors for {len(sources)} xs")
    firsts = gradients(ys, sources, name=name)
    slopes = [None if first is None else convert_to_tensor(first) for first in firsts]
    pairs = [(slope, v) for slope, v in zip(slopes, directions, strict=True) if slope is not None]
    along = [_direction(v, slope) for slope, v in pairs]
    seconds = gradients([slope for slope, _ in pairs], sources, along, name=name)
    return [
        None if slope is None else zeros_like(slope) if second is None else second
        for slope, second in zip(slopes, seconds, strict=True)
    ]


def _direction(vector: Any, slope: Tensor) -> Tensor:
    tensor = convert_to_tensor(vector, slope.dtype)
    if not shapes.compatible(tensor.dims, slope.dims):
        raise ValueError(f"a vector has the shape of its x, {slope.shape}, not {tensor.shape}")
    return tensor


def _needs_a_graph(what: str) -> None:
    if context.executing_eagerly():
        raise RuntimeError(f"{what} is not supported when eager execution is enabled: build a graph instead.")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _jacobian(y: Tensor, xs: Sequence[Any], unconnected: Any, name: str, options: dict[str, Any]) -> list[Any]:
    """One gradient for each element of y, stacked. The starting gradients are the rows of a unit matrix."""
    graph = common_graph([y, *xs])
    with graph.as_default(), graph.name_scope(name):

        def row(seed: Tensor) -> list[Any]:
            return gradients(y, xs, seed, "element", unconnected_gradients=unconnected, **options)

        with graph.colocate_with(y.op) if options.get("colocate_gradients_with_ops") else nullcontext():
            count = shapes.count(y.dims)
            rows = _unrolled(y, count, row) if count is not None and count <= UNROLLED else _looped(y, xs, row)
            return [None if stacked is None else _shaped(stacked, y) for stacked in rows]


def _unrolled(y: Tensor, count: int, row: _Row) -> list[Tensor | None]:
    """The rows of a few elements, each a gradient of its own. What they have in common is computed once."""
    dims = [d for d in y.dims or () if d is not None]
    units = np.eye(max(count, 1), count, dtype=y.dtype.np)
    rows = [row(const(unit.reshape(dims))) for unit in units]
    return [
        None if column[0] is None else stack([convert_to_tensor(grad) for grad in column])[:count]
        for column in zip(*rows, strict=True)
    ]


def _looped(y: Tensor, xs: Sequence[Any], row: _Row) -> list[Tensor | None]:
    """The rows of any number of elements, one an iteration of a loop. Without elements one row tells the shape."""
    count, dims = size(y), shape(y)
    known = shapes.is_full(y.dims)
    steps = count if known else maximum(count, 1)
    arrays = [TensorArray(getattr(x, "dtype", y.dtype), steps) for x in xs]
    missing = [False] * len(arrays)

    def step(index: Tensor, arrays: list[TensorArray]) -> tuple[Tensor, list[TensorArray]]:
        grads = row(reshape(one_hot(index, count, dtype=y.dtype), dims))
        missing[:] = [grad is None for grad in grads]
        written = [
            array if grad is None else array.write(index, convert_to_tensor(grad))
            for array, grad in zip(arrays, grads, strict=True)
        ]
        return add(index, 1), written

    _, arrays = while_loop(lambda index, _: less(index, steps), step, (0, arrays), name="elements")
    stacked = [None if none else array.stack() for none, array in zip(missing, arrays, strict=True)]
    return stacked if known else [None if rows is None else rows[:count] for rows in stacked]


def _shaped(rows: Tensor, y: Tensor) -> Tensor:
    """The rows as a tensor whose first dimensions are those of y."""
    whole = reshape(rows, concat([shape(y), shape(rows)[1:]], 0))
    if y.dims is not None and rows.dims is not None:
        whole.set_shape((*y.dims, *rows.dims[1:]))
    return whole
