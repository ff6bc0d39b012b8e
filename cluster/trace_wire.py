"""What ran when on a task, as data: what it adds to the result of a traced step, and what the session makes of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ..graph import errors
from ..runtime.tracing import DeviceStepStats, NodeExecStats, NodeOutput, TensorDescription
from .protocol import decode_json


def encode_stats(stats: DeviceStepStats) -> bytes:
    """As JSON."""
    return json.dumps(asdict(stats), separators=(",", ":")).encode()


def decode_stats(data: bytes) -> DeviceStepStats:
    """The statistics again. Raises DataLossError for data that is none."""
    match decode_json(data):
        case {"device": str(device), "node_stats": list(nodes)}:
            return DeviceStepStats(device, [_node(node) for node in nodes])
    raise _none(data)


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
