"""Regions: how the nodes that go together become one item of a partition, whose results are what others need of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from types import MappingProxyType

from ..stages.fused import Fused, Part
from ..stages.partition import Item, Region, RunNode, SendValue
from ..stages.program import Program, Ref


def taken_by(program: Program, item: Item) -> tuple[Ref, ...]:
    """The values that an item takes."""
    if isinstance(item, RunNode):
        return program.nodes[item.node].inputs
    if isinstance(item, Region):
        return item.inputs
    return (item.ref,) if isinstance(item, SendValue) else ()


def taken_from_outside(program: Program, positions: Iterable[int]) -> set[Ref]:
    """The values that nodes take which none of them makes."""
    own = {*positions}
    return {ref for position in own for ref in program.nodes[position].inputs if ref.node not in own}


def region_of(
    program: Program, members: Sequence[int], passing: Mapping[int, int], flat: bool, needed: set[Ref],
    views: Mapping[int, int] = MappingProxyType({}), rows: bool = False, cut: Container[Ref] = (),
) -> Region:  # fmt: skip
    """The members, in order, as one item. `passing`: identities, each with the member whose value it passes on.

    `views`: what gives the value of a member another shape, which makes no difference inside. `cut`: inputs whose rows may lie
    apart.
    """
    own = {position: number for number, position in enumerate(members)}
    own |= {position: own[member] for position, member in (*passing.items(), *views.items())}
    taken = [ref for position in members for ref in program.nodes[position].inputs if ref.node not in own]
    inputs = {ref: number for number, ref in enumerate(dict.fromkeys(taken))}
    parts = []
    for position in members:
        node = program.nodes[position]
        numbers = tuple(len(inputs) + own[ref.node] if ref.node in own else inputs[ref] for ref in node.inputs)
        parts.append(Part(node.name, node.definition, numbers, node.specs[0]))
    values: dict[int, list[Ref]] = {}
    for position, number in own.items():
        if Ref(position, 0) in needed and position not in views:
            values.setdefault(number, []).append(Ref(position, 0))
    if not values:  # somebody only waits for it
        values[len(parts) - 1] = [Ref(members[-1], 0)]
    results = tuple(sorted(values))
    apart = tuple(number for ref, number in inputs.items() if ref in cut)
    definition = Fused(tuple(parts), results, flat, rows, apart)
    return Region(definition, tuple(inputs), tuple(tuple(values[result]) for result in results))
