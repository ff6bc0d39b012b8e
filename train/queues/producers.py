"""Input through queues: the rows of a tensor, one after the other, in threads that `start_queue_runners` starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph import context
from ...graph.collections import GraphKeys
from ...graph.dtypes import int64, string
from ...graph.ir import Tensor, get_default_graph
from ...graph.ops.compare import greater
from ...graph.ops.convert import convert_to_tensor
from ...graph.ops.gathering import gather
from ...graph.ops.identity import identity
from ...graph.ops.random import random_shuffle
from ...graph.ops.ranges import range_
from ...graph.ops.report import Assert
from ...graph.ops.sizes import shape, size
from ...graph.queues import FIFOQueue
from ...graph.shapes import TensorShape
from ...graph.variable import Variable
from .queue_runner import QueueRunner, add_queue_runner


def limit_epochs(tensor: Any, num_epochs: int | None = None, name: str | None = None) -> Tensor:
    """The tensor, `num_epochs` times; after that, OutOfRangeError. Without a number, the tensor as it is.

    The count is a local variable, `epochs`: run `local_variables_initializer()`. Source: `tf.train.limit_epochs`.
    Raises ValueError for a number that is not positive.
    """
    if num_epochs is None:
        return convert_to_tensor(tensor)
    if num_epochs <= 0:
        raise ValueError(f"num_epochs must be > 0 not {num_epochs}.")
    graph = get_default_graph()
    with graph.name_scope(name or "limit_epochs") as scope:
        tensor = convert_to_tensor(tensor)
        zero = convert_to_tensor(0, int64)
        epochs = Variable(zero, name="epochs", trainable=False, collections=[GraphKeys.LOCAL_VARIABLES])
        with graph.control_dependencies([epochs.count_up_to(num_epochs).op]):
            return identity(tensor, name=scope)


def input_producer(
    input_tensor: Any, element_shape: Any = None, num_epochs: int | None = None, shuffle: bool = True,
    seed: int | None = None, capacity: int = 32, shared_name: str | None = None, summary_name: str | None = None,
    name: str | None = None, cancel_op: Any = None,
) -> FIFOQueue:  # fmt: skip
    """A queue of the rows of a tensor, `num_epochs` times each (for ever without a number), shuffled in each epoch.

    `element_shape`: of a row, where it is not known. A queue runner for it is added to the graph. `summary_name` is taken for
    compatibility. Source: `tf.train.input_producer`. Raises ValueError for rows of unknown shape, RuntimeError in eager
    execution.
    """
    _check_graph_mode()
    with get_default_graph().name_scope(name or "input_producer"):
        tensor = convert_to_tensor(input_tensor, name="input_tensor")
        row = TensorShape(tensor.dims)[1:].merge_with(element_shape)
        if not row.is_fully_defined():
            raise ValueError(
                "Either `input_tensor` must have a fully defined shape or `element_shape` must be specified"
            )
        if shuffle:
            tensor = random_shuffle(tensor, seed=seed)
        tensor = limit_epochs(tensor, num_epochs)
        queue = FIFOQueue(capacity, [tensor.dtype], [row], shared_name=shared_name, name=name or "fifo_queue")
        add_queue_runner(QueueRunner(queue, [queue.enqueue_many([tensor])], cancel_op=cancel_op))
        return queue


def string_input_producer(
    string_tensor: Any, num_epochs: int | None = None, shuffle: bool = True, seed: int | None = None, capacity: int = 32,
    shared_name: str | None = None, name: str | None = None, cancel_op: Any = None,
) -> FIFOQueue:  # fmt: skip
    """A queue of strings (names of files, for example) from a vector of them. See `input_producer`.

    Source: `tf.train.string_input_producer`. Raises ValueError for an empty list, InvalidArgumentError when an empty
    tensor is run.
    """
    _check_graph_mode()
    empty = "string_input_producer requires a non-null input tensor"
    if not isinstance(string_tensor, Tensor) and not len(string_tensor):
        raise ValueError(empty)
    graph = get_default_graph()
    with graph.name_scope(name or "input_producer") as scope:
        tensor = convert_to_tensor(string_tensor, string)
        with graph.control_dependencies([Assert(greater(size(tensor), 0), [empty])]):
            tensor = identity(tensor)
        return input_producer(
            tensor, [], num_epochs, shuffle, seed, capacity, shared_name, name=scope, cancel_op=cancel_op
        )


def range_input_producer(
    limit: Any, num_epochs: int | None = None, shuffle: bool = True, seed: int | None = None, capacity: int = 32,
    shared_name: str | None = None, name: str | None = None,
) -> FIFOQueue:  # fmt: skip
    """A queue of the integers from 0 to `limit - 1`. See `input_producer`. Source: `tf.train.range_input_producer`."""
    _check_graph_mode()
    with get_default_graph().name_scope(name or "input_producer") as scope:
        return input_producer(range_(limit), [], num_epochs, shuffle, seed, capacity, shared_name, name=scope)


def slice_input_producer(
    tensor_list: Sequence[Any], num_epochs: int | None = None, shuffle: bool = True, seed: int | None = None,
    capacity: int = 32, shared_name: str | None = None, name: str | None = None,
) -> list[Tensor]:  # fmt: skip
    """One row of each tensor, the same of all; another in each run. See `input_producer`.

    Source: `tf.train.slice_input_producer`. Raises ValueError without tensors.
    """
    _check_graph_mode()
    with get_default_graph().name_scope(name or "input_producer"):
        tensors = [convert_to_tensor(each) for each in tensor_list]
        if not tensors:
            raise ValueError("Expected at least one tensor in slice_input_producer().")
        queue = range_input_producer(shape(tensors[0])[0], num_epochs, shuffle, seed, capacity, shared_name)
        index = queue.dequeue()
        return [gather(each, index) for each in tensors]


def _check_graph_mode() -> None:
    if context.executing_eagerly():
        raise RuntimeError("Input pipelines based on queues are not supported when eager execution is enabled.")
