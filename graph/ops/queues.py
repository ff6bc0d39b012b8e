"""Queues as operations: a handle for each kind, and what is done through it (user's classes: ../queues.py)."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType, boolean, int32, int64, resource
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..queue_state import ElementQueue, OrderedQueue, PaddingQueue, ShuffleQueue
from ..record import record
from ..shapes import Dims
from ..waiting import Attempt
from .waits import Waiting, check_resource


@record
class QueueHandle(Op):
    """Base of the handles. `shapes`: of the components, or () for any; `capacity`: the most elements, below 0 no limit."""

    component_types: tuple[DType, ...]
    shapes: tuple[Dims, ...] = ()
    capacity: int = -1
    container: str = ""
    shared_name: str = ""
    stateful = True
    not_differentiable = True

    def infer(self) -> Spec:
        return Spec(resource, ())


@op
class FIFOQueueV2(QueueHandle):
    """A queue, first in, first out."""

    def compute(self, state: Any) -> Any:
        return _queue(state, self, ElementQueue)


@op
class PaddingFIFOQueueV2(QueueHandle):
    """A FIFO queue of elements whose shapes may differ in the dimensions that `shapes` leaves open."""

    def compute(self, state: Any) -> Any:
        return _queue(state, self, PaddingQueue)


@op
class PriorityQueueV2(QueueHandle):
    """A queue that gives the element of the smallest priority. The priority, an int64, is a component before the others."""

    def compute(self, state: Any) -> Any:
        dims = ((), *self.shapes) if self.shapes or not self.component_types else ()
        return _queue(state, self, OrderedQueue, dtypes=(int64, *self.component_types), dims=dims)


@op
class RandomShuffleQueueV2(QueueHandle):
    """A queue that gives elements in a random order, and keeps some. Seeds (0, 0): the session's and the name decide."""

    min_after_dequeue: int = 0
    seed: int = 0
    seed2: int = 0

    def compute(self, state: Any) -> Any:
        key = self.seed | self.seed2 << 64
        if key == 0:
            text = f"{state.session.seed}/{self.shared_name or state.name}".encode()
            key = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
        queue: Any = _queue(state, self, ShuffleQueue, (self.min_after_dequeue, key))
        _must_agree(queue, "min_after_dequeue", queue.min_after_dequeue, self.min_after_dequeue)
        if self.seed or self.seed2:
            _must_agree(queue, "random seeds", _seeds(queue.key), _seeds(key))
        return queue


def _seeds(key: int) -> tuple[int, int]:
    return key & (1 << 64) - 1, key >> 64


def _queue(
    state: Any, definition: Any, kind: Any, more: tuple[Any, ...] = (), dtypes: Any = None, dims: Any = None
) -> ElementQueue:
    """The session's queue. Raises InvalidArgumentError where one of that name differs from what is asked for."""
    capacity = max(-1, definition.capacity)
    dtypes = definition.component_types if dtypes is None else dtypes
    dims = (definition.shapes if dims is None else dims) or None
    place = definition.container, definition.shared_name, state.name
    found: ElementQueue = state.session.resource(kind, *place, lambda name: kind(name, capacity, dtypes, dims, *more))
    _must_agree(found, "capacity", found.capacity, capacity)
    _must_agree(found, "component types", _names(found.dtypes), _names(dtypes))
    _must_agree(found, "component shapes", _texts(found.dims), _texts(dims))
    return found


def _names(dtypes: Any) -> str:
    return ", ".join(dtype.name for dtype in dtypes)


def _texts(dims: Any) -> str:
    return f"[{','.join(shapes.text(each) for each in dims or ())}]"


def _must_agree(queue: Any, what: str, has: Any, wanted: Any) -> None:
    if has != wanted:
        text = f"Shared queue '{queue.name}' has {what} {has} but requested {what} was {wanted}"
        raise errors.InvalidArgumentError(None, None, text)


class Enqueuing(Waiting):
    """Base of what puts in. Inputs: the handle, and a tensor a component."""

    __slots__ = ()

    def infer(self, handle: TensorLike, *components: TensorLike) -> tuple[()]:
        check_resource(handle, "a queue")
        return ()


@op
class QueueEnqueueV2(Enqueuing):
    """Put an element in."""

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        queue, *values = inputs
        attempt: Attempt = _checked(queue, values).enqueue(values)
        return attempt


@op
class QueueEnqueueManyV2(Enqueuing):
    """Put in the elements that lie along the first dimension of the components."""

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        queue, *values = inputs
        attempt: Attempt = _checked(queue, values).enqueue_many(values)
        return attempt


@op
class QueueDequeueV2(Waiting):
    """Take one element: an output a component."""

    component_types: tuple[DType, ...]

    def infer(self, handle: TensorLike) -> tuple[Spec, ...]:
        check_resource(handle, "a queue")
        return tuple(Spec(dtype, None) for dtype in self.component_types)

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        attempt: Attempt = _typed(inputs[0], self.component_types).dequeue()
        return attempt

    def result(self, resource: Any, value: Any) -> Any:
        (element,) = value
        return element if len(element) != 1 else element[0]


@record
class DequeuingMany(Waiting):
    """Base of what takes many elements, as one tensor a component. Inputs: the handle, and how many."""

    component_types: tuple[DType, ...]

    def infer(self, handle: TensorLike, count: TensorLike) -> tuple[Spec, ...]:
        check_resource(handle, "a queue")
        return tuple(Spec(dtype, None) for dtype in self.component_types)

    def result(self, resource: Any, value: Any) -> Any:
        batch = resource.batch(value)
        return batch if len(batch) != 1 else batch[0]


@op
class QueueDequeueManyV2(DequeuingMany):
    """Take so many elements."""

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        attempt: Attempt = _typed(inputs[0], self.component_types).dequeue_many(int(inputs[1]))
        return attempt


@op
class QueueDequeueUpToV2(DequeuingMany):
    """Take so many elements, or what is left at the end of a closed queue."""

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        attempt: Attempt = _typed(inputs[0], self.component_types).dequeue_many(int(inputs[1]), all_or_error=False)
        return attempt


@op
class QueueCloseV2(Waiting):
    """Close, once the enqueues before it are done; or at once, and cancel them."""

    cancel_pending_enqueues: bool = False

    def infer(self, handle: TensorLike) -> tuple[()]:
        check_resource(handle, "a queue")
        return ()

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        attempt: Attempt = inputs[0].close(self.cancel_pending_enqueues)
        return attempt


@op
class QueueIsClosedV2(Op):
    """Whether a queue is closed."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike) -> Spec:
        check_resource(handle, "a queue")
        return Spec(boolean, ())

    def compute(self, state: Any, queue: Any) -> Any:
        return np.array(queue.is_closed)


@op
class QueueSizeV2(Op):
    """How many elements are in a queue."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike) -> Spec:
        check_resource(handle, "a queue")
        return Spec(int32, ())

    def compute(self, state: Any, queue: Any) -> Any:
        return np.array(queue.size(), np.int32)


@op
class QueueFromList(Op):
    """One of several queues. Inputs: its number, and the handles."""

    stateful = True
    not_differentiable = True

    def infer(self, index: TensorLike, *handles: TensorLike) -> Spec:
        for handle in handles:
            check_resource(handle, "a queue")
        return Spec(resource, ())

    def compute(self, state: Any, index: Any, *queues: Any) -> Any:
        number = int(index)
        if not 0 <= number < len(queues):
            text = f"index {number} is not in [0, {len(queues)}): there are {len(queues)} queues"
            raise errors.InvalidArgumentError(None, None, text)
        return queues[number]


def _checked(queue: Any, values: Any) -> Any:
    """The queue. Raises InvalidArgumentError for values that are not its components."""
    if len(values) != len(queue.dtypes):
        text = f"{queue} has {len(queue.dtypes)} components, got {len(values)} tensors"
        raise errors.InvalidArgumentError(None, None, text)
    for number, (value, dtype) in enumerate(zip(values, queue.dtypes, strict=True)):
        if np.asarray(value).dtype != dtype.np:
            text = f"Expected component {number} of {queue} to be {dtype.name}, got {np.asarray(value).dtype}"
            raise errors.InvalidArgumentError(None, None, text)
    return queue


def _typed(queue: Any, dtypes: Any) -> Any:
    """The queue. Raises InvalidArgumentError where its components are of other types."""
    if queue.dtypes != dtypes:
        text = f"Expected a queue of {_names(dtypes)}, but {queue} holds {_names(queue.dtypes)}"
        raise errors.InvalidArgumentError(None, None, text)
    return queue
