"""Which operations lie between xs and ys, found without walking much else."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from typing import NamedTuple

from ..graph.ir import Operation, Tensor


class Between(NamedTuple):
    """What to differentiate. Each operation with how many input slots of these operations it feeds, as far as gradients
    flow through them: one table for both, since in a large graph each takes much memory.
    """

    #: The operations on a path of trainable tensors from an x to a y.
    operations: dict[Operation, int]
    #: The operations that make an x, and are not on such a path themselves.
    sources: dict[Operation, int]
    #: How many edges of the graph were looked at to find this.
    visited: int


_NONE: Mapping[Tensor, Tensor] = {}


def between(
    xs: Collection[Tensor],
    ys: Collection[Tensor],
    any_type: bool = False,
    repeats: Mapping[Tensor, Tensor] = _NONE,
) -> Between:
    """The operations between `xs` and `ys`; with `any_type` also on paths through integers and the like.

    A tensor in `repeats` counts as the one that it repeats; ys are none of them.

    Two searches take turns, forward from the xs and backward from the ys, and stop as soon as one of them has seen all it
    can: so the work is within a factor of two of the cheaper direction. Operations have increasing ids in the order they
    were made, so neither direction goes past the other end.
    """
    starts, ends = (
        {x for x in xs if any_type or x.dtype.is_trainable},
        [y for y in ys if any_type or y.dtype.is_trainable],
    )
    if not starts or not ends:
        return Between({}, {}, 0)
    after: set[Operation] = set()
    before: set[Operation] = set()
    copies = [copy for copy, original in repeats.items() if original in starts] if repeats else []
    forward = _forward([*starts, *copies], max(y.op.id for y in ends), after, any_type)
    backward = _backward(ends, min(x.op.id for x in starts), before, any_type, repeats)
    visited = 0
    while True:
        if next(forward, 0) == 0:
            backward.close()
            before.clear()  # what is not used any more makes room for what is found
            found = _those_leading_to(ends, starts, after, any_type, repeats)
            break
        if next(backward, 0) == 0:
            forward.close()
            after.clear()
            found = _those_depending_on(starts, before, any_type, repeats)
            break
        visited += 2
    return found._replace(visited=found.visited + visited)


def _forward(xs: Collection[Tensor], last: int, found: set[Operation], any_type: bool) -> Generator[int]:
    """Add to `found` what depends on xs, up to the operation with id `last`; one step an edge."""
    waiting = list(xs)
    while waiting:
        users = waiting.pop()._consumers
        for operation in users if isinstance(users, list) else () if users is None else (users,):
            yield 1
            if operation.id > last:
                break  # consumers stand in the order they were made
            if operation not in found:
                found.add(operation)
                waiting += [tensor for tensor in operation.outputs if any_type or tensor.dtype.is_trainable]


def _backward(
    ys: Collection[Tensor], first: int, found: set[Operation], any_type: bool, repeats: Mapping[Tensor, Tensor]
) -> Generator[int]:
    """Add to `found` what ys depend on, down to the operation with id `first`; one step an edge."""
    waiting = [y.op for y in ys]
    found.update(waiting)
    while waiting:
        for tensor in waiting.pop().inputs:
            yield 1
            operation = (repeats.get(tensor, tensor) if repeats else tensor).op
            if operation.id >= first and operation not in found and (any_type or tensor.dtype.is_trainable):
                found.add(operation)
                waiting.append(operation)


def _those_leading_to(
    ys: Collection[Tensor],
    xs: Collection[Tensor],
    candidates: set[Operation],
    any_type: bool,
    repeats: Mapping[Tensor, Tensor],
) -> Between:
    """The candidates (all that depend on an x) from which a path leads to a y."""
    waiting = list({y.op for y in ys} & candidates)
    found = dict.fromkeys(waiting, 0)
    sources: dict[Operation, int] = {}
    visited = 0
    while waiting:
        for tensor in waiting.pop().inputs:
            visited += 1
            if not (any_type or tensor.dtype.is_trainable):
                continue
            if repeats:
                tensor = repeats.get(tensor, tensor)
            operation = tensor.op
            if operation in candidates:
                count = found.get(operation)
                if count is None:
                    waiting.append(operation)
                found[operation] = (count or 0) + 1
            elif tensor in xs:
                sources[operation] = sources.get(operation, 0) + 1
    return Between(found, sources, visited)


def _those_depending_on(
    xs: Collection[Tensor], candidates: set[Operation], any_type: bool, repeats: Mapping[Tensor, Tensor]
) -> Between:
    """The candidates (all that lead to a y) to which a path leads from an x."""
    found: dict[Operation, int] = {}
    sources: dict[Operation, int] = {}
    visited = 0
    for operation in sorted(candidates, key=lambda operation: operation.id):
        for tensor in operation.inputs:
            visited += 1
            if not (any_type or tensor.dtype.is_trainable):
                continue
            if repeats:
                tensor = repeats.get(tensor, tensor)
            if tensor.op in found:
                found[tensor.op] += 1
            elif tensor in xs:
                sources[tensor.op] = sources.get(tensor.op, 0) + 1
            else:
                continue
            found.setdefault(operation, 0)
    return Between(found, sources, visited)
