"""spanning: the parts of a branch or a loop that runs on several devices: what each runs, and what crosses inside of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..graph.devices import DeviceSpec
from ..graph.dtypes import variant
from ..graph.function import Function
from ..graph.opdef import Spec
from ..graph.ops.branching import If
from ..graph.ops.identity import Identity
from ..graph.ops.looping import While
from .backends.kernels import Backend
from .bodies import Bodies, Body
from .distribution import Distribution, PartNode
from .fuse import fuse
from .lower import lower
from .order import order as ordered
from .partition import Partition, SendValue, homes_of, is_everywhere, partition
from .parts import DevicePart, IfPart, WhilePart
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


def parts(program: Program, node: Node, body: Body, bodies: Bodies, making: Making) -> list[Node | PartNode]:
    """The parts of a branch or a loop; itself where all of it turned out to be on one device."""
    specs = [program.spec(ref) for ref in node.inputs]
    kind = _Branch if isinstance(node.definition, If) else _Loop
    spanning = kind(node, specs, body, bodies, making)
    if len(spanning.devices) < 2:
        return [node._replace(device=DeviceSpec.from_string(*(spanning.devices or [str(body.home)])))]
    spanning.plan()
    return [spanning.part(device) for device in spanning.devices]


class _Inside:
    """What a function computes, with devices and in order, and what spans devices in it in parts."""

    def __init__(
        self,
        function: Function,
        specs: Sequence[Spec],
        saves: Sequence[str],
        body: Body,
        bodies: Bodies,
        making: Making,
    ) -> None:
        def placed(program: Program) -> Program:
            return on_devices(program, [body.device(node.origin) for node in program.nodes])

        def parting(program: Program, node: Node) -> list[Node | PartNode]:
            inner = None if node.origin is None else body.inner.get(node.origin)
            return [node] if inner is None else parts(program, node, inner, bodies, making)

        program, self.entries = inner_program(function, specs, saves, placed)
        program = part_waits(program)
        self._fetches, self._making = program.fetches, making
        self._made = Distribution(
            program, ordered(program, making.seed), parting, [str(each) for each in body.all], bodies.tapes
        )

    def _program(self, fetches: Sequence[Ref] = ()) -> Program:
        return Program(tuple(self._made.nodes), tuple(fetches), ())

    @property
    def devices(self) -> set[str]:
        """Where something is computed."""
        program = self._program()
        pairs = zip(homes_of(program), is_everywhere(program), strict=True)
        return {home for home, anywhere in pairs if not anywhere}

    def homes(self, fetch: int) -> list[str]:
        """Where a fetch is computed, or pieces of it are; nowhere, if it is simply there."""
        pieces = self._made.pieces(self._fetches[fetch])
        if pieces is not None:
            return sorted(pieces.at)
        node = self._made.nodes[self._made.value(self._fetches[fetch], "").node]
        return [] if is_everywhere(Program((node,), (), ()))[0] else [str(node.device)]

    def fed(self, fetch: int, device: str) -> int | None:
        """Which feed a fetch is on a device, if it is one."""
        definition = self._made.nodes[self._made.value(self._fetches[fetch], device).node].definition
        return definition.index if isinstance(definition, Feed) else None

    def uses(self) -> dict[str, set[int]]:
        """For each device the feeds that are used there."""
        found: dict[str, set[int]] = {}
        program = self._program()
        for node, home, anywhere in zip(program.nodes, homes_of(program), is_everywhere(program), strict=True):
            for ref in () if anywhere else node.inputs:
                definition = program.nodes[ref.node].definition
                if isinstance(definition, Feed):
                    found.setdefault(home, set()).add(definition.index)
        return found

    def compute_first(self, home: DeviceSpec) -> None:
        """Let the first fetch be computed on some device, also where it is simply there."""
        if not self.homes(0):
            ref = self._made.value(self._fetches[0], str(home))
            spec = self._made.nodes[ref.node].specs[ref.output]
            node = Node(self._made.nodes[ref.node].name, Identity(), (ref,), (), (spec,), None, home)
            self._made.computed(self._fetches[0], node)

    def plans(
        self, wanted: Sequence[set[str]], devices: Sequence[str], shared: frozenset[int] = frozenset()
    ) -> tuple[list[Partition], dict[str, Plan]]:
        """What each device runs, handing out the fetches that are `wanted` there; `shared` as for `lower`."""
        fetches: list[Ref] = []
        goals: list[set[str]] = []
        kept = 0
        for number, (old, places) in enumerate(zip(self._fetches, wanted, strict=True)):
            split = self._made.pieces(old) is not None
            for goal in [{place} for place in sorted(places)] if split else [places] if places else []:
                fetches.append(self._made.value(old, min(goal)))
                goals.append(goal)
            if number < len(self._fetches) - len(self.entries):
                kept = len(fetches)
        program = self._program(fetches)
        found = {part.device: part for part in partition(program, range(len(program.nodes)), self._making.edges, goals)}
        made = {}
        for device in devices:
            backend = self._making.backend(DeviceSpec.from_string(device))
            part = fuse(program, found.get(device) or Partition(device), backend)
            made[device] = lower(program, part, backend, False, shared, kept, again=True)
        return list(found.values()), made


def _fed(*plans: Plan) -> set[int]:
    """The feeds that plans take."""
    return {i.index for plan in plans for i in plan.instructions if isinstance(i, TakeFeed)}


def _node(node: Node, inputs: Sequence[Ref], definition: DevicePart, outputs: Sequence[int], device: str) -> PartNode:
    given = [*outputs, len(node.specs) - 1] if definition.records else outputs
    made = node._replace(
        definition=definition, inputs=tuple(inputs), specs=definition.specs, device=DeviceSpec.from_string(device)
    )
    return PartNode(made, tuple(given))


def _kept(entries: Sequence[str], inside: _Inside, body: Body, bodies: Bodies) -> list[set[str]]:
    """For each entry of a tape the devices on which it is kept: where it is read, by the same rule."""
    return [{str(each) for each in bodies.devices_of_entry(entry, body)} for entry in entries]


class _Branch:
    """An If: the predicate goes to all devices before, and each runs its part of the branch that is taken."""

    def __init__(self, node: Node, specs: Sequence[Spec], body: Body, bodies: Bodies, making: Making) -> None:
        assert isinstance(node.definition, If)
        self.node, self.definition = node, node.definition
        saves = node.definition.saves or ()
        self._sides = [
            _Inside(function, specs[1:], saves, body, bodies, making)
            for function in (node.definition.then, node.definition.orelse)
        ]
        #: Where each result is given: where the first branch computes it, or else the second; of a tape all pieces.
        self.homes = [self._home(at, spec, body) for at, spec in enumerate(node.specs[:-1])]
        self._kept = [_kept(side.entries, side, body, bodies) for side in self._sides]
        found = {device for side in self._sides for device in side.devices}.union(*self.homes)
        if node.definition.saves is not None:
            found |= {str(each) for each in body.all}
        self.devices = sorted(found)

    def _home(self, at: int, spec: Spec, body: Body) -> set[str]:
        if spec.dtype is variant:
            return {str(each) for each in body.all}.union(*(side.homes(at) for side in self._sides))
        return set(next((homes for side in self._sides if (homes := side.homes(at))), [str(body.home)]))

    def plan(self) -> None:
        self._plans = [
            side.plans([*self.homes, *kept], self.devices)[1]
            for side, kept in zip(self._sides, self._kept, strict=True)
        ]

    def part(self, device: str) -> PartNode:
        then, orelse = (plans[device] for plans in self._plans)
        feeds = sorted(_fed(then, orelse))
        outputs = [at for at, homes in enumerate(self.homes) if device in homes]
        recorded = self.definition.saves is not None
        entries = [
            tuple(entry for entry, places in zip(side.entries, kept, strict=True) if device in places)
            for side, kept in zip(self._sides, self._kept, strict=True)
        ]
        part = IfPart(
            then=then, orelse=orelse, feeds=tuple(feeds), entries=(entries[0], entries[1]), records=recorded,
            accesses=("", *(self.definition.access_of(1 + feed) for feed in feeds)),
            specs=tuple(self.node.specs[at] for at in outputs) + (self.node.specs[-1:] if recorded else ()),
        )  # fmt: skip
        inputs = [self.node.inputs[0], *(self.node.inputs[1 + feed] for feed in feeds)]
        return _node(self.node, inputs, part, outputs, device)


class _Loop:
    """A While: one device computes the predicate and sends it to all others in each iteration.

    Each loop variable is on the devices that use it, brought there at the end of an iteration by the one that computes it.
    """

    def __init__(self, node: Node, specs: Sequence[Spec], body: Body, bodies: Bodies, making: Making) -> None:
        assert isinstance(node.definition, While)
        self.node, self.definition, self._making = node, node.definition, making
        self.count, self.inputs = node.definition.count, len(specs)
        settled = [*node.definition.settled(specs), *specs[self.count :]]
        self._test = _Inside(node.definition.condition, settled, (), body, bodies, making)
        self._test.compute_first(body.home)
        self._step = _Inside(node.definition.body, settled, node.definition.saves or (), body, bodies, making)
        (self.leader,) = self._test.homes(0)
        #: Where each loop variable is given in the end: where it is computed; of a tape all pieces.
        self.homes = [
            {*self._step.homes(at), *map(str, body.all)}
            if spec.dtype is variant
            else set(self._step.homes(at) or [self.leader])
            for at, spec in enumerate(settled[: self.count])
        ]
        self._kept = _kept(self._step.entries, self._step, body, bodies)
        found = {self.leader, *self._test.devices, *self._step.devices}.union(*self.homes)
        if node.definition.saves is not None:
            found |= {str(each) for each in body.all}
        self.devices = sorted(found)

    def plan(self) -> None:
        self._needed = self._needs()
        wanted = [{device for device in self.devices if at in self._needed[device]} for at in range(self.count)]
        # What a tape keeps must not lie in the memory of what is there before the loop, which may end before it does.
        shared = frozenset(range(self.inputs if self.definition.saves is None else self.count))
        conditions, self._conditions = self._test.plans([set(self.devices)], self.devices)
        bodies, self._bodies = self._step.plans([*wanted, *self._kept], self.devices, shared)
        late = _unheard(self.leader, self.devices, [*conditions, *bodies])
        self._tells = {device: (next(self._making.edges), self.leader) for device in late}

    def _needs(self) -> dict[str, set[int]]:
        """For each device the loop variables that must be there in every iteration."""
        found: dict[str, set[int]] = {device: set() for device in self.devices}
        for inside in (self._test, self._step):
            for device, feeds in inside.uses().items():
                found[device].update(feeds)
        for at, homes in enumerate(self.homes):
            for home in homes:
                found[home].add(at)
        for at, places in enumerate(self._kept, self.count):
            for device in places:
                fed = self._step.fed(at, device)
                found[device].update([] if fed is None else [fed])
        for device, feeds in found.items():
            waiting = list(feeds)
            while waiting:
                at = waiting.pop()
                fed = self._step.fed(at, device) if at < self.count else None  # what it will be is another one now
                if fed is not None and fed not in feeds:
                    feeds.add(fed)
                    waiting.append(fed)
        return {device: {at for at in feeds if at < self.count} for device, feeds in found.items()}

    def part(self, device: str) -> PartNode:
        condition, body = self._conditions[device], self._bodies[device]
        needed = self._needed[device]
        feeds = sorted(needed | _fed(condition, body))
        results = tuple(at for at, homes in enumerate(self.homes) if device in homes)
        recorded = self.definition.saves is not None
        pairs = zip(self._step.entries, self._kept, strict=True)
        part = WhilePart(
            condition=condition, body=body, feeds=tuple(feeds), count=max(feeds, default=-1) + 1,
            following=tuple(sorted(needed)), results=results,
            entries=tuple(entry for entry, places in pairs if device in places), records=recorded,
            waits=tuple(edge for edge, _ in self._tells.values()) if device == self.leader else (),
            tells=self._tells.get(device),
            accesses=tuple(self.definition.access_of(feed) for feed in feeds),
            specs=tuple(self.node.specs[at] for at in results) + (self.node.specs[-1:] if recorded else ()),
        )  # fmt: skip
        return _node(self.node, [self.node.inputs[feed] for feed in feeds], part, results, device)


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
