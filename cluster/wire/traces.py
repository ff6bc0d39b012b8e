"""What ran when on a task, as data: what it adds to the result of a traced step."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ...graph import errors
from ...runtime.reporting.tracing import DeviceStepStats, NodeExecStats, NodeOutput, TensorDescription
from .protocol import decode_json


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
