"""A plan that a task has been given: compiled for it, and what its instructions say about feeds, edges and memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from functools import cache, partial
from typing import Protocol

from ...graph import dtypes
from ...graph.devices import DeviceSpec
from ...graph.function import functions_of
from ...graph.ops.variables import ReadVariableOp
from ...graph.state import State, VariableSlot
from ...runtime.backends.cpu import CPU
from ...runtime.execution.compile import CompiledPlan
from ...runtime.execution.frames import frames_at_once
from ...runtime.kernels import Backend, CompilingBackend
from ...runtime.stages.parts import OncePart, all_instructions
from ...runtime.stages.plan import Fetch, Instruction, Plan, Receive, Run, Send, TakeFeed
from ..wire.message import SLOT_FROM, Array
from ..wire.relays import Relay
from .parcels import together

#: Its `step` is the one that the thread runs, if its plan `places` values.
running = threading.local()


class PlacesValues(Protocol):
    """A step, as the kernels of its plan see it: it says where what goes to other tasks is to be written."""

    def place(self, task: str, slot: int, dtype: dtypes.DType, buffer: Array) -> Array: ...

    def spare(self, value: Array | None) -> Array | None: ...


class LoadedPlan:
    """A plan that is ready to run, and what its instructions say about feeds and edges.

    What a kernel would write into a buffer and the plan sends to another task at once, it writes into the memory that the
    two share. `copies`: whether fetched values are copied where the plan's next run may change them; else they must be taken
    before that. What the backend compiles is compiled now, for this processor, so that no step waits for it. Raises what is wrong
    with the plan.
    """

    def __init__(
        self, plan: Plan, task: str, state: State, relay: Relay, copies: bool = True, backend: Backend = CPU
    ) -> None:
        if not copies:
            plain = [Fetch(i.slot, i.index, copied=False) if isinstance(i, Fetch) else i for i in plan.instructions]
            plan = Plan(plan.device, tuple(plain), plan.arena_bytes)
        instructions = plan.instructions
        sent = {i.slot: task_of(i.device) for i in instructions if isinstance(i, Send) and task_of(i.device) != task}
        results = [(slot, buffer) for i in instructions if isinstance(i, Run) for slot, buffer in i.buffered.items()]
        #: The handles of variables whose values go to other tasks before they are updated, by the slot of the value.
        self.updated = _updated(instructions, sent)
        if isinstance(backend, CompilingBackend):
            backend.check(plan)
        with frames_at_once() if isinstance(backend, CompilingBackend) else nullcontext():
            self.compiled = CompiledPlan(plan, backend, state, places={
                slot: partial(_place, sent[slot], slot, buffer.dtype)
                for slot, buffer in results
                if slot in sent and buffer.nbytes >= SLOT_FROM
            }, spares=dict.fromkeys(self.updated.values(), _spare))  # fmt: skip
        self.relay = relay
        #: Whether it may take long inside of a kernel, which a step that is given up must end.
        self.may_last = any(isinstance(i, Run) and _may_last(i) for i in instructions)
        #: Whether its kernels write what goes to other tasks where those can read it.
        self.places = bool(self.updated) or any(slot in sent for slot, _ in results)
        #: Which of the step's feeds it takes, in the order in which they are sent.
        self.feeds = tuple(i.index for i in instructions if isinstance(i, TakeFeed))
        self.sent = {i.edge: i.slot for i in instructions if isinstance(i, Send) and i.slot is not None}
        #: What goes to several tasks, by edge.
        self.shared = _shared([i for i in instructions if isinstance(i, Send)])
        #: The edges whose values wait for the next one that goes to the same task.
        self.together = together(instructions)
        #: What comes over an edge, in words.
        self.edges = {
            i.edge: f"'{i.name}' of {task_of(i.device)}"
            for i in all_instructions(instructions)
            if isinstance(i, Receive)
        }
        for i in all_instructions(instructions):
            if isinstance(i, Run) and isinstance(i.definition, OncePart) and i.definition.start is not None:
                edge, device = i.definition.start
                self.edges[edge] = f"the condition of '{i.name}' of {task_of(device)}"

    def waits(self, seconds: float) -> str:
        """What a step does here that another task has not begun, in words."""
        begun = self.relay.begun
        return (
            "had not begun" if begun is None else f"had waited for {self.edges.get(begun, begun)} for {seconds:.1f} s"
        )


def _place(task: str, slot: int, dtype: dtypes.DType, buffer: Array) -> Array:
    """As `place` of the step that this thread runs."""
    step: PlacesValues = running.step
    return step.place(task, slot, dtype, buffer)


def _spare(variable: VariableSlot) -> Array | None:
    """As `spare` of the step that this thread runs."""
    step: PlacesValues | None = getattr(running, "step", None)
    return None if step is None else step.spare(variable.value)


def _updated(instructions: Sequence[Instruction], sent: Collection[int | None]) -> dict[int, int]:
    """Of the variables' values among these slots that are sent before the variable is updated: its handle."""
    reads: dict[int, int] = {}
    found: dict[int, int] = {}
    for i in instructions:
        if isinstance(i, Run) and isinstance(i.definition, ReadVariableOp) and not i.copied and i.outputs[0] in sent:
            reads[i.outputs[0]] = i.inputs[0]
        elif isinstance(i, Run) and i.definition.access == "write":
            found |= {slot: handle for slot, handle in reads.items() if handle in i.inputs}
    return found


def _may_last(run: Run) -> bool:
    """Whether it may wait for others, or runs plans of its own. Handles are taken once, before any step."""
    definition = run.definition
    if not run.inputs and [spec.dtype for spec in run.output_specs] == [dtypes.resource]:
        return False
    return (definition.stateful and definition.access not in ("read", "write")) or bool(functions_of(definition))


def _shared(sends: Sequence[Send]) -> dict[int, int]:
    """The slots that are sent to more than one task, by edge."""
    count = Counter(send.slot for send in sends)
    return {send.edge: send.slot for send in sends if send.slot is not None and count[send.slot] > 1}


@cache
def task_of(device: str) -> str:
    """The task that a device belongs to."""
    return str(DeviceSpec.from_string(device).task_only())
