"""Branches and loops as TensorFlow's If and While, and their functions as entries of a GraphDef's library."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from ..function import Function, functions_of
from ..ir import Operation, Tensor
from ..ops.branching import If
from ..ops.looping import While
from ..shapes import TensorShape
from .attributes import FunctionName
from .calling import BACK_PROP, LOOP_VARIABLES
from .outputs import output_reference
from .tables import BY_DEFINITION


def is_theirs(operation: Operation) -> bool:
    """Whether TF has the same operation, with all that is inside of it. It has no tapes: those are a gradient's."""
    if isinstance(operation.definition, If | While):
        functions = functions_of(operation.definition)
        unused = not operation.outputs[-1].consumers()
        return unused and all(is_theirs(inner) for function in functions for inner in function.operations)
    row = BY_DEFINITION.get(type(operation.definition))
    return row is not None and row.fits(operation)


def outputs_of(operation: Operation) -> list[Tensor]:
    """What the outputs of the node are: all but the tape; of a loop also what it uses from around it."""
    outputs = list(operation.outputs[:-1])
    return outputs + _handed_on(operation.definition, operation.inputs)


def results_of(operation: Operation, function: Function) -> list[Tensor]:
    """What TF's form of one of the functions gives: that of a loop's body has all arguments again."""
    definition = operation.definition
    if isinstance(definition, While) and function is definition.condition:
        return list(function.outputs)
    return [*function.outputs, *_handed_on(definition, function.inputs)]


def _handed_on(definition: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    return list(inputs[definition.count :]) if isinstance(definition, While) else []


def node_of(operation: Operation, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The type and the attributes of the node that calls the functions of these names."""
    definition, results = operation.definition, outputs_of(operation)
    functions = [FunctionName(name) for name in names]
    attrs: dict[str, Any] = {
        "output_shapes": tuple(TensorShape(tensor.dims) for tensor in results),
        "_lower_using_switch_merge": True,  # as TF's own: what is inside runs as part of the step
    }
    types = tuple(tensor.dtype for tensor in results)
    if isinstance(definition, If):
        attrs |= {"Tcond": operation.inputs[0].dtype, "Tin": tuple(tensor.dtype for tensor in operation.inputs[1:])}
        attrs |= {"Tout": types, "then_branch": functions[0], "else_branch": functions[1]}
    else:
        attrs |= {"T": types, "cond": functions[0], "body": functions[1]}
        # TF's node has no such attributes, and lets pass those of other programs.
        attrs |= {LOOP_VARIABLES: len(operation.outputs) - 1, BACK_PROP: definition.back_prop}  # type: ignore[attr-defined]
    return f"{'' if is_stateful(operation) else 'Stateless'}{operation.type}", attrs


def is_stateful(operation: Operation) -> bool:
    """Whether it reads or changes something outside of its inputs; a branch or a loop, whether anything inside does."""
    functions = functions_of(operation.definition)
    if not functions:
        return operation.definition.stateful
    return any(is_stateful(inner) for function in functions for inner in function.operations)


class Functions(NamedTuple):
    """The functions that are written: the library of the GraphDef, and their names."""

    library: Any
    names: set[str]


def add_function(
    functions: Functions, name: str, function: Function, nodes: Sequence[Any], results: Sequence[Tensor]
) -> str:
    """Enter a function whose nodes are written with the names that they have in the graph. Returns its name."""
    proto = functions.library.function.add()
    name = proto.signature.name = _free(name, functions.names)
    functions.names.add(name)
    proto.signature.is_stateful = any(is_stateful(operation) for operation in function.operations)
    short = _short_names([node.name for node in nodes])
    kinds = {node.name: node.op for node in nodes}
    arguments = {}
    for number, tensor in enumerate(function.inputs):
        arguments[tensor.op.name] = _free(f"arg_{number}", short.values())
        proto.signature.input_arg.add(name=arguments[tensor.op.name], type=tensor.dtype.as_datatype_enum)

    def renamed(text: str) -> str:
        if text.startswith("^"):
            return f"^{short[text[1:]]}"
        node, _, index = text.partition(":")
        return arguments.get(node) or output_reference(short[node], kinds[node], int(index or 0))

    for node in nodes:
        made = proto.node_def.add()
        made.CopyFrom(node)
        made.name = short[node.name]
        made.input[:] = [renamed(text) for text in node.input]
        made.attr.pop("_class", None)  # all of it runs on one device, that of the node that calls it
    for number, tensor in enumerate(results):
        proto.signature.output_arg.add(name=f"result_{number}", type=tensor.dtype.as_datatype_enum)
        proto.ret[f"result_{number}"] = renamed(tensor.name)
    return name


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """The names without the scopes that all share, which say only where the function was built."""
    scopes = [name.split("/")[:-1] for name in names]
    shared = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*scopes, strict=False)))
    short = {name: name.split("/", shared)[-1] for name in names}
    return short if all(name[0].isalnum() for name in short.values()) else {name: name for name in names}


def _free(name: str, taken: Collection[str]) -> str:
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
