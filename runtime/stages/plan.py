"""A plan: what one device does in a step, as a printable list of small frozen instructions over numbered slots."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ...graph import shapes
from ...graph.dtypes import DType
from ...graph.opdef import OpDef, Spec
from ...graph.ops.literal import Literal
from ...graph.record import Record, record


class Buffer(NamedTuple):
    """A piece of the plan's preallocated memory that one value lives in."""

    offset: int
    dtype: DType
    dims: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.dims) * self.dtype.size

    def __str__(self) -> str:
        return f"@{self.offset}"


@record
class TakeFeed(Record):
    """Take the value that the run was given for a fed tensor."""

    slot: int
    index: int
    name: str

    def __str__(self) -> str:
        return f"v{self.slot} = feed {self.index} ({self.name})"


@record
class Load(Record):
    """A constant."""

    slot: int
    value: Literal
    name: str

    def __str__(self) -> str:
        return f"v{self.slot} = {self.value} ({self.name})"


class Run(NamedTuple):
    """Run an operation's kernel, into buffers where those are given.

    `buffers`: one for each result, or none at all. `contiguous` marks the inputs that must be made row-major first,
    `copied` a read that a later write would change.
    """

    name: str
    definition: OpDef
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_specs: tuple[Spec, ...]
    output_specs: tuple[Spec, ...]
    buffers: tuple[Buffer | None, ...] = ()
    contiguous: tuple[bool, ...] = ()
    copied: bool = False

    @property
    def buffered(self) -> dict[int, Buffer]:
        """The results that are written into buffers."""
        pairs = zip(self.outputs, self.buffers, strict=True) if self.buffers else ()
        return {slot: buffer for slot, buffer in pairs if buffer is not None}

    @property
    def made(self) -> tuple[int, ...]:
        """The results in memory of their own."""
        if not self.buffers:
            return self.outputs
        return tuple([slot for slot, buffer in zip(self.outputs, self.buffers, strict=True) if buffer is None])

    def __str__(self) -> str:
        left = ", ".join(f"v{slot}" for slot in self.outputs)
        arguments = ", ".join(
            f"rowmajor(v{slot})" if row else f"v{slot}" for slot, row in zip(self.inputs, self.contiguous, strict=True)
        )
        where = f" -> {', '.join(str(buffer or 'new') for buffer in self.buffers)}" if self.buffers else ""
        copied = " copied" if self.copied else ""
        kinds = " ".join(f"{spec.dtype.name}{shapes.text(spec.dims)}" for spec in self.output_specs)
        line = (
            f"{left + ' = ' if left else ''}{self.definition.type}({arguments}){where}{copied}  {kinds} ({self.name})"
        )
        inner = getattr(self.definition, "lines", None)
        return "\n      ".join([line, *(inner(self.inputs) if inner is not None else ())])


@record
class Send(Record):
    """Give a value to another device's plan; `slot` is None for a mere signal that something is done.

    `again`: it may be sent many times in a step, and what is sent changes as soon as it is sent.
    """

    slot: int | None
    edge: int
    device: str
    name: str
    again: bool = False

    def __str__(self) -> str:
        return f"send {'signal' if self.slot is None else f'v{self.slot}'} on edge {self.edge} to {self.device} ({self.name})"


@record
class Receive(Record):
    """Wait for a value from another device's plan."""

    slot: int | None
    edge: int
    device: str
    name: str

    def __str__(self) -> str:
        left = "" if self.slot is None else f"v{self.slot} = "
        return f"{left}receive on edge {self.edge} from {self.device} ({self.name})"


@record
class Free(Record):
    """Forget values that nothing needs any more."""

    slots: tuple[int, ...]

    def __str__(self) -> str:
        return "free " + ", ".join(f"v{slot}" for slot in self.slots)


@record
class Fetch(Record):
    """Hand a value to the caller, copied where it lies in memory that the next step or a write changes."""

    slot: int
    index: int
    copied: bool

    def __str__(self) -> str:
        return f"fetch {self.index} = v{self.slot}{' copied' if self.copied else ''}"


Instruction = TakeFeed | Load | Run | Send | Receive | Free | Fetch


@record
class Plan(Record):
    """What one device does in a step."""

    device: str
    instructions: tuple[Instruction, ...]
    arena_bytes: int

    def __str__(self) -> str:
        lines = [
            f"plan for {self.device}: {len(self.instructions)} instructions, {self.arena_bytes:,} bytes of buffers"
        ]
        return "\n  ".join(lines + [str(instruction) for instruction in self.instructions])


@record
class StepPlan(Record):
    """What all devices do in a step. Every fetch index stands in exactly one of the plans."""

    plans: tuple[Plan, ...]
    fetches: int

    def __str__(self) -> str:
        return "\n".join(str(plan) for plan in self.plans)
