"""accesses: what a program does to variables, and which two accesses to one, at least one of them a write, nothing orders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...graph.collections import GraphKeys
from ...graph.ir import Operation
from ...graph.opdef import OpDef
from ...graph.ops.variables import InitializedValue, VariableShape
from .program import Program, touched_variables

#: So many accesses are followed through the program at once, a bit each.
AT_ONCE = 4096

#: Reads that tell the same before and after the write that they could race with.
_INDIFFERENT = (InitializedValue, VariableShape)


class Access(NamedTuple):
    """What a node does to a variable: "read" or "write"."""

    variable: str
    node: int
    kind: str


def unordered(program: Program, names: Mapping[str, str]) -> Iterator[tuple[Access, Access]]:
    """The pairs of accesses to one variable, at least one a write, that nothing orders, each in the program's order.

    `names`: the variables that feeds stand for. Linear in the program for each `AT_ONCE` accesses to variables that are
    written at all, and in what is found.
    """
    accesses = _accesses(program, names)
    if accesses:
        needs = _needs(program)
        for group in _groups(accesses):
            yield from _unordered(needs, group)


def ordered_before(program: Program, changed: Program) -> list[tuple[int, int]]:
    """The accesses to one variable, at least one a write, that a program orders and one of fewer dependencies does not.

    The nodes of both are the same but for their inputs and controls.
    """
    found = []
    for group in _groups(_accesses(program, {})):
        before, now = ([*_unordered(_needs(each), group)] for each in (program, changed))
        known = set(before)
        found += [(first.node, then.node) for first, then in now if (first, then) not in known]
    return found


def _needs(program: Program) -> list[tuple[int, ...]]:
    """The nodes that each waits for."""
    return [(*[node for node, _ in each.inputs], *each.controls) for each in program.nodes]


def _accesses(program: Program, names: Mapping[str, str]) -> dict[str, list[Access]]:
    """For each variable that something writes, what touches it, in the program's order."""
    found: dict[str, list[Access]] = {}
    for position, node in enumerate(program.nodes):
        if isinstance(node.definition, _INDIFFERENT) or _is_of_hooks(node.definition, node.origin):
            continue
        for kind in ("write", "read"):
            for key in touched_variables(program, node, kind):
                variable = names.get(key, key)
                known = found.setdefault(variable, [])
                if not known or known[-1].node != position:
                    known.append(Access(variable, position, kind))
    return {
        variable: accesses
        for variable, accesses in found.items()
        if len(accesses) > 1 and any(access.kind == "write" for access in accesses)
    }


class _Part(NamedTuple):
    """Some of a variable's accesses, `start` to `end`, of which is found out what depends on them."""

    accesses: list[Access]
    start: int
    end: int


def _groups(accesses: Mapping[str, list[Access]]) -> Iterator[list[_Part]]:
    """The variables' accesses, so many together as are followed at once."""
    group: list[_Part] = []
    room = AT_ONCE
    for each in accesses.values():
        for start in range(0, len(each), AT_ONCE):
            end = min(start + AT_ONCE, len(each))
            if end - start > room:
                yield group
                group, room = [], AT_ONCE
            group.append(_Part(each, start, end))
            room -= end - start
    if group:
        yield group


class _Followed:
    """A part of a variable's accesses on the way through a program: which of them came, a bit each from `first` on."""

    __slots__ = ("all", "first", "part", "writes")

    def __init__(self, part: _Part, first: int) -> None:
        self.part, self.first = part, first
        self.all = self.writes = 0

    def unordered(self, index: int, bits: int) -> Iterator[tuple[Access, Access]]:
        """The pairs of the access of that index with earlier ones that it does not depend on: its bits say on which it does."""
        access = self.part.accesses[index]
        free = (self.all if access.kind == "write" else self.writes) & ~bits
        while free:
            bit = free.bit_length() - 1
            free ^= 1 << bit
            yield self.part.accesses[self.part.start + bit - self.first], access

    def note(self, index: int) -> int:
        """The bit of an access, which from now on is an earlier one; 0 where it is of another part."""
        if index >= self.part.end:
            return 0
        bit = 1 << (self.first + index - self.part.start)
        self.all |= bit
        if self.part.accesses[index].kind == "write":
            self.writes |= bit
        return bit


def _unordered(needs: Sequence[Sequence[int]], group: Sequence[_Part]) -> Iterator[tuple[Access, Access]]:
    """The pairs of accesses, at least one a write, of which neither depends on the other. `needs`: the nodes each waits for."""
    own: dict[int, list[tuple[_Followed, int]]] = {}
    count = 0
    for part in group:
        followed = _Followed(part, count)
        count += part.end - part.start
        for index in range(part.start, len(part.accesses)):
            own.setdefault(part.accesses[index].node, []).append((followed, index))
    start = min(own)
    before: list[int] = []  # which accesses each node depends on, or is
    for position in range(start, max(own) + 1):
        bits = 0
        for needed in needs[position]:
            if needed >= start and (more := before[needed - start]) is not bits:
                both = bits | more
                bits = more if both == more else both  # the same object where it can be: most nodes add nothing
        for followed, index in own.get(position, ()):
            yield from followed.unordered(index, bits)
            bits |= followed.note(index)
        before.append(bits)


def _is_of_hooks(definition: OpDef, operation: Operation | None) -> bool:
    """Whether it is the read of the global step that hooks fetch: they count with what it was before the step."""
    if definition.type != "ReadVariableOp" or operation is None:
        return False
    reads = operation.graph.get_collection(GraphKeys.GLOBAL_STEP_READ)
    return any(getattr(read, "op", None) is operation for read in reads)
