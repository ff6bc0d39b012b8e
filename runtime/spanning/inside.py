"""inside: what one function of a branch or a loop that spans devices computes there, and what of it is computed only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...graph.devices import DeviceSpec
from ...graph.function import Function
from ...graph.opdef import Spec
from ...graph.ops.constant import Const
from ...graph.ops.identity import Identity
from ..kernels import Backend
from ..regions.fuse import fuse
from ..stages.lower import lower
from ..stages.optimize import drop_dead
from ..stages.order import order as ordered
from ..stages.partition import Partition, homes_of, is_everywhere, partition
from ..stages.plan import Plan
from ..stages.program import Feed, Node, Program, Ref, on_devices
from ..stages.tapes import inner_program
from ..stages.waits import part_waits
from .bodies import Bodies, Body
from .distribution import Distribution, Parting


@dataclass(frozen=True, slots=True)
class Making:
    """What parts are made with: the kernels of each device, numbers of edges that nobody has, and the order's seed."""

    backend: Callable[[DeviceSpec], Backend]
    edges: Iterator[int]
    seed: int | None = None


class Where(NamedTuple):
    """What the parts of one branch or loop have in common: its body, and what gives the parts of those in it."""

    body: Body
    bodies: Bodies
    making: Making
    parting: Parting


class Inside:
    """What a function computes, with devices and in order, and what spans devices in it in parts.

    Of what `body` says is computed once, what depends on nothing but the feeds in `fixed` is not in it but fed to it, from
    number `number` on.
    """

    def __init__(
        self,
        function: Function,
        specs: Sequence[Spec],
        saves: Sequence[str],
        where: Where,
        fixed: frozenset[int] = frozenset(),
        number: int = 0,
    ) -> None:
        body, making = where.body, where.making

        def placed(program: Program) -> Program:
            return on_devices(program, [body.device(node.origin) for node in program.nodes])

        program, self.entries = inner_program(function, specs, saves, placed)
        program = part_waits(program)
        self._fetches, self._making = program.fetches, making
        self._made = Distribution(
            program, ordered(program, making.seed), where.parting, [str(each) for each in body.all], where.bodies.tapes
        )
        #: All nodes as they were before some were taken out, and the places of these in the order of the feeds.
        self._nodes = tuple(self._made.nodes)
        self.taken = self._take_out(body, fixed, number)

    def _take_out(self, body: Body, fixed: frozenset[int], number: int) -> list[int]:
        same: set[int] = set()
        taken: list[int] = []
        for position, node in enumerate(self._nodes):
            known = isinstance(node.definition, Const) or (
                isinstance(node.definition, Feed) and node.definition.index in fixed
            )
            once = node.origin in body.once and same.issuperset([ref.node for ref in node.inputs])
            if node.controls or not (known or once):
                continue
            same.add(position)
            if once and not known:
                (spec,) = node.specs
                feed = Feed(number + len(taken), spec.dtype, spec.dims)
                self._made.nodes[position] = node._replace(definition=feed, inputs=())
                taken.append(position)
        return taken

    def once(self, wanted: Sequence[set[str]]) -> tuple[Program, list[set[str]]]:
        """What was taken out, as a program that gives what is `wanted` somewhere, and where that is."""
        pairs = [(Ref(place, 0), devices) for place, devices in zip(self.taken, wanted, strict=True) if devices]
        return drop_dead(Program(self._nodes, tuple([ref for ref, _ in pairs]), ())), [found for _, found in pairs]

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
        self,
        wanted: Sequence[set[str]],
        devices: Sequence[str],
        shared: frozenset[int] = frozenset(),
        lasting: frozenset[int] = frozenset(),
    ) -> tuple[list[Partition], dict[str, Plan]]:
        """What each device runs, handing out the fetches that are `wanted` there; `shared` and `lasting` as for `lower`."""
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
        return plans_of(self._program(fetches), goals, devices, self._making, shared, kept, lasting)


def plans_of(
    program: Program, goals: Sequence[set[str]], devices: Sequence[str], making: Making,
    shared: frozenset[int] = frozenset(), kept: int = 0, lasting: frozenset[int] = frozenset(),
) -> tuple[list[Partition], dict[str, Plan]]:  # fmt: skip
    """What each device runs of a program, handing out the fetches that have it among their `goals`."""
    found = {part.device: part for part in partition(program, range(len(program.nodes)), making.edges, goals)}
    made = {}
    for device in devices:
        backend = making.backend(DeviceSpec.from_string(device))
        part = fuse(program, found.get(device) or Partition(device), backend)
        made[device] = lower(program, part, backend, False, shared, kept, again=True, lasting=lasting)
    return list(found.values()), made
