"""Adding up the gradients that reach a tensor on several paths."""

from __future__ import annotations

from typing import Any

from ..graph.dtypes import int64
from ..graph.indexed_slices import Gradient, IndexedSlices
from ..graph.ir import Graph, Operation, Tensor, graph_of
from ..graph.ops.arithmetic import AddN
from ..graph.ops.array import concat
from ..graph.ops.cast import cast
from ..graph.ops.neutral import add_all
from ..graph.ops.segments import flat, whole


class AggregationMethod:
    """How `gradients` adds up several gradients of one tensor. Source: `tf.AggregationMethod`.

    ADD_N (the default): one sum of all terms. EXPERIMENTAL_TREE and EXPERIMENTAL_ACCUMULATE_N: sums of two, one after
    the other, so that terms can be freed early.
    """

    ADD_N = 0
    DEFAULT = ADD_N
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


def checked_method(method: Any) -> int:
    """The method as its number; None is the default. Raises ValueError for an unknown one."""
    accepted = [
        AggregationMethod.ADD_N,
        AggregationMethod.EXPERIMENTAL_TREE,
        AggregationMethod.EXPERIMENTAL_ACCUMULATE_N,
    ]
    if method is None:
        return AggregationMethod.DEFAULT
    if method not in accepted:
        raise ValueError(f"Invalid `aggregation_method` specified {method}. Accepted values are {accepted}.")
    return int(method)


def aggregate(terms: list[Gradient], operation: Operation, method: int) -> Gradient:
    """The sum of what reached an output of `operation`; a single term is passed through as it is."""
    if len(terms) == 1:
        return terms[0]
    tensors = [term for term in terms if isinstance(term, Tensor)]
    slices = [term for term in terms if isinstance(term, IndexedSlices)]
    if not tensors:
        return _joined(slices)
    graph = graph_of(tensors)
    if slices:
        if any(term.dense_shape is None for term in slices):
            raise TypeError(
                f"gradients of {operation.name} do not add up: a Tensor, and IndexedSlices without dense_shape"
            )
        return AddN()(*(whole(term) for term in terms))
    if method == AggregationMethod.ADD_N:
        return _sum_by_device(tensors, graph)
    return _running_sum(tensors, operation, graph)


def _sum_by_device(terms: list[Tensor], graph: Graph) -> Tensor:
    """Partial sums on each device, next to its first term, then the sum of these."""
    by_device: dict[str, list[Tensor]] = {}
    for term in terms:
        by_device.setdefault(term.op.device, []).append(term)
    sums = []
    for device in sorted(by_device):
        group = by_device[device]
        # Only next to the term: an outer colocation may be with an operation on another device.
        with graph.colocate_with(group[0].op, ignore_existing=True):
            sums.append(group[0] if len(group) == 1 else add_all(group))
    return sums[0] if len(sums) == 1 else add_all(sums)


def _running_sum(terms: list[Tensor], operation: Operation, graph: Graph) -> Tensor:
    with graph.name_scope(f"{operation.name}_gradient_sum"):
        total = terms[0]
        for term in terms[1:]:
            total = add_all([total, term])
    return total


def _joined(slices: list[IndexedSlices]) -> IndexedSlices:
    """All rows of all terms, one after the other; rows that occur twice stay two, which means their sum."""
    slices = [flat(term) for term in slices]
    indices = [term.indices for term in slices]
    if any(index.dtype is not indices[0].dtype for index in indices):
        indices = [cast(index, int64) for index in indices]
    return IndexedSlices(concat([term.values for term in slices], 0), concat(indices, 0), slices[0].dense_shape)
