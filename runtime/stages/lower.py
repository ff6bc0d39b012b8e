"""lower: a partition becomes a Plan: numbered slots, copies where memory would change under a value, buffers, frees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ...graph.opdef import OpDef
from ...graph.ops.array import Split, SplitV
from ...graph.ops.constant import Const
from ...graph.ops.identity import Identity, StopGradient
from ...graph.ops.placeholders import PlaceholderWithDefault
from ...graph.ops.reshaping import ExpandDims, Reshape, Squeeze
from ..kernels import Backend, Kernel
from .buffers import assign_buffers
from .partition import Item, Partition, ReceiveValue, Region, RunNode, SendValue
from .plan import Fetch, Free, Instruction, Load, Plan, Receive, Run, Send, TakeFeed
from .program import Feed, Node, Program, Ref, touched_variables

#: Views that keep a row-major input row-major.
_KEEP_ORDER = (Identity, StopGradient, Reshape, ExpandDims, Squeeze, PlaceholderWithDefault)


def is_row_major(program: Program, ref: Ref) -> bool:
    """Whether a value surely lies in memory as its shape is written, where it was computed: views may be strided."""
    node = program.nodes[ref.node]
    while isinstance(node.definition, _KEEP_ORDER):
        node = program.nodes[node.inputs[0].node]
    return not node.definition.view


def is_cut(program: Program, ref: Ref) -> bool:
    """Whether a value surely is a piece of each row of a larger one, row-major: its rows lie apart in memory."""
    node = program.nodes[ref.node]
    if not isinstance(node.definition, (Split, SplitV)) or not is_row_major(program, node.inputs[0]):
        return False
    rank = len(node.specs[ref.output].dims or ())
    return rank > 1 and node.definition.axis % rank == rank - 1


@lru_cache(maxsize=64)
def _none(count: int) -> tuple[bool, ...]:
    """False for each of so many inputs; most instructions have the same few of these."""
    return (False,) * count


@dataclass(slots=True)
class Slot:
    """What lowering knows of one value.

    `memory` names the slots whose memory the value may lie in: itself, or for a view those of its inputs.
    """

    memory: tuple[int, ...]
    row_major: bool
    made: int
    #: A feed, a constant or a received value ("outside"), a variable's own array ("variable"), or a kernel's result.
    kind: str = "result"
    last_use: int = -1


@dataclass(slots=True)
class Draft:
    """A plan in the making: instructions, slots, and the kernel behind each instruction."""

    instructions: list[Instruction]
    slots: list[Slot]
    kernels: dict[int, Kernel]
    #: For each fetch, its slot.
    fetches: dict[int, int]
    #: The variables that the instruction at this position reads or writes.
    reads: dict[int, tuple[str, ...]]
    writes: dict[int, tuple[str, ...]]

    def memory(self, slot: int) -> tuple[int, ...]:
        """The slots whose memory a value may lie in."""
        return self.slots[slot].memory

    def needed_until(self) -> list[int]:
        """For each slot, the last instruction that touches its memory, through whatever view."""
        last = [slot.last_use for slot in self.slots]
        for slot in self.slots:
            for root in slot.memory:
                last[root] = max(last[root], slot.last_use)
        return last


def lower(
    program: Program,
    part: Partition,
    backend: Backend,
    sends_by_reference: bool,
    shared: frozenset[int] | None = None,
    kept: int | None = None,
    look: Callable[[Draft], None] | None = None,
    again: bool = False,
    lasting: frozenset[int] = frozenset(),
    held: bool = False,
) -> Plan:
    """The plan of one device.

    `sends_by_reference`: what is sent is read by another device until the step ends (else sending copies it at once).
    `shared`: of a plan inside another one, the feeds whose memory the fetches may lie in; they may also share memory.
    The fetches from number `kept` on are held, for somebody who only looks: they may be the arrays of variables, too, or
    lie in the memory of the feeds in `lasting`.
    `look`: sees the draft before its buffers are chosen. `again`: it runs any number of times in a step.
    `held`: who gets the fetches only looks at those that are variables: they may be their arrays.
    """
    draft = _Drafting(program, part, backend, sends_by_reference and not again, again).draft
    protect_reads(draft)
    if look is not None:
        look(draft)
    arena_bytes = assign_buffers(draft)
    return Plan(part.device, tuple(_with_frees(draft) + _fetches(draft, shared, kept, lasting, held)), arena_bytes)


class _Drafting:
    """Walks a partition once and numbers its values."""

    def __init__(
        self, program: Program, part: Partition, backend: Backend, sends_by_reference: bool, again: bool
    ) -> None:
        self.program = program
        self.again = again
        self.backend = backend
        self.device = part.device
        self.send_lasts = len(part.items) if sends_by_reference else None
        self.numbers: dict[Ref, int] = {}
        self.draft = Draft([], [], {}, {}, {}, {})
        for at, item in enumerate(part.items):
            self.draft.instructions.append(self._instruction(at, item))
        for index, ref in sorted(part.fetches.items()):
            self.draft.fetches[index] = self._use(ref, len(part.items))

    def _new(self, ref: Ref, at: int, memory: tuple[int, ...] | None, row_major: bool, kind: str = "result") -> int:
        number = len(self.draft.slots)
        self.numbers[ref] = number
        self.draft.slots.append(Slot((number,) if memory is None else memory, row_major, at, kind))
        return number

    def _use(self, ref: Ref, at: int) -> int:
        slot = self.draft.slots[self.numbers[ref]]
        slot.last_use = max(slot.last_use, at)
        return self.numbers[ref]

    def _instruction(self, at: int, item: Item) -> Instruction:
        if isinstance(item, Region):
            return self._region(at, item)
        name = self.program.nodes[item.node if isinstance(item, RunNode) else item.ref.node].name
        match item:
            case SendValue(ref, edge, device):
                last = at if self.send_lasts is None else self.send_lasts
                return Send(self._use(ref, last) if ref.output >= 0 else None, edge, device, name, self.again)
            case ReceiveValue(ref, edge, device):
                row_major = not self.send_lasts or is_row_major(self.program, ref)
                slot = self._new(ref, at, None, row_major, "outside") if ref.output >= 0 else None
                return Receive(slot, edge, device, name)
            case RunNode(position):
                return self._node(at, position, self.program.nodes[position])

    def _node(self, at: int, position: int, node: Node) -> Instruction:
        match node.definition:
            case Feed(index):
                return TakeFeed(self._new(Ref(position, 0), at, None, True, "outside"), index, node.name)
            case Const(value):
                return Load(self._new(Ref(position, 0), at, None, True, "outside"), value, node.name)
        return self._run(at, position, node)

    def _run(self, at: int, position: int, node: Node) -> Run:
        nodes = self.program.nodes
        inputs = tuple([self._use(ref, at) for ref in node.inputs])
        specs = tuple([nodes[ref.node].specs[ref.output] for ref in node.inputs])
        definition = node.definition
        kernel = self.backend.kernel(definition, specs, node.specs)
        if kernel is None:
            raise NotImplementedError(f"{self.device} has no kernel for {definition.type}")
        self.draft.kernels[at] = kernel
        slots = [self.draft.slots[slot] for slot in inputs]
        view = definition.view
        relaxed = kernel.exact or kernel.strided or view
        row_majors = [slot.row_major for slot in slots]
        strided = _none(len(slots)) if relaxed or all(row_majors) else tuple([not each for each in row_majors])
        memory = tuple(dict.fromkeys([root for slot in slots for root in slot.memory])) if view else None
        row_major = not view or (isinstance(definition, _KEEP_ORDER) and all(slot.row_major for slot in slots))
        kind = self._note_access(at, definition, node) if definition.stateful else "result"
        outputs = tuple([self._new(Ref(position, o), at, memory, row_major, kind) for o in range(len(node.specs))])
        return Run(node.name, definition, inputs, outputs, specs, node.specs, (), strided)

    def _region(self, at: int, region: Region) -> Run:
        definition = region.definition
        inputs = tuple([self._use(ref, at) for ref in region.inputs])
        specs = tuple([self.program.spec(ref) for ref in region.inputs])
        kernel = self.backend.kernel(definition, specs, definition.infer())
        assert kernel is not None, "fusing asks for kernels first"
        self.draft.kernels[at] = kernel
        outputs = []
        for first, *others in region.outputs:
            outputs.append(self._new(first, at, None, row_major=True))
            self.numbers.update(dict.fromkeys(others, outputs[-1]))
        name = f"{definition.parts[0].name}...{definition.parts[-1].name}"
        return Run(name, definition, inputs, tuple(outputs), specs, definition.infer(), (), _none(len(inputs)))

    def _note_access(self, at: int, definition: OpDef, node: Node) -> str:
        written = touched_variables(self.program, node, "write")
        if written:
            self.draft.writes[at] = written
        if definition.access == "read":  # the result is the variable's own memory
            self.draft.reads[at] = touched_variables(self.program, node, "read")
        return "variable" if definition.access == "read" else "result"


def protect_reads(draft: Draft) -> None:
    """Copy what a read gives when something still needs it after a later write to the variable."""
    writes: dict[str, list[int]] = defaultdict(list)
    for at, names in draft.writes.items():
        for name in names:
            writes[name].append(at)
    needed_until = draft.needed_until()
    for at, names in draft.reads.items():
        run = draft.instructions[at]
        if not isinstance(run, Run):
            continue
        last = max((needed_until[slot] for slot in run.outputs), default=-1)
        if any(at < write <= last for name in names for write in writes[name]):
            draft.instructions[at] = run._replace(copied=True)
            for slot in run.outputs:
                draft.slots[slot].kind = "result"


def _with_frees(draft: Draft) -> list[Instruction]:
    """The instructions, each followed by the release of the values that nothing needs after it.

    Only values in memory of their own are worth it: buffers stay, and feeds and constants belong to somebody else.
    """
    buffered = {slot for i in draft.instructions if isinstance(i, Run) and i.buffers for slot in i.buffered}
    dying: dict[int, list[int]] = defaultdict(list)
    for number, slot in enumerate(draft.slots):
        if slot.kind != "outside" and buffered.isdisjoint(slot.memory):
            dying[max(slot.last_use, slot.made)].append(number)
    result: list[Instruction] = []
    for at, instruction in enumerate(draft.instructions):
        result.append(instruction)
        if dying[at]:
            result.append(Free(tuple(dying[at])))
    return result


def _fetches(
    draft: Draft, shared: frozenset[int] | None, kept: int | None, lasting: frozenset[int], held: bool
) -> list[Instruction]:
    """Fetches, copied unless the value is row-major and lies in memory that was made in this step for nothing else."""
    made = {slot for i in draft.instructions if isinstance(i, Run) for slot in i.made}
    tapes = {
        slot for i in draft.instructions if isinstance(i, Run) and i.definition.type == "TapeRead" for slot in i.outputs
    }
    own = {slot for slot in made if draft.slots[slot].kind == "result"} - tapes
    made |= {i.slot for i in draft.instructions if isinstance(i, TakeFeed) and i.index in lasting}
    if shared is not None:
        own |= {i.slot for i in draft.instructions if isinstance(i, Load)}
        own |= {i.slot for i in draft.instructions if isinstance(i, TakeFeed) and i.index in shared}
    if held:
        own |= {slot for slot in made if draft.slots[slot].kind == "variable"}
    seen: set[int] = set()
    result: list[Instruction] = []
    for index, slot in draft.fetches.items():
        memory = draft.slots[slot].memory
        allowed = own if kept is None or index < kept else own | made
        copied = not (allowed.issuperset(memory) and draft.slots[slot].row_major) or not seen.isdisjoint(memory)
        if shared is None:
            seen.update(memory)
        result.append(Fetch(slot, index, copied))
    return result
