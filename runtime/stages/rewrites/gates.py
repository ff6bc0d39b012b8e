"""Gates and other waiting that orders nothing: left out, but for the order of reads and writes that it stood for."""

from __future__ import annotations

from ....graph.function import functions_of
from ....graph.opdef import OpDef
from ....graph.ops.compare import CheckNumerics
from ....graph.ops.constant import Const
from ....graph.ops.fills import Fill, OnesLike, ZerosLike
from ....graph.ops.identity import Identity, NoOp
from ....graph.ops.random import Random
from ....graph.ops.sizes import Rank, Shape, Size
from ....graph.ops.variables import VarHandleOp
from ..accesses import ordered_before
from ..program import Node, Program, needed_nodes
from ..report import Report

#: What is computed from nothing, or from a shape: its time does not matter.
_TIMELESS = (Const, Shape, Size, Rank, ZerosLike, OnesLike, Fill)
#: Stateful, but whatever else runs before or after does not matter.
_UNORDERED = (NoOp, VarHandleOp, Random)


def open_gates(program: Program, report: Report) -> Program:
    """A gate (`wf.tuple`) behind which only values are computed is left out, and what nothing but the gate needs.

    A value then no longer waits for its neighbours, and those that nobody needs are not computed at all. Only the order
    of effects could tell the difference, so: nothing changes where an effect lies behind the gate, a write still comes
    after the reads that the gate put before it, and random numbers are drawn all the same.
    """
    if not any(node.controls for node in program.nodes):
        return program
    acting = _acting(program)
    opened = {at for at, node in enumerate(program.nodes) if _is_gate(program, node) and not acting[at]}
    alive = needed_nodes(program, opened)
    nodes = list(program.nodes)
    for at, node in enumerate(nodes):
        if at in opened:
            nodes[at] = node._replace(controls=())
            report.note("open gates", f"{node.name} waits for {len(nodes[node.controls[0]].controls)} no more")
        elif node.controls and isinstance(node.definition, _TIMELESS):
            kept = tuple([control for control in node.controls if acting[control] or not alive[control]])
            if kept != node.controls:
                nodes[at] = node._replace(controls=kept)
                report.note("open gates")
    lost = [at for at, node in enumerate(nodes) if not alive[at] and isinstance(node.definition, Random)]
    changed = Program(tuple(nodes), program.fetches, (*program.targets, *lost))
    return _as_ordered(program, changed, report)


def _is_gate(program: Program, node: Node) -> bool:
    """Whether a node is a value behind a gate: it waits for a no-op that waits for the value itself, among others."""
    if not isinstance(node.definition, Identity) or len(node.controls) != 1:
        return False
    gate = program.nodes[node.controls[0]]
    return isinstance(gate.definition, NoOp) and node.inputs[0].node in gate.controls


def _acting(program: Program) -> list[bool]:
    """For each node, whether it or one that it needs does something whose time matters. Reading a variable does not."""
    found: list[bool] = []
    for node in program.nodes:
        definition = node.definition
        acts = (definition.stateful and _acts(definition)) or isinstance(definition, CheckNumerics)
        found.append(
            acts or True in [found[at] for at, _ in node.inputs] or True in [found[at] for at in node.controls]
        )
    return found


def _acts(definition: OpDef) -> bool:
    functions = functions_of(definition)
    if functions:
        inner = [operation.definition for function in functions for operation in function.operations]
        return any(isinstance(each, (CheckNumerics, Random)) or (each.stateful and _acts(each)) for each in inner)
    return definition.access != "read" and not isinstance(definition, _UNORDERED)


def _as_ordered(program: Program, changed: Program, report: Report) -> Program:
    """The changed program, in which each write waits again for the reads that came before it."""
    nodes = list(changed.nodes)
    for first, then in ordered_before(program, changed):
        nodes[then] = nodes[then]._replace(controls=(*nodes[then].controls, first))
        report.note("open gates", f"{nodes[then].name} still waits for {nodes[first].name}")
    return Program(tuple(nodes), changed.fetches, changed.targets)
