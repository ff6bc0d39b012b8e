"""Runs a plan one instruction at a time, over the plan's own memory, and checks that no value changes while it is needed."""

from typing import Any

import numpy as np
from weft.graph.state import OpState, State
from weft.runtime.backends.cpu import CPU
from weft.runtime.execution.writer import _allocate
from weft.runtime.stages.fused import Fused
from weft.runtime.stages.plan import Fetch, Free, Load, Plan, Receive, Run, Send, StepPlan, TakeFeed


class Device:
    """One plan as it runs: its values, and copies of them from when they were made."""

    def __init__(self, plan: Plan, state: State) -> None:
        self.plan = plan
        self.state = state
        self.values: dict[int, Any] = {}
        self.copies: dict[int, Any] = {}
        self.at = 0
        self.buffers = self._allocate()

    def _allocate(self) -> dict[int, Any]:
        runs = [run for run in self.plan.instructions if isinstance(run, Run)]
        buffers = {slot: buffer for run in runs for slot, buffer in run.buffered.items()}
        for buffer in buffers.values():
            assert 0 <= buffer.offset <= self.plan.arena_bytes - buffer.nbytes
        return dict(zip(buffers, _allocate(self.plan.arena_bytes, list(buffers.values())), strict=True))

    def make(self, slot: int, value: Any) -> None:
        assert slot not in self.copies, f"slot {slot} is made twice"
        self.values[slot] = value
        self.copies[slot] = np.array(value) if isinstance(value, (np.ndarray, np.generic)) else value

    def use(self, slot: int) -> Any:
        """A value, which must be what it was when it was made."""
        value = self.values[slot]
        if isinstance(value, (np.ndarray, np.generic)):
            np.testing.assert_array_equal(value, self.copies[slot], err_msg=f"slot {slot} of {self.plan}")
        return value

    def run(self, run: Run) -> None:
        buffers = [self.buffers.get(slot) for slot in run.outputs]
        buffer = buffers[0] if len(buffers) == 1 else None if all(each is None for each in buffers) else tuple(buffers)
        kernel = CPU.kernel(run.definition, run.input_specs, run.output_specs)
        assert kernel is not None
        inputs = [self.use(slot) for slot in run.inputs]
        inputs = [np.asarray(x, order="C") if row else x for x, row in zip(inputs, run.contiguous, strict=True)]
        for x in inputs:
            rows = (
                kernel.exact
                or kernel.strided
                or run.definition.view
                or not isinstance(x, np.ndarray)
                or x.flags.c_contiguous
            )
            rows = rows or isinstance(run.definition, Fused)  # its parts look after themselves
            assert rows, f"a strided input of {run}"
        state = [OpState(self.state, run.name)] if kernel.needs_state else []
        out = {"out": buffer} if kernel.takes_out and buffer is not None else {"order": "C"} if kernel.exact else {}
        result = kernel.function(*state, *inputs, **out)
        if run.copied and isinstance(buffer, np.ndarray):
            np.copyto(buffer, result)
            result = buffer
        elif run.copied:
            result = np.array(result)
        results = (result,) if len(run.outputs) == 1 else result or ()
        for slot, value in zip(run.outputs, results, strict=True):
            self.make(slot, value)


def audit(step: StepPlan, feeds: list[Any], state: State) -> list[Any]:
    """Run a step; returns its fetches. Raises AssertionError for a value that changed before its last use."""
    sent: dict[int, tuple[Device, int | None]] = {}
    fetches: list[Any] = [None] * step.fetches
    devices = [Device(plan, state) for plan in step.plans]
    with np.errstate(all="ignore"):
        while any(_advance(device, feeds, sent, fetches) for device in devices):
            pass
    assert all(device.at == len(device.plan.instructions) for device in devices), "the devices wait for each other"
    for device, slot in sent.values():
        if slot is not None:
            device.use(slot)  # others may read what was sent as long as the step goes on
    return fetches


def _advance(device: Device, feeds: list[Any], sent: dict[int, tuple[Device, int | None]], fetches: list[Any]) -> bool:
    """Run one device until it waits; whether it did anything."""
    start = device.at
    for instruction in device.plan.instructions[start:]:
        match instruction:
            case TakeFeed(slot, index):
                device.make(slot, feeds[index])
            case Load(slot, value):
                device.make(slot, value.array)
            case Send(slot, edge):
                assert edge not in sent, f"edge {edge} is sent twice"
                if slot is not None:
                    device.use(slot)
                sent[edge] = device, slot
            case Receive(slot, edge):
                if edge not in sent:
                    return device.at > start
                sender, there = sent[edge]
                if slot is not None and there is not None:
                    device.make(slot, sender.use(there))
            case Free():
                pass  # memory of its own, which Python gives back
            case Fetch(slot, index, copied):
                fetches[index] = np.array(device.use(slot)) if copied else device.use(slot)
            case Run():
                device.run(instruction)
        device.at += 1
    return device.at > start
