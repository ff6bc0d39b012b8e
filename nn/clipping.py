"""Limiting tensors, and lists of gradients, by their norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.defaults import colocate_with, name_scope
from ..graph.dtypes import float32
from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Tensor
from ..graph.ops.broadcasting import reduce_sum
from ..graph.ops.cast import cast
from ..graph.ops.compare import greater
from ..graph.ops.constant import constant
from ..graph.ops.convert import convert_to_tensor, stack
from ..graph.ops.fills import ones_like
from ..graph.ops.identity import identity
from ..graph.ops.losses import l2_loss
from ..graph.ops.math import maximum, minimum
from ..graph.ops.selecting import where_v2
from ..graph.ops.sizes import size
from ..graph.ops.transcendental import rsqrt, sqrt
from ..graph.shapes import compatible


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: str | None = None) -> Any:
    """`t`, scaled down to the L2 norm `clip_norm` where its own is larger; a negative `clip_norm` counts as 0.

    `t`: a floating-point tensor, or IndexedSlices, of which the rows as they are count. `axes`: those of one norm, for
    several in one tensor (None: all). Source: `tf.clip_by_norm`. Raises ValueError where `clip_norm` would give another
    shape than that of `t`.
    """
    with name_scope(name or "clip_by_norm") as scope:
        values = _values(t)
        total = reduce_sum(values * values, axes, keepdims=True)
        # The root has no derivative at 0: there it gets another argument, so that no nan comes back.
        positive = greater(total, 0)
        norm = where_v2(positive, sqrt(where_v2(positive, total, ones_like(total))), total)
        limit = maximum(cast(convert_to_tensor(clip_norm), values.dtype), 0)
        scaled = values * limit
        if not compatible(values.dims, scaled.dims):
            raise ValueError(f"Shapes {values.shape} and {scaled.shape} are incompatible")
        clipped = identity(scaled / maximum(norm, limit), name=scope)
    return _like(t, clipped)


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Tensor:
    """`t`, scaled down to the average norm `clip_norm` where its own, the L2 norm over the number of elements, is larger.

    Source: `tf.clip_by_average_norm`.
    """
    with name_scope(name or "clip_by_average_norm") as scope:
        tensor = convert_to_tensor(t, name="t")
        limit = cast(convert_to_tensor(clip_norm), tensor.dtype)
        per_norm = rsqrt(reduce_sum(tensor * tensor))
        factor = limit * minimum(per_norm * cast(size(tensor), tensor.dtype), 1 / limit)
        return identity(tensor * factor, name=scope)


def global_norm(t_list: Sequence[Any], name: str | None = None) -> Tensor:
    """The L2 norm of all tensors of a list together, a scalar; None entries do not count.

    Of IndexedSlices the rows as they are count (a repeated index twice). Source: `tf.global_norm`. Raises TypeError for
    what is no list, and for tensors of several types.
    """
    _check_list(t_list)
    with name_scope(name or "global_norm"):
        halves = []
        for item in t_list:
            if item is not None:
                values = _values(item)
                with colocate_with(values):
                    halves.append(l2_loss(values))
        if not halves:
            return constant(0.0, float32, name="global_norm")
        found = sorted({half.dtype.name for half in halves})
        if len(found) > 1:
            raise TypeError(f"Tensors of one norm must have one type, got {found}")
        return sqrt(reduce_sum(stack(halves)) * 2, name="global_norm")


def clip_by_global_norm(
    t_list: Sequence[Any], clip_norm: Any, use_norm: Any = None, name: str | None = None
) -> tuple[list[Any], Tensor]:
    """The tensors, all scaled by clip_norm / max(norm, clip_norm), and the norm: that of all of them together.

    `t_list`: a list of tensors, IndexedSlices and None, which stays None. `use_norm`: the norm, where it is known already.
    An infinite norm or one that is nan makes all nan, so that it shows. Source: `tf.clip_by_global_norm`. Raises TypeError
    for what is no list, and for tensors of several types.
    """
    _check_list(t_list)
    norm = global_norm(t_list, name) if use_norm is None else convert_to_tensor(use_norm)
    with name_scope(name or "clip_by_global_norm") as scope:
        limit = cast(convert_to_tensor(clip_norm), norm.dtype)
        factor = limit * minimum(1 / norm, 1 / limit)
        factor = factor + (norm - norm)  # 0, or nan for an infinite norm
        clipped: list[Any] = []
        for place, item in enumerate(t_list):
            if item is None:
                clipped.append(None)
                continue
            values = _values(item)
            with colocate_with(values):
                clipped.append(_like(item, identity(values * factor, name=f"{scope}_{place}")))
    return clipped, norm


def _check_list(t_list: Any) -> None:
    if not isinstance(t_list, Sequence) or isinstance(t_list, str):
        raise TypeError(f"`t_list` should be a sequence of tensors. Received {type(t_list)}.")


def _values(item: Any) -> Tensor:
    """A tensor, or the rows of IndexedSlices."""
    return convert_to_tensor(item.values if isinstance(item, IndexedSlices) else item)


def _like(item: Any, values: Tensor) -> Any:
    """IndexedSlices with these values where the item is such, else the values."""
    return IndexedSlices(values, item.indices, item.dense_shape) if isinstance(item, IndexedSlices) else values
