"""Operations as data: definitions and graphs to JSON-ready values and arrays, and back. Never code."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from . import shapes
from .dtypes import DType, as_dtype
from .function import Argument, Function, FunctionGraph
from .ir import Graph, Operation, Tensor
from .opdef import OPS, OpDef, Spec
from .ops.literal import Literal

Arrays = list[np.ndarray[Any, Any]]


def encode_definition(definition: OpDef, arrays: Arrays) -> list[Any]:
    """`[type, attribute, …]`; arrays among the attributes are appended to `arrays` and stand there by their number."""
    return [definition.type, *(_encode(getattr(definition, f.name), arrays) for f in fields(definition))]  # type: ignore[arg-type]


def decode_definition(data: Any, arrays: Sequence[Any]) -> OpDef:
    """The definition again. Raises ValueError for data that is none."""
    if not isinstance(data, list) or not data or data[0] not in OPS:
        raise ValueError(f"no known operation type in {str(data)[:100]}")
    cls = OPS[data[0]]
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    if len(names) != len(data) - 1:
        raise ValueError(f"operation type {data[0]} has the attributes {names}, got {len(data) - 1} values")
    values: dict[str, Any] = {name: _decode(value, arrays) for name, value in zip(names, data[1:], strict=True)}
    return cls(**values)


def _encode(value: Any, arrays: Arrays) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return _plain(value)
        case DType():
            return {"dtype": value.name}
        case tuple():
            return [_encode(item, arrays) for item in value]
        case Literal():
            arrays.append(value.array)
            return {"array": len(arrays) - 1}
        case bytes():
            return {"bytes": value.hex()}
        case Function():
            return {"function": encode_function(value, arrays)}
        case complex():
            return {"complex": [value.real, value.imag]}
    raise TypeError(f"an attribute of type {type(value).__name__} cannot travel as data: {value!r}")


def _plain(value: Any) -> Any:
    """JSON has no infinities and no NaN."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"float": repr(value)}
    return value


def _decode(value: Any, arrays: Sequence[Any]) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return tuple(_decode(item, arrays) for item in value)
        case {"dtype": str(name)}:
            return as_dtype(name)
        case {"array": int(number)} if 0 <= number < len(arrays):
            return Literal(np.asarray(arrays[number]))
        case {"bytes": str(text)}:
            return bytes.fromhex(text)
        case {"complex": [float(real), float(imag)]}:
            return complex(real, imag)
        case {"float": str(text)}:
            return float(text)
        case {"function": dict(data)}:
            return decode_function(data, arrays)
    raise ValueError(f"not an attribute: {str(value)[:100]}")


def encode_spec(spec: Spec) -> list[Any]:
    """A Spec as `[dtype, dims, known]`."""
    return [spec.dtype.name, spec.dims, spec.known]


def decode_spec(data: Any) -> Spec:
    """The Spec again. Raises ValueError, TypeError for data that is none."""
    name, dims, known = data
    return Spec(as_dtype(name), shapes.as_dims(dims), _tuples(known))


def _tuples(known: Any) -> Any:
    """Lists as tuples, however nested."""
    return tuple(_tuples(item) for item in known) if isinstance(known, list) else known


def encode_graph(graph: Graph) -> tuple[list[Any], Arrays]:
    """A whole graph: one row an operation, and the arrays of its constants."""
    arrays: Arrays = []
    return [_row(operation, arrays) for operation in graph.get_operations()], arrays


def _row(operation: Operation, arrays: Arrays) -> dict[str, Any]:
    return {
        "name": operation.name,
        "definition": encode_definition(operation.definition, arrays),
        "inputs": [[tensor.op.name, tensor.value_index] for tensor in operation.inputs],
        "controls": [control.name for control in operation.control_inputs],
        "device": operation.device,
        "colocation": list(operation.colocation),
    }


def encode_function(function: Function, arrays: Arrays) -> dict[str, Any]:
    """What a function's outputs need: the inputs by name and Spec, a row an operation, the outputs by name."""
    return {
        "name": function.name,
        "inputs": [[tensor.op.name, *encode_spec(_spec(tensor))] for tensor in function.inputs],
        "rows": [_row_inside(operation, arrays) for operation in function.operations],
        "outputs": [tensor.name for tensor in function.outputs],
    }


def _row_inside(operation: Operation, arrays: Arrays) -> dict[str, Any]:
    """As `_row`; an argument that is no input stands for a placeholder that is not fed, and is one in the copy."""
    row = _row(operation, arrays)
    if isinstance(operation.definition, Argument):
        row["definition"] = ["Placeholder", *row["definition"][1:3]]
    return row


def _spec(tensor: Tensor) -> Spec:
    return Spec(tensor.dtype, tensor.dims, tensor.known)


def decode_function(data: dict[str, Any], arrays: Sequence[Any]) -> Function:
    """The function again. Raises as `decode_graph`."""
    graph = FunctionGraph(Graph(), str(data["name"]))
    inputs = [graph.create(Argument(*decode_spec(spec)), (), f"{name}/").outputs[0] for name, *spec in data["inputs"]]
    waiting = {row["name"]: row for row in data["rows"]}
    there = {tensor.op.name for tensor in inputs}
    for name in in_order({name: _needs(row) - there for name, row in waiting.items()}):
        _add(graph, waiting[name], arrays)
    return Function(graph, inputs, [graph.get_tensor_by_name(name) for name in data["outputs"]])


def decode_graph(rows: Sequence[Any], arrays: Sequence[Any], graph: Graph) -> None:
    """Add the operations to a graph, each after what it needs.

    Raises ValueError for inputs that are nowhere, for operations that wait for each other in a circle, and for a name that
    the graph has; TypeError and KeyError too for data that is no graph.
    """
    waiting = {row["name"]: row for row in rows}
    if len(waiting) != len(rows):
        raise ValueError("two operations have the same name")
    for name in in_order({name: _needs(row) for name, row in waiting.items()}):
        _add(graph, waiting[name], arrays)


def _needs(row: Any) -> set[str]:
    return {source for source, _ in row["inputs"]} | set(row["controls"])


def in_order(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Names so that each comes after those it needs, and otherwise as they stand: the order in a graph decides that of a step.

    Raises ValueError for needs that are nowhere, and for names that wait for each other in a circle.
    """
    names = list(needs)
    place = {name: position for position, name in enumerate(names)}
    left = {name: len(needed) for name, needed in needs.items()}
    after: dict[str, list[str]] = {}
    for name, needed in needs.items():
        for other in needed:
            if other not in needs:
                raise ValueError(f"operation '{name}' needs '{other}', which is not there")
            after.setdefault(other, []).append(name)
    ready = [place[name] for name in names if not left[name]]
    done = []
    while ready:
        done.append(names[heapq.heappop(ready)])
        for later in after.get(done[-1], ()):
            left[later] -= 1
            if not left[later]:
                heapq.heappush(ready, place[later])
    circle = [name for name in needs if left[name]]
    if circle:
        raise ValueError(f"these operations wait for each other in a circle: {', '.join(circle[:10])}")
    return done


def _add(graph: Graph, row: Any, arrays: Sequence[Any]) -> Operation:
    if row["name"] in graph._by_name:
        raise ValueError(f"the graph has an operation '{row['name']}' already")
    inputs: tuple[Tensor, ...] = tuple(graph.get_tensor_by_name(f"{name}:{index}") for name, index in row["inputs"])
    controls = [graph.get_operation_by_name(name) for name in row["controls"]]
    with graph.uncontrolled(), graph.control_dependencies(controls), graph.device(None):
        operation = graph.create(decode_definition(row["definition"], arrays), inputs, row["name"] + "/")
    operation.device = str(row["device"])
    operation.colocation = tuple(row["colocation"])
    return operation
