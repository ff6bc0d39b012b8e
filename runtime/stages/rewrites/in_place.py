"""Rewrites that save memory: what a variable is set or changed to is computed in it, and long sums term by term."""

from __future__ import annotations

from ....graph import shapes
from ....graph.ops.arithmetic import AddN, AddV2, Mul, Sub
from ....graph.ops.training import ResourceApplyGradientDescent
from ....graph.ops.variables import AssignAddVariableOp, AssignSubVariableOp, AssignVariableOp, ReadVariableOp
from ..program import Node, Program, Ref, touched_variables, uses_of, variable_key
from ..report import Report

#: Sums of smaller terms are made at once: their memory is not worth an instruction a term.
LARGE_TERM_BYTES = 1 << 14


def update_in_place(program: Program, report: Report) -> Program:
    """v -= rate * gradient is one operation, and so is v = v + x: neither needs memory of its own."""
    writes = [at for at, node in enumerate(program.nodes) if isinstance(node.definition, _WRITES)]
    if not writes:
        return program
    uses = uses_of(program)
    written = _written_once(program)
    nodes = list(program.nodes)
    for at in writes:
        node = nodes[at]
        made = _descent(program, node, uses) or _addition(program, node, uses, written)
        if made is not None:
            report.rewrote("update in place", node, made)
            nodes[at] = made
    return Program(tuple(nodes), program.fetches, program.targets)


_WRITES = (AssignSubVariableOp, AssignVariableOp)


def _descent(program: Program, node: Node, uses: list[int]) -> Node | None:
    """v -= scalar * x as one operation."""
    if not isinstance(node.definition, AssignSubVariableOp):
        return None
    handle, value = node.inputs
    product = program.nodes[value.node]
    if not isinstance(product.definition, Mul) or uses[value.node] != 1 or product.device != node.device:
        return None
    dims = node.definition.shape
    if not shapes.is_full(dims) or not dims:
        return None
    for scalar, other in (product.inputs, product.inputs[::-1]):
        if program.spec(scalar).dims == () and program.spec(other).dims == dims:
            definition = ResourceApplyGradientDescent(node.definition.dtype, dims)
            controls = tuple(dict.fromkeys((*node.controls, *product.controls)))
            return node._replace(definition=definition, inputs=(handle, scalar, other), controls=controls)
    return None


def _addition(program: Program, node: Node, uses: list[int], written: set[str]) -> Node | None:
    """v = v + x and v = v - x as one operation, where nothing else writes to the variable in between."""
    if not isinstance(node.definition, AssignVariableOp):
        return None
    handle, value = node.inputs
    made = program.nodes[value.node]
    if not isinstance(made.definition, (AddV2, Sub)) or uses[value.node] != 1 or made.device != node.device:
        return None
    first, other = made.inputs
    read = program.nodes[first.node]
    if not isinstance(read.definition, ReadVariableOp) or uses[first.node] != 1 or read.inputs != (handle,):
        return None
    dims = node.definition.shape
    if not shapes.is_full(dims) or program.spec(other).dims != dims or variable_key(program, handle) not in written:
        return None
    kind = AssignAddVariableOp if isinstance(made.definition, AddV2) else AssignSubVariableOp
    controls = tuple(dict.fromkeys((*node.controls, *made.controls, *read.controls)))
    return node._replace(definition=kind(node.definition.dtype, dims), inputs=(handle, other), controls=controls)


def _written_once(program: Program) -> set[str]:
    """The variables that one node alone writes to."""
    counts: dict[str, int] = {}
    for node in program.nodes:
        for variable in touched_variables(program, node, "write"):
            counts[variable] = counts.get(variable, 0) + 1
    return {variable for variable, count in counts.items() if count == 1}


def split_sums(program: Program, report: Report) -> Program:
    """A sum of many large terms is made term by term, each when it is there, so that they are not all kept until the last.

    The terms are added from the first to the last, as the sum does it.
    """
    if not any(_is_long_sum(program, node) for node in program.nodes):
        return program
    nodes: list[Node] = []
    new: list[int] = []
    for node in program.nodes:
        inputs = tuple([Ref(new[ref.node], ref.output) for ref in node.inputs])
        moved = node._replace(inputs=inputs, controls=tuple([new[control] for control in node.controls]))
        if _is_long_sum(program, node):
            report.note("split sums", f"{node.name} of {len(inputs)} terms")
            total = inputs[0]
            for number, term in enumerate(inputs[1:-1], 1):
                nodes.append(moved._replace(name=f"{node.name}/{number}", definition=AddV2(), inputs=(total, term)))
                total = Ref(len(nodes) - 1, 0)
            moved = moved._replace(definition=AddV2(), inputs=(total, inputs[-1]))
        new.append(len(nodes))
        nodes.append(moved)
    fetches = tuple(Ref(new[ref.node], ref.output) for ref in program.fetches)
    return Program(tuple(nodes), fetches, tuple(new[target] for target in program.targets))


def _is_long_sum(program: Program, node: Node) -> bool:
    if not isinstance(node.definition, AddN) or len(node.inputs) < 3:
        return False
    dims, dtype = node.specs[0].dims, node.specs[0].dtype
    count = shapes.count(dims)
    if count is None or any(program.spec(ref).dims != dims for ref in node.inputs):
        return False
    return count * dtype.size >= LARGE_TERM_BYTES
