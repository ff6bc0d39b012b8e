"""races: pairs of accesses to one variable, at least one of them a write, that no data or control dependency orders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..graph import errors
from ..graph.collections import GraphKeys
from ..graph.dtypes import resource
from ..graph.ir import Graph, Operation, get_default_graph
from ..graph.location import user_location
from ..graph.opdef import OpDef
from ..graph.ops.branching import If
from ..graph.ops.looping import While
from ..graph.ops.variables import InitializedValue, VariableShape
from ..graph.record import Record, record
from .feeds import fed_tensors
from .fetches import Fetches
from .stages.program import Program, touched_variables, variable_key
from .stages.prune import prune, unfed_placeholders

#: So many accesses are followed through the program at once, a bit each.
AT_ONCE = 4096

#: How many races a warning or an error spells out, and how many it counts: there may be as many as pairs of operations.
SPELLED_OUT = 5
COUNTED = 1000

#: The races that were warned of, by graph: pairs of operations, by identity, for these live as long as their graph.
_told: WeakKeyDictionary[Graph, set[tuple[int, int]]] = WeakKeyDictionary()

#: What a session may do about races, under `ConfigProto(race_check=...)`.
CHOICES = ("warn", "error", "off")

#: Reads that tell the same before and after the write that they could race with.
_INDIFFERENT = (InitializedValue, VariableShape)


class RaceWarning(UserWarning):
    """A step has accesses to a variable that nothing orders; see `find_races`."""


@record
class Race(Record):
    """Two accesses to a variable that nothing orders: what each does ("read" or "write"), and the operations.

    The first is the one that weft runs first: the read, if there is one. `print` it to read it with the user's lines.
    """

    variable: str
    kinds: tuple[str, str]
    operations: tuple[Operation, Operation]

    def __str__(self) -> str:
        first, second = (
            f"{'read' if kind == 'read' else 'written'} by '{operation.name}' (made at {operation.location})"
            for kind, operation in zip(self.kinds, self.operations, strict=True)
        )
        return f"variable '{self.variable}' is {first} and {second}, and nothing orders the two"


class _Access(NamedTuple):
    variable: str
    node: int
    kind: str


def races(program: Program, names: Mapping[str, str] | None = None) -> Iterator[Race]:
    """The races of a pruned program and of the functions in it. `names`: the variables that feeds stand for.

    Linear in the program for each `AT_ONCE` accesses to variables that are written at all, and in what is found.
    """
    yield from _inside_of_functions(program, names or {})
    accesses = _accesses(program, names or {})
    if accesses:
        needs = _needs(program)
        for group in _groups(accesses):
            for pair in _unordered(needs, group):
                yield _race(program, *pair)


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


def find_races(fetches: Any, feeds: Sequence[Any] = (), graph: Graph | None = None) -> list[Race]:
    """Pairs of accesses to one variable, at least one of them a write, that nothing orders in a run of `fetches`.

    `fetches` as in `Session.run`; `feeds`: the tensors that are fed, placeholders count as fed anyway. What of the order of a
    step depends on chance in other systems, and here on what `ConfigProto(schedule_seed=...)` draws; accesses in
    different iterations of a loop count as ordered. Raises as `Session.run` does for wrong fetches.
    """
    graph = graph or get_default_graph()
    wanted = Fetches(graph, fetches)
    fed = dict.fromkeys(tensor for key in feeds for tensor in fed_tensors(graph, key))
    fed.update(dict.fromkeys(unfed_placeholders(wanted.tensors, wanted.operations, fed)))
    tensors = [tensor for tensor in wanted.tensors if tensor not in fed]
    return list(races(prune(tensors, list(wanted.operations), list(fed))))


def check(program: Program, choice: str) -> None:
    """Warn of races that the program was not warned of before, or refuse all. Raises InvalidArgumentError for "error"."""
    if choice == "off":
        return
    found = list(islice(races(program), COUNTED))
    if choice == "warn":
        found = [race for race in found if _is_new(race)]
    if not found:
        return
    lines = [f"  {race}" for race in found[:SPELLED_OUT]]
    if len(found) > SPELLED_OUT:
        least = "at least " if len(found) == COUNTED else ""
        lines.append(f"  and {least}{len(found) - SPELLED_OUT} more: wf.find_races(fetches) lists them all")
    text = "\n".join(["Accesses to variables that nothing orders:", *lines, _ADVICE])
    if choice == "error":
        raise errors.InvalidArgumentError(None, found[0].operations[1], text)
    place = user_location()
    warnings.warn_explicit(text, RaceWarning, place.file, place.line)


def _is_new(race: Race) -> bool:
    """Whether this is the first time that a session finds it: there are as many plans as there are sets of fetches."""
    first, second = race.operations
    known, pair = _told.setdefault(first.graph, set()), (id(first), id(second))
    is_new = pair not in known
    known.add(pair)
    return is_new


_ADVICE = (
    "weft runs such reads before such writes, on any placement; other systems do as their timing goes. A control "
    "dependency or a gate orders them; ConfigProto(race_check='off') says that any order is fine."
)


def _accesses(program: Program, names: Mapping[str, str]) -> dict[str, list[_Access]]:
    """For each variable that something writes, what touches it, in the program's order."""
    found: dict[str, list[_Access]] = {}
    for position, node in enumerate(program.nodes):
        if isinstance(node.definition, _INDIFFERENT) or _is_of_hooks(node.definition, node.origin):
            continue
        for kind in ("write", "read"):
            for key in touched_variables(program, node, kind):
                variable = names.get(key, key)
                known = found.setdefault(variable, [])
                if not known or known[-1].node != position:
                    known.append(_Access(variable, position, kind))
    return {
        variable: accesses
        for variable, accesses in found.items()
        if len(accesses) > 1 and any(access.kind == "write" for access in accesses)
    }


class _Part(NamedTuple):
    """Some of a variable's accesses, `start` to `end`, of which is found out what depends on them."""

    accesses: list[_Access]
    start: int
    end: int


def _groups(accesses: Mapping[str, list[_Access]]) -> Iterator[list[_Part]]:
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

    def unordered(self, index: int, bits: int) -> Iterator[tuple[_Access, _Access]]:
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


def _unordered(needs: Sequence[Sequence[int]], group: Sequence[_Part]) -> Iterator[tuple[_Access, _Access]]:
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


def _race(program: Program, first: _Access, second: _Access) -> Race:
    if first.kind == "write" and second.kind == "read":
        first, second = second, first
    one, other = (program.nodes[access.node].origin for access in (first, second))
    assert one is not None, "a pruned program has only operations of the graph"
    assert other is not None
    return Race(first.variable, (first.kind, second.kind), (one, other))


def _inside_of_functions(program: Program, names: Mapping[str, str]) -> Iterator[Race]:
    """The races between operations of one branch, or of one loop's body."""
    for node in program.nodes:
        match node.definition:
            case If(then, orelse):
                functions, inputs = (then, orelse), node.inputs[1:]
            case While(condition, body):
                functions, inputs = (condition, body), node.inputs
            case _:
                continue
        handles = {
            index: names.get(key := variable_key(program, ref), key)
            for index, ref in enumerate(inputs)
            if program.spec(ref).dtype is resource
        }
        for function in functions if handles else ():
            inner = prune(function.outputs, (), function.inputs)
            yield from races(inner, {function.inputs[index].name: name for index, name in handles.items()})
