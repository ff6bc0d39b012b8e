"""Adding up the gradients that reach a tensor on several paths."""

from __future__ import annotations

from typing import Any

from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Graph, Operation, Tensor
from ..graph.ops.arithmetic import AddN, add_n

#: What flows backward.
Gradient = Tensor | IndexedSlices


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
    graph = operation.graph
    dense = [term for term in terms if isinstance(term, Tensor)]
    if len(dense) < len(terms):
        return add_n(terms)
    if method == AggregationMethod.ADD_N:
        return _sum_by_device(dense, graph)
    return _running_sum(dense, operation, graph)


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
            sums.append(group[0] if len(group) == 1 else AddN()(*group))
    return sums[0] if len(sums) == 1 else AddN()(*sums)


def _running_sum(terms: list[Tensor], operation: Operation, graph: Graph) -> Tensor:
    with graph.name_scope(f"{operation.name}_gradient_sum"):
        total = terms[0]
        for term in terms[1:]:
            total = AddN()(total, term)
    return total
