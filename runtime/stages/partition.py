"""partition: the ordered, placed program cut into one list a device, with a send and a receive where a value crosses."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from ...graph.ops.constant import Const
from ...graph.record import Record, record
from .fused import Fused
from .program import Feed, Program, Ref


@record
class RunNode(Record):
    """Run a node of the program here."""

    node: int


@record
class SendValue(Record):
    """Send a value to another device, or with output -1 a signal that the node has run."""

    ref: Ref
    edge: int
    device: str


@record
class ReceiveValue(Record):
    """Wait for a value, or for the signal that a node has run."""

    ref: Ref
    edge: int
    device: str


@record
class Region(Record):
    """Run several nodes as one. `outputs`: for each result of the definition, the values of the program that it is."""

    definition: Fused
    inputs: tuple[Ref, ...]
    outputs: tuple[tuple[Ref, ...], ...]


Item = RunNode | SendValue | ReceiveValue | Region


@dataclass(slots=True)
class Partition:
    """What one device runs, in order, and which fetches it hands out."""

    device: str
    items: list[Item] = field(default_factory=list)
    fetches: dict[int, Ref] = field(default_factory=dict)


def partition(
    program: Program,
    order: Sequence[int],
    edges: Iterator[int] | None = None,
    wanted: Sequence[Collection[str]] | None = None,
) -> tuple[Partition, ...]:
    """One part a device. A value crosses once to each device that uses it; constants and feeds are wherever needed.

    Every part keeps the one global order, and a send follows at once on what it sends, so parts that wait for each
    other always find somebody to go on: they cannot deadlock. `edges`: numbers of edges that nobody has. `wanted`: for
    each fetch the devices that hand it out, if not the one that computes it.
    """
    homes, everywhere = homes_of(program), is_everywhere(program)
    goals = [sorted(each) for each in wanted or ([homes[ref.node]] for ref in program.fetches)]
    alone = wanted is None and len(set(homes)) < 2
    crossings = {} if alone else _crossings(program, order, homes, everywhere, goals, edges or itertools.count())
    parts: dict[str, Partition] = {}
    here: set[tuple[Ref, str]] = set()

    def bring(ref: Ref, device: str) -> None:
        """Make sure that a value, or the knowledge that a node has run, is on a device."""
        if homes[ref.node] == device and not everywhere[ref.node]:
            return
        if (ref, device) in here:
            return
        here.add((ref, device))
        if everywhere[ref.node]:
            part(device).items.append(RunNode(ref.node))
        else:
            part(device).items.append(ReceiveValue(ref, crossings[ref.node][ref, device], homes[ref.node]))

    def part(device: str) -> Partition:
        return parts.get(device) or parts.setdefault(device, Partition(device))

    for position in order:
        if everywhere[position]:
            continue  # put in where it is needed
        home = homes[position]
        for ref in _needs(program, position, everywhere):
            bring(ref, home)
        items = part(home).items
        items.append(RunNode(position))
        if position in crossings:
            items.extend(SendValue(ref, edge, to) for (ref, to), edge in crossings[position].items())
    for index, (ref, devices) in enumerate(zip(program.fetches, goals, strict=True)):
        for device in devices:
            bring(ref, device)
            part(device).fetches[index] = ref
    return tuple(parts[device] for device in sorted(parts))


def homes_of(program: Program) -> list[str]:
    """The name of each node's device. Few objects are the devices of all nodes: each is asked for its name once."""
    names: dict[int, str] = {}
    for node in program.nodes:
        if id(node.device) not in names:
            names[id(node.device)] = str(node.device)
    return [names[id(node.device)] for node in program.nodes]


def is_everywhere(program: Program) -> list[bool]:
    """Whether each node is not computed but simply there on any device: a constant or a feed."""
    return [isinstance(node.definition, (Const, Feed)) and not node.controls for node in program.nodes]


def _needs(program: Program, position: int, everywhere: Sequence[bool]) -> Sequence[Ref]:
    """The values a node takes, and with output -1 the nodes it only waits for."""
    node = program.nodes[position]
    if not node.controls:
        return node.inputs
    return [*node.inputs, *(Ref(control, -1) for control in node.controls if not everywhere[control])]


def _crossings(
    program: Program,
    order: Sequence[int],
    homes: Sequence[str],
    everywhere: Sequence[bool],
    goals: Sequence[Collection[str]],
    edges: Iterator[int],
) -> dict[int, dict[tuple[Ref, str], int]]:
    """For each node whose values cross: (value, destination) and the number of the edge."""
    found: dict[int, dict[tuple[Ref, str], int]] = {}

    def cross(ref: Ref, device: str) -> None:
        if homes[ref.node] != device and not everywhere[ref.node]:
            mine = found.setdefault(ref.node, {})
            if (ref, device) not in mine:
                mine[ref, device] = next(edges)

    for position in order:
        if not everywhere[position]:
            for ref in _needs(program, position, everywhere):
                cross(ref, homes[position])
    for ref, devices in zip(program.fetches, goals, strict=True):
        for device in devices:
            cross(ref, device)
    return found
