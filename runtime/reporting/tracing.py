"""Tracing: what a traced step reports, in TF's words, and the plans that note it while they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ..execution.compile import Channel, CompiledPlan, Frame
from ..stages.fused import Fused
from ..stages.parts import all_instructions
from ..stages.plan import Instruction, Load, Receive, Run, Send, TakeFeed


@dataclass
class TensorDescription:
    """A value: its dtype's name, its shape, how many bytes it has."""

    dtype: str
    shape: tuple[int, ...]
    requested_bytes: int


@dataclass
class NodeOutput:
    """The value of one output of an operation."""

    slot: int
    tensor_description: TensorDescription


@dataclass
class NodeExecStats:
    """When an operation ran. `timeline_label` names its type and where its inputs come from."""

    node_name: str
    all_start_nanos: int
    all_end_rel_nanos: int
    timeline_label: str
    output: list[NodeOutput] = field(default_factory=list)
    #: For a send or receive: the edge, which no other pair of them in the step has.
    edge: int | None = None

    @property
    def sends(self) -> bool:
        """Whether its edge begins here."""
        return "_Send(" in self.timeline_label

    @property
    def all_start_micros(self) -> int:
        return self.all_start_nanos // 1000

    @property
    def all_end_rel_micros(self) -> int:
        return self.all_end_rel_nanos // 1000

    # TF tells the kernel's time from that of the operation as a whole; here they are one.

    @property
    def op_start_rel_nanos(self) -> int:
        return 0

    @property
    def op_start_rel_micros(self) -> int:
        return 0

    @property
    def op_end_rel_nanos(self) -> int:
        return self.all_end_rel_nanos

    @property
    def op_end_rel_micros(self) -> int:
        return self.all_end_rel_micros


@dataclass
class DeviceStepStats:
    """What ran on one device, in order."""

    device: str
    node_stats: list[NodeExecStats] = field(default_factory=list)


@dataclass
class StepStats:
    """What a traced step did: see `RunMetadata.step_stats`. Source: `tf.RunMetadata.step_stats`."""

    dev_stats: list[DeviceStepStats] = field(default_factory=list)


@runtime_checkable
class Tracer(Protocol):
    """An engine that can trace."""

    def trace(self, handle: Any, feeds: Sequence[Any], timeout: float | None) -> tuple[list[Any], StepStats]:
        """As `Engine.run`, and what ran when."""
        ...


def time_of_day() -> int:
    """How far the time of day is ahead of the clock that durations are measured with, in nanoseconds.

    Of several looks the quickest, for a thread may be set aside between the one and the other.
    """
    looks = []
    for _ in range(5):
        before, now, after = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
        looks.append((after - before, now - (before + after) // 2))
    return min(looks)[1]


class TracedPlan:
    """One run of a plan with kernels that note when they ran. Feeds and constants cost nothing, so they are not noted.

    `offset`: `time_of_day()`.
    """

    def __init__(self, plan: CompiledPlan, offset: int) -> None:
        self.fetches, self.plan = plan.fetches, plan.plan
        self._plan = plan
        self._noted: list[tuple[Instruction, int, int, list[NodeOutput]]] = []
        self._offset = offset

    def take(self) -> Frame:
        """The plan's function, for this run alone."""
        return self._plan.with_kernels(self._noting)

    def give(self, frame: Frame) -> None:
        """Nobody will use it again."""

    def run_in(self, frame: Frame, feeds: Sequence[Any] | Mapping[int, Any], channel: Channel) -> tuple[Any, ...]:
        """See CompiledPlan."""
        return self._plan.run_in(frame, feeds, _NotingChannel(self._plan, channel, self._noting))

    def _noting(self, instruction: Instruction, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter_ns()
            result = function(*arguments, **options)
            end = time.perf_counter_ns()
            self._noted.append((instruction, start, end, _outputs(instruction, result)))
            return result

        return noted

    def stats(self) -> DeviceStepStats:
        """What was noted."""
        names = _names(self._plan.plan.instructions)
        nodes = []
        for instruction, start, end, outputs in self._noted:
            name, label, edge = _described(instruction, names)
            nodes.append(NodeExecStats(name, start + self._offset, end - start, label, outputs, edge))
        return DeviceStepStats(self._plan.plan.device, nodes)


class _NotingChannel:
    """A channel that notes how long sending and waiting took, but for what the parts of a loop only signal to each other."""

    def __init__(
        self,
        plan: CompiledPlan,
        channel: Channel,
        noting: Callable[[Instruction, Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        edges = {i.edge: i for i in all_instructions(plan.plan.instructions) if isinstance(i, (Send, Receive))}
        self._edges, self._channel, self._noting = edges, channel, noting

    def send(self, edge: int, *rest: Any) -> None:
        self._noted(edge, self._channel.send)(edge, *rest)

    def receive(self, edge: int) -> Any:
        return self._noted(edge, self._channel.receive)(edge)

    def _noted(self, edge: int, function: Callable[..., Any]) -> Callable[..., Any]:
        return self._noting(self._edges[edge], function) if edge in self._edges else function


def _outputs(instruction: Instruction, result: Any) -> list[NodeOutput]:
    count = len(instruction.outputs) if isinstance(instruction, Run) else 1
    values = (result,) if count == 1 else result or ()
    return [
        NodeOutput(index, TensorDescription(value.dtype.name, value.shape, value.nbytes))
        for index, value in enumerate(values)
        if hasattr(value, "nbytes")
    ]


def _names(instructions: Sequence[Instruction]) -> dict[int, str]:
    """What makes each slot."""
    names: dict[int, str] = {}
    for instruction in instructions:
        match instruction:
            case TakeFeed(slot) | Load(slot) | Receive(int(slot)):
                names[slot] = instruction.name
            case Run():
                names.update(dict.fromkeys(instruction.outputs, instruction.name))
    return names


def _described(instruction: Instruction, names: Mapping[int, str]) -> tuple[str, str, int | None]:
    """The name of what ran, its label, and its edge."""
    match instruction:
        case Run(name, definition, inputs):
            inner = f" of {', '.join(part.name for part in definition.parts)}" if isinstance(definition, Fused) else ""
            return name, f"{name} = {definition.type}({', '.join(names[slot] for slot in inputs)}){inner}", None
        case Send(_, edge, device, name):
            return name, f"{name} = _Send({name}) to {device}", edge
        case Receive(_, edge, device, name):
            return name, f"{name} = _Recv() from {device}", edge
    raise AssertionError(f"{instruction} is not noted")
