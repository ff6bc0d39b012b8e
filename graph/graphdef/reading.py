"""Nodes of a GraphDef becoming operations of a graph: those of a branch or a loop in the graph of its function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dtypes import variant
from ..ir import Graph, Operation, Tensor, get_default_graph
from ..ops.conditions import cond
from ..ops.identity import identity
from ..ops.padding import MirrorPad, MirrorPadGrad, Pad, PadV2
from ..ops.reshaping import reshape
from ..shapes import TensorShape
from . import composed
from .attributes import definition_fields
from .calling import CALLS, grown_loop
from .dataflow import MARKS, Choice, Context, Flow, Loop, Source, kind, prefix
from .rows import Attr, Node, Of, Row
from .tables import BY_TYPE, definition_named


def source_of(text: str) -> Source:
    """What an input, or the name of one, refers to."""
    if text.startswith("^"):
        return Source(text[1:], -1)
    name, _, index = text.rpartition(":")
    if name and index.isascii() and index.isdigit() and len(index) < 10:
        return Source(name, int(index))
    return Source(text, 0)


def row_of(node_type: str) -> Row | None:
    """How to read a node of that type, when it is one operation in weft."""
    row = BY_TYPE.get(node_type)
    own = definition_named(node_type)
    if row is not None or own is None:
        return row
    attrs: dict[str, Attr] = {name: Of(name) for name in definition_fields(own)}
    return Row(own, attrs)


class Reader:
    """A GraphDef, or what of it stands in one branch or loop, that is being added to a graph."""

    def __init__(
        self, graph: Graph, scope: str, flow: Flow, mapped: Mapping[str, Any], around: Reader | None = None
    ) -> None:
        self.graph = graph
        self.scope = scope
        self.flow = flow
        self.entries = flow.entries
        self.mapped = mapped
        self.around = around
        self.outputs: dict[str, Sequence[Tensor]] = {}
        self.operations: dict[str, Operation] = {}

    def add(self, name: str) -> None:
        """Add a node, whose inputs are there. Raises ValueError."""
        entry = self.entries[name]
        if name in self.outputs or entry.proto.op in MARKS or self.flow.is_loop_merge(name):
            return
        try:
            if name in self.flow.loops:
                self.loop(self.flow.loops[name])
            elif name in self.flow.choices:
                self.choice(self.flow.choices[name])
            else:
                self.node(name)
        except (ValueError, TypeError) as error:
            raise ValueError(f"Node '{name}' ({entry.proto.op}): {error}") from error

    def node(self, name: str) -> None:
        entry = self.entries[name]
        inputs = tuple(self.tensor(name, source) for source in entry.inputs)
        controls = [found for source in entry.controls if (found := self.control(source)) is not None]
        device = entry.proto.device
        node = Node(self.scope + name, entry.proto.op, inputs, entry.attrs)
        # A device of an inner scope goes before those outside, which fill in what it does not say.
        with self.graph.control_dependencies(controls), self.graph.device(lambda _: device):
            self.outputs[name], self.operations[name] = self.build(node)
        self.note_shapes(name, entry.attrs.get("_output_shapes"))

    def build(self, node: Node) -> tuple[Sequence[Tensor], Operation]:
        path = f"{node.name}/"
        key = composed.builder_for(node.type, node.attrs)
        if key is not None:
            with self.graph.as_default(), self.graph.name_scope(path):
                outputs = composed.build(key, node)
            first = identity(outputs[0], name=path)
            return (first, *outputs[1:]), first.op
        if node.type in CALLS:
            with self.graph.as_default(), self.graph.name_scope(path):
                outputs = CALLS[node.type](node, self.call, self.flow.library)
            if not outputs:
                raise ValueError("the function has no results")
            made = next((tensor.op for tensor in outputs if tensor.op.name == node.name), None)
            if made is not None:
                return outputs, made
            first = identity(outputs[0], name=path)
            return (first, *outputs[1:]), first.op
        row = row_of(node.type)
        assert row is not None  # importing looked
        if node.type == "Identity" and node.inputs and node.inputs[0].dtype is variant:
            node = node._replace(attrs={})  # a list of tensors, which TensorFlow 1 counts as a float
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

    # branches and loops

    def region(self, context: Context, targets: Sequence[Source], bound: Mapping[str, Tensor]) -> list[Tensor]:
        """These values of a branch or a loop, built in the default graph; `bound` has the loop variables."""
        inner = Reader(get_default_graph(), self.scope, self.flow, bound, self)
        for name in self.flow.inside(context, targets):
            inner.add(name)
        return [inner.tensor("", source) for source in targets]

    def call(self, name: str, arguments: Sequence[Tensor]) -> list[Tensor]:
        """The results of a function of the library, built in the default graph."""
        function = self.flow.library.find(name)
        if len(arguments) != len(function.arguments):
            raise ValueError(f"function '{name}' takes {len(function.arguments)} arguments, not {len(arguments)}")
        bound = {f"{argument}:0": tensor for argument, tensor in zip(function.arguments, arguments, strict=True)}
        graph = get_default_graph()
        with self.flow.library.opened(name), graph.name_scope("body") as scope:
            inner = Reader(graph, scope, function.flow, bound)
            for each in function.flow.inside(frozenset(), function.results):
                if each not in function.arguments:
                    inner.add(each)
            return [inner.tensor("", source) for source in function.results]

    def choice(self, choice: Choice) -> None:
        """Add the If that the merges of one condition stand for."""

        def side(number: int) -> list[Tensor]:
            targets = [sources[number] for _, *sources in choice.merges]
            return self.region(choice.context | {("if", choice.predicate, str(number))}, targets, {})

        names = [name for name, *_ in choice.merges]
        predicate = self.tensor(names[0], source_of(choice.predicate))
        with self.graph.as_default():
            found = cond(predicate, lambda: side(1), lambda: side(0), True, f"{self.scope}{prefix(names)}/")
        self.leave(names, found)

    def loop(self, loop: Loop) -> None:
        """Add the While that the nodes of a frame stand for."""
        start = [self.tensor(each.enter, self.entries[each.enter].inputs[0]) for each in loop.variables]

        def goes_on(*variables: Tensor) -> Tensor:
            bound = {f"{each.merge}:0": tensor for each, tensor in zip(loop.variables, variables, strict=True)}
            return self.region(loop.context, [loop.condition], bound)[0]

        def step(*variables: Tensor) -> list[Tensor]:
            bound = {f"{each.switch}:1": tensor for each, tensor in zip(loop.variables, variables, strict=True)}
            return self.region(loop.context, [each.following for each in loop.variables], bound)

        with self.graph.as_default():
            name = f"{self.scope}{prefix(each.merge for each in loop.variables)}/"
            found = grown_loop(goes_on, step, start, name)
        leaving = [each.exit is not None for each in loop.variables]
        names = [each.exit for each in loop.variables if each.exit is not None]
        self.leave(names, [tensor for tensor, leaves in zip(found, leaving, strict=True) if leaves])

    def leave(self, names: Sequence[str], values: Sequence[Tensor]) -> None:
        """Note the values that the nodes of these names bring out of a branch or a loop."""
        for name, value in zip(names, values, strict=True):
            with self.graph.as_default():
                self.outputs[name] = (identity(value, name=f"{self.scope}{name}/"),)
            self.operations[name] = self.outputs[name][0].op

    def tensor(self, name: str, source: Source) -> Tensor:
        """The value of an input of a node, from the branch or loop that it stands in or from around it."""
        reader: Reader | None = self
        while reader is not None:
            if str(source) in reader.mapped:
                return reader.mapped[str(source)]  # type: ignore[no-any-return]
            if source.name in reader.outputs:
                return _at(reader.outputs[source.name], name, source)
            reader = reader.around
        entry = self.entries[source.name]
        if kind(entry) in ("Switch", "Enter") and entry.inputs:
            return self.tensor(name, entry.inputs[0])
        raise ValueError(f"it uses '{source}' of a branch or a loop that it does not stand in")

    def control(self, source: Source) -> Operation | None:
        """The operation of a control input; None: a mark, which says only where the node stands."""
        reader: Reader | None = self
        while reader is not None:
            found: Operation | None = reader.mapped.get(str(source)) or reader.operations.get(source.name)
            if found is not None:
                return found
            reader = reader.around
        return None

    # when all is there

    def colocate(self) -> None:
        for name, operation in self.operations.items():
            others = (other for other in self.entries[name].colocation if other != name)
            operation.colocation = tuple(self.operations[other].name for other in others if other in self.operations)

    def element(self, text: str) -> Tensor | Operation:
        """What a return element names: a tensor with an index, an operation without."""
        source = source_of(text)
        if source.name not in self.outputs:
            raise ValueError(f"Requested return node '{source.name}' stands in a branch or a loop")
        if ":" not in text:
            return self.operations[source.name]
        outputs = self.outputs[source.name]
        if source.output >= len(outputs):
            raise ValueError(
                f"Invalid return output {source.output} of node '{source.name}', which has {len(outputs)} output(s)"
            )
        return outputs[source.output]


def _at(outputs: Sequence[Tensor], name: str, source: Source) -> Tensor:
    if source.output >= len(outputs):
        raise ValueError(
            f"Node '{name}': Connecting to invalid output {source.output} of source node {source.name} which has "
            f"{len(outputs)} outputs."
        )
    return outputs[source.output]
