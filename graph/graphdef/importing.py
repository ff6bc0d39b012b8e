"""TensorFlow's GraphDef into the default graph: everything that can be checked before is, then nodes one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from .. import context
from ..errors import NotFoundError
from ..ir import Graph, Operation, Tensor, get_default_graph
from ..ops.convert import convert_to_tensor
from ..ops.identity import identity
from ..ops.padding import MirrorPad, MirrorPadGrad, Pad, PadV2
from ..ops.reshaping import reshape
from ..shapes import TensorShape
from ..wire import in_order
from . import composed
from .attributes import definition_fields, read_value
from .protos import as_graph_def
from .rows import Attr, Node, Of, Row
from .tables import BY_TYPE, definition_named

_NODE_NAME = re.compile(r"[A-Za-z0-9_.\\/>-]+")


class _Source(NamedTuple):
    """What an input refers to: an output of a node; -1: the node itself, as a control input."""

    name: str
    output: int

    def __str__(self) -> str:
        return f"^{self.name}" if self.output < 0 else f"{self.name}:{self.output}"


class _Entry(NamedTuple):
    """A node as it stands in the GraphDef, with its inputs taken apart."""

    proto: Any
    inputs: tuple[_Source, ...]
    controls: tuple[_Source, ...]
    attrs: dict[str, Any]
    colocation: tuple[str, ...]


def import_graph_def(
    graph_def: Any, input_map: Any = None, return_elements: Any = None, name: str | None = None, op_dict: Any = None,
    producer_op_list: Any = None,
) -> list[Any] | None:  # fmt: skip
    """Add the nodes of a GraphDef to the default graph, under the name scope `name` ("import" when None).

    `input_map`: tensors (or values) by the names, in the GraphDef, of the inputs that they replace; `^name` for control
    inputs. Returns the operations and tensors that `return_elements` names, if it does. Names, devices, control inputs
    and colocation are those of the GraphDef, inside the scopes in force. Random operations draw other numbers than TF's,
    of the same distribution. `op_dict` and `producer_op_list` are taken for compatibility.

    Source: `tf.import_graph_def`. Raises TypeError for arguments of the wrong kind; ValueError for nodes that fit neither
    each other nor weft's operations (what had been added before stays in the graph); errors.NotFoundError for an
    operation type that weft does not have; ImportError without tensorboardX.
    """
    if context.executing_eagerly():
        raise RuntimeError("import_graph_def adds to a graph; with eager execution there is none.")
    proto = as_graph_def(graph_def)
    mapped, wanted = _check_map(input_map), _check_names(return_elements)
    entries = _entries(proto)
    order = in_order({key: _needs(entry, mapped) for key, entry in entries.items()})
    for text in mapped:
        if _source(text).name not in entries:
            raise ValueError(f"Attempted to map inputs that were not found in graph_def: [{text}]")
    for text in wanted or ():
        if _source(text).name not in entries:
            raise ValueError(f"Requested return node '{_source(text).name}' not found in graph def")
    graph = get_default_graph()
    if name == "" and not all(isinstance(value, Tensor | Operation) for value in mapped.values()):
        raise ValueError("import_graph_def() requires a non-empty `name` if `input_map` contains non-Tensor values.")
    with graph.name_scope("import" if name is None else name) as scope:
        reader = _Reader(graph, scope, entries, _tensors(graph, mapped))
        for key in order:
            reader.add(key)
        reader.colocate()
    return None if wanted is None else [reader.element(text) for text in wanted]


# what is checked before anything is added


def _check_map(input_map: Any) -> dict[str, Any]:
    if input_map is None:
        return {}
    if not isinstance(input_map, Mapping):
        raise TypeError(f"Argument `input_map` must be a dictionary. Obtained {type(input_map).__name__}")
    if not all(isinstance(key, str) for key in input_map):
        raise TypeError(f"All keys for argument `input_map` must be strings. Obtained keys: {list(input_map)}")
    return {str(_source(key)): value for key, value in input_map.items()}


def _check_names(return_elements: Any) -> tuple[str, ...] | None:
    if return_elements is None:
        return None
    elements = tuple(return_elements)
    if not all(isinstance(item, str) for item in elements):
        raise TypeError(f"Argument `return_elements` must be a list of strings. Obtained {return_elements}.")
    return elements


def _source(text: str) -> _Source:
    if text.startswith("^"):
        return _Source(text[1:], -1)
    name, _, index = text.rpartition(":")
    if name and index.isascii() and index.isdigit() and len(index) < 10:
        return _Source(name, int(index))
    return _Source(text, 0)


def _entries(proto: Any) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for node in proto.node:
        if node.name in entries:
            raise ValueError(f"Node '{node.name}' is not unique")
        if not _NODE_NAME.fullmatch(node.name):
            raise ValueError(f"Node '{node.name}': Node name contains invalid characters")
        try:
            entries[node.name] = _entry(node)
        except ValueError as error:
            raise ValueError(f"Node '{node.name}' ({node.op}): {error}") from None
    for name, entry in entries.items():
        for source in (*entry.inputs, *entry.controls):
            if source.name not in entries:
                raise ValueError(f"Node '{name}': Unknown input node '{source.name if source.output >= 0 else source}'")
        for other in entry.colocation:
            if other not in entries:
                raise ValueError(f"Node '{name}' expects to be colocated with unknown node '{other}'")
    return entries


def _entry(node: Any) -> _Entry:
    sources = [_source(text) for text in node.input]
    count = sum(source.output >= 0 for source in sources)
    if any(source.output < 0 for source in sources[:count]):
        raise ValueError("Control dependencies must come after regular dependencies")
    attrs = {}
    for name in node.attr:
        try:
            attrs[name] = read_value(node.attr[name])
        except ValueError as error:
            if name.startswith("_"):
                continue  # what other programs note on their nodes need not be something that weft has
            raise ValueError(f"attr '{name}': {error}") from None
    if composed.builder_for(node.op, attrs) is None and _row(node.op) is None:
        raise NotFoundError(None, None, f"Op type not registered '{node.op}' in weft (node '{node.name}').")
    return _Entry(node, tuple(sources[:count]), tuple(sources[count:]), attrs, _colocation(attrs))


def _colocation(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the nodes whose device a node shares. Raises ValueError for another kind of attribute."""
    groups = attrs.get("_class", ())
    if not isinstance(groups, tuple) or not all(isinstance(group, bytes) for group in groups):
        raise ValueError("attr '_class' must be a list of strings")
    return tuple(group[5:].decode(errors="replace") for group in groups if group.startswith(b"loc:@"))


def _row(node_type: str) -> Row | None:
    """How to read a node of that type, when it is one operation in weft."""
    row = BY_TYPE.get(node_type)
    own = definition_named(node_type)
    if row is not None or own is None:
        return row
    attrs: dict[str, Attr] = {name: Of(name) for name in definition_fields(own)}
    return Row(own, attrs)


def _needs(entry: _Entry, mapped: Mapping[str, Any]) -> set[str]:
    return {source.name for source in (*entry.inputs, *entry.controls) if str(source) not in mapped}


def _tensors(graph: Graph, mapped: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an input map as tensors, those of control inputs as operations."""
    made = not all(isinstance(value, Tensor | Operation) for value in mapped.values())
    with graph.name_scope("_inputs") if made else nullcontext():
        return {
            key: getattr(value, "op", value) if key.startswith("^") else convert_to_tensor(value)
            for key, value in mapped.items()
        }


# adding


class _Reader:
    """A GraphDef that is being added to a graph."""

    def __init__(self, graph: Graph, scope: str, entries: dict[str, _Entry], mapped: dict[str, Any]) -> None:
        self.graph = graph
        self.scope = scope
        self.entries = entries
        self.mapped = mapped
        self.outputs: dict[str, Sequence[Tensor]] = {}
        self.operations: dict[str, Operation] = {}

    def add(self, name: str) -> None:
        """Add a node, whose inputs are there. Raises ValueError."""
        entry = self.entries[name]
        inputs = tuple(self.tensor(name, source) for source in entry.inputs)
        controls = [self.mapped.get(str(source)) or self.operations[source.name] for source in entry.controls]
        device = entry.proto.device
        node = Node(self.scope + name, entry.proto.op, inputs, entry.attrs)
        try:
            # A device of an inner scope goes before those outside, which fill in what it does not say.
            with self.graph.control_dependencies(controls), self.graph.device(lambda _: device):
                self.outputs[name], self.operations[name] = self.build(node)
            self.note_shapes(name, entry.attrs.get("_output_shapes"))
        except (ValueError, TypeError) as error:
            raise ValueError(f"Node '{name}' ({node.type}): {error}") from error

    def build(self, node: Node) -> tuple[Sequence[Tensor], Operation]:
        path = f"{node.name}/"
        key = composed.builder_for(node.type, node.attrs)
        if key is not None:
            with self.graph.as_default(), self.graph.name_scope(path):
                outputs = composed.build(key, node)
            first = identity(outputs[0], name=path)
            return (first, *outputs[1:]), first.op
        row = _row(node.type)
        assert row is not None  # _entry looked
        definition, inputs = row.build(node)
        if isinstance(definition, Pad | PadV2 | MirrorPad | MirrorPadGrad):
            inputs = (inputs[0], self.vector(inputs[1], f"{path}vector"), *inputs[2:])
        operation = self.graph.create(definition, inputs, path)
        override = node.attrs.get("_gradient_op_type")
        if isinstance(override, bytes):
            operation.gradient_override = override.decode()
        return operation.outputs, operation

    def vector(self, paddings: Tensor, path: str) -> Tensor:
        """Paddings, which TF has as pairs, as the one vector that weft has. Raises ValueError for another rank."""
        if paddings.dims is not None and len(paddings.dims) != 2:
            raise ValueError(f"Shape must be rank 2 but is rank {len(paddings.dims)}: the paddings")
        flat = [user.outputs[0] for user in paddings.consumers() if user.type == "Reshape"]
        flat += paddings.op.inputs[:1] if paddings.op.type == "Reshape" else ()
        for tensor in flat:
            if tensor.dims is not None and len(tensor.dims) == 1:
                return tensor
        with self.graph.as_default():
            return reshape(paddings, [-1], name=f"{path}/")

    def note_shapes(self, name: str, shapes: Any) -> None:
        """What the program that wrote the graph knew of the shapes."""
        if isinstance(shapes, tuple) and all(isinstance(shape, TensorShape) for shape in shapes):
            for tensor, shape in zip(self.outputs[name], shapes, strict=False):
                tensor.set_shape(shape)

    def colocate(self) -> None:
        for name, entry in self.entries.items():
            others = tuple(self.operations[other].name for other in entry.colocation if other != name)
            self.operations[name].colocation = others

    def tensor(self, name: str, source: _Source) -> Tensor:
        if str(source) in self.mapped:
            return self.mapped[str(source)]  # type: ignore[no-any-return]
        outputs = self.outputs[source.name]
        if source.output >= len(outputs):
            raise ValueError(
                f"Node '{name}': Connecting to invalid output {source.output} of source node {source.name} which has "
                f"{len(outputs)} outputs."
            )
        return outputs[source.output]

    def element(self, text: str) -> Tensor | Operation:
        """What a return element names: a tensor with an index, an operation without."""
        source = _source(text)
        if ":" not in text:
            return self.operations[source.name]
        outputs = self.outputs[source.name]
        if source.output >= len(outputs):
            raise ValueError(
                f"Invalid return output {source.output} of node '{source.name}', which has {len(outputs)} output(s)"
            )
        return outputs[source.output]
