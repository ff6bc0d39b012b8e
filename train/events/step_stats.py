"""What a traced run has reported, as the serialized RunMetadata that TensorBoard reads."""

from __future__ import annotations

from typing import Any

from ...graph.dtypes import as_dtype
from ...graph.ops.summary_encoding import block, number
from ...runtime.config import RunMetadata
from ...runtime.reporting.tracing import NodeExecStats, NodeOutput


def run_metadata_bytes(metadata: Any) -> bytes:
    """Serialized, by the field numbers of TensorFlow's message. Raises TypeError for what is no RunMetadata."""
    if hasattr(metadata, "SerializeToString"):
        data: bytes = metadata.SerializeToString()
        return data
    if not isinstance(metadata, RunMetadata):
        raise TypeError(f"run_metadata must be a wf.RunMetadata, but got {type(metadata).__name__}")
    devices = (
        block(1, device.device.encode()) + b"".join(block(2, _node(node)) for node in device.node_stats)
        for device in metadata.step_stats.dev_stats
    )
    graphs = b"".join(block(3, graph.SerializeToString()) for graph in metadata.partition_graphs)
    return block(1, b"".join(block(1, device) for device in devices)) + graphs


def _node(node: NodeExecStats) -> bytes:
    times = number(2, node.all_start_micros) + number(4, node.op_end_rel_micros) + number(5, node.all_end_rel_micros)
    outputs = b"".join(block(7, _output(output)) for output in node.output)
    exact = number(13, node.all_start_nanos) + number(15, node.op_end_rel_nanos) + number(16, node.all_end_rel_nanos)
    return block(1, node.node_name.encode()) + times + outputs + block(8, node.timeline_label.encode()) + exact


def _output(output: NodeOutput) -> bytes:
    described = output.tensor_description
    dims = b"".join(block(2, number(1, size)) for size in described.shape)
    size = block(4, number(1, described.requested_bytes))
    return number(1, output.slot) + block(
        3, number(1, as_dtype(described.dtype).as_datatype_enum) + block(2, dims) + size
    )
