"""Rows of what is kept beside variables: queues and accumulators."""

from __future__ import annotations

from ..ops import accumulators, queues
from .rows import Attr, InputType, InputTypes, Of, Row

_KEPT = {"container": Of("container"), "shared_name": Of("shared_name")}
_QUEUE = {"component_types": Of("component_types"), "shapes": Of("shapes"), "capacity": Of("capacity"), **_KEPT}
_PUT = {"Tcomponents": InputTypes(1), "timeout_ms": Attr()}
_TAKEN = {"component_types": Of("component_types"), "timeout_ms": Attr()}

ROWS = [
    Row(queues.FIFOQueueV2, _QUEUE),
    Row(queues.PaddingFIFOQueueV2, _QUEUE),
    Row(queues.PriorityQueueV2, _QUEUE),
    Row(queues.RandomShuffleQueueV2, {
        **_QUEUE, "min_after_dequeue": Of("min_after_dequeue"), "seed": Of("seed"), "seed2": Of("seed2"),
    }),
    Row(queues.QueueEnqueueV2, _PUT),
    Row(queues.QueueEnqueueManyV2, _PUT),
    Row(queues.QueueDequeueV2, _TAKEN),
    Row(queues.QueueDequeueManyV2, _TAKEN),
    Row(queues.QueueDequeueUpToV2, _TAKEN),
    Row(queues.QueueCloseV2, {"cancel_pending_enqueues": Of("cancel_pending_enqueues")}),
    Row(queues.QueueIsClosedV2),
    Row(queues.QueueSizeV2),
    Row(accumulators.ResourceConditionalAccumulator, {
        "dtype": Of("dtype"), "shape": Of("shape"), "reduction_type": Of("reduction_type"), **_KEPT,
    }),
    Row(accumulators.ResourceAccumulatorApplyGradient, {"dtype": InputType(2)}),
    Row(accumulators.ResourceAccumulatorTakeGradient, {"dtype": Of("dtype")}),
    Row(accumulators.ResourceAccumulatorNumAccumulated),
    Row(accumulators.ResourceAccumulatorSetGlobalStep),
]  # fmt: skip
