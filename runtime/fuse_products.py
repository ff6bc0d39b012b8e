"""fuse_products: a big matrix product and what is added to it or done with its elements become one region.

A product is computed in blocks over threads (`graph/ops/product_blocks.py`). What follows is done to each block while it is in
the cache of the core that computed it, by as many threads. The product is the first part of the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..graph import shapes
from ..graph.ops.constant import Const
from ..graph.ops.linalg import MatMul
from ..graph.ops.product_blocks import block_sides
from .backends.kernels import Backend
from .fuse_scalars import has_effect
from .lower import is_row_major
from .partition import Item, Partition, RunNode
from .program import Node, Program, Ref
from .regions import region_of, taken_by

#: So many operations after a product may be done with it, and so many instructions are looked at for them.
MOST, WINDOW = 8, 24


def fuse_products(program: Program, part: Partition, backend: Backend) -> Partition:
    """The partition with regions in the place of big products that something elementwise follows."""
    if not any(isinstance(item, RunNode) and is_big_product(program, program.nodes[item.node]) for item in part.items):
        return part
    search = _Search(program, part.items, backend)
    groups = {at: group for at in range(len(part.items)) if len((group := search.group(at)).members) > 1}
    gone = {each for group in groups.values() for each in (*group.items, *group.early)}
    items: list[Item] = []
    for at, item in enumerate(part.items):
        if at in groups:
            items += [part.items[early] for early in groups[at].early]
            needed = search.needed(groups[at]) | set(part.fetches.values())
            items.append(region_of(program, groups[at].members, {}, {}, False, False, needed))
        elif at not in gone:
            items.append(item)
    return replace(part, items=items)


def is_big_product(program: Program, node: Node) -> bool:
    """Whether it is a product of two row-major matrices of floats that is computed in blocks."""
    if not isinstance(node.definition, MatMul) or node.inputs[0] == node.inputs[1]:
        return False
    dtype, dims = node.specs[0].dtype, [program.spec(ref).dims for ref in node.inputs]
    if not dtype.is_floating or dtype.size == 2 or any(each is None or len(each) != 2 for each in dims):
        return False
    a, b = ([side or 0 for side in each or ()] for each in dims)
    sides = a[:: -1 if node.definition.transpose_a else 1] + b[:: -1 if node.definition.transpose_b else 1]
    return block_sides(sides) != sides and all(is_row_major(program, ref) for ref in node.inputs)


@dataclass(slots=True)
class _Group:
    """A product and what follows it: nodes, the items that they are, and those of constants that must come before."""

    members: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    early: list[int] = field(default_factory=list)


class _Search:
    """Looks among the items of a partition for what can be done with each product; nothing is in two groups."""

    def __init__(self, program: Program, items: Sequence[Item], backend: Backend) -> None:
        self.program, self.items, self.backend = program, items, backend
        self.made = {item.node: at for at, item in enumerate(items) if isinstance(item, RunNode)}
        self.taken: set[int] = set()
        self.users: dict[Ref, set[int]] = {}
        for at, item in enumerate(items):
            for ref in taken_by(program, item):
                self.users.setdefault(ref, set()).add(at)

    def group(self, at: int) -> _Group:
        """What can be done with the product that is item number `at`; an empty group where it is none."""
        first, group = self.items[at], _Group()
        if not isinstance(first, RunNode) or not is_big_product(self.program, self.program.nodes[first.node]):
            return group
        group.members.append(first.node)
        group.items.append(at)
        for later in range(at + 1, min(at + WINDOW, len(self.items))):
            item = self.items[later]
            if not isinstance(item, RunNode) or len(group.members) > MOST:
                break
            if has_effect(self.program.nodes[item.node].definition):
                break
            if later not in self.taken and self._joins(group, at, item.node):
                group.members.append(item.node)
                group.items.append(later)
        if len(group.members) > 1:
            self.taken.update(group.items)
            self.taken.update(group.early)
        return group

    def _joins(self, group: _Group, at: int, position: int) -> bool:
        """Whether a node is elementwise arithmetic of the product, and what else it takes is there before that."""
        program, node = self.program, self.program.nodes[position]
        product = program.nodes[group.members[0]]
        if len(node.specs) != 1 or node.specs[0].dims != product.specs[0].dims or node.definition.stateful:
            return False
        if not any(ref.node in group.members for ref in node.inputs):
            return False
        others = [ref for ref in node.inputs if ref.node not in group.members]
        early = [self.made[ref.node] for ref in others if self._is_late_constant(ref, at)]
        if any(self.made.get(ref.node, -1) > at and self.made[ref.node] not in early for ref in others):
            return False
        if any(ref in product.inputs or not self._fits(ref, product) for ref in others):
            return False
        inputs = tuple([program.spec(ref) for ref in node.inputs])
        kernel = self.backend.kernel(node.definition, inputs, node.specs)
        if kernel is None or not kernel.elementwise or not kernel.takes_out or node.specs[0].dtype.size == 2:
            return False
        group.early += [each for each in early if each not in self.taken and each not in group.early]
        return True

    def _is_late_constant(self, ref: Ref, at: int) -> bool:
        return isinstance(self.program.nodes[ref.node].definition, Const) and self.made.get(ref.node, -1) > at

    def _fits(self, ref: Ref, product: Node) -> bool:
        """Whether blocks can be cut of an input: a number, a row, or as much as the product."""
        dims = self.program.spec(ref).dims
        whole = product.specs[0].dims or ()
        return shapes.is_full(dims) and dims in ((), whole[-1:], whole) and is_row_major(self.program, ref)

    def needed(self, group: _Group) -> set[Ref]:
        """The values of a group that something else takes."""
        own = set(group.items)
        refs = [Ref(position, 0) for position in group.members]
        return {ref for ref in refs if not self.users.get(ref, set()) <= own}
