"""waits: where a step has several operations that wait, each is taken apart, so that all have begun before one is waited for."""

from __future__ import annotations

from typing import Any

from ...graph.dtypes import variant
from ...graph.function import functions_of
from ...graph.opdef import OpDef, Spec
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.waits import Waiting
from ...graph.record import record
from ...graph.waiting import Attempt, begun
from .program import Node, Program, Ref


class Begun:
    """What is between the two halves of an operation that waits: the attempt, and what it waits for."""

    __slots__ = ("attempt", "resource")

    def __init__(self, attempt: Attempt, resource: Any) -> None:
        self.attempt = attempt
        self.resource = resource


@record
class BeginWait(OpDef):
    """The first half of an operation that waits: it begins."""

    definition: Waiting
    type = "BeginWait"
    stateful = True

    def infer(self, *inputs: Any) -> Spec:
        self.definition.infer(*inputs)
        return Spec(variant, ())

    def compute(self, state: Any, *inputs: Any) -> Any:
        return Begun(begun(self.definition.begin(state, *inputs)), inputs[0])


@record
class EndWait(OpDef):
    """The second half: it waits until what was begun is done. `specs`: of the outputs."""

    definition: Waiting
    specs: tuple[Spec, ...]
    type = "EndWait"
    stateful = True

    def infer(self, begun: Any) -> tuple[Spec, ...]:
        return self.specs

    def compute(self, state: Any, begun: Begun) -> Any:
        return self.definition.result(begun.resource, begun.attempt.wait())


def part_waits(program: Program) -> Program:
    """The same program, in which all that may wait is two nodes: one begins, one waits; where there is only one, as it was.

    A plan runs one node after the other. With an enqueue and a dequeue of one queue in a step, whichever came first could
    wait for the other for ever; once both have begun, the queue serves them in whatever order they can be.
    """
    if sum(may_wait(node.definition) for node in program.nodes) < 2:
        return program
    nodes: list[Node] = []
    new: list[int] = []

    def moved(ref: Ref) -> Ref:
        return Ref(new[ref.node], ref.output)

    for node in program.nodes:
        inputs = tuple([moved(ref) for ref in node.inputs])
        here = node._replace(inputs=inputs, controls=tuple([new[control] for control in node.controls]))
        if isinstance(node.definition, Waiting):
            nodes.append(here._replace(definition=BeginWait(node.definition), specs=(Spec(variant, ()),)))
            end = EndWait(node.definition, node.specs)
            here = here._replace(definition=end, inputs=(Ref(len(nodes) - 1, 0),), controls=())
        new.append(len(nodes))
        nodes.append(here)
    return Program(
        tuple(nodes), tuple(moved(ref) for ref in program.fetches), tuple(new[each] for each in program.targets)
    )


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
