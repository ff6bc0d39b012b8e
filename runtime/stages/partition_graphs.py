"""The parts of a step as GraphDefs, one a device, with sends and receives where values cross: to be read by people and tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.dtypes import DType
from ...graph.function import Function
from ...graph.graphdef.attributes import field_value, write_value
from ...graph.graphdef.protos import protos
from ...graph.opdef import OpDef
from ...graph.ops.constant import Const
from ...graph.shapes import TensorShape
from .partition import Partition, ReceiveValue, RunNode, SendValue
from .program import Feed, Program, Ref


def graph_defs(program: Program, parts: Sequence[Partition]) -> list[Any]:
    """A GraphDef a part, its nodes in the order in which they run. Raises ImportError without tensorboardX."""
    return [_Part(program, part).write() for part in parts]


class _Part:
    """The GraphDef of one device."""

    def __init__(self, program: Program, part: Partition) -> None:
        self.program = program
        self.part = part
        self.proto: Any = protos().GraphDef()
        self.names: set[str] = set()
        #: How the values are called that are there, and with output -1 the nodes.
        self.known: dict[Ref, str] = {}

    def write(self) -> Any:
        for item in self.part.items:
            match item:
                case RunNode(node):
                    self.run(node)
                case SendValue(ref, edge, device):
                    inputs = [self.known[ref]] if ref.output >= 0 else []
                    attrs = self.crossing(ref, edge, self.part.device, device)
                    waits = [] if inputs else [self.known[ref]]
                    self.add(f"{self.name(ref)}/_send_{edge}", "_Send", inputs, waits, attrs)
                case ReceiveValue(ref, edge, device):
                    attrs = self.crossing(ref, edge, device, self.part.device)
                    self.known[ref] = self.add(f"{self.name(ref)}/_recv_{edge}", "_Recv", [], [], attrs)
        for index, ref in self.part.fetches.items():
            name = f"_retval_{self.name(ref)}_{ref.output}_{index}"
            self.add(name, "_Retval", [self.known[ref]], [], {"T": self.program.spec(ref).dtype, "index": index})
        return self.proto

    def run(self, position: int) -> None:
        node = self.program.nodes[position]
        inputs = [self.known[ref] for ref in node.inputs]
        controls = [found for control in node.controls if (found := self.known.get(Ref(control, -1)))]
        kind, name, attrs = node.definition.type, node.name, self.attrs(position)
        if isinstance(node.definition, Feed):
            kind, name = "_Arg", f"_arg_{node.name.replace(':', '_')}_{node.definition.index}"
        path = self.add(name, kind, inputs, controls, attrs)
        self.known[Ref(position, -1)] = path
        for output in range(len(node.specs)):
            self.known[Ref(position, output)] = f"{path}:{output}" if output else path

    def attrs(self, position: int) -> dict[str, Any]:
        """The attributes of a node's definition, and what is known of its results' shapes."""
        node = self.program.nodes[position]
        shapes = tuple(TensorShape(spec.dims) for spec in node.specs)
        match node.definition:
            case Feed(index, dtype):
                return {"T": dtype, "index": index, "_output_shapes": shapes}
            case Const() as constant:
                return {"dtype": constant.dtype, "value": constant.value}
        found = {name: _attribute(node.definition, name) for name in node.definition.__match_args__}
        return {**found, "_output_types": tuple(spec.dtype for spec in node.specs), "_output_shapes": shapes}

    def crossing(self, ref: Ref, edge: int, sender: str, receiver: str) -> dict[str, Any]:
        kind: dict[str, DType] = {}
        if ref.output >= 0:
            kind["tensor_type"] = self.program.spec(ref).dtype
        name = f"edge_{edge}_{self.name(ref)}"
        return {**kind, "tensor_name": name, "send_device": sender, "recv_device": receiver}

    def name(self, ref: Ref) -> str:
        return self.program.nodes[ref.node].name.replace(":", "_")

    def add(self, name: str, kind: str, inputs: Sequence[str], controls: Sequence[str], attrs: dict[str, Any]) -> str:
        number, path = 0, name
        while path in self.names:
            number += 1
            path = f"{name}_{number}"
        self.names.add(path)
        waits = [f"^{control}" for control in controls if control not in inputs]
        node = self.proto.node.add(name=path, op=kind, input=[*inputs, *waits], device=self.part.device)
        for key, value in attrs.items():
            if value is not None:
                write_value(node.attr[key], value)
        return path


def _attribute(definition: OpDef, name: str) -> Any:
    """An attribute of a definition as one of a node: of a function the name, of what fits into none the text."""
    value = getattr(definition, name)
    if isinstance(value, Function):
        return value.name
    value = field_value(definition, name)
    if value is None:
        return None
    try:
        write_value(protos().AttrValue(), value)
    except ValueError:
        return str(value)
    return value
