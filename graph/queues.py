"""Queues as a program uses them: what holds elements between steps, with TensorFlow's classes and methods."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from . import context, shapes
from .dtypes import DType, as_dtype, int32, int64
from .ir import Operation, Tensor, get_default_graph
from .ops import queues as ops
from .ops.convert import convert_to_tensor
from .random_seed import seed_attributes
from .shapes import Dims, TensorShape


class QueueBase:
    """A queue of elements, each a tuple of tensors (its components): what all kinds of queues can do.

    `dtypes` and `shapes`: of the components; without shapes, elements may have any, but not be taken many at a time unless
    they happen to agree. `names`: then elements go in and come out as dicts. `queue_ref`: the handle. Elements stay with
    the session, or under `shared_name` with the task, in the container that `wf.container` says. Source: `tf.QueueBase`.
    Raises ValueError where the lists have different lengths, RuntimeError in eager execution.
    """

    def __init__(self, dtypes: Any, shapes: Any, names: Any, queue_ref: Tensor) -> None:
        self._dtypes = list(dtypes)
        self._shapes: list[TensorShape] | None = None
        if shapes is not None:
            if len(shapes) != len(self._dtypes):
                counts = f"received len(shapes)={len(shapes)}, len(dtypes)={len(self._dtypes)}"
                raise ValueError(f"Queue shapes must have the same length as dtypes, {counts}")
            self._shapes = [TensorShape(each) for each in shapes]
        if names is not None and len(names) != len(self._dtypes):
            counts = f"received len(names)={len(names)},len(dtypes)={len(self._dtypes)}"
            raise ValueError(f"List of names must have the same length as the list of dtypes, {counts}")
        self._names = names
        self._queue_ref = queue_ref
        self._name = str(queue_ref.op.name.split("/")[-1])

    @staticmethod
    def from_list(index: Any, queues: Sequence[Any]) -> QueueBase:
        """One of several queues: number `index`, an integer scalar that each run may compute anew.

        Raises TypeError for what is no list of queues, and for queues whose components differ in type or name.
        """
        if not queues or not isinstance(queues, list) or not all(isinstance(each, QueueBase) for each in queues):
            raise TypeError("A list of queues expected")
        dtypes, names = queues[0].dtypes, queues[0].names
        if any(each.dtypes != dtypes for each in queues):
            raise TypeError("Queues do not have matching component dtypes.")
        if any(each.names != names for each in queues):
            raise TypeError("Queues do not have matching component names.")
        known = [each._shapes for each in queues]
        merged = None
        if None not in known:
            merged = [reduce(TensorShape.most_specific_compatible_shape, each) for each in zip(*known, strict=True)]
        handles = [each.queue_ref for each in queues]
        selected = ops.QueueFromList()(convert_to_tensor(index, int32), *handles, name="GatherV2")
        return QueueBase(dtypes, merged, names, selected)

    # what it is

    @property
    def queue_ref(self) -> Tensor:
        """The handle."""
        return self._queue_ref

    @property
    def name(self) -> str:
        return self._name

    @property
    def dtypes(self) -> list[DType]:
        """The components' types."""
        return self._dtypes

    @property
    def shapes(self) -> list[TensorShape]:
        """The components' shapes; unknown ones where none were given."""
        return self._shapes if self._shapes is not None else [TensorShape(None)] * len(self._dtypes)

    @property
    def names(self) -> Any:
        """The components' names, or None."""
        return self._names

    # in and out

    def enqueue(self, vals: Any, name: str | None = None) -> Operation:
        """An operation that puts one element in: a tensor, a list or tuple of them, or for a queue with names a dict.

        It waits while the queue is full. When run it raises CancelledError on a closed queue, or when the queue is closed
        with `cancel_pending_enqueues` or the session is closed while it waits. Raises ValueError for values that are not
        of the queue's components, TypeError for values of another type.
        """
        with get_default_graph().name_scope(name or f"{self._name}_enqueue") as scope:
            values = self._components(vals)
            for value, shape in zip(values, self.shapes, strict=True):
                TensorShape(value.dims).assert_is_compatible_with(shape)
            return ops.QueueEnqueueV2().node(self._queue_ref, *values, name=scope)

    def enqueue_many(self, vals: Any, name: str | None = None) -> Operation:
        """An operation that puts in the elements that lie along the first dimension of the values, in their order.

        They go in one by one, as there is room. When it is given up half-way, those that went in stay in. Raises as `enqueue`.
        """
        with get_default_graph().name_scope(name or f"{self._name}_EnqueueMany") as scope:
            values = self._components(vals)
            rows = None
            for value, shape in zip(values, self.shapes, strict=True):
                first = value.dims[0] if value.dims else None
                if value.dims == ():
                    raise ValueError(f"Shapes () and {shape} are incompatible: there is no first dimension")
                if rows is not None and first is not None and rows != first:
                    raise ValueError(f"Dimensions {rows} and {first} are not compatible")
                rows = first if rows is None else rows
                TensorShape(None if value.dims is None else value.dims[1:]).assert_is_compatible_with(shape)
            return ops.QueueEnqueueManyV2().node(self._queue_ref, *values, name=scope)

    def dequeue(self, name: str | None = None) -> Any:
        """The next element: a tensor, a list of them, or for a queue with names a dict.

        It waits while the queue is empty. When run it raises OutOfRangeError on a queue that is closed and empty,
        CancelledError when the session is closed while it waits, DeadlineExceededError when the step's time is over.
        """
        taken = ops.QueueDequeueV2(tuple(self._dtypes)).outputs(self._queue_ref, name=name or f"{self._name}_Dequeue")
        return self._given(taken, lambda dims: dims)

    def dequeue_many(self, n: Any, name: str | None = None) -> Any:
        """The next `n` elements, along a new first dimension. It waits until there are so many.

        What an unfinished dequeue has taken goes back to where it was when the step is given up (in TensorFlow it is lost).
        Raises as `dequeue`, OutOfRangeError also on a closed queue that has less; InvalidArgumentError for n < 0 and
        for elements whose shapes differ.
        """
        count = convert_to_tensor(n, int32, name="n")
        definition = ops.QueueDequeueManyV2(tuple(self._dtypes))
        taken = definition.outputs(self._queue_ref, count, name=name or f"{self._name}_DequeueMany")
        rows = count.known if isinstance(count.known, int) else None
        return self._given(taken, lambda dims: None if dims is None else (rows, *dims))

    def dequeue_up_to(self, n: Any, name: str | None = None) -> Any:
        """As `dequeue_many`, but at the end of a closed queue what is left, when there is anything."""
        count = convert_to_tensor(n, int32, name="n")
        definition = ops.QueueDequeueUpToV2(tuple(self._dtypes))
        taken = definition.outputs(self._queue_ref, count, name=name or f"{self._name}_DequeueUpTo")
        return self._given(taken, lambda dims: None if dims is None else (None, *dims))

    def close(self, cancel_pending_enqueues: bool = False, name: str | None = None) -> Operation:
        """An operation that closes the queue: enqueues fail from then on, dequeues when nothing is left.

        It waits for the enqueues that wait before it; with `cancel_pending_enqueues` they fail at once. When run it raises
        CancelledError on a queue that is closed already, but for the second form.
        """
        definition = ops.QueueCloseV2(bool(cancel_pending_enqueues))
        return definition.node(self._queue_ref, name=name or f"{self._name}_Close")

    def is_closed(self, name: str | None = None) -> Tensor:
        """Whether it is closed: a bool scalar."""
        return ops.QueueIsClosedV2()(self._queue_ref, name=name or f"{self._name}_Is_Closed")

    def size(self, name: str | None = None) -> Tensor:
        """How many elements are in it: an int32 scalar."""
        return ops.QueueSizeV2()(self._queue_ref, name=name or f"{self._name}_Size")

    def _components(self, vals: Any) -> list[Tensor]:
        """The values as tensors of the components' types."""
        if isinstance(vals, dict):
            if not self._names:
                raise ValueError("Queue must have names to enqueue a dictionary")
            if sorted(map(str, self._names)) != sorted(map(str, vals)):
                keys = f"Dictionary: {sorted(vals)},Queue: {sorted(self._names)}"
                raise ValueError(f"Keys in dictionary to enqueue do not match names of Queue.  {keys}")
            vals = [vals[name] for name in self._names]
        elif self._names:
            raise ValueError("You must enqueue a dictionary in a Queue with names")
        elif not isinstance(vals, (list, tuple)):
            vals = [vals]
        if len(vals) != len(self._dtypes):
            raise ValueError(f"An element of queue '{self._name}' has {len(self._dtypes)} components, got {len(vals)}")
        pairs = zip(vals, self._dtypes, strict=True)
        return [convert_to_tensor(each, dtype, name=f"component_{i}") for i, (each, dtype) in enumerate(pairs)]

    def _given(self, taken: Sequence[Tensor], dims_of: Any) -> Any:
        """What was taken, in the form that the user gets it in."""
        for tensor, shape in zip(taken, self.shapes, strict=True):
            tensor.set_shape(dims_of(shape.as_tuple()))
        if self._names:
            return dict(zip(self._names, taken, strict=True))
        return list(taken) if len(taken) != 1 else taken[0]


class FIFOQueue(QueueBase):
    """A queue that gives elements in the order in which they went in. `capacity`: the most elements; -1: no limit.

    Source: `tf.FIFOQueue`. See QueueBase for the rest.
    """

    def __init__(
        self, capacity: int, dtypes: Any, shapes: Any = None, names: Any = None, shared_name: str | None = None,
        name: str = "fifo_queue",
    ) -> None:  # fmt: skip
        types, dims, names = _lists(dtypes, shapes, names)
        definition = ops.FIFOQueueV2(types, _full(dims), int(capacity), shared_name=shared_name or "")
        QueueBase.__init__(self, types, dims, names, _made(definition, name))


class RandomShuffleQueue(QueueBase):
    """A queue that gives its elements in a random order, and keeps `min_after_dequeue` of them until it is closed.

    With a `seed` (or a graph's) the order is the same in each session. Source: `tf.RandomShuffleQueue`. When run, it raises
    InvalidArgumentError where it would have to keep as many as go in.
    """

    def __init__(
        self, capacity: int, min_after_dequeue: int, dtypes: Any, shapes: Any = None, names: Any = None,
        seed: int | None = None, shared_name: str | None = None, name: str = "random_shuffle_queue",
    ) -> None:  # fmt: skip
        types, dims, names = _lists(dtypes, shapes, names)
        seeds = seed_attributes(seed)
        if seed is None and shared_name and seeds != (0, 0):  # all who share it must come to the same
            digest = hashlib.blake2b(f"{seeds[0]}{shared_name}".encode(), digest_size=4).digest()
            seeds = seeds[0], int.from_bytes(digest, "little") >> 1
        definition = ops.RandomShuffleQueueV2(
            types, _full(dims), int(capacity), "", shared_name or "", int(min_after_dequeue), *seeds
        )
        QueueBase.__init__(self, types, dims, names, _made(definition, name))


class PaddingFIFOQueue(QueueBase):
    """A FIFO queue of elements whose shapes may differ in the dimensions that `shapes` leaves open.

    Taken many at a time, they are filled up to the longest with zeros (strings with b""). Source: `tf.PaddingFIFOQueue`.
    Raises ValueError without shapes, or for one of unknown rank.
    """

    def __init__(
        self, capacity: int, dtypes: Any, shapes: Any, names: Any = None, shared_name: str | None = None,
        name: str = "padding_fifo_queue",
    ) -> None:  # fmt: skip
        types, dims, names = _lists(dtypes, shapes, names)
        if dims is None or None in dims:
            raise ValueError("When providing partial shapes, a list of shapes must be provided.")
        if len(dims) != len(types):
            raise ValueError(
                f"Shapes must be provided for all components, but received {len(types)} dtypes and {len(dims)} shapes."
            )
        definition = ops.PaddingFIFOQueueV2(types, tuple(dims), int(capacity), shared_name=shared_name or "")
        QueueBase.__init__(self, types, dims, names, _made(definition, name))


class PriorityQueue(QueueBase):
    """A queue that gives the element of the smallest priority; of equal ones the one that went in first.

    The priority is an int64 scalar, and the first component, before those of `types`. Source: `tf.PriorityQueue`.
    """

    def __init__(
        self, capacity: int, types: Any, shapes: Any = None, names: Any = None, shared_name: str | None = None,
        name: str = "priority_queue",
    ) -> None:  # fmt: skip
        kinds, dims, names = _lists(types, shapes, names)
        definition = ops.PriorityQueueV2(kinds, _full(dims), int(capacity), shared_name=shared_name or "")
        every = None if dims is None and kinds else [(), *(dims or ())]
        QueueBase.__init__(self, (int64, *kinds), every, names, _made(definition, name))


def _made(definition: ops.QueueHandle, name: str) -> Tensor:
    if context.executing_eagerly():
        raise RuntimeError("Queues need a graph: they are not supported when eager execution is enabled.")
    return replace(definition, container=get_default_graph().get_container())(name=name)


def _lists(dtypes: Any, dims: Any, names: Any) -> tuple[tuple[DType, ...], list[Dims] | None, Any]:
    """Types, shapes and names, each as a list with an entry a component."""
    types = tuple(as_dtype(each) for each in (dtypes if isinstance(dtypes, (list, tuple)) else [dtypes]))
    if dims is not None:
        alone = isinstance(dims, TensorShape) or (isinstance(dims, (list, tuple)) and _is_one_shape(dims, len(types)))
        dims = [shapes.as_dims(each) for each in ([dims] if alone or not isinstance(dims, (list, tuple)) else dims)]
    if isinstance(names, str):
        names = [names]
    return types, dims, names


def _is_one_shape(dims: Any, count: int) -> bool:
    """Whether a list is the shape of the one component and not a list of shapes."""
    return count == 1 and (not dims or any(isinstance(each, int) for each in dims))


def _full(dims: list[Dims] | None) -> tuple[Dims, ...]:
    """Shapes as an attribute. Raises ValueError for those that are not fully known."""
    if dims is not None and not all(shapes.is_full(each) for each in dims):
        raise ValueError(f"All shapes must be fully defined: {[TensorShape(each) for each in dims]}")
    return tuple(dims or ())
