"""trim: a branch or a loop without the results that nobody uses, and without the inputs that only these needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...graph.function import Function, needed
from ...graph.ir import Tensor
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.tapes import heads
from .program import Node, Ref


def trimmed(node: Node, used: set[int]) -> tuple[Node, dict[int, int]]:
    """The node with only the outputs in `used` and the tape, and the new place of each output."""
    match node.definition:
        case If() as definition:
            return _branches(node, definition, used)
        case While() as definition:
            return _loop(node, definition, used)
    return node, {}


def taking(definition: If | While, kept: Sequence[int]) -> If | While:
    """The definition for an operation with only these of its inputs. Its functions keep what stood for the others."""
    if isinstance(definition, If):
        inner = [index - 1 for index in kept[1:]]
        return replace(definition, then=_taking(definition.then, inner), orelse=_taking(definition.orelse, inner))
    return replace(definition, condition=_taking(definition.condition, kept), body=_taking(definition.body, kept))


def _branches(node: Node, definition: If, used: set[int]) -> tuple[Node, dict[int, int]]:
    outputs = [index for index in range(len(definition.then.outputs)) if index in used]
    functions = [_of(function, outputs) for function in (definition.then, definition.orelse)]
    saves = definition.saves or ()
    wanted = {index for function in functions for index in inputs_of(function, function.outputs, saves)}
    kept = [index for index in range(len(functions[0].inputs)) if index in wanted]
    then, orelse = (_taking(function, kept) for function in functions)
    inputs = (node.inputs[0], *(node.inputs[1 + index] for index in kept))
    return _with(node, replace(definition, then=then, orelse=orelse), inputs, outputs)


def _loop(node: Node, definition: While, used: set[int]) -> tuple[Node, dict[int, int]]:
    condition, body, count = definition.condition, definition.body, definition.count
    saves = definition.saves or ()
    wanted = inputs_of(condition, condition.outputs, ()) | {index for index in used if index < count}
    while True:
        outputs = [index for index in range(count) if index in wanted]
        more = wanted | inputs_of(body, [body.outputs[index] for index in outputs], saves)
        if more == wanted:
            break
        wanted = more
    kept = [index for index in range(len(body.inputs)) if index in wanted]
    trimmed_loop = replace(definition, condition=_taking(condition, kept), body=_taking(_of(body, outputs), kept))
    return _with(node, trimmed_loop, tuple(node.inputs[index] for index in kept), outputs)


def _of(function: Function, outputs: Sequence[int]) -> Function:
    return Function(function.graph, function.inputs, [function.outputs[index] for index in outputs])


def _taking(function: Function, inputs: Sequence[int]) -> Function:
    return Function(function.graph, [function.inputs[index] for index in inputs], function.outputs)


def inputs_of(function: Function, outputs: Sequence[Tensor], saves: Iterable[str]) -> set[int]:
    """Which inputs of a function some of its outputs, and what is saved, need."""
    entries = [function.tensor(entry) for entry in heads(tuple(saves)) if function.owns(entry)]
    places = {tensor: index for index, tensor in enumerate(function.inputs)}
    fetched = [*outputs, *entries]
    operations = needed(fetched, function.inputs)
    taken = [*fetched, *(tensor for operation in operations for tensor in operation.inputs)]
    return {places[tensor] for tensor in taken if tensor in places}


def _with(
    node: Node, definition: If | While, inputs: tuple[Ref, ...], outputs: Sequence[int]
) -> tuple[Node, dict[int, int]]:
    tape = len(node.specs) - 1
    moved = {old: new for new, old in enumerate([*outputs, tape])}
    specs = tuple(node.specs[index] for index in moved)
    return node._replace(definition=definition, inputs=inputs, specs=specs), moved
