"""The order in which groups of nodes and the nodes between them run, and what others need of a group."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ...graph.opdef import OpDef
from ...graph.ops.identity import NoOp
from ...graph.ops.variables import VarHandleOp
from ..stages.partition import Item, RunNode
from ..stages.program import Program, Ref
from .region import taken_by, taken_from_outside


class Group(Protocol):
    """Nodes that become a region: its members in order, and the identities that pass on the value of one of them."""

    @property
    def members(self) -> Sequence[int]: ...
    @property
    def passing(self) -> Mapping[int, int]: ...


G = TypeVar("G", bound=Group)


def has_effect(definition: OpDef) -> bool:
    """Whether it matters when it runs: a read must only stay between the writes around it."""
    return definition.stateful and definition.access != "read" and not isinstance(definition, (NoOp, VarHandleOp))


def in_segments(
    program: Program, items: Sequence[Item], regrouped: Callable[[Sequence[int]], list[Item | G]]
) -> list[Item | G]:
    """The items, with `regrouped` of all nodes between two effects in the place of these."""
    found: list[Item | G] = []
    segment: list[int] = []
    for item in items:
        if isinstance(item, RunNode) and not has_effect(program.nodes[item.node].definition):
            segment.append(item.node)
        else:
            found += [*regrouped(segment), item]
            segment = []
    return found + regrouped(segment)


def in_order(program: Program, segment: Sequence[int], groups: dict[int, G]) -> list[Item | G]:
    """Each group at once, after all that its members need, and else in the order in which things are."""
    if not groups:
        return [RunNode(position) for position in segment]
    heads = {position: groups[position].members[0] if position in groups else position for position in segment}
    before: dict[int, set[int]] = {head: set() for head in heads.values()}
    after: dict[int, list[int]] = {head: [] for head in before}
    for position, head in heads.items():
        before[head].update(
            heads[ref.node] for ref in program.nodes[position].inputs if heads.get(ref.node, head) != head
        )
    for head, others in before.items():
        for other in others:
            after[other].append(head)
    left = {head: len(others) for head, others in before.items()}
    rank = {position: number for number, position in enumerate(segment)}
    ready = [(rank[head], head) for head, count in left.items() if not count]
    heapq.heapify(ready)
    done: list[Item | G] = []
    while ready:
        _, head = heapq.heappop(ready)
        done.append(groups.get(head) or RunNode(head))
        for later in after[head]:
            left[later] -= 1
            if not left[later]:
                heapq.heappush(ready, (rank[later], later))
    return done


def needed_outside(program: Program, items: Sequence[Any]) -> set[Ref]:
    """All values that something takes which is not in the value's own group."""
    needed: set[Ref] = set()
    for item in items:
        if isinstance(item, Item):
            needed.update(taken_by(program, item))
        else:
            needed |= taken_from_outside(program, [*item.members, *item.passing])
    return needed
