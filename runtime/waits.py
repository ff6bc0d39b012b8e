"""waits: where a step has several operations that wait, each is taken apart, so that all have begun before one is waited for."""

from __future__ import annotations

from ..graph.function import functions_of
from ..graph.opdef import OpDef, Spec
from ..graph.dtypes import variant
from ..graph.ops.branching import If
from ..graph.ops.looping import While
from ..graph.ops.waits import BeginWait, EndWait, Waiting
from .program import Node, Program, Ref


def part_waits(program: Program) -> Program:
    """The same program, in which all that may wait is two nodes: one begins, one waits; where there is only one, as it was.

    A plan runs one node after the other. With an enqueue and a dequeue of one queue in a step, whichever came first could
    wait for the other for ever; once both have begun, the queue serves them in whatever order they can be.
    """
    waiting = [isinstance(node.definition, Waiting) for node in program.nodes]
    if sum(may_wait(node.definition) for node in program.nodes) < 2 or not any(waiting):
        return program
    nodes: list[Node] = []
    new: list[int] = []

    def moved(ref: Ref) -> Ref:
        return Ref(new[ref.node], ref.output)

    for node, waits in zip(program.nodes, waiting, strict=True):
        inputs = tuple([moved(ref) for ref in node.inputs])
        here = node._replace(inputs=inputs, controls=tuple([new[control] for control in node.controls]))
        if waits:
            begin = BeginWait(node.definition)
            nodes.append(here._replace(definition=begin, specs=(Spec(variant, ()),)))
            dtypes, dims = (tuple(getattr(spec, what) for spec in node.specs) for what in ("dtype", "dims"))
            end = EndWait(node.definition, dtypes, dims)
            here = here._replace(definition=end, inputs=(Ref(len(nodes) - 1, 0),), controls=())
        new.append(len(nodes))
        nodes.append(here)
    return Program(tuple(nodes), tuple(moved(ref) for ref in program.fetches), tuple(new[each] for each in program.targets))


def may_wait(definition: OpDef) -> bool:
    """Whether an operation may have to wait for what other steps do, or something in its functions."""
    if isinstance(definition, (Waiting, EndWait)):
        return True
    if not isinstance(definition, (If, While)):
        return False
    inner = (operation for function in functions_of(definition) for operation in function.operations)
    return any(may_wait(operation.definition) for operation in inner)


def waits_of(program: Program) -> dict[int, int]:
    """The nodes that may wait, and how soon each should: first those that others wait behind, then as they stand.

    Of two that have begun, the one that lets another begin is waited for first: it may be what the other one waits for.
    """
    found = [position for position, node in enumerate(program.nodes) if may_wait(node.definition)]
    if not found:
        return {}
    leads = [False] * len(program.nodes)
    for position in range(len(program.nodes) - 1, -1, -1):
        node = program.nodes[position]
        ends = isinstance(node.definition, EndWait)
        onward = leads[position] or (not ends and (may_wait(node.definition) or isinstance(node.definition, BeginWait)))
        if onward:
            for other in (*[ref.node for ref in node.inputs], *node.controls):
                leads[other] = True
    size = len(program.nodes)
    return {position: position if leads[position] else size + position for position in found}
