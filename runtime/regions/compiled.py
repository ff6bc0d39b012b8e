"""compiled: elementwise operations that a backend compiles become regions, however small their values are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...graph import shapes
from ...graph.ops.identity import Identity, StopGradient
from ...graph.shapes import Dims
from ..kernels import CompilingBackend
from ..stages.lower import is_cut, is_row_major
from ..stages.partition import Item, Partition, Region, RunNode
from ..stages.program import Program, Ref
from .order import in_order, in_segments, needed_outside
from .region import region_of, taken_from_outside

#: Fewer operations run as well by themselves, but for one with an input that is a row or a column, on so many elements:
#: NumPy goes through these row by row, or through a buffer.
FEWEST = 2
ALONE = 1 << 12
#: Or on so many elements, which threads share.
SHARED = 1 << 16
#: A function gets no longer than that, for compilers take their time.
LONGEST = 60
#: Big values that are made after a region's first operation could have run, and that it waits for, are at most so many:
#: meanwhile it holds on to all that it takes. Values of so many elements are big.
LATEST, BIG = 1, 1 << 17


def fuse_compiled(program: Program, part: Partition, backend: CompilingBackend) -> Partition:
    """The partition with regions in the place of the operations that are compiled together."""
    fits = {
        item.node: found
        for item in part.items
        if isinstance(item, RunNode) and (found := _layouts(program, item.node, backend))
    }
    items = in_segments(program, part.items, lambda segment: _regrouped(program, segment, fits))
    needed = needed_outside(program, items) | set(part.fetches.values())
    return replace(part, items=[_region(program, item, needed) if isinstance(item, _Group) else item for item in items])


def _layouts(program: Program, position: int, backend: CompilingBackend) -> frozenset[int]:
    """The layouts in which a node can be compiled; none for one that cannot be, or is a single number."""
    node = program.nodes[position]
    spec = node.specs[0] if len(node.specs) == 1 and node.inputs and not node.definition.stateful else None
    if spec is None or not shapes.is_full(spec.dims) or (shapes.count(spec.dims) or 0) < 2:
        return frozenset()
    inputs = tuple([program.spec(ref) for ref in node.inputs])
    if not all(shapes.is_full(each.dims) for each in inputs):
        return frozenset()
    found = backend.layouts(node.definition, inputs, spec)
    for each, ref in zip(inputs, node.inputs, strict=True):
        if each.dims != () and not is_row_major(program, ref):
            in_rows = each.dims == spec.dims and is_cut(program, ref)
            found = found & {len(each.dims or ()) - 1} if in_rows else frozenset()
    return found


@dataclass(slots=True, eq=False)
class _Group:
    """A region in the making: its members in order, and the identities that pass on the value of one of them."""

    dims: Dims
    layouts: frozenset[int] = frozenset()
    members: list[int] = field(default_factory=list)
    passing: dict[int, int] = field(default_factory=dict)
    #: Big values that others have made since the first member could run, and those of them that members take.
    news: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)

    def has_room(self, dims: Dims, layouts: frozenset[int], sources: Sequence[int]) -> bool:
        """Whether an operation of that shape on the values of these nodes may still join."""
        late = self.late.union(self.news.intersection(sources))
        room = self.dims == dims and len(self.members) < LONGEST and len(late) <= LATEST
        return room and not self.layouts.isdisjoint(layouts)

    def add(self, position: int, layouts: frozenset[int], sources: Sequence[int]) -> None:
        """A member more."""
        self.layouts = self.layouts & layouts if self.members else layouts
        self.members.append(position)
        self.late |= self.news.intersection(sources)


def _regrouped(program: Program, segment: Sequence[int], fits: dict[int, frozenset[int]]) -> list[Item | _Group]:
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
            if not group.has_room(dims, fits[position], sources) or not after.isdisjoint(sources):
                group, after = _Group(dims), set()
            group.add(position, fits[position], sources)
            groups[position] = group
        else:
            if any(groups.get(source) is group or source in after for source in sources):
                after.add(position)
            if any(spec.dims == group.dims and (shapes.count(spec.dims) or 0) >= BIG for spec in node.specs):
                group.news.add(position)
    kept = {each: group for each, group in groups.items() if _is_worth_it(group)}
    return in_order(program, segment, kept)


def _is_worth_it(group: _Group) -> bool:
    fewest = SHARED if 0 in group.layouts else ALONE
    return len(group.members) >= (1 if (shapes.count(group.dims) or 0) >= fewest else FEWEST)


def _region(program: Program, group: _Group, needed: set[Ref]) -> Region:
    cut = {ref for ref in taken_from_outside(program, group.members) if is_cut(program, ref)}
    return region_of(program, group.members, group.passing, 0 in group.layouts, needed, cut=cut)
