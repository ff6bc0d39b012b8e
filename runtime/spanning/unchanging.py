"""unchanging: what is the same in each iteration of a loop that may span devices, reads of variables that it leaves alone too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ...graph.dtypes import resource, variant
from ...graph.function import Function, functions_of
from ...graph.ir import Operation, Tensor
from ...graph.opdef import OpDef
from ...graph.ops.constant import Const
from ...graph.ops.looping import While
from ...graph.ops.variables import ReadVariableOp, VarHandleOp
from ..loops.hoist import unchanging
from ..stages.program import Program, Ref, variable_key
from ..stages.trim import inputs_of
from ..stages.waits import may_wait
from .openness import is_functional

#: The variables that handles stand for, by the name that a slot has in a session's state; None where nobody knows.
Variables = Mapping[Tensor, str | None]


def unchanging_operations(definition: While, variables: Sequence[str | None]) -> set[Operation]:
    """The operations of a loop's two functions that one run of each is enough of, for as long as the loop runs.

    `variables`: for each input that is the handle of a variable, the name of that. A read is one of them if nothing in
    the loop, in whatever function, writes to its variable; then, what is computed of nothing else. Not what waits for
    something, which has that run each time. Where other steps have a say, as in a loop that only they can end, or that
    waits for them in between, reads are done again: they may have written.
    """
    fixed = unchanging(definition, len(variables))
    written: set[str | None] = {None}
    if _goes_on_by_itself(definition, fixed) and not may_wait(definition):
        written = set(_written(definition, variables))
    found: set[Operation] = set()
    for function in (definition.condition, definition.body):
        known = dict(zip(function.inputs, variables, strict=True))
        same = {function.inputs[at] for at in fixed}
        for operation in function.operations:
            if operation.control_inputs:
                continue
            if isinstance(operation.definition, Const):
                same.update(operation.outputs)
            elif operation.inputs and same.issuperset(operation.inputs) and _repeats(operation, known, written):
                same.update(operation.outputs)
                found.add(operation)
    return found


def _repeats(operation: Operation, known: Variables, written: set[str | None]) -> bool:
    """Whether an operation gives the same again for the same inputs."""
    (result, *others) = operation.outputs or (None,)
    if result is None or others or result.dtype.np.hasobject:
        return False
    if isinstance(operation.definition, ReadVariableOp):
        name = variable_of(operation.inputs[0], known)
        return name is not None and written.isdisjoint((name, None))
    return not operation.definition.stateful and all(
        tensor.dtype not in (resource, variant) for tensor in (result, *operation.inputs)
    )


def _goes_on_by_itself(definition: While, fixed: Collection[int]) -> bool:
    """Whether something that the end of a loop depends on changes from iteration to iteration by what it was before.

    If not, the loop ends in the first iterations, or waits for another step to write what it reads.
    """
    body = definition.body
    needs: dict[int, set[int]] = {}
    waiting = inputs_of(definition.condition, definition.condition.outputs, ())
    while waiting:
        at = waiting.pop()
        if at not in needs and at not in fixed:
            needs[at] = inputs_of(body, [body.outputs[at]], ()).difference(fixed)
            waiting |= needs[at]
    while ended := [at for at, others in needs.items() if needs.keys().isdisjoint(others)]:
        for at in ended:
            del needs[at]
    return bool(needs)


def variable_at(program: Program, ref: Ref) -> str | None:
    """The variable that a handle in a program stands for."""
    node = program.nodes[ref.node]
    while node.inputs and node.definition.view:
        node = program.nodes[node.inputs[0].node]
    return variable_key(program, ref) if isinstance(node.definition, VarHandleOp) else None


def variable_of(handle: Tensor, known: Variables) -> str | None:
    """The variable that a handle in a function stands for."""
    while handle not in known and handle.op.inputs and handle.op.definition.view:
        handle = handle.op.inputs[0]
    definition = handle.op.definition
    if handle not in known and isinstance(definition, VarHandleOp):
        return definition.shared_name or handle.op.name
    return known.get(handle)


def _written(definition: OpDef, variables: Sequence[str | None]) -> Iterator[str | None]:
    """The variables that something in the functions of a branch or a loop writes to, or in theirs."""
    for function in functions_of(definition):
        yield from _written_by(function, dict(zip(function.inputs, variables, strict=True)))


def _written_by(function: Function, known: Variables) -> Iterator[str | None]:
    for operation in function.operations:
        if is_functional(operation.definition):
            given = [variable_of(tensor, known) if tensor.dtype is resource else None for tensor in operation.inputs]
            count = len(functions_of(operation.definition)[0].inputs)
            yield from _written(operation.definition, given[len(given) - count :])
            continue
        for place, tensor in enumerate(operation.inputs):
            if tensor.dtype is resource and operation.definition.access_of(place) == "write":
                yield variable_of(tensor, known)
