"""How an operation of weft and a node of TensorFlow's stand for each other: one Row each, read in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from inspect import Parameter, signature
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import DType, int32
from ..function import FunctionGraph
from ..ir import Operation, Tensor
from ..opdef import OpDef
from ..ops.constant import constant_value
from ..ops.variables import VarHandleOp
from ..record import Record, record
from .attributes import definition_fields, field_default, field_value, kind_of, to_field


class Node(NamedTuple):
    """A node that is being imported: its name in the graph, tensors and attributes."""

    name: str
    type: str
    inputs: tuple[Tensor, ...]
    attrs: Mapping[str, Any]


class Attr(Record):
    """Where an attribute of a node comes from. This base is one that a node may have and that means nothing to weft."""

    __slots__ = ()

    def write(self, operation: Operation) -> Any:
        """The attribute for an operation; None: leave it out."""
        return None

    def read(self, node: Node, value: Any, definition: type[OpDef], known: dict[str, Any]) -> None:
        """Take from an attribute (None: the node has none) what it says about the definition. Raises ValueError."""


@record
class Of(Attr):
    """An attribute of the definition."""

    name: str

    def write(self, operation: Operation) -> Any:
        return field_value(operation.definition, self.name)

    def read(self, node: Node, value: Any, definition: type[OpDef], known: dict[str, Any]) -> None:
        default = field_default(definition, self.name)
        if value is None and default is MISSING:
            raise ValueError("it is missing")
        known[self.name] = default if value is None else to_field(definition, self.name, value)


@record
class OfIfSet(Of):
    """An attribute of the definition that is not written where it has its default: older versions of TF lack it."""

    def write(self, operation: Operation) -> Any:
        value = Of.write(self, operation)
        return None if value == field_default(type(operation.definition), self.name) else value


@record
class InputType(Attr):
    """The type of an input."""

    index: int = 0

    def write(self, operation: Operation) -> Any:
        return operation.inputs[self.index].dtype

    def read(self, node: Node, value: Any, definition: type[OpDef], known: dict[str, Any]) -> None:
        given = node.inputs[self.index]
        if value is not None and given.dtype is not as_type(value):
            raise ValueError(f"input {given.name} is {given.dtype.name}, incompatible with expected {value.name}")


@record
class InputTypes(Attr):
    """The types of all inputs from one on."""

    start: int = 0

    def write(self, operation: Operation) -> Any:
        return tuple(tensor.dtype for tensor in operation.inputs[self.start :])

    def read(self, node: Node, value: Any, definition: type[OpDef], known: dict[str, Any]) -> None:
        types = tuple(tensor.dtype for tensor in node.inputs[self.start :])
        if value is not None and value != types:
            raise ValueError(f"the inputs are {[dtype.name for dtype in types]}, incompatible with expected {value}")


@record
class OneType(InputType):
    """The type of several inputs, which weft lets differ: where they do, the writer casts them to the wider one."""

    others: tuple[int, ...] = ()

    def write(self, operation: Operation) -> Any:
        types = [operation.inputs[index].dtype for index in (self.index, *self.others)]
        return max(types, key=lambda dtype: dtype.size)


@record
class SharedName(Attr):
    """The name under which a session keeps a variable: in TF it must be written, in weft it is the operation's."""

    def write(self, operation: Operation) -> Any:
        return field_value(operation.definition, "shared_name") or operation.name

    def read(self, node: Node, value: Any, definition: type[OpDef], known: dict[str, Any]) -> None:
        name = "" if value is None else to_field(definition, "shared_name", value)
        known["shared_name"] = "" if name == node.name else name


@record
class OutputType(Attr):
    """The type of an output, which follows from the inputs."""

    index: int = 0

    def write(self, operation: Operation) -> Any:
        return operation.outputs[self.index].dtype


@record
class IndexType(Attr):
    """The type of a constant input that weft has as an attribute: always written as int32, read as any integers."""

    def write(self, operation: Operation) -> Any:
        return int32


@record
class Count(Attr):
    """How many inputs there are, or how many of each of `kinds` lists; also the definition's attribute `name`."""

    kinds: int = 1
    name: str = ""

    def write(self, operation: Operation) -> Any:
        return len(operation.inputs) // self.kinds

    def read(self, node: Node, value: Any, definition: type[OpDef], known: dict[str, Any]) -> None:
        if not node.inputs or value not in (None, len(node.inputs) / self.kinds):
            raise ValueError(f"it has {len(node.inputs)} inputs, not {self.kinds} times {value}")
        if self.name:
            known[self.name] = len(node.inputs) // self.kinds


@record
class Only(Attr):
    """An attribute of which weft has one value, TF's default: not written, and another value refused."""

    value: Any

    def read(self, node: Node, value: Any, definition: type[OpDef], known: dict[str, Any]) -> None:
        if value is not None and value != self.value:
            raise ValueError(f"weft has only {self.value!r}, not {value!r}")


@record
class Static(Record):
    """An attribute of the definition that is an input of the node: a constant of int32, called `<operation>/<argument>`."""

    position: int  #: among the node's inputs; -1: the last
    argument: str
    name: str
    rank_of: int = -1  #: the input that is a scalar where one axis is written as a scalar

    def array(self, operation: Operation) -> np.ndarray[Any, Any] | None:
        """The constant; None for "all axes" of a tensor whose rank is not known."""
        value = getattr(operation.definition, self.name)
        if value is None:
            dims = operation.inputs[0].dims
            if dims is None:
                return None
            value = range(len(dims)) if self.argument != "perm" else range(len(dims) - 1, -1, -1)
        if self.rank_of >= 0 and operation.inputs[self.rank_of].dims == () and len(value) == 1:
            value = value[0]
        return np.array(value if isinstance(value, int) else list(value), np.int32)

    def value(self, node: Node, tensor: Tensor, definition: type[OpDef]) -> Any:
        """The attribute again. Raises ValueError when it is not known before a run."""
        if not tensor.dtype.is_integer:
            raise ValueError(f"'{self.argument}' must be of integers, got {tensor.dtype.name}")
        array = constant_value(tensor)
        kind = str(definition_fields(definition)[self.name].type)
        if array is None and "None" in kind and all_axes(tensor, node.inputs[0], self.argument == "perm"):
            return None
        if array is None:
            raise ValueError(f"weft needs '{self.argument}' to be a constant, got {tensor.name}")
        if kind == "int":
            if array.size != 1:
                raise ValueError(f"'{self.argument}' must be one number, got {array.size}")
            return int(array.reshape(-1)[0])
        if array.ndim > 1:
            raise ValueError(f"'{self.argument}' must be a scalar or a vector, got rank {array.ndim}")
        return tuple(array.reshape(-1).tolist())


def all_axes(axes: Tensor, x: Tensor, backwards: bool) -> bool:
    """Whether axes are those of `x`, whose rank is not known: `range(rank(x))`, or that backwards for a transpose."""
    if backwards:
        if axes.op.type != "Sub" or axes.op.inputs[0].op.type != "Sub":
            return False
        (rank, one), axes = axes.op.inputs[0].op.inputs, axes.op.inputs[1]
        if not _is_rank(rank, x) or constant_value(one) != 1:
            return False
    if axes.op.type != "Range":
        return False
    start, limit, delta = axes.op.inputs
    return _is_rank(limit, x) and constant_value(start) == 0 and constant_value(delta) == 1


def _is_rank(tensor: Tensor, x: Tensor) -> bool:
    graph = tensor.op.graph
    inside = graph.captures.get(x, x) if isinstance(graph, FunctionGraph) else x
    return tensor.op.type == "Rank" and tensor.op.inputs[0] is inside


def as_type(value: Any) -> DType:
    if not isinstance(value, DType):
        raise ValueError(f"AttrValue had value with type '{kind_of(value)}' when 'type' expected")
    return value


@dataclass(frozen=True)
class Row:
    """A definition and TF's node type: where the node's attributes come from, and which inputs are attributes of weft's.

    `type` is given where TF has several types for what is one in weft: the row is then read only, not written.
    `check` raises ValueError for a definition that a program could not have made with weft's functions. `fits` says
    whether TF can do what an operation does: weft's do more in places, and are then written as weft's own.
    """

    definition: type[OpDef]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    statics: tuple[Static, ...] = ()
    type: str = ""
    check: Callable[[Any], None] = lambda definition: None
    fits: Callable[[Operation], bool] = lambda operation: True

    def build(self, node: Node) -> tuple[OpDef, tuple[Tensor, ...]]:
        """The definition and its inputs for a node. Raises ValueError, TypeError for what does not fit."""
        known: dict[str, Any] = {}
        inputs = list(node.inputs)
        fewest, most = arity(self.definition)
        if not fewest + len(self.statics) <= len(inputs) <= most + len(self.statics):
            raise ValueError(f"NodeDef expected inputs do not match {len(inputs)} inputs specified")
        for static in self.statics:
            known[static.name] = static.value(node, inputs.pop(static.position), self.definition)
        node = node._replace(inputs=tuple(inputs))
        for name in node.attrs:
            if name not in self.attrs and not name.startswith("_"):
                raise ValueError(f"NodeDef mentions attr '{name}', which weft does not know for {node.type}")
        for name, attr in self.attrs.items():
            try:
                attr.read(node, node.attrs.get(name), self.definition, known)
            except ValueError as error:
                raise ValueError(f"attr '{name}': {error}") from None
        _from_handle(self.definition, node, known)
        definition = self.definition(**known)
        self.check(definition)
        return definition, node.inputs


def _from_handle(definition: type[OpDef], node: Node, known: dict[str, Any]) -> None:
    """What operations on variables have as attributes and TF's nodes do not: it stands with the variable's handle."""
    missing = [name for name in ("dtype", "shape") if name in definition_fields(definition) and name not in known]
    if not definition.access:
        return
    handle: Any = handle_of(node.inputs[0])
    if known.get("dtype", handle.dtype) is not handle.dtype:
        raise ValueError(f"the variable is {handle.dtype.name}, the operation is for {known['dtype'].name}")
    for name in missing:
        known[name] = getattr(handle, name)


def handle_of(tensor: Tensor) -> VarHandleOp:
    """The definition of the variable that a tensor is the handle of. Raises ValueError for another tensor."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    if not isinstance(tensor.op.definition, VarHandleOp):
        raise ValueError(f"input {tensor.name} is no handle of a variable (VarHandleOp) of this graph")
    return tensor.op.definition


def arity(definition: type[OpDef]) -> tuple[int, float]:
    """The fewest and the most inputs that a definition takes."""
    parameters = list(signature(definition.infer).parameters.values())[1:]
    single = sum(parameter.kind is not Parameter.VAR_POSITIONAL for parameter in parameters)
    return single, single if single == len(parameters) else float("inf")
