"""Accumulators of gradients as thread-safe objects: what is too old is dropped, who takes the mean waits for enough."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import errors, shapes
from .dtypes import DType
from .shapes import Dims
from .sync_state import Epoch
from .waiting import Attempt

Array = np.ndarray[Any, Any]


class TakeGradient(Attempt):
    """The reduced gradient, as soon as so many have come."""

    what = "TakeGrad"

    def __init__(self, accumulator: Accumulator, required: int) -> None:
        Attempt.__init__(self, accumulator)
        self.required = required


class Accumulator:
    """Gathers gradients of one step: those of older steps are dropped; taking the mean (or sum) begins the next step.

    The gradients are kept as they are and added in an order that follows from their values, so that the bits of the sum do
    not depend on who came first. Those of workers with an epoch are of the present one alone; of a worker that was started
    again they replace what it had brought before.
    """

    kind = "ConditionalAccumulator"

    def __init__(self, name: str, dtype: DType, dims: Dims, reduction: str) -> None:
        self.name = name
        self.dtype = dtype
        self.dims = dims
        self.reduction = reduction
        self.lock = threading.Lock()
        self.global_step = 0
        self.epoch = Epoch()
        self._gradients: list[Any] = []
        self._origins: list[tuple[int, int]] = []  #: of each, the worker's number (0: unknown) and its session's
        self._takes: deque[TakeGradient] = deque()
        self._stopped = False

    def apply(self, local_step: int, *gradient: Any, member: Any = None) -> None:
        """Add a gradient that was computed at a step; an older one than the accumulator's step is dropped.

        `member`: whose it is (see Tokens); one of another epoch is dropped, too.
        """
        gradient = tuple(np.array(part, order="C") for part in gradient)
        with self.lock:
            self._check(*gradient)
            if local_step >= self.global_step and (member is None or int(member[1]) == self.epoch.number):
                worker, session = (0, 0) if member is None else (int(member[2]), int(member[3]))
                self._forget_earlier(worker, session)
                self._gradients.append(gradient)
                self._origins.append((worker, session))
                self._advance()

    def _forget_earlier(self, worker: int, session: int) -> None:
        """What this worker brought before it was started again: it brings the same once more."""
        for at in reversed(range(len(self._origins))):
            if worker and self._origins[at][0] == worker and self._origins[at][1] != session:
                del self._origins[at], self._gradients[at]

    def begin_epoch(self, step: int, number: int, session: Any) -> None:
        """A chief begins at a step: what came for another one is forgotten, and who waits for it gets AbortedError."""
        with self.lock:
            self.epoch.begin(number, session)
            self.global_step, self._stopped = step, False
            self._gradients, self._origins = [], []
            while self._takes:
                self._takes.popleft().finish(error=Epoch.over("What waits for gradients"))

    def take(self, required: int, session: Any = None) -> Attempt:
        """Begin to take the reduced gradient, once `required` have come. Raises InvalidArgumentError for less than one.

        `session`: of a chief. Raises AbortedError for one that rules no more.
        """
        if required <= 0:
            text = f"Argument num_required must be positive, but was {required}"
            raise errors.InvalidArgumentError(None, None, text)
        attempt = TakeGradient(self, required)
        with self.lock:
            if session is not None:
                self.epoch.check(session, "What waits for gradients")
            self._takes.append(attempt)
            self._advance()
        return attempt

    def stop_taking(self) -> None:
        """Whoever waits for gradients gets CancelledError, and whoever comes until the step is set anew."""
        with self.lock:
            self._stopped = True
            self._advance()

    def count(self) -> int:
        """How many gradients have come since the last were taken."""
        return len(self._gradients)

    def set_global_step(self, step: int) -> None:
        """From now on, gradients of older steps are dropped, and gradients are taken again."""
        with self.lock:
            self.global_step = step
            self._stopped = False

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    def describe(self, attempt: TakeGradient) -> str:
        return f"for {attempt.required} gradients (in {self} are {self.count()}, of step {self.global_step} or later)"

    def withdraw(self, attempt: TakeGradient) -> None:
        self._takes.remove(attempt)
        self._advance()

    def _advance(self) -> None:
        """Give the gradient to who waits for it. With the lock held."""
        while self._takes and self._stopped:
            text = f"TakeGrad operation was cancelled: nothing more is taken from {self}"
            self._takes.popleft().finish(error=errors.CancelledError(None, None, text))
        while self._takes and self.count() >= self._takes[0].required:
            gradients, self._gradients, self._origins = self._gradients, [], []
            self.global_step += 1
            attempt = self._takes.popleft()
            try:
                if len(gradients) > 2:  # of two the sum is the same either way
                    gradients.sort(key=functools.cmp_to_key(_compared))
                attempt.finish(self._reduced(gradients))
            except MemoryError as error:  # whoever waits must hear of it
                attempt.finish(error=error)

    def _check(self, *gradient: Array) -> None:
        """Raises InvalidArgumentError for another shape than the accumulator's, or than the gradients' before."""
        (value,) = gradient
        wanted = self._gradients[0][0].shape if self._gradients else self.dims
        for dims in (self.dims, wanted):
            if not shapes.compatible(dims, value.shape):
                text = f"Shape mismatch: expected {shapes.text(dims)}, got {shapes.text(value.shape)}"
                raise errors.InvalidArgumentError(None, None, f"{text} ({self})")

    def _reduced(self, gradients: Sequence[Any]) -> Any:
        total: Array = gradients[0][0]
        for (gradient,) in gradients[1:]:
            np.add(total, gradient, out=total)
        if self.reduction == "MEAN":
            np.divide(total, self.dtype.np.type(len(gradients)), out=total)
        return total


class SparseAccumulator(Accumulator):
    """The same for rows of a larger tensor. The mean of a row is over the gradients that have it.

    What is taken is `(indices, values, shape)`, the indices ascending, each once.
    """

    kind = "SparseConditionalAccumulator"

    def __init__(self, name: str, dtype: DType, dims: Dims, reduction: str) -> None:
        Accumulator.__init__(self, name, dtype, dims or None, reduction)

    def apply_rows(
        self, local_step: int, indices: Any, values: Any, shape: Any, has_known_shape: bool, member: Any = None
    ) -> None:
        """Add rows. Raises InvalidArgumentError where indices, values and the whole's shape do not go together."""
        indices, values = np.asarray(indices), np.asarray(values)
        whole = tuple(int(dim) for dim in shape) if has_known_shape else None
        if indices.ndim != 1 or not values.ndim or len(indices) != len(values):
            text = f"Expected {indices.size} non-empty input values, got {len(values) if values.ndim else 0}"
            raise errors.InvalidArgumentError(None, None, f"{text} ({self})")
        self._check_whole(indices, values, whole)
        self.apply(local_step, indices, values, member=member)

    def _check_whole(self, indices: Array, values: Array, whole: Dims) -> None:
        for dims in (self.dims, whole):
            if dims is None:
                continue
            if len(dims) != values.ndim:
                text = f"expected shape rank {values.ndim}, got {len(dims)}"
                raise errors.InvalidArgumentError(None, None, f"Shape mismatch: {text} ({self})")
            for axis, (dim, got) in enumerate(zip(dims, values.shape, strict=True)):
                if axis and dim is not None and dim != got:
                    text = f"Shape mismatch: expected values dim {axis} to be {dim}, got {got}"
                    raise errors.InvalidArgumentError(None, None, f"{text} ({self})")
            rows = next(iter(dims))
            for number, index in enumerate(indices.tolist() if rows is not None else ()):
                if not 0 <= index < (rows or 0):
                    text = f"index of slice {number} exceeded limits of shape; index is {index} exceeded {rows}"
                    raise errors.InvalidArgumentError(None, None, f"Shape mismatch: {text} ({self})")
        if not shapes.compatible(self.dims, whole):
            text = f"Shape mismatch: expected shape {shapes.text(self.dims)}, got {shapes.text(whole)}"
            raise errors.InvalidArgumentError(None, None, f"{text} ({self})")

    def _check(self, *gradient: Array) -> None:
        _, values = gradient
        wanted = self._gradients[0][1].shape[1:] if self._gradients else values.shape[1:]
        if wanted != values.shape[1:]:
            text = f"Shape mismatch: expected rows of {shapes.text(wanted)}, got {shapes.text(values.shape[1:])}"
            raise errors.InvalidArgumentError(None, None, f"{text} ({self})")

    def _reduced(self, gradients: Sequence[Any]) -> Any:
        indices = np.concatenate([each[0] for each in gradients])
        values = np.concatenate([each[1] for each in gradients])
        rows, first, places = np.unique(indices, return_index=True, return_inverse=True)
        total = values[first]  # and the others added in order: a sum that begins with 0 would turn -0 into 0
        rest = np.ones(len(indices), bool)
        rest[first] = False
        np.add.at(total, places[rest], values[rest])
        if self.reduction == "MEAN":
            holders = np.concatenate([np.unique(each[0]) for each in gradients])
            counts = np.bincount(np.searchsorted(rows, holders), minlength=len(rows)).astype(self.dtype.np)
            total = total / counts.reshape(-1, *[1] * (total.ndim - 1))
        first_dim = self.dims[0] if self.dims and self.dims[0] is not None else -1
        return rows.astype(np.int64), total, np.array([first_dim, *total.shape[1:]], np.int64)


def _compared(first: Any, second: Any) -> int:
    """Which of two gradients comes first: by the bits of the first number in which they differ."""
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape:
            return -1 if one.shape < other.shape else 1
        bits = [each.reshape(-1).view(_BITS[each.itemsize]) for each in (one, other)]
        start, end = 0, 64
        while start < one.size:  # most differ soon
            different = np.flatnonzero(bits[0][start:end] != bits[1][start:end])
            if different.size:
                a, b = (int(each[start + different[0]]) for each in bits)
                return -1 if a < b else 1
            start, end = end, 16 * end
    return 0


#: Unsigned integers by size: gradients are compared as bits, which have an order where NaNs have none.
_BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}
