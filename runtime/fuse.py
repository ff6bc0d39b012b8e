"""fuse: elementwise operations on big values, which run better block by block, become regions: one item of a partition each.

So do operations on single numbers (`fuse_scalars.py`) and convolutions with what follows them (`fuse_convolutions.py`).

A value that only its own region needs is never in memory as a whole. Between two effects (writes, random numbers, sends and
receives) nothing sees when a value is computed, so there operations come in any order in which each follows its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..graph import shapes
from ..graph.ops.constant import Const
from ..graph.ops.identity import Identity, StopGradient
from ..graph.shapes import Dims
from .backends.kernels import Backend, CompilingBackend
from .fuse_compiled import fuse_compiled
from .fuse_convolutions import fuse_convolutions
from .fuse_scalars import fuse_scalars, has_effect
from .fused import rows_of_block
from .lower import is_row_major
from .partition import Item, Partition, Region, RunNode
from .program import Feed, Node, Program, Ref
from .region_order import in_order, needed_outside
from .regions import region_of

#: Values of fewer elements stay in the cache from one operation to the next anyway. See docs/decisions/0016.
SMALLEST = 1 << 17
#: How many elements the operations of a region compute at least: less work is done before another thread has woken up.
LEAST_WORK = 1 << 20
#: More operations in a region would need more blocks at once than the cache has room for.
LONGEST = 100
#: What these give is in memory all the time, whether a region waits for it or not.
_HELD = (Feed, Const)
#: A region waits for so many big values that are made after its first operation could have run: meanwhile it holds on to
#: all that it takes, and the terms of a long sum, say, are better added as they come.
LATEST = 1


def fuse(program: Program, part: Partition, backend: Backend) -> Partition:
    """The partition with regions in the place of the operations that go together."""
    part = fuse_convolutions(program, part, backend)
    if isinstance(backend, CompilingBackend):
        part = fuse_compiled(program, part, backend)
    return fuse_scalars(program, _fuse_blocks(program, part, backend), backend)


def _fuse_blocks(program: Program, part: Partition, backend: Backend) -> Partition:
    nodes = program.nodes
    fits: dict[int, bool] = {}
    for item in part.items:
        if isinstance(item, RunNode) and (flat := _fits(program, nodes[item.node], backend)) is not None:
            fits[item.node] = flat
    if not fits:
        return part
    items: list[Item | _Group] = []
    segment: list[int] = []
    for item in part.items:
        if isinstance(item, RunNode) and not has_effect(nodes[item.node].definition):
            segment.append(item.node)
        else:
            items += [*_regrouped(program, segment, fits), item]
            segment = []
    items += _regrouped(program, segment, fits)
    needed = needed_outside(program, items) | set(part.fetches.values())
    return replace(
        part, items=[_region(program, item, fits, needed) if isinstance(item, _Group) else item for item in items]
    )


def _fits(program: Program, node: Node, backend: Backend) -> bool | None:
    """Whether all inputs of a node are flat (see Fused); None for one that cannot be in a region."""
    spec = node.specs[0] if len(node.specs) == 1 and node.inputs and not node.definition.stateful else None
    count = None if spec is None else shapes.count(spec.dims)
    if spec is None or spec.dims == () or count is None or count < SMALLEST or spec.dtype.np.hasobject:
        return None
    inputs = tuple([program.spec(ref) for ref in node.inputs])
    kernel = (
        backend.kernel(node.definition, inputs, node.specs) if all(shapes.is_full(i.dims) for i in inputs) else None
    )
    if kernel is None or not kernel.elementwise:
        return None
    rows = [is_row_major(program, ref) for ref in node.inputs]
    if all(each.dims == () or (row and each.dims == spec.dims) for each, row in zip(inputs, rows, strict=True)):
        return True
    return False if (kernel.exact or kernel.strided or all(rows)) and rows_of_block(spec.dims, 1) else None


@dataclass(slots=True, eq=False)
class _Group:
    """A region in the making: its members in order, and the identities that pass on the value of one of them."""

    dims: Dims
    members: list[int] = field(default_factory=list)
    passing: dict[int, int] = field(default_factory=dict)
    #: Big values that others have made since the first member could run, and those of them that members take.
    news: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)

    def has_room(self, dims: Dims, sources: Sequence[int]) -> bool:
        """Whether an operation of that shape on the values of these nodes may still join."""
        late = self.late.union(self.news.intersection(sources))
        return self.dims == dims and len(self.members) < LONGEST and len(late) <= LATEST


def _regrouped(program: Program, segment: Sequence[int], fits: dict[int, bool]) -> list[Item | _Group]:
    """Nodes without effects, in groups where they go together."""
    groups: dict[int, _Group] = {}
    group = _Group(None)
    after: set[int] = set()  # what needs a value of the group, without being in it
    for position in segment:
        node = program.nodes[position]
        sources = [ref.node for ref in node.inputs]
        if isinstance(node.definition, (Identity, StopGradient)) and groups.get(sources[0]) is group:
            group.passing[position] = group.passing.get(sources[0], sources[0])
            groups[position] = group
        elif position in fits:
            dims = node.specs[0].dims
            if not group.has_room(dims, sources) or not after.isdisjoint(sources):
                group, after = _Group(dims), set()
            group.members.append(position)
            group.late |= group.news.intersection(sources)
            groups[position] = group
        else:
            if any(groups.get(source) is group or source in after for source in sources):
                after.add(position)
            if not isinstance(node.definition, _HELD) and any(spec.dims == group.dims for spec in node.specs):
                group.news.add(position)
    return in_order(program, segment, {each: group for each, group in groups.items() if _is_worth_it(group)})


def _is_worth_it(group: _Group) -> bool:
    return len(group.members) * (shapes.count(group.dims) or 0) >= LEAST_WORK


def _region(program: Program, group: _Group, fits: dict[int, bool], needed: set[Ref]) -> Region:
    flat = all(fits[position] for position in group.members)
    return region_of(program, group.members, group.passing, flat, needed)
