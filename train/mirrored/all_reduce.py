"""All-reduce as graph: the sums of the replicas' tensors on each replica, added up in the order of the replicas."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from ...graph import shapes
from ...graph.dtypes import DType, int64
from ...graph.indexed_slices import IndexedSlices
from ...graph.ir import Graph, Tensor
from ...graph.ops.arithmetic import truediv
from ...graph.ops.array import concat, split
from ...graph.ops.cast import cast
from ...graph.ops.identity import Identity
from ...graph.ops.neutral import add_all
from ...graph.ops.reshaping import reshape
from ...graph.ops.segments import flat
from ...graph.ops.slicing import slice_ as part_of
from .reduction_plan import Bucket, Item, buckets, sizes


class ReduceOp(enum.Enum):
    """How the values of replicas become one. Source: `tf.distribute.ReduceOp`."""

    SUM = "SUM"
    MEAN = "MEAN"


def checked_op(reduce_op: Any) -> ReduceOp:
    """A ReduceOp, also where its name is given. Raises ValueError for what is none."""
    if isinstance(reduce_op, ReduceOp):
        return reduce_op
    if isinstance(reduce_op, str) and reduce_op.upper() in ReduceOp.__members__:
        return ReduceOp[reduce_op.upper()]
    raise ValueError(f"expected ReduceOp.SUM or ReduceOp.MEAN, got {reduce_op!r}")


def total(reduce_op: ReduceOp, terms: Sequence[Tensor], count: int) -> Tensor:
    """The sum from the first to the last, and where it is the mean, that divided by `count`."""
    added = add_all(terms)
    return truediv(added, count) if reduce_op is ReduceOp.MEAN else added


class AllReduce:
    """Reduces tensors of which each of `devices` has one; every device then has the result.

    A vector is cut into pieces, and a piece is added up by one replica of each group, which begins with what the group before
    it came to: ((g0 + g1) + g2) + …, the order in which `add_n` on one device would. The last group's sums go round to
    the other groups, and in each to everyone. See docs/decisions/0028.
    """

    def __init__(
        self, graph: Graph, devices: Sequence[str], groups: Sequence[Sequence[int]], bucket_bytes: int, op: ReduceOp
    ) -> None:
        self._graph = graph
        self._devices = devices
        self._groups = groups
        self._bucket_bytes = bucket_bytes
        self._op = op

    def dense(self, values: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """For each value, the tensors of the replicas, which are of one type and shape: what each replica gets."""
        dims = [common_dims(each) for each in values]
        items = [_item(each[0].dtype, known) for each, known in zip(values, dims, strict=True)]
        parted = buckets(items, self._bucket_bytes, max(map(len, self._groups)))
        # All that is sent off comes before anything that waits, and each round of sums before what waits for the next.
        pieces = [self._pieces(bucket, [values[member] for member in bucket.members]) for bucket in parted]
        added = [
            [self._added(terms, at + number) for number, terms in enumerate(each)] for at, each in enumerate(pieces)
        ]
        spread = [
            [self._spread(sums, at + number) for number, sums in enumerate(each)] for at, each in enumerate(added)
        ]
        found: dict[int, list[Tensor]] = {}
        for bucket, reduced in zip(parted, spread, strict=True):
            results = self._results([dims[member] for member in bucket.members], reduced)
            found |= zip(bucket.members, results, strict=True)
        return [found[number] for number in range(len(values))]

    def _on(self, replica: int) -> AbstractContextManager[Any]:
        return self._graph.device(self._devices[replica])

    def _pieces(self, bucket: Bucket, values: list[Sequence[Tensor]]) -> list[list[Tensor]]:
        """For each piece of a bucket, what each replica has of it."""
        if not bucket.cuts:
            return [list(values[0])]
        each: list[list[Tensor]] = [[] for _ in sizes(bucket.cuts)]
        for replica in range(len(self._devices)):
            with self._on(replica):
                vectors = [reshape(value[replica], [-1]) for value in values]
                whole = vectors[0] if len(vectors) == 1 else concat(vectors, 0)
                for number, length in enumerate(sizes(bucket.cuts)):
                    cut = len(each) > 1
                    each[number].append(part_of(whole, [bucket.cuts[number]], [length]) if cut else whole)
        return each

    def _owner(self, group: Sequence[int], number: int) -> int:
        """The replica of a group that adds up what falls to that number."""
        return group[number % len(group)]

    def _added(self, terms: Sequence[Tensor], owner: int) -> list[Tensor]:
        """What the sum of the replicas' terms has come to after each group; the last is the result."""
        found: list[Tensor] = []
        for group in self._groups:
            last = group is self._groups[-1]
            with self._on(self._owner(group, owner)):
                operands = [*found[-1:], *(terms[replica] for replica in group)]
                found.append(total(self._op, operands, len(terms)) if last else add_all(operands))
        return found

    def _spread(self, sums: Sequence[Tensor], owner: int) -> dict[int, Tensor]:
        """The last of these sums, as each replica gets it."""
        reached = sums[-1]
        found = dict.fromkeys(self._groups[-1], reached)
        for group, own in zip(self._groups[:-1], sums[:-1], strict=True):
            # A relay, so that a sum goes to a host once. It waits for what was added up here long before: an identity
            # that waits for nothing is left out of a step.
            with self._on(self._owner(group, owner)), self._graph.control_dependencies([own]):
                reached = Identity()(reached)
            found |= dict.fromkeys(group, reached)
        return found

    def _results(self, dims: list[shapes.Dims], reduced: list[dict[int, Tensor]]) -> list[list[Tensor]]:
        """For each value of a bucket, what each replica gets: its part of the reduced vector in its own shape."""
        found: list[list[Tensor]] = [[] for _ in dims]
        for replica in range(len(self._devices)):
            parts = [each[replica] for each in reduced]
            with self._on(replica):
                whole = parts[0] if len(parts) == 1 else concat(parts, 0)
                for result, value in zip(found, _unpacked(whole, dims), strict=True):
                    result.append(value)
        return found

    def sparse(self, slices: Sequence[IndexedSlices]) -> list[IndexedSlices]:
        """The rows of all replicas, in their order, on each of them."""
        parts: list[IndexedSlices] = []
        mixed = len({each.indices.dtype for each in slices}) > 1
        for replica, each in enumerate(slices):
            with self._on(replica):
                rows = flat(each)
                mean = self._op is ReduceOp.MEAN
                values = truediv(rows.values, len(slices)) if mean else rows.values
                indices = cast(rows.indices, int64) if mixed else rows.indices
                parts.append(IndexedSlices(values, indices, rows.dense_shape))
        found = []
        for replica, own in enumerate(parts):
            with self._on(replica):
                values = concat([part.values for part in parts], 0)
                found.append(IndexedSlices(values, concat([part.indices for part in parts], 0), own.dense_shape))
        return found


def _item(dtype: DType, dims: shapes.Dims) -> Item:
    return Item(dtype.name, dtype.size, shapes.count(dims))


def common_dims(values: Sequence[Tensor]) -> shapes.Dims:
    """The static shape of tensors that have the same. Raises ValueError where they do not."""
    dims = values[0].dims
    for value in values[1:]:
        dims = shapes.merge(dims, value.dims)
    return dims


def _unpacked(whole: Tensor, dims: Sequence[shapes.Dims]) -> list[Tensor]:
    """A vector cut into tensors of these shapes; one of unknown size stays what it is."""
    counts = [shapes.count(each) for each in dims]
    if counts == [None]:
        return [whole]
    parts = [whole] if len(dims) == 1 else split(whole, [count or 0 for count in counts], 0)
    return [reshape(part, each) for part, each in zip(parts, dims, strict=True)]
