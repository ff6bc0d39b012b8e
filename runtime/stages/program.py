"""The runtime's own picture of what one `run` computes: nodes in order, each knowing its inputs by position."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from ...graph.devices import DeviceSpec
from ...graph.dtypes import DType, resource
from ...graph.ir import Operation
from ...graph.opdef import OpDef, Spec
from ...graph.record import Record, record
from ...graph.shapes import Dims


class Ref(NamedTuple):
    """One output of a node: the node's position in its program, and which output."""

    node: int
    output: int


class Node(NamedTuple):
    """An operation as one run sees it. Inputs and controls always stand before it."""

    name: str
    definition: OpDef
    inputs: tuple[Ref, ...]
    controls: tuple[int, ...]
    specs: tuple[Spec, ...]
    #: The operation of the graph that it comes from: for its requested device and its line in the user's program.
    origin: Operation | None
    #: Where it runs, once it is placed.
    device: DeviceSpec | None = None


@record
class Feed(OpDef):
    """Stands where a tensor is fed: its value comes with each run."""

    index: int
    dtype: DType
    dims: Dims
    type = "Feed"

    def infer(self) -> Spec:
        return Spec(self.dtype, self.dims)


@record
class Program(Record):
    """Everything that one kind of `run` computes: `fetches` are the values it returns, `targets` what it also runs."""

    nodes: tuple[Node, ...]
    fetches: tuple[Ref, ...]
    targets: tuple[int, ...]

    def spec(self, ref: Ref) -> Spec:
        return self.nodes[ref.node].specs[ref.output]


def on_devices(program: Program, devices: Sequence[DeviceSpec]) -> Program:
    """The program with a device at every node."""
    nodes = (Node(*node[:-1], device) for node, device in zip(program.nodes, devices, strict=True))
    return Program(tuple(nodes), program.fetches, program.targets)


def needed_nodes(program: Program, free: Container[int] = ()) -> list[bool]:
    """For each node, whether fetches or targets need it. The nodes in `free` wait for nothing but their inputs."""
    needed = [False] * len(program.nodes)
    for ref in program.fetches:
        needed[ref.node] = True
    for target in program.targets:
        needed[target] = True
    for position in range(len(program.nodes) - 1, -1, -1):
        if needed[position]:
            node = program.nodes[position]
            for ref in node.inputs:
                needed[ref.node] = True
            for control in () if position in free else node.controls:
                needed[control] = True
    return needed


def uses_of(program: Program) -> list[int]:
    """How many times each node is used, waited for or fetched."""
    found = [0] * len(program.nodes)
    for node in program.nodes:
        for ref in node.inputs:
            found[ref.node] += 1
        for control in node.controls:
            found[control] += 1
    for ref in program.fetches:
        found[ref.node] += 1
    for target in program.targets:
        found[target] += 1
    return found


def variable_key(program: Program, ref: Ref) -> str:
    """The variable that a resource tensor stands for: the name its slot has in a session's state."""
    node = program.nodes[ref.node]
    while node.inputs and node.definition.view:
        node = program.nodes[node.inputs[0].node]
    return getattr(node.definition, "shared_name", "") or node.name


def touched_variables(program: Program, node: Node, access: str) -> tuple[str, ...]:
    """The variables that a node reads, or writes."""
    if not node.definition.stateful:
        return ()
    return tuple(
        variable_key(program, ref)
        for index, ref in enumerate(node.inputs)
        if program.spec(ref).dtype is resource and node.definition.access_of(index) == access
    )
