"""embedding_lookup: rows of one table, or of a table in several parts."""

from __future__ import annotations

from typing import Any

from ..graph.ir import Tensor, building_graph, get_default_graph
from ..graph.ops.arithmetic import div_no_nan, multiply
from ..graph.ops.array import concat
from ..graph.ops.broadcasting import reduce_sum
from ..graph.ops.cast import cast
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import ones_like
from ..graph.ops.gathering import gather
from ..graph.ops.math import maximum
from ..graph.ops.partitioning import dynamic_partition, dynamic_stitch
from ..graph.ops.ranges import range_
from ..graph.ops.reshaping import reshape
from ..graph.ops.segments import segment_sum, unique
from ..graph.ops.selecting import where_v2
from ..graph.ops.sizes import shape
from ..graph.ops.transcendental import sqrt
from ..graph.shapes import as_dims
from ..graph.sparse_tensor import SparseTensor, SparseTensorValue
from ..graph.variable import Variable


def embedding_lookup(
    params: Any, ids: Any, partition_strategy: str = "mod", name: str | None = None, validate_indices: bool = True,
    max_norm: float | None = None,
) -> Tensor:  # fmt: skip
    """The rows of `params` that `ids` (int32 or int64, any shape) name: shape ids.shape + row.

    A list of several params is one table in parts: with the strategy "mod" row i is row i // n of part i % n; with "div"
    the parts are contiguous, the first ones a row longer. Rows longer than `max_norm` are shortened to it. The gradient
    is IndexedSlices. `validate_indices` says nothing, as in TF. Source: `tf.nn.embedding_lookup`. Raises ValueError for
    no params, another strategy, and parts of unknown shape with "div".
    """
    parts = list(params) if isinstance(params, (list, tuple)) else [params]
    if not parts or parts[0] is None:
        raise ValueError("Need at least one param")
    if partition_strategy not in ("mod", "div"):
        raise ValueError(f"Unrecognized partition strategy: {partition_strategy}")
    with get_default_graph().name_scope(name or "embedding_lookup"):
        wanted = convert_to_tensor(ids, name="ids")
        found = _rows(parts[0], wanted) if len(parts) == 1 else _from_parts(parts, wanted, partition_strategy)
        return found if max_norm is None else _shortened(found, max_norm, _rank(wanted))


def embedding_lookup_sparse(
    params: Any, sp_ids: Any, sp_weights: Any, partition_strategy: str = "mod", name: str | None = None,
    combiner: str | None = None, max_norm: float | None = None,
) -> Tensor:  # fmt: skip
    """For each row of `sp_ids` (a SparseTensor [m, any] of ids, in order) its embeddings combined: shape [m] + row.

    `sp_weights`: a SparseTensor of the same indices, or None for ones. `combiner`: "sum", "mean" (by default; over the
    weights) or "sqrtn" (over the root of the sum of their squares). Each row is looked up once. A row without ids is zero;
    those after the last one with ids are missing. Source: `tf.nn.embedding_lookup_sparse`. Raises TypeError for ids and
    weights that are not sparse, ValueError for another combiner, and as `embedding_lookup`.
    """
    if combiner not in (None, "mean", "sqrtn", "sum"):
        raise ValueError(f"combiner must be one of 'mean', 'sqrtn' or 'sum', got {combiner}")
    if not isinstance(sp_ids, (SparseTensor, SparseTensorValue)):
        raise TypeError(f"sp_ids must be SparseTensor, got {type(sp_ids)}")
    if sp_weights is not None and not isinstance(sp_weights, (SparseTensor, SparseTensorValue)):
        raise TypeError(f"sp_weights must be either None or SparseTensor, got {type(sp_weights)}")
    with get_default_graph().name_scope(name or "embedding_lookup_sparse"):
        ids = SparseTensor.from_value(sp_ids)
        segments = cast(ids.indices[:, 0], "int32")
        distinct, places = unique(ids.values)
        found = gather(embedding_lookup(params, distinct, partition_strategy, max_norm=max_norm), places)
        if sp_weights is None:
            weights = ones_like(segments, found.dtype)
        else:
            weights = cast(SparseTensor.from_value(sp_weights).values, found.dtype)
        column = _column(weights, found)
        total = segment_sum(found if sp_weights is None else multiply(found, column), segments)
        if combiner == "sum":
            return total
        if combiner == "sqrtn":
            return div_no_nan(total, sqrt(segment_sum(column * column, segments)))
        return div_no_nan(total, segment_sum(column, segments))


def _column(weights: Tensor, rows: Tensor) -> Tensor:
    """A weight for each row, in a shape that broadcasts over the row."""
    if rows.dims is None:
        return reshape(weights, concat([shape(weights), ones_like(shape(rows)[1:])], 0))
    return reshape(weights, [-1] + [1] * (len(rows.dims) - 1))


def _rows(table: Any, ids: Tensor) -> Tensor:
    """Rows of one table, where the table is: only they travel."""
    if isinstance(table, Variable):
        return table.sparse_read(ids)
    tensor = convert_to_tensor(table)
    with building_graph(tensor.graph).colocate_with(tensor.op):
        return gather(tensor, ids)


def _from_parts(parts: list[Any], ids: Tensor, strategy: str) -> Tensor:
    flat = reshape(ids, [-1])
    count = len(parts)
    if strategy == "mod":
        part, row = flat % count, flat // count
    else:
        part, row = _contiguous(parts, flat)
    part = cast(part, "int32")
    rows = dynamic_partition(row, part, count)
    places = dynamic_partition(range_(shape(flat)[0]), part, count)
    found = dynamic_stitch(places, [_rows(table, chosen) for table, chosen in zip(parts, rows, strict=True)])
    dims = as_dims(parts[0].shape)
    row_shape = shape(found)[1:] if dims is None or None in dims[1:] else list(dims[1:])
    return reshape(found, concat([shape(ids), convert_to_tensor(row_shape, "int32")], 0))


def _contiguous(parts: list[Any], ids: Tensor) -> tuple[Tensor, Tensor]:
    """The part and the row in it of each id, when the first `extras` parts have one row more than the others."""
    sizes = [(as_dims(part.shape) or (None,))[0] for part in parts]
    total = 0
    for size in sizes:
        if size is None:
            raise ValueError("the strategy 'div' needs parts whose numbers of rows are known")
        total += size
    each, extras = divmod(total, len(parts))
    longer = extras * (each + 1)
    part = maximum(ids // (each + 1), (ids - extras) // max(each, 1))
    row = where_v2(ids < longer, ids % (each + 1), (ids - extras) % max(each, 1))
    return part, row


def _rank(ids: Tensor) -> int:
    if ids.dims is None:
        raise ValueError("max_norm needs ids of known rank")
    return len(ids.dims)


def _shortened(rows: Tensor, max_norm: float, rank: int) -> Tensor:
    """Rows scaled down where their norm is above `max_norm`."""
    axes = None if rows.dims is None else list(range(rank, len(rows.dims)))
    square = reduce_sum(rows * rows, axes, keepdims=True)
    none = square <= 0.0
    # The root of 0 has no derivative: it is taken of 1 there.
    norm = where_v2(none, square, sqrt(where_v2(none, square + 1.0, square)))
    return multiply(rows, max_norm / maximum(norm, max_norm))
