"""Graphs as TensorFlow's GraphDef: a node an operation, and nodes for what is an attribute or another form in weft."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..dtypes import int32
from ..function import functions_of
from ..ir import Graph, Operation, Tensor
from ..ops.branching import If
from ..ops.constant import Const
from ..ops.literal import Literal
from ..ops.looping import While
from ..ops.padding import MirrorPad, MirrorPadGrad, Pad, PadV2
from ..ops.softmax import LogSoftmax, Softmax
from ..portable import exporter
from ..shapes import TensorShape
from .attributes import definition_fields, field_value, write_value
from .functional import Functions, add_function, is_theirs, node_of, outputs_of, results_of
from .protos import protos
from .rows import OneType, Row, Static, all_axes
from .tables import BY_DEFINITION, PREFIX

#: The version of TensorFlow 1.15, whose operations these are.
PRODUCER = 134

Attrs = dict[str, Any]


@exporter
def as_graph_def(graph: Graph, from_version: int | None = None, add_shapes: bool = False) -> Any:
    """The operations of a graph (those since `from_version`) as a GraphDef; see `Graph.as_graph_def`."""
    proto = protos().GraphDef()
    proto.versions.producer = PRODUCER
    functions = Functions(proto.library, set())
    _Writer(proto, functions, graph.get_operations(), add_shapes).write(graph.get_operations()[from_version or 0 :])
    return proto


class _Writer:
    """A GraphDef that is being written, of a graph or a function with these operations."""

    def __init__(self, proto: Any, functions: Functions, operations: Iterable[Operation], add_shapes: bool) -> None:
        self.proto = proto
        self.functions = functions
        self.add_shapes = add_shapes
        self.there = {operation.name: operation for operation in operations}
        self.names = set(self.there)

    def write(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            try:
                self.operation(operation)
            except ValueError as error:
                error.args = (f"Operation '{operation.name}' ({operation.type}): {error}",)
                raise

    def operation(self, operation: Operation) -> None:
        definition = operation.definition
        row = BY_DEFINITION.get(type(definition))
        if isinstance(definition, If | While) and is_theirs(operation):
            self.functional(operation)
        elif row is None or not row.fits(operation):
            self.own(operation)
        elif isinstance(definition, Softmax | LogSoftmax) and not _is_last(operation):
            self.softmax(operation)
        else:
            self.by_row(operation, row)

    def by_row(self, operation: Operation, row: Row) -> None:
        inputs = [reference(tensor) for tensor in operation.inputs]
        attrs = {name: attr.write(operation) for name, attr in row.attrs.items()}
        for name, attr in row.attrs.items():
            if isinstance(attr, OneType):
                for index in (attr.index, *attr.others):
                    inputs[index] = self.cast(operation, index, attrs[name])
        if isinstance(operation.definition, Pad | PadV2 | MirrorPad | MirrorPadGrad):
            inputs[1] = self.paddings(operation)
        for static in reversed(row.statics):
            place = static.position if static.position >= 0 else len(inputs)
            inputs.insert(place, self.static(operation, static))
        self.node(operation, operation.type, inputs, attrs)

    def own(self, operation: Operation) -> None:
        """An operation that TF does not have."""
        definition = operation.definition
        attrs = {name: field_value(definition, name) for name in definition_fields(type(definition))}
        self.node(operation, PREFIX + operation.type, [reference(tensor) for tensor in operation.inputs], attrs)

    # where TF has another form

    def functional(self, operation: Operation) -> None:
        """A branch or a loop, and its functions in the library: those inside of these first."""
        names = []
        for field, function in zip(
            operation.definition.__match_args__, functions_of(operation.definition), strict=False
        ):
            inside = protos().GraphDef()
            _Writer(inside, self.functions, function.operations, self.add_shapes).write(function.operations)
            name = f"{operation.name.replace('/', '_')}_{field}"
            results = results_of(operation, function)
            names.append(add_function(self.functions, name, function, inside.node, results))
        kind, attrs = node_of(operation, names)
        self.node(operation, kind, [reference(tensor) for tensor in operation.inputs], attrs, outputs_of(operation))

    def softmax(self, operation: Operation) -> None:
        """A softmax along another axis than the last: TF has only that, so dimensions are exchanged before and after."""
        x, axis = operation.inputs[0], operation.definition.axis  # type: ignore[attr-defined]
        order = list(range(len(x.dims or ())))
        order[axis], order[-1] = order[-1], order[axis]
        first, perm = (self.constant(operation, name, np.array(order, np.int32)) for name in ("before/perm", "perm"))
        exchanged = {"T": x.dtype, "Tperm": int32}
        before = self.helper(operation, "before", "Transpose", [reference(x), first], exchanged)
        middle = self.helper(operation, "middle", operation.type, [before], {"T": x.dtype})
        self.node(operation, "Transpose", [middle, perm], exchanged)

    def paddings(self, operation: Operation) -> str:
        """Paddings as a matrix of pairs; in weft they are one vector."""
        vector, path = operation.inputs[1], f"{operation.name}/paddings"
        if vector.op.type == "Reshape" and len(vector.op.inputs[0].dims or ()) == 2:
            return reference(vector.op.inputs[0])
        if path in self.there and self.there[path].type == "Reshape" and self.there[path].inputs[0] is vector:
            return path
        pairs = self.constant(operation, "pairs", np.array([-1, 2], np.int32))
        types = {"T": vector.dtype, "Tshape": int32}
        return self.helper(operation, "paddings", "Reshape", [reference(vector), pairs], types)

    def cast(self, operation: Operation, index: int, dtype: Any) -> str:
        """An input in the type that it must have in TF."""
        tensor = operation.inputs[index]
        if tensor.dtype is dtype:
            return reference(tensor)
        types = {"SrcT": tensor.dtype, "DstT": dtype}
        return self.helper(operation, f"input_{index}", "Cast", [reference(tensor)], types)

    def static(self, operation: Operation, static: Static) -> str:
        """The input that says what an attribute of the operation is."""
        array = static.array(operation)
        if array is not None:
            return self.constant(operation, static.argument, array)
        x, path, backwards = operation.inputs[0], f"{operation.name}/{static.argument}", static.argument == "perm"
        if path in self.there and all_axes(self.there[path].outputs[0], x, backwards):
            return path
        rank = self.helper(operation, "Rank", "Rank", [reference(x)], {"T": x.dtype})
        start, step = (self.constant(operation, f"range/{i}", np.array(i, np.int32)) for i in (0, 1))
        name = "range" if backwards else static.argument
        axes = self.helper(operation, name, "Range", [start, rank, step], {"Tidx": int32})
        if not backwards:
            return axes
        last = self.helper(operation, "last", "Sub", [rank, step], {"T": int32})
        return self.helper(operation, static.argument, "Sub", [last, axes], {"T": int32})

    # nodes

    def constant(self, operation: Operation, name: str, array: np.ndarray[Any, Any]) -> str:
        """A constant for an operation: the one of that name, where the graph was read from a GraphDef, or a new one."""
        path, literal = f"{operation.name}/{name}", Literal(array)
        there = self.there[path].definition if path in self.there else None
        if isinstance(there, Const) and there.value == literal:
            return path
        return self.helper(operation, name, "Const", [], {"dtype": int32, "value": literal})

    def helper(self, operation: Operation, name: str, kind: str, inputs: Sequence[str], attrs: Attrs) -> str:
        """A node that belongs to an operation. Returns its name."""
        path, number = f"{operation.name}/{name}", 0
        while path in self.names:
            number += 1
            path = f"{operation.name}/{name}_{number}"
        self.names.add(path)
        self.add(path, kind, inputs, operation.device, attrs)
        return path

    def node(
        self,
        operation: Operation,
        kind: str,
        inputs: Sequence[str],
        attrs: Attrs,
        outputs: Sequence[Tensor] | None = None,
    ) -> None:
        """The node that has the operation's name; `outputs` where they are not the operation's."""
        controls = [f"^{control.name}" for control in operation.control_inputs]
        attrs = dict(attrs)
        if operation.colocation:
            attrs["_class"] = tuple(operation.colocation_groups())
        if isinstance(operation.gradient_override, str):
            attrs["_gradient_op_type"] = operation.gradient_override.encode()
        if self.add_shapes:
            attrs["_output_shapes"] = tuple(TensorShape(tensor.dims) for tensor in outputs or operation.outputs)
        self.add(operation.name, kind, [*inputs, *controls], operation.device, attrs)

    def add(self, name: str, kind: str, inputs: Sequence[str], device: str, attrs: Attrs) -> None:
        node = self.proto.node.add(name=name, op=kind, input=inputs, device=device)
        for key, value in attrs.items():
            if value is not None:
                write_value(node.attr[key], value)


def reference(tensor: Tensor) -> str:
    """A tensor as an input of a node."""
    return tensor.op.name if tensor.value_index == 0 else tensor.name


def _is_last(operation: Operation) -> bool:
    axis, dims = operation.definition.axis, operation.inputs[0].dims  # type: ignore[attr-defined]
    return axis == -1 or (dims is not None and axis == len(dims) - 1)
