"""Queues of tensors as thread-safe objects: what enqueues and dequeues wait for, and in which order they are served."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import errors, shapes
from .dtypes import DType
from .shapes import Dims
from .waiting import Attempt

Array = np.ndarray[Any, Any]
#: One element of a queue: an array a component.
Element = tuple[Array, ...]


class Enqueue(Attempt):
    """Elements that go in as soon as there is room for them, one by one."""

    what = "Enqueue"

    def __init__(self, queue: ElementQueue, elements: Sequence[Element]) -> None:
        Attempt.__init__(self, queue)
        self.elements = deque(elements)


class Close(Attempt):
    """The end of a queue, once the enqueues that came before are done."""

    what = "Close"


class Dequeue(Attempt):
    """`count` elements, to be taken as they come. `all_or_error`: fewer at the end of a closed queue are an error."""

    what = "Dequeue"

    def __init__(self, queue: ElementQueue, count: int, all_or_error: bool = True) -> None:
        Attempt.__init__(self, queue)
        self.count = count
        self.all_or_error = all_or_error
        self.taken: list[Element] = []


class ElementQueue:
    """A queue of elements; first in, first out. `capacity` below 0: no limit. `dims`: the components' shapes; None: any.

    Enqueues are served in the order in which they came, and so are dequeues. One that waits for many elements takes them
    as they come, so that it may ask for more than the capacity; when it is given up, they go back to where they were.
    """

    kind = "FIFOQueue"

    def __init__(self, name: str, capacity: int, dtypes: Sequence[DType], dims: Sequence[Dims] | None) -> None:
        self.name = name
        self.capacity = capacity
        self.dtypes = tuple(dtypes)
        self.dims = None if dims is None else tuple(dims)
        self.lock = threading.Lock()
        self._elements: Any = deque()
        self._closed = False
        self._enqueues: deque[Enqueue | Close] = deque()
        self._dequeues: deque[Dequeue] = deque()

    # what operations ask for

    def enqueue(self, values: Sequence[Any]) -> Attempt:
        """Begin to put one element in. Raises InvalidArgumentError for other shapes than the queue's."""
        arrays = [np.asarray(value) for value in values]
        self._check(arrays, ())
        return self._begin(self._enqueues, Enqueue(self, [tuple(_kept(array) for array in arrays)]))

    def enqueue_many(self, values: Sequence[Any]) -> Attempt:
        """Begin to put in what lies along the first dimension of the values. Raises InvalidArgumentError."""
        arrays = [np.asarray(value) for value in values]
        rows = arrays[0].shape[0] if arrays[0].ndim else None
        self._check(arrays, (rows,))
        elements = list(zip(*(self._rows(array) for array in arrays), strict=True)) if rows else []
        return self._begin(self._enqueues, Enqueue(self, elements))

    def dequeue(self) -> Attempt:
        """Begin to take one element, whose components become the value."""
        return self._begin(self._dequeues, Dequeue(self, 1))

    def dequeue_many(self, count: int, all_or_error: bool = True) -> Attempt:
        """Begin to take so many elements; the value is a list of them, for `batch`.

        With `all_or_error=False` a closed queue gives what is left, when there is anything.
        Raises InvalidArgumentError for a negative number.
        """
        if count < 0:
            which = "DequeueManyOp" if all_or_error else "DequeueUpToOp"
            raise errors.InvalidArgumentError(None, None, f"{which} requested {count} < 0 elements")
        return self._begin(self._dequeues, Dequeue(self, count, all_or_error))

    def close(self, cancel_pending: bool) -> Attempt:
        """Begin to close: from then on nothing goes in. With `cancel_pending`, at once, and waiting enqueues fail."""
        attempt = Close(self)
        with self.lock:
            if cancel_pending:
                self._closed = True
                for pending in self._enqueues:
                    text = "Enqueue operation was cancelled: its queue was closed"
                    pending.finish(error=errors.CancelledError(None, None, f"{text} ({self})"))
                self._enqueues.clear()
                attempt.finish()
            else:
                self._enqueues.append(attempt)
            self._advance()
        return attempt

    @property
    def is_closed(self) -> bool:
        return self._closed

    def size(self) -> int:
        """How many elements there are."""
        return len(self._elements)

    def batch(self, elements: Sequence[Element]) -> tuple[Array, ...]:
        """Elements as one array a component."""
        return tuple(self._stack(number, [each[number] for each in elements]) for number in range(len(self.dtypes)))

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    # who waits

    def describe(self, attempt: Attempt) -> str:
        if isinstance(attempt, Dequeue):
            still = attempt.count - len(attempt.taken)
            doing = f"to dequeue {attempt.count} elements" + (f" ({still} more)" if attempt.taken else "")
        elif isinstance(attempt, Enqueue):
            doing = f"to enqueue {len(attempt.elements)} elements"
        else:
            doing = "to close after the enqueues before it"
        limit = f" of at most {self.capacity}" if self.capacity >= 0 else ""
        held = self._held()
        return f"{doing} (in {self} are {self.size()}{limit} elements{held})"

    def withdraw(self, attempt: Any) -> None:
        if isinstance(attempt, Dequeue):
            self._dequeues.remove(attempt)
            self._put_back(attempt)
        else:
            self._enqueues.remove(attempt)
        self._advance()

    def _begin(self, row: Any, attempt: Attempt) -> Attempt:
        with self.lock:
            row.append(attempt)
            self._advance()
        return attempt

    def _advance(self) -> None:
        """Do all that can be done. With the lock held."""
        moved = True
        while moved:
            moved = self._serve(self._enqueues, self._put_in)
            moved = self._serve(self._dequeues, self._hand_out) or moved

    @staticmethod
    def _serve(row: deque[Any], serve: Any) -> bool:
        """Serve the first, and the next when it is done; whether anything moved."""
        moved = False
        while row:
            moved = serve(row[0]) or moved
            if not row[0].is_over:
                break
            row.popleft()
            moved = True
        return moved

    def _put_in(self, attempt: Enqueue | Close) -> bool:
        if isinstance(attempt, Close):
            error = (
                errors.CancelledError(None, None, f"Queue '{self.name}' is already closed.") if self._closed else None
            )
            self._closed = True
            attempt.finish(error=error)
            return True
        moved = False
        while attempt.elements and not self._closed and (self.capacity < 0 or self.size() < self.capacity):
            self._put(attempt.elements.popleft())
            moved = True
        if not attempt.elements:
            attempt.finish()
        elif self._closed:
            attempt.finish(error=errors.CancelledError(None, None, f"{self} is closed."))
        return moved

    def _hand_out(self, attempt: Dequeue) -> bool:
        left = attempt.count - len(attempt.taken)
        if self._closed and left > self.size() and (attempt.all_or_error or not (attempt.taken or self.size())):
            self._put_back(attempt)
            numbers = f"(requested {attempt.count}, current size {self.size()})"
            text = f"{self} is closed and has insufficient elements {numbers}"
            attempt.finish(error=errors.OutOfRangeError(None, None, text))
            return True
        before = len(attempt.taken)
        attempt.taken += [self._take() for _ in range(self._available(left))]
        if len(attempt.taken) == attempt.count or self._closed:
            attempt.finish(attempt.taken)
        return len(attempt.taken) > before

    # the elements

    def _rows(self, array: Array) -> list[Array]:
        """Copies of the rows of an array. In one piece of memory: they leave one after the other, and it with the last."""
        kept = _kept(array)
        return [kept[row, ...] for row in range(len(kept))]

    def _available(self, wanted: int) -> int:
        """How many of so many elements may be taken now."""
        return min(wanted, self.size())

    def _put(self, element: Element) -> None:
        self._elements.append(element)

    def _take(self) -> Element:
        element: Element = self._elements.popleft()
        return element

    def _put_back(self, attempt: Dequeue) -> None:
        self._elements.extendleft(reversed(attempt.taken))
        attempt.taken = []

    def _held(self) -> str:
        """What to say of elements that are there and may not be taken."""
        return ""

    def _stack(self, number: int, arrays: list[Array]) -> Array:
        if arrays:
            different = next((array.shape for array in arrays if array.shape != arrays[0].shape), None)
            if different is not None:
                text = f"{self} holds elements of shapes {shapes.text(arrays[0].shape)} and {shapes.text(different)}"
                raise errors.InvalidArgumentError(None, None, f"{text} in component {number}, which no array can hold")
            batch = np.empty((len(arrays), *arrays[0].shape), self.dtypes[number].np)
            for place, array in enumerate(arrays):
                batch[place] = array
            return batch
        dims = self.dims[number] if self.dims is not None else ()
        return np.zeros((0, *(dim or 0 for dim in dims or ())), self.dtypes[number].np)

    def _check(self, arrays: Sequence[Array], before: tuple[int | None, ...]) -> None:
        """Raises InvalidArgumentError where an array has not the queue's shape, after the dimensions in `before`."""
        for number, array in enumerate(arrays):
            dims = self.dims[number] if self.dims is not None else None
            wanted = (*before, *dims) if dims is not None else (*before, *array.shape[len(before) :])
            if not shapes.compatible(wanted, array.shape) or (before and not array.ndim):
                sizes = f"Expected {shapes.text(wanted)}, got {shapes.text(array.shape)}"
                text = f"Shape mismatch in tuple component {number}. {sizes}"
                raise errors.InvalidArgumentError(None, None, text)


class PaddingQueue(ElementQueue):
    """As a FIFO queue, of elements whose shapes may differ where `dims` says None; batches are filled up with zeros."""

    kind = "PaddingFIFOQueue"

    def _stack(self, number: int, arrays: list[Array]) -> Array:
        if not arrays:
            return ElementQueue._stack(self, number, arrays)
        dims = tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True))
        dtype = self.dtypes[number]
        batch = np.full((len(arrays), *dims), b"" if dtype.np.hasobject else 0, dtype.np)
        for place, array in zip(batch, arrays, strict=True):
            place[tuple(slice(size) for size in array.shape)] = array
        return batch


class ShuffleQueue(ElementQueue):
    """Gives elements in a random order that `seeds` decides, and keeps `min_after_dequeue` of them until it is closed."""

    kind = "RandomShuffleQueue"

    def __init__(
        self, name: str, capacity: int, dtypes: Sequence[DType], dims: Sequence[Dims] | None, min_after: int, key: int
    ) -> None:
        if 0 <= capacity <= min_after:
            text = f"min_after_dequeue {min_after} must be < capacity {capacity}"
            raise errors.InvalidArgumentError(None, None, text)
        ElementQueue.__init__(self, name, capacity, dtypes, dims)
        self.min_after_dequeue = min_after
        self.key = key
        self._elements = []
        self._random = np.random.Generator(np.random.Philox(key=key))

    def _rows(self, array: Array) -> list[Array]:
        """Each by itself: they leave in any order, and one that stays long must not keep the others' memory."""
        return [_kept(row) for row in ElementQueue._rows(self, array)]

    def _available(self, wanted: int) -> int:
        kept = 0 if self._closed else self.min_after_dequeue
        return max(0, min(wanted, self.size() - kept))

    def _take(self) -> Element:
        at = int(self._random.integers(self.size()))
        self._elements[at], self._elements[-1] = self._elements[-1], self._elements[at]
        element: Element = self._elements.pop()
        return element

    def _put_back(self, attempt: Dequeue) -> None:
        self._elements += attempt.taken
        attempt.taken = []

    def _held(self) -> str:
        return f", {self.min_after_dequeue} of which stay" if self.min_after_dequeue else ""


class OrderedQueue(ElementQueue):
    """Gives the element whose first component is smallest; of equal ones, the one that came first.

    A dequeue of many waits until all of them are there, so that they are the smallest.
    """

    kind = "PriorityQueue"

    def __init__(self, name: str, capacity: int, dtypes: Sequence[DType], dims: Sequence[Dims] | None) -> None:
        ElementQueue.__init__(self, name, capacity, dtypes, dims)
        self._elements = []
        self._count = 0

    def _rows(self, array: Array) -> list[Array]:
        return [_kept(row) for row in ElementQueue._rows(self, array)]

    def _available(self, wanted: int) -> int:
        return min(wanted, self.size()) if self._closed or self.size() >= wanted else 0

    def _put(self, element: Element) -> None:
        self._count += 1
        heapq.heappush(self._elements, (int(element[0]), self._count, element))

    def _take(self) -> Element:
        element: Element = heapq.heappop(self._elements)[2]
        return element

    def _put_back(self, attempt: Dequeue) -> None:
        """Nothing: all that it asks for is taken at once, or none of it."""


def _kept(array: Array) -> Array:
    """A copy: the step that brought the array goes on using its memory."""
    return np.array(array, order="C")
