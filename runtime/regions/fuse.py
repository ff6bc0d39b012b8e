"""fuse: elementwise operations on big values, which run better block by block, become regions: one item of a partition each.

So do operations on single numbers (`scalars.py`) and convolutions with what follows them (`convolutions.py`). What
is made of each row of big values, sums and extrema, and the arithmetic of these, is part of a region too, whose blocks are
whole rows then (`rows.py`).

A value that only its own region needs is never in memory as a whole. Between two effects (writes, random numbers, sends and
receives) nothing sees when a value is computed, so there operations come in any order in which each follows its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...graph import shapes
from ...graph.ops.constant import Const
from ...graph.ops.identity import Identity, StopGradient
from ...graph.shapes import Dims
from ..kernels import Backend, CompilingBackend
from ..stages.fused import can_be_rows, rows_of_block
from ..stages.lower import is_row_major
from ..stages.partition import Item, Partition, RunNode
from ..stages.program import Feed, Node, Program, Ref
from .compiled import fuse_compiled
from .convolutions import fuse_convolutions
from .order import in_order, in_segments, needed_outside
from .region import region_of
from .rows import Fit, fits_rows, of_columns, reduction
from .scalars import fuse_scalars

#: Values of fewer elements stay in the cache from one operation to the next anyway. See docs/decisions/0016.
SMALLEST = 1 << 17
#: How many elements the operations of a region compute at least: less work is done before another thread has woken up.
LEAST_WORK = 1 << 20
#: Blocks of whole rows have more and shorter calls, and pay where values are in no cache. See docs/decisions/0026.
SMALLEST_IN_ROWS = 1 << 21
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
    fits: dict[int, Fit] = {}
    for item in part.items:
        if isinstance(item, RunNode) and (fit := _fits(program, nodes[item.node], backend)) is not None:
            fits[item.node] = fit
    if not fits:
        return part
    items = in_segments(program, part.items, lambda segment: _regrouped(program, segment, fits, backend))
    needed = needed_outside(program, items) | set(part.fetches.values())
    found: list[Item] = []
    for each in items:
        found += _region(program, each, needed) if isinstance(each, _Group) else [each]
    return replace(part, items=found)


def _fits(program: Program, node: Node, backend: Backend) -> Fit | None:
    """How a node may be in a region of big values; None where it cannot be."""
    spec = node.specs[0] if len(node.specs) == 1 and node.inputs and not node.definition.stateful else None
    if spec is None or spec.dims == () or spec.dtype.np.hasobject:
        return None
    first = program.spec(node.inputs[0])
    if max(shapes.count(spec.dims) or 0, shapes.count(first.dims) or 0) < SMALLEST:
        return None
    inputs = tuple([program.spec(ref) for ref in node.inputs])
    kernel = (
        backend.kernel(node.definition, inputs, node.specs) if all(shapes.is_full(i.dims) for i in inputs) else None
    )
    if kernel is None:
        return None
    if kernel.in_rows is not None:
        return reduction(program, node) if (shapes.count(first.dims) or 0) >= SMALLEST_IN_ROWS else None
    if not kernel.elementwise or (shapes.count(spec.dims) or 0) < SMALLEST:
        return None
    major = [is_row_major(program, ref) for ref in node.inputs]
    flat = all(each.dims == () or (row and each.dims == spec.dims) for each, row in zip(inputs, major, strict=True))
    rows = (shapes.count(spec.dims) or 0) >= SMALLEST_IN_ROWS and can_be_rows(spec.dims)
    rows = rows and all(major) and all(fits_rows(each.dims, spec.dims) for each in inputs)
    cut = flat or bool((kernel.exact or kernel.strided or all(major)) and rows_of_block(spec.dims, 1))
    return Fit(spec.dims, flat, cut, rows) if cut or rows else None


@dataclass(slots=True, eq=False)
class _Group:
    """A region in the making: its members in order, and the identities that pass on the value of one of them."""

    dims: Dims
    members: list[int] = field(default_factory=list)
    passing: dict[int, int] = field(default_factory=dict)
    #: Of those in `passing`, the views that give a number for each row another shape.
    views: list[int] = field(default_factory=list)
    #: How many members compute a number for each row.
    small: int = 0
    #: How blocks may be cut, for all members: anywhere, along the first axis, in whole rows.
    flat: bool = True
    cut: bool = True
    rows: bool = True
    #: Big values that others have made since the first member could run, and those of them that members take.
    news: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)

    def has_room(self, fit: Fit, sources: Sequence[int]) -> bool:
        """Whether an operation on the values of these nodes may still join."""
        late = self.late.union(self.news.intersection(sources))
        together = (self.cut and fit.cut) or (self.rows and fit.rows)
        return self.dims == fit.dims and together and len(self.members) < LONGEST and len(late) <= LATEST

    def passes(self, position: int, source: int, view: bool) -> None:
        """A node that gives the value of a member, or of one that gives it, in the same shape or, a view, in another."""
        self.passing[position] = self.passing.get(source, source)
        if view:
            self.views.append(position)

    def add(self, position: int, fit: Fit, sources: Sequence[int]) -> None:
        """Let an operation join."""
        self.members.append(position)
        self.late |= self.news.intersection(sources)
        self.flat, self.cut, self.rows = self.flat and fit.flat, self.cut and fit.cut, self.rows and fit.rows


def _regrouped(program: Program, segment: Sequence[int], fits: dict[int, Fit], backend: Backend) -> list[Item | _Group]:
    """Nodes without effects, in groups where they go together."""
    groups: dict[int, _Group] = {}
    group = _Group(None)
    after: set[int] = set()  # what needs a value of the group, without being in it
    for position in segment:
        node = program.nodes[position]
        sources = [ref.node for ref in node.inputs]
        if isinstance(node.definition, (Identity, StopGradient)) and groups.get(sources[0]) is group:
            group.passes(position, sources[0], sources[0] in group.views)
            groups[position] = group
        elif column := _of_columns(program, group, position, groups, after, backend):
            if column == "view":
                group.passes(position, sources[0], True)
            else:
                group.add(position, Fit(group.dims, False, False, True), sources)
                group.small += 1
            groups[position] = group
        elif position in fits:
            fit = fits[position]
            if not group.has_room(fit, sources) or not after.isdisjoint(sources):
                group, after = _Group(fit.dims), set()
            group.add(position, fit, sources)
            groups[position] = group
        else:
            if any(groups.get(source) is group or source in after for source in sources):
                after.add(position)
            if not isinstance(node.definition, _HELD) and any(spec.dims == group.dims for spec in node.specs):
                group.news.add(position)
    return in_order(program, segment, {each: group for each, group in groups.items() if _is_worth_it(group)})


def _of_columns(
    program: Program, group: _Group, position: int, groups: dict[int, _Group], after: set[int], backend: Backend
) -> str | None:
    """What a node does with numbers that a group makes of each row, so that it joins: see `of_columns`."""
    if not group.rows or len(group.members) >= LONGEST:
        return None
    node = program.nodes[position]
    own = [ref.node for ref in node.inputs if groups.get(ref.node) is group]
    if not own or any(ref.node in after for ref in node.inputs):
        return None
    return of_columns(program, node, group.dims, own, backend)


def _is_worth_it(group: _Group) -> bool:
    return (len(group.members) - group.small) * (shapes.count(group.dims) or 0) >= LEAST_WORK


def _region(program: Program, group: _Group, needed: set[Ref]) -> list[Item]:
    """The region of a group, and after it those of its views that something else needs."""
    views = []
    for position in reversed(group.views):
        if Ref(position, 0) in needed:
            needed.add(program.nodes[position].inputs[0])
            views.append(RunNode(position))
    passing = {position: member for position, member in group.passing.items() if position not in group.views}
    shown = {position: member for position, member in group.passing.items() if position in group.views}
    region = region_of(program, group.members, passing, group.flat, needed, shown, not group.cut)
    return [region, *reversed(views)]
