"""spread: a branch or a loop whose operations have several devices becomes a part a device, which meet inside of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..graph.devices import DeviceSpec
from ..graph.dtypes import variant
from ..graph.function import Function
from ..graph.ir import Operation
from ..graph.opdef import Spec
from ..graph.ops.branching import If
from ..graph.ops.identity import Identity
from ..graph.ops.looping import While
from .backends.kernels import Backend
from .bodies import Body
from .fuse import fuse
from .lower import lower
from .order import order as ordered
from .partition import Partition, SendValue, homes_of, is_everywhere, partition
from .parts import IfPart, Part, WhilePart
from .plan import Plan, TakeFeed
from .program import Feed, Node, Program, Ref, on_devices
from .tapes import inner_program
from .waits import part_waits


@dataclass(frozen=True, slots=True)
class Making:
    """What parts are made with: the kernels of each device, numbers of edges that nobody has, and the order's seed."""

    backend: Callable[[DeviceSpec], Backend]
    edges: Iterator[int]
    seed: int | None = None


def spread(
    program: Program, order: Sequence[int], bodies: Mapping[Operation, Body], making: Making
) -> tuple[Program, list[int]]:
    """The program with each branch and loop in `bodies` as one node a device, and its order.

    These nodes follow on each other in the order, and the plans inside of them keep one order too, iteration after iteration:
    so of all that is not done, the first in this order can always run, as without loops.
    """
    if not any(node.origin in bodies for node in program.nodes):
        return program, list(order)
    spreading = _Spreading(program, making)
    for position in order:
        node = program.nodes[position]
        body = None if node.origin is None else bodies.get(node.origin)
        spreading.add(position, [node] if body is None else _parts(program, node, body, making))
    made = spreading.program()
    return made, list(range(len(made.nodes)))


class _Spreading:
    """The new program in the making."""

    def __init__(self, program: Program, making: Making) -> None:
        self._old = program
        self._nodes: list[Node] = []
        self._moved: dict[Ref, Ref] = {}
        self._places: dict[int, tuple[int, ...]] = {}

    def add(self, position: int, found: Sequence[Node | _PartNode]) -> None:
        """What stands for a node: itself, or parts of it, whose inputs are those of the program."""
        places = []
        for each in found:
            node = each.node if isinstance(each, _PartNode) else each
            outputs = each.outputs if isinstance(each, _PartNode) else range(len(node.specs))
            for at, output in enumerate(outputs):
                self._moved[Ref(position, output)] = Ref(len(self._nodes), at)
            places.append(len(self._nodes))
            controls = tuple([place for control in node.controls for place in self._places[control]])
            inputs = tuple([self._moved[ref] for ref in node.inputs])
            self._nodes.append(node._replace(inputs=inputs, controls=controls))
        self._places[position] = tuple(places)

    def program(self) -> Program:
        targets = [place for target in self._old.targets for place in self._places[target]]
        return Program(tuple(self._nodes), tuple([self._moved[ref] for ref in self._old.fetches]), tuple(targets))


@dataclass(frozen=True, slots=True)
class _PartNode:
    """A part as a node, and which of the outputs of the whole its own are."""

    node: Node
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Inside:
    """A function's program, with devices and an order."""

    program: Program
    order: list[int]
    homes: list[str]
    everywhere: list[bool]

    @property
    def devices(self) -> set[str]:
        return {home for home, anywhere in zip(self.homes, self.everywhere, strict=True) if not anywhere}

    def home(self, fetch: int) -> str | None:
        """Where a fetch is computed; None where it is simply there."""
        position = self.program.fetches[fetch].node
        return None if self.everywhere[position] else self.homes[position]

    def fed(self, fetch: int) -> int | None:
        """Which feed a fetch is, if it is one."""
        definition = self.program.nodes[self.program.fetches[fetch].node].definition
        return definition.index if isinstance(definition, Feed) else None

    def uses(self) -> dict[str, set[int]]:
        """For each device the feeds that are used there."""
        found: dict[str, set[int]] = {}
        for position, node in enumerate(self.program.nodes):
            if not self.everywhere[position]:
                for ref in node.inputs:
                    definition = self.program.nodes[ref.node].definition
                    if isinstance(definition, Feed):
                        found.setdefault(self.homes[position], set()).add(definition.index)
        return found


def _inside(function: Function, specs: Sequence[Spec], body: Body, making: Making) -> _Inside:
    """A function's program, with what spans devices in it spread too."""

    def placed(program: Program) -> Program:
        return on_devices(program, [body.device(node.origin) for node in program.nodes])

    program, _ = inner_program(function, specs, (), placed)
    return _ready(part_waits(program), body, making)


def _ready(program: Program, body: Body, making: Making) -> _Inside:
    program, order = spread(program, ordered(program, making.seed), body.inner, making)
    return _Inside(program, order, homes_of(program), is_everywhere(program))


def _parts(program: Program, node: Node, body: Body, making: Making) -> list[Node | _PartNode]:
    """The parts of a branch or a loop; itself where all of it turned out to be on one device."""
    specs = [program.spec(ref) for ref in node.inputs]
    spanning = _Branch(node, specs, body, making) if isinstance(node.definition, If) else _Loop(node, specs, body, making)
    if len(spanning.devices) < 2:
        return [node._replace(device=DeviceSpec.from_string(*(spanning.devices or [str(body.home)])))]
    return [spanning.part(device) for device in spanning.devices]


def _planned(
    inside: _Inside, wanted: Sequence[set[str]], devices: Sequence[str], making: Making,
    shared: frozenset[int] = frozenset(),
) -> tuple[dict[str, Partition], dict[str, Plan]]:  # fmt: skip
    """What each device runs of a function whose fetches are `wanted` on some; `shared` as for `lower`."""
    found = {part.device: part for part in partition(inside.program, inside.order, making.edges, wanted)}
    plans = {}
    for device in devices:
        backend = making.backend(DeviceSpec.from_string(device))
        part = fuse(inside.program, found.get(device) or Partition(device), backend)
        plans[device] = lower(inside.program, part, backend, False, shared, again=True)
    return found, plans


def _fed(*plans: Plan) -> set[int]:
    """The feeds that plans take."""
    return {i.index for plan in plans for i in plan.instructions if isinstance(i, TakeFeed)}


def _node(node: Node, inputs: Sequence[Ref], definition: Part, outputs: Sequence[int], device: str) -> _PartNode:
    made = node._replace(
        definition=definition,
        inputs=tuple(inputs),
        specs=definition.specs,
        device=DeviceSpec.from_string(device),
    )
    return _PartNode(made, tuple(outputs))


class _Branch:
    """An If: the predicate goes to all devices before, and each runs its part of the branch that is taken."""

    def __init__(self, node: Node, specs: Sequence[Spec], body: Body, making: Making) -> None:
        assert isinstance(node.definition, If)
        self.node, self.definition = node, node.definition
        sides = [_inside(function, specs[1:], body, making) for function in (node.definition.then, node.definition.orelse)]
        #: Where each result is given: where the first branch computes it, or else the second.
        self.homes = [
            next((home for side in sides if (home := side.home(at)) is not None), str(body.home))
            for at in range(len(node.definition.then.outputs))
        ]
        self.devices = sorted({*self.homes, *(device for side in sides for device in side.devices)})
        if len(self.devices) > 1:
            wanted = [{home} for home in self.homes]
            self.plans = [_planned(side, wanted, self.devices, making)[1] for side in sides]

    def part(self, device: str) -> _PartNode:
        then, orelse = (plans[device] for plans in self.plans)
        feeds = sorted(_fed(then, orelse))
        outputs = [at for at, home in enumerate(self.homes) if home == device]
        accesses = ("", *(self.definition.access_of(1 + feed) for feed in feeds))
        specs = tuple(self.node.specs[at] for at in outputs)
        inputs = [self.node.inputs[0], *(self.node.inputs[1 + feed] for feed in feeds)]
        return _node(self.node, inputs, IfPart(then, orelse, tuple(feeds), accesses, specs), outputs, device)


class _Loop:
    """A While: one device computes the predicate and sends it to all others in each iteration.

    Each loop variable is on the devices that use it, brought there at the end of an iteration by the one that computes it.
    """

    def __init__(self, node: Node, specs: Sequence[Spec], body: Body, making: Making) -> None:
        assert isinstance(node.definition, While)
        self.node, self.definition = node, node.definition
        self.count = node.definition.count
        settled = [*node.definition.settled(specs), *specs[self.count :]]
        test = _computed(_inside(node.definition.condition, settled, body, making), body.home)
        step = _inside(node.definition.body, settled, body, making)
        self.leader = test.home(0) or str(body.home)
        #: Where each loop variable is given in the end: where it is computed.
        self.homes = [step.home(at) or self._unmoved(settled[at], body) for at in range(self.count)]
        self.devices = sorted({self.leader, *self.homes, *test.devices, *step.devices})
        if len(self.devices) > 1:
            self.needed = self._needed(test, step)
            wanted = [{device for device in self.devices if at in self.needed[device]} for at in range(self.count)]
            shared = frozenset(range(len(specs)))
            conditions, self.conditions = _planned(test, [set(self.devices)], self.devices, making)
            bodies, self.bodies = _planned(step, wanted, self.devices, making, shared)
            late = _unheard(self.leader, self.devices, [*conditions.values(), *bodies.values()])
            self.tells = {device: (next(making.edges), self.leader) for device in late}

    def _unmoved(self, spec: Spec, body: Body) -> str:
        """Where a variable is given that no device computes; what holds elements does not travel."""
        return str(body.home) if spec.dtype is variant else self.leader

    def _needed(self, test: _Inside, step: _Inside) -> dict[str, set[int]]:
        """For each device the loop variables that must be there in every iteration."""
        found: dict[str, set[int]] = {device: set() for device in self.devices}
        for inside in (test, step):
            for device, feeds in inside.uses().items():
                found[device].update(feed for feed in feeds if feed < self.count)
        for at, home in enumerate(self.homes):
            found[home].add(at)
        for variables in found.values():
            waiting = list(variables)
            while waiting:
                fed = step.fed(waiting.pop())  # it becomes what another variable was
                if fed is not None and fed < self.count and fed not in variables:
                    variables.add(fed)
                    waiting.append(fed)
        return found

    def part(self, device: str) -> _PartNode:
        condition, body = self.conditions[device], self.bodies[device]
        feeds = sorted(self.needed[device] | _fed(condition, body))
        results = tuple(at for at, home in enumerate(self.homes) if home == device)
        part = WhilePart(
            condition=condition, body=body, feeds=tuple(feeds), count=max(feeds, default=-1) + 1,
            following=tuple(sorted(self.needed[device])), results=results,
            waits=tuple(edge for edge, _ in self.tells.values()) if device == self.leader else (),
            tells=self.tells.get(device),
            accesses=tuple(self.definition.access_of(feed) for feed in feeds),
            specs=tuple(self.node.specs[at] for at in results),
        )  # fmt: skip
        return _node(self.node, [self.node.inputs[feed] for feed in feeds], part, results, device)


def _computed(test: _Inside, home: DeviceSpec) -> _Inside:
    """A condition whose predicate is computed on some device: so that one device leads, also where it is simply there."""
    if test.home(0) is not None:
        return test
    (ref,) = test.program.fetches
    spec = test.program.spec(ref)
    node = Node(test.program.nodes[ref.node].name, Identity(), (ref,), (), (spec,), None, home)
    program = Program((*test.program.nodes, node), (Ref(len(test.program.nodes), 0),), ())
    return _Inside(program, [*test.order, len(test.order)], homes_of(program), is_everywhere(program))


def _unheard(leader: str, devices: Sequence[str], parts: Sequence[Partition]) -> list[str]:
    """The devices that the leader hears nothing from in an iteration, not even through others: it might run far ahead."""
    hears: dict[str, set[str]] = {}
    for part in parts:
        for item in part.items:
            if isinstance(item, SendValue):
                hears.setdefault(item.device, set()).add(part.device)
    heard, waiting = {leader}, [leader]
    while waiting:
        for device in hears.get(waiting.pop(), ()):
            if device not in heard:
                heard.add(device)
                waiting.append(device)
    return [device for device in devices if device not in heard]
