"""distribution: a program rewritten so that a branch or a loop is a node a device, and a tape is a piece a device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ...graph import errors
from ...graph.devices import DeviceSpec
from ...graph.dtypes import variant
from ...graph.opdef import Spec
from ...graph.ops.looping import While
from ...graph.ops.tapes import EmptyTape, TapeLength, TapeRead, TapeSum, TapeWrite
from ..stages.program import Feed, Node, Program, Ref


@dataclass(slots=True)
class Pieces:
    """Where a tape is: each device has what it recorded itself. `base`: a feed, of which every device has its own piece."""

    at: dict[str, Ref] = field(default_factory=dict)
    base: Ref | None = None


@dataclass(frozen=True, slots=True)
class PartNode:
    """A part of a branch or a loop as a node, and which of the outputs of the whole its own are."""

    node: Node
    outputs: tuple[int, ...]


#: What stands for a node: itself, or its parts.
Parting = Callable[[Program, Node], list[Node | PartNode]]


class Distribution:
    """The new program in the making, in which every node stands after what it needs.

    `parting`: gives the parts of a node. `devices`: those that a feed that is a tape is on. `tapes`: for the tape of
    each branch and loop that spans devices, by the tensor's name, those that have a piece of it.
    """

    def __init__(
        self, program: Program, order: Sequence[int], parting: Parting, devices: Collection[str],
        tapes: Mapping[str, Sequence[str]],
    ) -> None:  # fmt: skip
        self.nodes: list[Node] = []
        self._old, self._devices, self._tapes = program, sorted(devices), tapes
        self._moved: dict[Ref, Ref] = {}
        self._places: dict[int, tuple[int, ...]] = {}
        self._pieces: dict[Ref, Pieces] = {}
        self._empty: dict[str, Ref] = {}
        for position in order:
            before, node = len(self.nodes), program.nodes[position]
            found = parting(program, node)
            self._check_carried(node, found)
            for each in found:
                if isinstance(each, PartNode):
                    self._part(position, each)
                else:
                    self._node(position, each)
            self._places[position] = tuple(range(before, len(self.nodes)))

    def places(self, position: int) -> tuple[int, ...]:
        """The nodes that stand for a node of the old program."""
        return self._places[position]

    def pieces(self, ref: Ref) -> Pieces | None:
        """Where a tape of the old program is; None for what is none."""
        return self._pieces.get(ref)

    def value(self, ref: Ref, device: str) -> Ref:
        """A value of the old program, of a tape the piece on a device: an empty one where there is none."""
        pieces = self._pieces.get(ref)
        if pieces is None:
            return self._moved[ref]
        return pieces.at.get(device) or pieces.base or self._nothing(device)

    def computed(self, ref: Ref, node: Node) -> None:
        """Let a value of the old program come from this node of the new one."""
        self._moved[ref] = Ref(len(self.nodes), 0)
        self.nodes.append(node)

    def _nothing(self, device: str) -> Ref:
        if device not in self._empty:
            self._empty[device] = Ref(len(self.nodes), 0)
            where = DeviceSpec.from_string(device)
            self.nodes.append(Node("nothing", EmptyTape(), (), (), (EmptyTape().infer(),), None, where))
        return self._empty[device]

    def _append(self, node: Node, device: str) -> int:
        """A node of the old program, on a device."""
        inputs = tuple([self.value(ref, device) for ref in node.inputs])
        controls = tuple([place for control in node.controls for place in self._places[control]])
        where = node.device if str(node.device) == device else DeviceSpec.from_string(device)
        self.nodes.append(node._replace(inputs=inputs, controls=controls, device=where))
        return len(self.nodes) - 1

    def _check_carried(self, node: Node, found: Sequence[Node | PartNode]) -> None:
        """Every piece of a tape that a loop carries must be on one of its devices: what is nowhere would be lost."""
        if not isinstance(node.definition, While):
            return
        there = {str((each.node if isinstance(each, PartNode) else each).device) for each in found}
        for ref in node.inputs[: node.definition.count]:
            pieces = self._pieces.get(ref)
            if pieces is not None and not there.issuperset(pieces.at):
                raise errors.UnimplementedError(
                    node.origin, node.origin,
                    f"'{node.name}' carries a tape of which {sorted(pieces.at)} have pieces, but runs on {sorted(there)}",
                )  # fmt: skip

    def _part(self, position: int, part: PartNode) -> None:
        device = str(part.node.device)
        place = self._append(part.node, device)
        for at, output in enumerate(part.outputs):
            self._give(Ref(position, output), part.node.specs[at], Ref(place, at), device)

    def _node(self, position: int, node: Node) -> None:
        device = str(node.device)
        match node.definition:
            case Feed(dtype=kind) if kind is variant:
                self._pieces[Ref(position, 0)] = Pieces(base=Ref(self._append(node, device), 0))
                return
            case EmptyTape():
                self._pieces[Ref(position, 0)] = Pieces()
                return
            case TapeLength():
                known = self._of(node)[0].at
                device = device if device in known or not known else min(known)
            case TapeSum() | TapeWrite() | TapeRead() if (devices := self._copied(node)) is not None:
                copies = {each: Ref(self._append(self._taking(node, each), each), 0) for each in devices}
                bases = [pieces.base for pieces in self._of(node) if pieces.base is not None]
                base = bases[0] if bases and isinstance(node.definition, TapeSum) else None
                self._pieces[Ref(position, 0)] = Pieces(copies, base)
                return
        place = self._append(node, device)
        for output, spec in enumerate(node.specs):
            self._give(Ref(position, output), spec, Ref(place, output), device)

    def _give(self, old: Ref, spec: Spec, new: Ref, device: str) -> None:
        if spec.dtype is variant:
            self._pieces.setdefault(old, Pieces()).at[device] = new
        else:
            self._moved[old] = new

    def _of(self, node: Node) -> list[Pieces]:
        """The inputs of a node that are tapes."""
        return [self._pieces[ref] for ref in node.inputs if ref in self._pieces]

    def _copied(self, node: Node) -> list[str] | None:
        """The devices on which an operation on whole tapes runs, each on what is there; None for one that runs once."""
        tapes = self._of(node)
        if node.specs[0].dtype is not variant or not tapes:
            return None
        match node.definition:
            case TapeRead(entry):
                return list(self._tapes.get(entry, [str(node.device)]))
            case TapeWrite(entry) if entry in self._tapes:
                return list(self._tapes[entry])  # where it will be read, if only that there is nothing
            case TapeWrite() if tapes[0].base is not None:
                return self._devices
        based = sum(pieces.base is not None for pieces in tapes) > 1
        return self._devices if based else sorted({device for pieces in tapes for device in pieces.at})

    def _taking(self, node: Node, device: str) -> Node:
        """A sum of those pieces that are on a device."""
        if not isinstance(node.definition, TapeSum):
            return node
        there = [ref for ref in node.inputs if device in self._pieces[ref].at or self._pieces[ref].base is not None]
        return node._replace(inputs=tuple(there))
