"""Beyond one gradient: Hessians, Jacobians, gradients of each example, and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import shapes
from ..graph.ir import Tensor
from ..graph.ops.array import concat
from ..graph.ops.constant import const
from ..graph.ops.convert import convert_to_tensor, stack
from ..graph.ops.fills import zeros_like
from ..graph.ops.reshaping import reshape
from ..graph.ops.sizes import shape
from .gradients import UnconnectedGradients, gradients


def hessians(
    ys: Any, xs: Any, name: str = "hessians", colocate_gradients_with_ops: bool = False, gate_gradients: bool = False,
    aggregation_method: int | None = None,
) -> list[Tensor]:  # fmt: skip
    """The second derivatives of the sum of `ys` by each of `xs` (with itself), a tensor of shape(x) + shape(x) for each.

    xs: a tensor, a variable or a list of them, of any rank, of known shape. Zeros where the derivative does not depend on x.
    Source: `tf.hessians`. Raises ValueError for an x that ys do not depend on, or of unknown shape; otherwise as `gradients`.
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
    ys is a list, a list of such lists. The graph grows by one gradient for each element of y. Raises ValueError for a y of
    unknown shape; otherwise as `gradients`.
    """
    if isinstance(ys, (list, tuple)):
        return [jacobian(y, xs, unconnected_gradients, name) for y in ys]
    return _jacobian(convert_to_tensor(ys), _as_list(xs), unconnected_gradients, name, {})


def per_example_gradients(
    losses: Any, xs: Any, unconnected_gradients: Any = UnconnectedGradients.NONE, name: str = "per_example"
) -> list[Any]:
    """For each of `xs` the gradients of each of the `losses` (shape [batch]): tensors of shape [batch] + shape(x).

    None where the losses do not depend on x (zeros with `unconnected_gradients="zero"`). The graph grows by one gradient
    for each example. Raises ValueError for losses that are no vector of known length; otherwise as `gradients`.
    """
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


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _jacobian(y: Tensor, xs: Sequence[Any], unconnected: Any, name: str, options: dict[str, Any]) -> list[Any]:
    """One gradient for each element of y, stacked. The starting gradients are the rows of a unit matrix."""
    size = shapes.count(y.dims)
    if size is None:
        raise ValueError(f"the derivatives of each element need a tensor of known shape, not {y}")
    dims = [d for d in y.dims or () if d is not None]
    units = [np.array(unit).reshape(dims) for unit in np.eye(size, dtype=y.dtype.np)]
    with y.graph.name_scope(name):
        rows = [
            gradients(y, xs, const(unit), "element", unconnected_gradients=unconnected, **options) for unit in units
        ]
        if not rows:
            rows = [gradients(y, xs, name="element", unconnected_gradients=unconnected, **options)]
        return [_stacked(column, dims, size) for column in zip(*rows, strict=True)]


def _stacked(rows: Sequence[Any], dims: list[int], size: int) -> Tensor | None:
    """The gradients by one x as a tensor whose first dimensions are those of y."""
    if rows[0] is None:
        return None
    tensors = [convert_to_tensor(row) for row in rows]
    together = stack(tensors)[:size]
    return reshape(together, concat([const(np.array(dims, np.int32)), shape(tensors[0])], 0))
