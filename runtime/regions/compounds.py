"""compounds: the nodes that a compiler can take as one function are gathered into few large nodes, never into a circle."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from ...graph import shapes
from ...graph.dtypes import resource
from ...graph.opdef import OpDef, Spec
from ...graph.ops.constant import Const
from ...graph.ops.identity import Identity, NoOp, StopGradient
from ...graph.ops.linalg import BatchMatMulV2, MatMul
from ...graph.ops.variables import AssignVariableOp, ReadVariableOp
from ..stages.program import Node, Program, Ref, touched_variables, variable_key
from ..stages.waits import may_wait

#: Whether a compiler can take a node of a program. It may ask which of the node's inputs come from such nodes.
Fits = Callable[[Program, Node], bool]

#: The device and the level of a compound; see `_Levels`.
Place = tuple[str, int]

#: Constants of more elements are handed to a compound, not built into it.
_BUILT_IN = 256
#: What it costs to call a compound, in microseconds: at all, and for each value that goes in or comes out.
_CALL, _EACH = 8.0, 2.0
#: What a node costs without one, in microseconds: at all, an optimizer's update, and for each element of its results.
_NODE, _UPDATE, _ELEMENT = 0.9, 4.0, 0.0001
#: What a product of matrices costs more in one for each multiplication, in microseconds: where a side is at most that long.
_THIN = ((1, 5e-4), (32, 2e-5))
#: Fewer operations run as well in NumPy's blocks.
_FEWEST = 10
_FREE = (Const, Identity, NoOp, ReadVariableOp, StopGradient)


@dataclass(frozen=True, slots=True, eq=False)
class Compound(OpDef):
    """Nodes that run as one compiled function. Its inputs are handles, those of variables it writes first, then values.

    In `body`, `Ref(i, o)` is an output of the node before it at i, and `Ref(-1 - i, 0)` is the compound's input number i.
    """

    body: tuple[Node, ...]
    results: tuple[Ref, ...]
    inputs: tuple[Spec, ...]
    #: How many variables it writes, and how many it reads or writes.
    written: int
    variables: int
    #: What the compiler made of it, once.
    compiled: dict[str, Any] = field(default_factory=dict)
    type = "Compound"
    stateful = True
    access = "compound"

    def access_of(self, index: int) -> str:
        return "write" if index < self.written else "read" if index < self.variables else ""

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        return tuple([self.body[ref.node].specs[ref.output] for ref in self.results])

    def __str__(self) -> str:
        counts = Counter(node.definition.type for node in self.body if not isinstance(node.definition, _FREE))
        kinds = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts.most_common())
        return f"{sum(counts.values())} operations: {kinds}"


def gather(program: Program, order: Sequence[int], fits: Fits) -> tuple[Program, list[int]]:
    """The program with compounds in place of what they do, and its order."""
    plan = _Levels(program, order, fits)
    candidates = plan.compounds()
    compounds = {place: members for place, members in candidates.items() if _pays(program, members)}
    if not compounds:
        return program, list(order)
    writer = _Writer(plan, compounds)
    alone: dict[int, list[int]] = defaultdict(list)
    for position in order:
        if position in plan.alone:
            alone[plan.level[position]].append(position)
    writer.single(alone[-1])
    for level, places in groupby(sorted(candidates.keys() | {("", level) for level in alone}, key=_level), _level):
        for place in sorted(places):
            if place in compounds:
                writer.compound(place)
            else:
                writer.single(candidates.get(place, ()))
        writer.single(alone[level] if level >= 0 else ())
    made = writer.program()
    return made, list(range(len(made.nodes)))


def _pays(program: Program, members: Sequence[int]) -> bool:
    """Whether a compound saves more than its call costs, guessed from the number of its nodes and the sizes of their results."""
    inside = set(members)
    saved, count = 0.0, 0
    passed: set[Ref] = set()
    for position in members:
        node = program.nodes[position]
        for ref in node.inputs:
            source = program.nodes[ref.node]
            if ref.node not in inside and not _is_built_in(source):
                passed.add(source.inputs[0] if isinstance(source.definition, ReadVariableOp) else ref)
        if not isinstance(node.definition, _FREE):
            saved += _saved(program, node)
            count += 1
    return count >= _FEWEST and saved > _CALL + _EACH * len(passed)


def _saved(program: Program, node: Node) -> float:
    """What a node of a compound costs less than alone, in microseconds."""
    definition: Any = node.definition
    if isinstance(definition, (BatchMatMulV2, MatMul)):
        out, first = node.specs[0].dims or (), program.spec(node.inputs[0]).dims or ()
        inner = first[-2 if getattr(definition, "transpose_a", getattr(definition, "adj_x", False)) else -1] or 1
        thin = min(inner, *(dim or 1 for dim in out[-2:]))
        return _NODE - inner * (shapes.count(out) or 0) * next((cost for side, cost in _THIN if thin <= side), 0.0)
    dims = [definition.shape] if definition.access else [spec.dims for spec in node.specs]
    return (_UPDATE if definition.access else _NODE) + _ELEMENT * sum(shapes.count(each) or 0 for each in dims)


def _is_built_in(node: Node) -> bool:
    return isinstance(node.definition, Const) and (shapes.count(node.specs[0].dims) or 0) <= _BUILT_IN


def _level(place: Place) -> int:
    return place[1]


class _Levels:
    """When each node can run: all that fits on level n runs before what stands alone on level n, and that before n + 1.

    So a compound of all that fits on one level and device never waits for what waits for it.
    """

    def __init__(self, program: Program, order: Sequence[int], fits: Fits) -> None:
        self.program, self.order = program, order
        self.level: dict[int, int] = {}
        self.alone: set[int] = set()
        #: Reads that wait for nothing: each compound that uses one reads for itself, if no write comes before it.
        self.early: dict[int, str] = {}
        self.writes: dict[str, list[int]] = defaultdict(list)
        self._reads: dict[str, list[int]] = defaultdict(list)
        self._filled: set[str] = set()
        for position in order:
            self._add(position, fits)

    def compounds(self) -> dict[Place, list[int]]:
        """The nodes that fit, by device and level."""
        found: dict[Place, list[int]] = defaultdict(list)
        for position in self.order:
            if position not in self.alone:
                found[str(self.program.nodes[position].device), self.level[position]].append(position)
        return found

    def _add(self, position: int, fits: Fits) -> None:
        node = self.program.nodes[position]
        before: set[int] = set()
        for other in (*(ref.node for ref in node.inputs), *node.controls):
            source = self.program.nodes[other]
            before.update(source.controls if _is_built_in(source) else [other])  # it is there; what it waits for is not
        read, written = (touched_variables(self.program, node, access) for access in ("read", "write"))
        for name in (*read, *written):
            before.update(self.writes[name][-1:])
        for name in written:
            before.update(self._reads.pop(name, ()))
        suitable = fits(self.program, node)
        if suitable and isinstance(node.definition, ReadVariableOp) and not any(self.writes[name] for name in read):
            early = not node.controls and all(self.level[each] < 0 for each in before)
            suitable = not early
            if early:
                self.early[position] = read[0]
        if isinstance(node.definition, AssignVariableOp) and not self._filled.issuperset(written):
            suitable = False  # perhaps it has no value yet
        if isinstance(node.definition, ReadVariableOp):
            self._filled.update(read)
        for name in read:
            self._reads[name].append(position)
        for name in written:
            self.writes[name].append(position)
        if suitable:
            self.level[position] = max([0, *(self._after(position, each) for each in before)])
        else:
            self.alone.add(position)
            before.update([*(ref.node for ref in node.inputs), *node.controls])
            if may_wait(node.definition):  # what comes before it in the order may be what it waits for
                before.update(self.level)
            self.level[position] = max([-1, *(self.level[each] for each in before)])

    def _after(self, position: int, other: int) -> int:
        nodes = self.program.nodes
        together = other not in self.alone and nodes[other].device == nodes[position].device
        return self.level[other] + (not together)

    def reads_itself(self, position: int, level: int) -> bool:
        """Whether a compound of that level may do an early read: nothing before it writes to the variable."""
        name = self.early.get(position)
        return name is not None and all(self.level[write] >= level for write in self.writes[name])


@dataclass(slots=True)
class _Body:
    """A compound in the making."""

    nodes: list[Node] = field(default_factory=list)
    placed: dict[int, int] = field(default_factory=dict)
    handles: dict[str, Ref] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    values: dict[Ref, None] = field(default_factory=dict)


class _Writer:
    """The new program as it grows."""

    def __init__(self, plan: _Levels, compounds: dict[Place, list[int]]) -> None:
        self.plan, self.old = plan, plan.program
        self.compounds = compounds
        self.home = {position: place for place, members in compounds.items() for position in members}
        self.nodes: list[Node] = []
        self.moved: dict[Ref, Ref] = {}
        self.place: dict[int, int] = {}
        self.wanted = self._wanted()

    def _wanted(self) -> set[Ref]:
        """What is used elsewhere than in the compound that computes it; with output -1, nodes that somebody waits for."""
        found = set(self.old.fetches)
        found.update(Ref(position, -1) for position in self.old.targets)
        for position, node in enumerate(self.old.nodes):
            here = self.home.get(position)
            for ref in node.inputs:
                outside = here is None or self.home.get(ref.node) != here
                itself = here is not None and here[0] == str(self.old.nodes[ref.node].device)
                if outside and not (itself and self.plan.reads_itself(ref.node, here[1] if here else 0)):
                    found.add(ref)
            found.update(Ref(control, -1) for control in node.controls)
        return found

    def single(self, positions: Sequence[int]) -> None:
        """Nodes as they are."""
        for position in positions:
            if position in self.plan.early and not any(ref.node == position for ref in self.wanted):
                continue
            node = self.old.nodes[position]
            self.place[position] = len(self.nodes)
            self.moved.update((Ref(position, o), Ref(len(self.nodes), o)) for o in range(len(node.specs)))
            inputs = tuple([self.moved[ref] for ref in node.inputs])
            controls = tuple(dict.fromkeys([self.place[control] for control in node.controls]))
            self.nodes.append(node._replace(inputs=inputs, controls=controls))

    def _waits(self, positions: Sequence[int], here: int) -> tuple[int, ...]:
        """What the nodes of a compound wait for, besides each other."""
        found: dict[int, None] = {}
        for position in positions:
            for control in self.old.nodes[position].controls:
                built_in = _is_built_in(self.old.nodes[control])
                found.update(dict.fromkeys(self.old.nodes[control].controls if built_in else [control]))
        return tuple(dict.fromkeys([place for each in found if (place := self.place[each]) != here]))

    def compound(self, place: Place) -> None:
        """A level's nodes on a device as one."""
        members, body = self.compounds[place], _Body()
        for position in members:
            self._take_apart(body, position, place)
        for position in members:
            self._put(body, position)
        written = sorted(body.written)
        names = [*written, *sorted(body.handles.keys() - body.written)]
        refs = [*(body.handles[name] for name in names), *body.values]
        number = {ref: -1 - index for index, ref in enumerate(refs)}
        of_name = {name: -1 - index for index, name in enumerate(names)}
        nodes = tuple([self._inside(node, body, number, of_name) for node in body.nodes])
        found = sorted(ref for ref in self.wanted if ref.output >= 0 and self.home.get(ref.node) == place)
        results = tuple([Ref(body.placed[ref.node], ref.output) for ref in found])
        here = len(self.nodes)
        inputs = tuple([self.old.spec(ref) for ref in refs])
        compound = Compound(nodes, results, inputs, len(written), len(names))
        self.place.update(dict.fromkeys(members, here))
        inside = [*members, *(position for position in body.placed if position not in self.home)]
        device = self.old.nodes[members[0]].device
        moved = tuple([self.moved[ref] for ref in refs])
        self.nodes.append(
            Node(f"compound of {compound}", compound, moved, self._waits(inside, here), compound.infer(), None, device)
        )
        self.moved.update((ref, Ref(here, number)) for number, ref in enumerate(found))

    def _take_apart(self, body: _Body, position: int, place: Place) -> None:
        """Note what a member needs from outside: variables, values, constants and reads to do inside."""
        node = self.old.nodes[position]
        for access in ("read", "write"):
            for name in touched_variables(self.old, node, access):
                body.written.update([name] if access == "write" else [])
        for ref in node.inputs:
            source = self.old.nodes[ref.node]
            if self.home.get(ref.node) == place:
                continue
            if source.specs[ref.output].dtype is resource:
                body.handles.setdefault(variable_key(self.old, ref), ref)
            elif _is_built_in(source) or self._reads_here(ref.node, source, place):
                self._put(body, ref.node)
                if source.inputs:
                    body.handles.setdefault(variable_key(self.old, source.inputs[0]), source.inputs[0])
            else:
                body.values[ref] = None

    def _reads_here(self, position: int, node: Node, place: Place) -> bool:
        return str(node.device) == place[0] and self.plan.reads_itself(position, place[1])

    def _put(self, body: _Body, position: int) -> None:
        if position not in body.placed:
            body.placed[position] = len(body.nodes)
            body.nodes.append(self.old.nodes[position])

    def _inside(self, node: Node, body: _Body, number: dict[Ref, int], of_name: dict[str, int]) -> Node:
        """A node whose inputs are counted within the compound."""
        inputs = []
        for ref in node.inputs:
            if self.old.spec(ref).dtype is resource:
                inputs.append(Ref(of_name[variable_key(self.old, ref)], 0))
            elif ref.node in body.placed:
                inputs.append(Ref(body.placed[ref.node], ref.output))
            else:
                inputs.append(Ref(number[ref], 0))
        return node._replace(inputs=tuple(inputs), controls=(), origin=None, device=None)

    def program(self) -> Program:
        """All of it."""
        return Program(
            tuple(self.nodes),
            tuple([self.moved[ref] for ref in self.old.fetches]),
            tuple([self.place[target] for target in self.old.targets]),
        )
