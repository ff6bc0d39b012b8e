"""hoist: what is the same in every iteration of a loop is computed in the first one, and kept for the others.

In the first one, so that a loop that does not run computes nothing, and no error comes that the loop would not have.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...graph import shapes
from ...graph.function import Function
from ...graph.opdef import Spec
from ...graph.ops.constant import Const
from ...graph.ops.looping import While
from ..stages.optimize import drop_dead
from ..stages.program import Feed, Node, Program, Ref
from ..stages.tapes import inner_program


def unchanging(definition: While, inputs: int) -> frozenset[int]:
    """The inputs of a loop's functions that are the same in every iteration: invariants, and variables that stay."""
    body, count = definition.body, definition.count
    staying = [at for at, after in enumerate(body.outputs) if after is body.inputs[at]]
    return frozenset(range(count, inputs)).union(staying)


def hoisted(program: Program, fixed: frozenset[int], number: int) -> tuple[Program, Program] | None:
    """The part of a program that depends on nothing but the feeds in `fixed`, and the rest; None where there is no such part.

    What the first gives is fed to the second from number `number` on.
    """
    moved = _moved(program, fixed)
    taken = sorted(_taken(program, moved))
    if not taken:
        return None
    first = Program(program.nodes, tuple(Ref(position, 0) for position in taken), ())
    nodes = list(program.nodes)
    for at, position in enumerate(taken):
        (spec,) = nodes[position].specs
        nodes[position] = nodes[position]._replace(
            definition=Feed(number + at, spec.dtype, spec.dims), inputs=(), controls=()
        )
    return drop_dead(first), drop_dead(Program(tuple(nodes), program.fetches, program.targets))


def hoisted_names(definition: While, inputs: Sequence[Spec]) -> list[str]:
    """The operations of a loop that run once."""
    specs = [*definition.settled(inputs), *inputs[definition.count :]]
    fixed = unchanging(definition, len(specs))
    sides: list[tuple[Function, tuple[str, ...]]] = [
        (definition.condition, ()),
        (definition.body, definition.saves or ()),
    ]
    found = [hoisted(inner_program(function, specs, saves)[0], fixed, len(specs)) for function, saves in sides]
    return [
        node.name
        for pair in found
        if pair is not None
        for node in pair[0].nodes
        if not isinstance(node.definition, (Feed, Const))
    ]


def _moved(program: Program, fixed: frozenset[int]) -> list[bool]:
    """For each node, whether its result can be taken from the first iteration."""
    same: list[bool] = []
    moved: list[bool] = []
    for node in program.nodes:
        definition = node.definition
        base = isinstance(definition, Const) or (isinstance(definition, Feed) and definition.index in fixed)
        again = bool(node.inputs) and all(same[ref.node] for ref in node.inputs)
        computed = again and not node.controls and not definition.stateful and _is_plain(node)
        same.append(computed or (base and not node.controls))  # what waits for something has that run, each time
        moved.append(computed and not definition.view and not _is_fill(program, node))
    return moved


def _is_plain(node: Node) -> bool:
    """Whether a node gives one array, of a known size."""
    return len(node.specs) == 1 and shapes.is_full(node.specs[0].dims) and not node.specs[0].dtype.np.hasobject


def _is_fill(program: Program, node: Node) -> bool:
    """Whether a node makes much of little: to read it would take longer than to make it."""
    counts = [shapes.count(program.spec(ref).dims) for ref in node.inputs]
    return (shapes.count(node.specs[0].dims) or 0) > 1 and all(count == 1 for count in counts[:1])


def _taken(program: Program, moved: Sequence[bool]) -> set[int]:
    """The nodes to be moved that others use, which are not."""
    taken: set[int] = set()
    seen: set[int] = set()
    waiting = [*(ref.node for ref in program.fetches), *program.targets]
    while waiting:
        position = waiting.pop()
        if position in seen:
            continue
        seen.add(position)
        if moved[position]:
            taken.add(position)
        else:
            node = program.nodes[position]
            waiting += [*(ref.node for ref in node.inputs), *node.controls]
    return taken
