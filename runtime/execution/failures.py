"""How a kernel's failure becomes the error a user sees: typed as TF types it, naming operation and line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...graph import errors, shapes
from ...graph.dtypes import resource
from ...graph.function import functions_of
from ...graph.ir import Graph, Operation
from ...graph.opdef import Known, OpDef, Spec


class StepFailure(Exception):
    """The kernel of a node failed; `task` says where when that is another process: which task, on which host."""

    def __init__(self, node: str, cause: Exception, task: str = "") -> None:
        Exception.__init__(self, node, cause, task)
        self.node = node
        self.cause = cause
        self.task = task


#: Up to how many elements an integer vector is shown to shape inference as a value: shapes are short.
_SHORT = 64


def explained(cause: Exception, definition: OpDef, specs: Sequence[Spec], values: Sequence[Any]) -> Exception:
    """What a kernel's exception is reported as: where the shapes of its inputs were at fault, what shape inference says.

    NumPy's own words are about its functions, which the user did not call.
    """
    if isinstance(cause, errors.OpError) or not isinstance(cause, (ValueError, IndexError, TypeError)):
        return cause
    return misfit(definition, [_seen(spec, value) for spec, value in zip(specs, values, strict=True)]) or cause


def misfit(definition: OpDef, specs: Sequence[Spec]) -> errors.InvalidArgumentError | None:
    """The error of an operation whose inputs have shapes that do not go together, as shape inference says it."""
    try:
        definition.infer(*specs)
    except ValueError as error:
        given = ", ".join(shapes.text(spec.dims) for spec in specs)
        return errors.InvalidArgumentError(None, None, f"{error}; the inputs have shapes {given}")
    except Exception:
        return None  # inference has nothing to say about them: the kernel's own words are the better ones
    return None


def _seen(spec: Spec, value: Any) -> Spec:
    """What is to be known of an input once its value is there."""
    if spec.dtype is resource:
        return spec
    known: Known = spec.known
    if spec.dtype.is_integer and np.ndim(value) < 2 and np.size(value) <= _SHORT:
        known = tuple(value.tolist()) if np.ndim(value) else int(value)
    return Spec(spec.dtype, np.shape(value), known)


#: As many orders of differentiation are told.
_ORIGINS = 10


def error_class(cause: Exception) -> type[errors.OpError]:
    """The kind of error that a kernel's exception stands for."""
    match cause:
        case errors.OpError():
            return type(cause)
        case MemoryError():
            return errors.ResourceExhaustedError
        case NotImplementedError():
            return errors.UnimplementedError
        case ValueError() | IndexError() | TypeError() | ArithmeticError():
            return errors.InvalidArgumentError
    return errors.InternalError


def public_error(failure: StepFailure, graph: Graph) -> errors.OpError:
    """The error to raise from `Session.run`."""
    operation = _find(graph, failure.node)
    cause = failure.cause
    message = cause.message if isinstance(cause, errors.OpError) else str(cause) or type(cause).__name__
    text = [f"{message}\n\t [[{{{{node {failure.node}}}}}]]"]
    if failure.task:
        text.append(f"It ran on {failure.task}.")
    if operation is not None:
        text.append(f"Operation '{operation.name}' (op: '{operation.type}') was made at {operation.location}")
        text += _origin(operation)
    return error_class(cause)(operation, operation, "\n".join(text))


def _find(graph: Graph, name: str) -> Operation | None:
    """The operation of that name, also where it is inside of a branch or a loop."""
    found = graph.operation_named(name)
    if found is not None:
        return found
    inner = (function.graph for operation in graph.get_operations() for function in functions_of(operation.definition))
    return next((found for function in inner if (found := _find(function, name)) is not None), None)


def _origin(operation: Operation) -> list[str]:
    """Of an operation that `gradients` made: the forward operation; and where that was made so too, the one behind it."""
    told: list[str] = []
    forward = operation.original
    while forward is not None and len(told) < _ORIGINS:
        told.append(f"as part of the gradient of '{forward.name}' (op: '{forward.type}'), made at {forward.location}")
        forward = forward.original
    return told
