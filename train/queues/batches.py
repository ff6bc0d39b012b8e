"""Batches through queues: elements that threads compute one by one (or many at once) become batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...graph import context
from ...graph.dtypes import DType, boolean, int32
from ...graph.ir import Operation, Tensor, get_default_graph
from ...graph.ops.cast import cast
from ...graph.ops.conditions import cond
from ...graph.ops.constant import constant_value
from ...graph.ops.control import group
from ...graph.ops.convert import convert_to_tensor
from ...graph.ops.identity import no_op
from ...graph.ops.partitioning import dynamic_partition
from ...graph.queues import FIFOQueue, PaddingFIFOQueue, QueueBase, RandomShuffleQueue
from ...graph.shapes import TensorShape
from ...graph.sparse_tensor import SparseTensor
from .queue_runner import QueueRunner, add_queue_runner

#: Makes the queue of a name for elements of these types and shapes.
MakeQueue = Callable[[list[DType], list[Any], str], QueueBase]


def batch(
    tensors: Any, batch_size: Any, num_threads: int = 1, capacity: int = 32, enqueue_many: bool = False,
    shapes: Any = None, dynamic_pad: bool = False, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Batches of `batch_size` elements, each what `tensors` (a list or dict) gives in one run of a thread: a list or dict of
    tensors again, or for a list of one that tensor.

    With `enqueue_many` a run gives many elements, along the first dimension. `shapes`: of an element, where not known;
    with `dynamic_pad` dimensions may be unknown, and shorter elements are filled up with zeros. With
    `allow_smaller_final_batch` the last batch is what is left, else that is dropped. A queue runner is added to the graph.
    Source: `tf.train.batch`. Raises ValueError for shapes that are not known, TypeError for sparse tensors.
    """
    return _batch([tensors], True, batch_size, num_threads, enqueue_many, shapes, allow_smaller_final_batch, name or "batch",
                  _fifo(capacity, dynamic_pad, shared_name))  # fmt: skip


def maybe_batch(
    tensors: Any, keep_input: Any, batch_size: Any, num_threads: int = 1, capacity: int = 32, enqueue_many: bool = False,
    shapes: Any = None, dynamic_pad: bool = False, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """As `batch`, of the elements for which `keep_input` is true: a bool scalar, or with `enqueue_many` a vector.

    Source: `tf.train.maybe_batch`.
    """
    return _batch([tensors], keep_input, batch_size, num_threads, enqueue_many, shapes, allow_smaller_final_batch,
                  name or "maybe_batch", _fifo(capacity, dynamic_pad, shared_name))  # fmt: skip


def batch_join(
    tensors_list: Any, batch_size: Any, capacity: int = 32, enqueue_many: bool = False, shapes: Any = None,
    dynamic_pad: bool = False, allow_smaller_final_batch: bool = False, shared_name: str | None = None,
    name: str | None = None,
) -> Any:  # fmt: skip
    """As `batch`, of what several lists (or dicts) of tensors give, with a thread for each. Source: `tf.train.batch_join`."""
    return _batch(tensors_list, True, batch_size, 1, enqueue_many, shapes, allow_smaller_final_batch, name or "batch_join",
                  _fifo(capacity, dynamic_pad, shared_name))  # fmt: skip


def maybe_batch_join(
    tensors_list: Any, keep_input: Any, batch_size: Any, capacity: int = 32, enqueue_many: bool = False,
    shapes: Any = None, dynamic_pad: bool = False, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """As `batch_join`, of the elements for which `keep_input` is true. Source: `tf.train.maybe_batch_join`."""
    return _batch(tensors_list, keep_input, batch_size, 1, enqueue_many, shapes, allow_smaller_final_batch,
                  name or "maybe_batch_join", _fifo(capacity, dynamic_pad, shared_name))  # fmt: skip


def shuffle_batch(
    tensors: Any, batch_size: Any, capacity: int, min_after_dequeue: int, num_threads: int = 1, seed: int | None = None,
    enqueue_many: bool = False, shapes: Any = None, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """As `batch`, in a random order: each drawn from at least `min_after_dequeue` and at most `capacity` elements.

    Source: `tf.train.shuffle_batch`.
    """
    return _batch([tensors], True, batch_size, num_threads, enqueue_many, shapes, allow_smaller_final_batch,
                  name or "shuffle_batch", _shuffled(capacity, min_after_dequeue, seed, shared_name))  # fmt: skip


def maybe_shuffle_batch(
    tensors: Any, batch_size: Any, capacity: int, min_after_dequeue: int, keep_input: Any, num_threads: int = 1,
    seed: int | None = None, enqueue_many: bool = False, shapes: Any = None, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """As `shuffle_batch`, of the elements for which `keep_input` is true. Source: `tf.train.maybe_shuffle_batch`."""
    return _batch([tensors], keep_input, batch_size, num_threads, enqueue_many, shapes, allow_smaller_final_batch,
                  name or "maybe_shuffle_batch", _shuffled(capacity, min_after_dequeue, seed, shared_name))  # fmt: skip


def shuffle_batch_join(
    tensors_list: Any, batch_size: Any, capacity: int, min_after_dequeue: int, seed: int | None = None,
    enqueue_many: bool = False, shapes: Any = None, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """As `batch_join`, in a random order. Source: `tf.train.shuffle_batch_join`."""
    return _batch(tensors_list, True, batch_size, 1, enqueue_many, shapes, allow_smaller_final_batch,
                  name or "shuffle_batch_join", _shuffled(capacity, min_after_dequeue, seed, shared_name))  # fmt: skip


def _fifo(capacity: int, dynamic_pad: bool, shared_name: str | None) -> MakeQueue:
    kind: Any = PaddingFIFOQueue if dynamic_pad else FIFOQueue
    return lambda dtypes, shapes, name: kind(capacity, dtypes, shapes, shared_name=shared_name, name=name)


def _shuffled(capacity: int, min_after_dequeue: int, seed: int | None, shared_name: str | None) -> MakeQueue:
    return lambda dtypes, shapes, name: RandomShuffleQueue(
        capacity, min_after_dequeue, dtypes, shapes, seed=seed, shared_name=shared_name, name=name
    )


def _batch(
    several: Any, keep_input: Any, batch_size: Any, threads: int, many: bool, shapes: Any, smaller: bool, name: str,
    make: MakeQueue,
) -> Any:  # fmt: skip
    """Batches of what each of several lists or dicts of tensors gives."""
    if context.executing_eagerly():
        raise RuntimeError("Input pipelines based on queues are not supported when eager execution is enabled.")
    if not several:
        raise ValueError("Expected at least one input in batch_join().")
    keys = sorted(several[0]) if isinstance(several[0], dict) else None
    lists = [[each[key] for key in keys] if keys is not None else _as_list(each) for each in several]
    if not lists[0]:
        raise ValueError("Expected at least one tensor in batch().")
    with get_default_graph().name_scope(name):
        tensors = [[_dense(each) for each in one] for one in lists]
        keep = _checked_keep(keep_input, many)
        queue = make(_types(tensors), _shapes(tensors, shapes, many), "queue")
        enqueues = [_enqueue(queue, one, keep, many) for one in tensors for _ in range(threads)]
        add_queue_runner(QueueRunner(queue, enqueues))
        taken = queue.dequeue_up_to(batch_size) if smaller else queue.dequeue_many(batch_size)
    if keys is None:
        return taken
    return dict(zip(keys, taken if isinstance(taken, list) else [taken], strict=True))


def _as_list(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]


def _dense(value: Any) -> Tensor:
    if isinstance(value, SparseTensor):
        raise TypeError(f"Sparse tensors do not go through queues: make it dense first, got {value}")
    return convert_to_tensor(value)


def _checked_keep(keep_input: Any, many: bool) -> Tensor:
    keep = convert_to_tensor(keep_input, boolean)
    if keep.dims is None:
        raise ValueError("`keep_input` dimensions must be known at graph construction.")
    if not many and len(keep.dims) == 1:
        raise ValueError("`keep_input` cannot be a vector when `enqueue_many=False`.")
    if len(keep.dims) > 1:
        raise ValueError("`keep_input` must be 0 or 1 dimensions.")
    return keep


def _types(lists: Sequence[Sequence[Tensor]]) -> list[DType]:
    types = [tensor.dtype for tensor in lists[0]]
    for other in lists[1:]:
        if [tensor.dtype for tensor in other] != types:
            names = ", ".join(dtype.name for dtype in types), ", ".join(tensor.dtype.name for tensor in other)
            raise TypeError(f"Expected types to be consistent: {names[0]} vs. {names[1]}.")
    return types


def _shapes(lists: Sequence[Sequence[Tensor]], shapes: Any, many: bool) -> list[Any]:
    """The shapes of an element's components."""
    if shapes is not None:
        return list(shapes)
    found: list[TensorShape] = []
    for several in zip(*lists, strict=True):
        known = [tensor.get_shape() for tensor in several]
        for tensor, each in zip(several, known, strict=True):
            if each.ndims is None:
                raise ValueError(f"Cannot infer Tensor's rank: {tensor}")
        elements = [each.with_rank_at_least(1)[1:] for each in known] if many else known
        for other in elements[1:]:
            elements[0].merge_with(other)  # which raises where they do not fit
        found.append(elements[0])
    return found


def _enqueue(queue: QueueBase, tensors: Sequence[Tensor], keep: Tensor, many: bool) -> Operation:
    """The operation that a thread runs: put in what is to be kept."""
    if keep.dims:
        chosen = [dynamic_partition(each, cast(keep, int32), 2)[1] for each in tensors]
        return queue.enqueue_many(chosen)
    enqueue = queue.enqueue_many if many else queue.enqueue
    known = constant_value(keep)
    if known is None:
        return group(cond(keep, lambda: enqueue(tensors), no_op))
    return enqueue(tensors) if known else group(*tensors)
