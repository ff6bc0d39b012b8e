"""spread: a branch or a loop whose operations have several devices becomes a part a device, which meet inside of it."""

from __future__ import annotations

from collections.abc import Sequence

from ..stages.program import Node, Program
from .bodies import Bodies
from .distribution import Distribution, PartNode
from .inside import Making
from .parting import parts


def spread(program: Program, order: Sequence[int], bodies: Bodies, making: Making) -> tuple[Program, list[int]]:
    """The program with each branch and loop that spans devices as one node a device, and its order.

    These nodes follow on each other in the order, and the plans inside of them keep one order too, iteration after iteration:
    so of all that is not done, the first in this order can always run, as without loops.
    """
    if not bodies.of:
        return program, list(order)

    def parting(old: Program, node: Node) -> list[Node | PartNode]:
        body = None if node.origin is None else bodies.of.get(node.origin)
        return [node] if body is None else parts(old, node, body, bodies, making)

    made = Distribution(program, order, parting, (), bodies.tapes)
    fetches = tuple([made.value(ref, str(program.nodes[ref.node].device)) for ref in program.fetches])
    targets = tuple([place for target in program.targets for place in made.places(target)])
    return Program(tuple(made.nodes), fetches, targets), list(range(len(made.nodes)))
