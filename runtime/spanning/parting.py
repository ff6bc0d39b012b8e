"""parting: the parts of a branch or a loop that runs on several devices: what each runs, and what crosses inside of it."""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.devices import DeviceSpec
from ...graph.dtypes import variant
from ...graph.opdef import Spec
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ..loops.hoist import unchanging
from ..stages.partition import Partition, SendValue, homes_of, is_everywhere
from ..stages.parts import DevicePart, IfPart, OncePart, WhilePart
from ..stages.plan import Plan, TakeFeed
from ..stages.program import Node, Program, Ref
from .bodies import Bodies, Body
from .distribution import PartNode
from .inside import Inside, Making, Where, plans_of


def parts(program: Program, node: Node, body: Body, bodies: Bodies, making: Making) -> list[Node | PartNode]:
    """The parts of a branch or a loop; itself where all of it turned out to be on one device."""
    specs = [program.spec(ref) for ref in node.inputs]
    kind = _Branch if isinstance(node.definition, If) else _Loop

    def parting(inside: Program, each: Node) -> list[Node | PartNode]:
        inner = None if each.origin is None else body.inner.get(each.origin)
        return [each] if inner is None else parts(inside, each, inner, bodies, making)

    spanning = kind(node, specs, Where(body, bodies, making, parting))
    places = spanning.places
    if len(places) < 2:
        return [node._replace(device=DeviceSpec.from_string(*(places or [str(body.home)])))]
    spanning.plan()
    return [spanning.part(device) for device in places]


def _fed(*plans: Plan) -> set[int]:
    """The feeds that plans take."""
    return {i.index for plan in plans for i in plan.instructions if isinstance(i, TakeFeed)}


def _node(node: Node, inputs: Sequence[Ref], definition: DevicePart, outputs: Sequence[int], device: str) -> PartNode:
    given = [*outputs, len(node.specs) - 1] if definition.records else outputs
    made = node._replace(
        definition=definition, inputs=tuple(inputs), specs=definition.specs, device=DeviceSpec.from_string(device)
    )
    return PartNode(made, tuple(given))


def _kept(entries: Sequence[str], where: Where) -> list[set[str]]:
    """For each entry of a tape the devices on which it is kept: where it is read, by the same rule."""
    return [{str(each) for each in where.bodies.devices_of_entry(entry, where.body)} for entry in entries]


class _Branch:
    """An If: the predicate goes to all devices before, and each runs its part of the branch that is taken."""

    def __init__(self, node: Node, specs: Sequence[Spec], where: Where) -> None:
        assert isinstance(node.definition, If)
        body = where.body
        self.node, self.definition = node, node.definition
        saves = node.definition.saves or ()
        self._sides = [
            Inside(function, specs[1:], saves, where) for function in (node.definition.then, node.definition.orelse)
        ]
        #: Where each result is given: where the first branch computes it, or else the second; of a tape all pieces.
        self.homes = [self._home(at, spec, body) for at, spec in enumerate(node.specs[:-1])]
        self._kept = [_kept(side.entries, where) for side in self._sides]
        found = {device for side in self._sides for device in side.devices}.union(*self.homes)
        if node.definition.saves is not None:
            found |= {str(each) for each in body.all}
        self.places = self.devices = sorted(found)

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
    What is the same in all iterations is computed once, and brought once to the devices that use it: before the first
    condition what that needs, and in the first iteration what the body needs. A device that does nothing else is among the
    `places` of the loop, but not among the `devices` that run its iterations.
    """

    def __init__(self, node: Node, specs: Sequence[Spec], where: Where) -> None:
        assert isinstance(node.definition, While)
        self.node, self.definition, self._making, body = node, node.definition, where.making, where.body
        self.count, self.inputs = node.definition.count, len(specs)
        settled = [*node.definition.settled(specs), *specs[self.count :]]
        fixed = unchanging(node.definition, self.inputs)
        self._test = Inside(node.definition.condition, settled, (), where, fixed, self.inputs)
        self._test.compute_first(body.home)
        late = self.inputs + len(self._test.taken)
        saves = node.definition.saves or ()
        self._step = Inside(node.definition.body, settled, saves, where, fixed, late)
        (self.leader,) = self._test.homes(0)
        #: Where each loop variable is given in the end: where it is computed; of a tape all pieces.
        self.homes = [
            {*self._step.homes(at), *map(str, body.all)}
            if spec.dtype is variant
            else set(self._step.homes(at) or [self.leader])
            for at, spec in enumerate(settled[: self.count])
        ]
        self._kept = _kept(self._step.entries, where)
        found = {self.leader, *self._test.devices, *self._step.devices}.union(*self.homes)
        if node.definition.saves is not None:
            found |= {str(each) for each in body.all}
        self.devices = sorted(found)
        self._needed = self._needs()
        #: What the condition, and then the body, computes once.
        self._once = [
            inside.once([self._users(self._number(inside) + at) for at in range(len(inside.taken))])
            for inside in (self._test, self._step)
        ]
        idle = {home for program, _ in self._once for home in _computing(program)}.difference(self.devices)
        self.places = [*self.devices, *sorted(idle)]

    def _number(self, inside: Inside) -> int:
        """The first of the feeds that a function gets of what it computes once."""
        return self.inputs + (len(self._test.taken) if inside is self._step else 0)

    def _users(self, feed: int) -> set[str]:
        """The devices that need a feed in every iteration."""
        return {device for device in self.devices if feed in self._needed[device]}

    def plan(self) -> None:
        wanted = [self._users(at) for at in range(self.count)]
        # What a tape keeps must not lie in the memory of what is there before the loop, which may end before it does.
        shared = frozenset(range(self.inputs if self.definition.saves is None else self.count))
        conditions, self._conditions = self._test.plans([set(self.devices)], self.devices)
        lasting = frozenset(range(self.inputs, self._number(self._step) + len(self._step.taken)))
        bodies, self._bodies = self._step.plans([*wanted, *self._kept], self.devices, shared, lasting)
        self._first = [plans_of(program, goals, self.places, self._making)[1] for program, goals in self._once]
        waiting = _computing(self._once[1][0]).difference(self.devices)
        self._starts = {device: next(self._making.edges) for device in sorted(waiting)}
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
        return found

    def part(self, device: str) -> PartNode:
        before, first = (plans[device] for plans in self._first)
        if device not in self.devices:
            feeds = sorted(_fed(before, first))
            edge = self._starts.get(device)
            idle = OncePart(
                before=before, first=first, start=None if edge is None else (edge, self.leader), feeds=tuple(feeds),
                count=max(feeds, default=-1) + 1, accesses=tuple(self.definition.access_of(feed) for feed in feeds),
            )  # fmt: skip
            return _node(self.node, [self.node.inputs[feed] for feed in feeds], idle, (), device)
        condition, body = self._conditions[device], self._bodies[device]
        following = sorted(at for at in self._needed[device] if at < self.count)
        feeds = sorted({*following, *(at for at in _fed(condition, body, before, first) if at < self.inputs)})
        given = tuple(
            [
                tuple(self._number(inside) + at for at in range(len(inside.taken)) if self._gets(device, inside, at))
                for inside in (self._test, self._step)
            ]
        )
        results = tuple(at for at, homes in enumerate(self.homes) if device in homes)
        recorded = self.definition.saves is not None
        pairs = zip(self._step.entries, self._kept, strict=True)
        part = WhilePart(
            condition=condition, body=body, before=before, first=first, given=(given[0], given[1]),
            starts=tuple((edge, to) for to, edge in self._starts.items()) if device == self.leader else (),
            feeds=tuple(feeds), count=max([*feeds, *given[0], *given[1]], default=-1) + 1,
            following=tuple(following), results=results,
            entries=tuple(entry for entry, places in pairs if device in places), records=recorded,
            waits=tuple(edge for edge, _ in self._tells.values()) if device == self.leader else (),
            tells=self._tells.get(device),
            accesses=tuple(self.definition.access_of(feed) for feed in feeds),
            specs=tuple(self.node.specs[at] for at in results) + (self.node.specs[-1:] if recorded else ()),
        )  # fmt: skip
        return _node(self.node, [self.node.inputs[feed] for feed in feeds], part, results, device)

    def _gets(self, device: str, inside: Inside, at: int) -> bool:
        return self._number(inside) + at in self._needed[device]


def _computing(program: Program) -> set[str]:
    """The devices on which something is computed."""
    pairs = zip(homes_of(program), is_everywhere(program), strict=True)
    return {home for home, anywhere in pairs if not anywhere}


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
