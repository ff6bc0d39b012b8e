"""scalars: arithmetic of single numbers becomes regions, in which it is done with NumPy's scalars.

A ufunc on arrays of one element takes four times as long as an operator on scalars, which gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...graph import shapes
from ..kernels import Backend
from ..stages.partition import Item, Partition, Region, RunNode
from ..stages.program import Node, Program
from .order import has_effect
from .region import region_of, taken_by, taken_from_outside

#: Fewer operations would not earn the call, and the way of their inputs and results out of arrays and back.
FEWEST = 4
#: One function gets no longer than that.
LONGEST = 4000
#: What needs a number of a region may have to wait for the region's end, if it has no larger results.
LATE_BYTES = 1 << 12


def fuse_scalars(program: Program, part: Partition, backend: Backend) -> Partition:
    """The partition with regions in the place of arithmetic of single numbers, between any two effects."""
    nodes = program.nodes
    fits = {item.node for item in part.items if isinstance(item, RunNode) and _fits(program, nodes[item.node], backend)}
    if len(fits) < FEWEST:
        return part
    items: list[Item | _Numbers] = []
    group = _Numbers(program)
    for item in part.items:
        if not isinstance(item, Region) and not (
            isinstance(item, RunNode) and not has_effect(nodes[item.node].definition)
        ):
            items += [*group.in_order(), item]
            group = _Numbers(program)
        elif not group.takes(item, fits):
            items += group.in_order()
            group = _Numbers(program)
            group.takes(item, fits)
    items += group.in_order()
    needed = set(part.fetches.values())
    for each in items:
        needed |= (
            taken_from_outside(program, each.members) if isinstance(each, _Numbers) else {*taken_by(program, each)}
        )
    return replace(
        part,
        items=[
            region_of(program, [*each.members], {}, True, needed) if isinstance(each, _Numbers) else each
            for each in items
        ],
    )


def _fits(program: Program, node: Node, backend: Backend) -> bool:
    if len(node.specs) != 1 or node.specs[0].dims != () or not node.inputs or node.definition.stateful:
        return False
    inputs = tuple([program.spec(ref) for ref in node.inputs])
    if any(spec.dims != () for spec in inputs):
        return False
    kernel = backend.kernel(node.definition, inputs, node.specs)
    return kernel is not None and kernel.scalar is not None


@dataclass(slots=True, eq=False)
class _Numbers:
    """A region in the making: its members, and what was met since the first of them, before and after it."""

    program: Program
    members: dict[int, None] = field(default_factory=dict)
    before: list[Item] = field(default_factory=list)
    late: list[Item] = field(default_factory=list)
    #: All of these as they came.
    met: list[Item] = field(default_factory=list)
    #: The nodes that need a value of the region.
    after: set[int] = field(default_factory=set)

    def takes(self, item: Item, fits: set[int]) -> bool:
        """Put an item into the region, before or after it; False where the region must end before it."""
        sources = {ref.node for ref in taken_by(self.program, item)}
        unrelated = self.after.isdisjoint(sources)
        if isinstance(item, RunNode) and item.node in fits and unrelated:
            if len(self.members) == LONGEST:
                return False
            self.members[item.node] = None
        elif unrelated and self.members.keys().isdisjoint(sources):
            self.before.append(item)
        elif isinstance(item, RunNode) and item.node not in fits and self._is_small(item.node):
            self.late.append(item)
            self.after.add(item.node)
        else:
            return False
        self.met.append(item)
        return True

    def _is_small(self, position: int) -> bool:
        sizes = [(shapes.count(spec.dims), spec.dtype.size) for spec in self.program.nodes[position].specs]
        return all(count is not None and count * size <= LATE_BYTES for count, size in sizes)

    def in_order(self) -> Sequence[Item | _Numbers]:
        """What was met, with the region in its place if it has enough members."""
        return self.met if len(self.members) < FEWEST else [*self.before, self, *self.late]
