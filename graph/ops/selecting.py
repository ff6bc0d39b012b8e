"""Selection by truth and by order: where, select, boolean_mask, top_k and in_top_k."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import shapes
from ..dtypes import boolean, float32, int32, int64
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import normal_axis
from .arithmetic import AddV2, Mul, numeric
from .array import concat
from .broadcasting import sum_to
from .constant import static_int
from .convert import convert_to_tensor, same_dtype
from .fills import zeros_like
from .gathering import gather, scatter_nd
from .getitem import getitem
from .ranges import range_
from .reshaping import expand_dims, like, reshape, squeeze
from .sizes import shape, size


@op
class Where(Op):
    """The indices of the elements that are true (not 0), a row each, in row-major order."""

    not_differentiable = True

    def infer(self, condition: TensorLike) -> Spec:
        return Spec(int64, (None, None if condition.dims is None else len(condition.dims)))

    def compute(self, condition: Any) -> Any:
        return np.argwhere(condition).astype(np.int64, copy=False)


@op
class Select(Op):
    """x where the condition is true, else y, of one shape; the condition may be a scalar, or a vector that picks rows."""

    def infer(self, condition: TensorLike, x: TensorLike, y: TensorLike) -> Spec:
        check_branches(condition, x, y)
        dims = shapes.merge(x.dims, y.dims)
        if condition.dims is not None and dims is not None and len(condition.dims) > 1:
            dims = shapes.merge(dims, condition.dims)
        elif condition.dims is not None and len(condition.dims) == 1 and dims is not None:
            if not dims or not shapes.compatible(dims[:1], condition.dims):
                raise ValueError(
                    f"Dimension 0 must be equal: the condition has shape {shapes.text(condition.dims)}, "
                    f"the values {shapes.text(dims)}"
                )
        elif dims is None and condition.dims is not None and len(condition.dims) > 1:
            dims = condition.dims
        return Spec(x.dtype, dims)

    def compute(self, condition: Any, x: Any, y: Any) -> Any:
        if x.shape != y.shape or condition.shape not in ((), x.shape, x.shape[:1]):
            raise InvalidArgumentError(
                None, None,
                f"condition, x and y have shapes {list(condition.shape)}, {list(x.shape)}, {list(y.shape)}: they must agree",
            )  # fmt: skip
        rows = condition.ndim == 1 and x.ndim > 1
        return np.where(condition.reshape(-1, *(1,) * (x.ndim - 1)) if rows else condition, x, y)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        condition, x, _ = operation.inputs
        zeros = zeros_like(x)
        return [None, Select()(condition, dy, zeros), Select()(condition, zeros, dy)]


@op
class SelectV2(Op):
    """x where the condition is true, else y, with broadcasting."""

    def infer(self, condition: TensorLike, x: TensorLike, y: TensorLike) -> Spec:
        check_branches(condition, x, y)
        return Spec(x.dtype, shapes.broadcast(condition.dims, shapes.broadcast(x.dims, y.dims)))

    def compute(self, condition: Any, x: Any, y: Any) -> Any:
        return np.where(condition, x, y)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        condition, x, y = operation.inputs
        zeros = zeros_like(dy)
        return [
            None,
            sum_to(SelectV2()(condition, dy, zeros), x),
            sum_to(SelectV2()(condition, zeros, dy), y),
        ]


def check_branches(condition: TensorLike, x: TensorLike, y: TensorLike) -> None:
    """Raises TypeError unless the condition is bool and both values have one type."""
    if condition.dtype is not boolean:
        raise TypeError(f"the condition must be bool, got {condition.dtype.name}")
    if x.dtype is not y.dtype:
        raise TypeError(f"the two values must have one type, got {x.dtype.name} and {y.dtype.name}")


@op
class TopKV2(Op):
    """The k largest values along the last axis, the largest first and of equal ones the first, and their indices."""

    sorted: bool = True

    def infer(self, x: TensorLike, k: TensorLike) -> tuple[Spec, Spec]:
        numeric("TopKV2", x.dtype)
        if x.dims == ():
            raise ValueError("Shape must be at least rank 1 but is rank 0: a scalar has no largest elements")
        count = k.known if isinstance(k.known, int) else None
        if count is not None and count < 0:
            raise ValueError(f"k must be non-negative but is {count}")
        if x.dims is None:
            return Spec(x.dtype, None), Spec(int32, None)
        last = x.dims[-1]
        if count is not None and last is not None and last < count:
            raise ValueError(f"input must have last dimension >= k = {count} but is {last}")
        dims = (*x.dims[:-1], count)
        return Spec(x.dtype, dims), Spec(int32, dims)

    def compute(self, x: Any, k: Any) -> Any:
        if not 0 <= k <= x.shape[-1]:
            raise InvalidArgumentError(None, None, f"input must have at least k = {int(k)} columns, got {x.shape[-1]}")
        indices = _largest(x, int(k))
        return np.take_along_axis(x, indices, axis=-1), indices.astype(np.int32)

    def grad(self, operation: Operation, dy: Tensor, _: Tensor | None) -> list[Tensor | None]:
        x, k = operation.inputs
        rows = reshape(operation.outputs[1], concat([[-1], [k]], 0))
        first = Mul()(range_(getitem(shape(rows), 0)), getitem(shape(x), -1))
        places = AddV2()(rows, expand_dims(first, 1))
        flat = scatter_nd(reshape(places, [-1, 1]), reshape(dy, [-1]), [size(x)])
        return [like(flat, x), None]


def _largest(x: Any, k: int) -> Any:
    """The indices of the k largest elements of each row, stable; NaN counts as smaller than every number."""
    # `~` turns the order of integers round without overflow, `-` that of floats with NaN still last.
    keys = ~x if x.dtype.kind in "iu" else -x
    if 0 < k < x.shape[-1] // 8:
        candidates = np.sort(np.argpartition(keys, k - 1, axis=-1)[..., :k], axis=-1)
        best = np.take_along_axis(keys, candidates, axis=-1)
        # A value that repeats at the border may have been picked at the wrong place: then the whole rows are sorted.
        if ((keys <= best.max(axis=-1, keepdims=True)).sum(axis=-1) == k).all():
            return np.take_along_axis(candidates, np.argsort(best, axis=-1, kind="stable"), axis=-1)
    return np.argsort(keys, axis=-1, kind="stable")[..., :k]


@op
class InTopK(Op):
    """Whether the prediction of each row's target is among the row's k largest; never where one is not finite."""

    k: int
    not_differentiable = True

    def infer(self, predictions: TensorLike, targets: TensorLike) -> Spec:
        if predictions.dtype is not float32:
            raise TypeError(f"the predictions of in_top_k must be float32, got {predictions.dtype.name}")
        if targets.dtype not in (int32, int64):
            raise TypeError(f"the targets of in_top_k must be int32 or int64, got {targets.dtype.name}")
        matrix = shapes.merge(predictions.dims, (None, None))
        vector = shapes.merge(targets.dims, (None,))
        return Spec(boolean, shapes.merge(None if matrix is None else matrix[:1], vector))

    def compute(self, predictions: Any, targets: Any) -> Any:
        classes = predictions.shape[1]
        inside = (targets >= 0) & (targets < classes)
        if not classes:
            return np.zeros(targets.shape, np.bool_)
        chosen = np.take_along_axis(predictions, np.where(inside, targets, 0)[:, None], axis=1)
        above = (predictions > chosen).sum(axis=1)
        return inside & np.isfinite(predictions).all(axis=1) & (above < self.k)


# the public functions


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """The indices of the true elements, [n, rank] int64; or with x and y of one shape, x where true and y elsewhere.

    The condition has the shape of x, or is a scalar, or a vector that picks rows. Source: `tf.where`.
    Raises ValueError when only one of x and y is given and for shapes that do not fit, TypeError for types.
    """
    if (x is None) != (y is None):
        raise ValueError("x and y must both be non-None or both be None.")
    if x is None:
        return Where()(convert_to_tensor(condition), name=name or "Where")
    return Select()(convert_to_tensor(condition), *same_dtype("Select", x, y, name), name=name)


def where_v2(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """As `where`, but condition, x and y broadcast. Source: `tf.where_v2`."""
    if x is None or y is None:
        return where(condition, x, y, name)
    return SelectV2()(convert_to_tensor(condition), *same_dtype("SelectV2", x, y, name), name=name)


def boolean_mask(tensor: Any, mask: Any, name: str = "boolean_mask", axis: Any = None) -> Tensor:
    """The slices of `tensor` where `mask` is true; the mask's shape is that of the dimensions from `axis` (0) on.

    Source: `tf.boolean_mask`. Raises ValueError for a mask that is a scalar, of unknown rank, or does not fit.
    """
    values, truth = convert_to_tensor(tensor), convert_to_tensor(mask)
    if truth.dims is None:
        raise ValueError("Number of mask dimensions must be specified, even if some dimensions are None.")
    if not truth.dims:
        raise ValueError("mask cannot be scalar.")
    first = 0 if axis is None else static_int("axis", axis)
    rank = len(truth.dims)
    if values.dims is not None:
        first = normal_axis(first, len(values.dims))
        shapes.merge(values.dims[first : first + rank], truth.dims)
    places = squeeze(Where()(reshape(truth, [-1])), [1])
    if rank == 1:
        return gather(values, places, name=name, axis=first)
    full = shape(values)
    merged = concat([getitem(full, slice(0, first)), [-1], getitem(full, slice(first + rank, None))], 0)
    return gather(reshape(values, merged), places, name=name, axis=first)


class TopK(NamedTuple):
    """What `top_k` gives: the values and their int32 indices."""

    values: Tensor
    indices: Tensor


def top_k(input: Any, k: Any = 1, sorted: bool = True, name: str | None = None) -> TopK:
    """The k largest elements along the last axis and their indices; of equal ones the first. Source: `tf.nn.top_k`.

    Raises ValueError for fewer than k elements. (They come in order also where `sorted` does not ask for it.)
    """
    values, indices = TopKV2(sorted).outputs(convert_to_tensor(input), convert_to_tensor(k, int32), name=name)
    return TopK(values, indices)


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    """Whether `targets[i]` is one of the k largest of `predictions[i]` (float32 [batch, classes]). Source: `tf.nn.in_top_k`."""
    return InTopK(static_int("k", k))(convert_to_tensor(predictions), convert_to_tensor(targets), name=name)
