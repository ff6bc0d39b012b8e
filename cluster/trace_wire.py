"""What ran when on a task, as data: what it adds to the result of a traced step, and what the session makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..graph import errors
from ..runtime.tracing import DeviceStepStats, NodeExecStats, NodeOutput, StepStats, TensorDescription
from .clocks import SESSION, Passed, crossed, offsets, shift
from .protocol import decode_json


class Noted(NamedTuple):
    """What came with a task's answer, and when by the session's clock."""

    data: bytes
    came: int


def noted(data: bytes) -> Noted | None:
    """What has come just now with an answer, if anything has."""
    return Noted(data, time.time_ns()) if data else None


@dataclass(frozen=True, slots=True)
class Trace:
    """What ran on a task. `asked`: when the session sent it the step, by the session's clock; `taken`, `answered`: when
    the step was there and the answer was sent, by the task's. In nanoseconds.
    """

    stats: DeviceStepStats
    asked: int
    taken: int
    answered: int

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @staticmethod
    def decode(data: bytes) -> Trace:
        """Raises DataLossError for data that is none."""
        match decode_json(data):
            case {"stats": stats, "asked": int(asked), "taken": int(taken), "answered": int(answered)}:
                return Trace(_stats(stats), asked, taken, answered)
        raise _none(data)


def step_stats(answers: Iterable[Noted]) -> StepStats:
    """What ran on all tasks, by the session's clock. Raises DataLossError."""
    traces = [(Trace.decode(data), came) for data, came in answers]
    stats = [trace.stats for trace, _ in traces]
    passed = crossed(stats)
    for trace, came in traces:
        device = trace.stats.device
        passed += [Passed(SESSION, trace.asked, device, trace.taken), Passed(device, trace.answered, SESSION, came)]
    shift(stats, offsets(passed))
    return StepStats(stats)


def _stats(stats: Any) -> DeviceStepStats:
    match stats:
        case {"device": str(device), "node_stats": list(nodes)}:
            return DeviceStepStats(device, [_node(node) for node in nodes])
    raise _none(stats)


def _node(node: Any) -> NodeExecStats:
    match node:
        case {
            "node_name": str(name),
            "all_start_nanos": int(start),
            "all_end_rel_nanos": int(end),
            "timeline_label": str(label),
            "output": list(outputs),
            "edge": int() | None as edge,
        }:
            return NodeExecStats(name, start, end, label, [_output(each) for each in outputs], edge)
    raise _none(node)


def _output(output: Any) -> NodeOutput:
    match output:
        case {
            "slot": int(slot),
            "tensor_description": {"dtype": str(dtype), "shape": list(shape), "requested_bytes": int(size)},
        } if all(isinstance(each, int) for each in shape):
            return NodeOutput(slot, TensorDescription(dtype, tuple(shape), size))
    raise _none(output)


def _none(got: Any) -> errors.DataLossError:
    return errors.DataLossError(None, None, f"expected what ran when, got {str(got)[:100]}")
