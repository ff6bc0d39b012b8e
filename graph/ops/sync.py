"""What SyncReplicasOptimizer runs: tokens between steps, and gradients that count in the epoch of one chief alone."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType, int64, resource
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..sync_state import Tokens
from ..waiting import Attempt
from .accumulators import Taking
from .waits import Waiting, check_resource

#: The length of what a worker knows of itself; see graph/sync_state.py.
MEMBER = 4
#: Who is of no epoch.
_NOBODY = np.array([0, -1, 0, 0])


@op
class WorkerNumbers(Op):
    """Two numbers: this operation's on this task, always the same; and one that comes but once. Both above 0."""

    stateful = True
    not_differentiable = True

    def infer(self) -> Spec:
        return Spec(int64, (2,))

    def compute(self, state: Any) -> Any:
        known = hashlib.blake2b(f"{state.session.place} {state.name}".encode(), digest_size=8).digest()
        return np.array(
            [int.from_bytes(known, "little") >> 2 | 1, int.from_bytes(os.urandom(8), "little") >> 2 | 1], np.int64
        )


@op
class SyncTokens(Op):
    """The tokens that begin a step. `counted`: each is for one gradient, not for one worker."""

    counted: bool = False
    container: str = ""
    shared_name: str = ""
    stateful = True
    not_differentiable = True

    def infer(self) -> Spec:
        return Spec(resource, ())

    def compute(self, state: Any) -> Any:
        place = self.container, self.shared_name, state.name
        found = state.session.resource(Tokens, *place, lambda name: Tokens(name, self.counted))
        if found.counted != self.counted:
            wanted, has = ("one a gradient" if each else "one a worker" for each in (self.counted, found.counted))
            text = (
                f"Shared tokens '{found.name}' are {has}, asked for was {wanted}: the programs differ in their replicas"
            )
            raise errors.InvalidArgumentError(None, None, text)
        return found


@op
class SyncEpoch(Waiting):
    """The number of the present epoch, once a chief has begun one."""

    def infer(self, handle: TensorLike) -> Spec:
        check_resource(handle, "tokens")
        return Spec(int64, ())

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        attempt: Attempt = inputs[0].take(_NOBODY)
        return attempt

    def result(self, resource: Any, value: Any) -> Any:
        return value[1]


class _Begin(Op):
    """Base of what begins an epoch. Inputs: the handle, the step to begin at, the epoch's number."""

    __slots__ = ()

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike, step: TensorLike, number: TensorLike) -> tuple[()]:
        check_resource(handle, "tokens or an accumulator")
        _check(step, ())
        _check(number, ())
        return ()


@op
class SyncTokensBegin(_Begin):
    """Let the tokens begin anew; workers of earlier epochs go on from here."""

    def compute(self, state: Any, tokens: Any, step: Any, number: Any) -> None:
        tokens.begin(int(step), int(number), state.session)


@op
class AccumulatorBeginEpoch(_Begin):
    """Empty an accumulator and set its step; gradients of earlier epochs are dropped from now on."""

    def compute(self, state: Any, accumulator: Any, step: Any, number: Any) -> None:
        accumulator.begin_epoch(int(step), int(number), state.session)


@op
class SyncTokensPut(Op):
    """Give out tokens. Inputs: the handle, and the step of each token."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike, steps: TensorLike) -> tuple[()]:
        check_resource(handle, "tokens")
        _check(steps, (None,))
        return ()

    def compute(self, state: Any, tokens: Any, steps: Any) -> None:
        if len(steps):
            tokens.put(int(steps.max()), len(steps), state.session)


@op
class SyncTokensTake(Waiting):
    """Wait for the step after the worker's. Inputs: the handle, what the worker is; the output is what it is then."""

    def infer(self, handle: TensorLike, member: TensorLike) -> Spec:
        check_resource(handle, "tokens")
        _check(member, (MEMBER,))
        return Spec(int64, (MEMBER,))

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        tokens, member = inputs
        attempt: Attempt = tokens.take(member)
        return attempt

    def result(self, resource: Any, value: Any) -> Any:
        return value


@op
class SyncTokensLeave(Op):
    """A worker comes no more: others may take its tokens. Inputs: the handle, what the worker is."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike, member: TensorLike) -> tuple[()]:
        check_resource(handle, "tokens")
        _check(member, (MEMBER,))
        return ()

    def compute(self, state: Any, tokens: Any, member: Any) -> None:
        tokens.leave(member)


@op
class SyncTokensClose(Op):
    """The chief has ended: who would have to wait gets OutOfRangeError."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike) -> tuple[()]:
        check_resource(handle, "tokens")
        return ()

    def compute(self, state: Any, tokens: Any) -> None:
        tokens.close()


@op
class SyncApplyGradient(Op):
    """Add a worker's gradient, unless its step or its epoch is over. Inputs: handle, what the worker is, the gradient."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike, member: TensorLike, gradient: TensorLike) -> tuple[()]:
        check_resource(handle, "an accumulator")
        _check(member, (MEMBER,))
        return ()

    def compute(self, state: Any, accumulator: Any, member: Any, gradient: Any) -> None:
        accumulator.apply(int(member[0]), gradient, member=member)


@op
class SyncApplyRows(Op):
    """The same for rows. Inputs: handle, what the worker is, indices, values, the whole's shape."""

    has_known_shape: bool
    stateful = True
    not_differentiable = True

    def infer(
        self, handle: TensorLike, member: TensorLike, indices: TensorLike, values: TensorLike, shape: TensorLike
    ) -> tuple[()]:
        check_resource(handle, "an accumulator")
        _check(member, (MEMBER,))
        if indices.dtype is not int64 or shape.dtype is not int64:
            raise TypeError("indices and shape must be int64")
        return ()

    def compute(self, state: Any, *inputs: Any) -> None:
        accumulator, member, indices, values, shape = inputs
        accumulator.apply_rows(int(member[0]), indices, values, shape, self.has_known_shape, member)


class _ChiefTaking(Taking):
    """Base of what a chief takes; one whose epoch is over gets AbortedError."""

    __slots__ = ()

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        accumulator, required = inputs
        attempt: Attempt = accumulator.take(int(required), state.session)
        return attempt


@op
class SyncTakeGradient(_ChiefTaking):
    """The reduced gradient for the chief, once so many have come. Inputs: handle, how many."""

    dtype: DType

    def infer(self, handle: TensorLike, num_required: TensorLike) -> Spec:
        check_resource(handle, "an accumulator")
        return Spec(self.dtype, None)


@op
class SyncTakeRows(_ChiefTaking):
    """The reduced rows for the chief: indices, values, the whole's shape. Inputs: handle, how many."""

    dtype: DType

    def infer(self, handle: TensorLike, num_required: TensorLike) -> tuple[Spec, Spec, Spec]:
        check_resource(handle, "an accumulator")
        return Spec(int64, (None,)), Spec(self.dtype, None), Spec(int64, (None,))


def _check(tensor: TensorLike, dims: tuple[int | None, ...]) -> None:
    """Raises TypeError and ValueError for what is no int64 of this shape."""
    if tensor.dtype is not int64:
        raise TypeError(f"expected int64, got {tensor.dtype.name}")
    if not shapes.compatible(tensor.dims, dims):
        raise ValueError(f"expected the shape {shapes.text(dims)}, got {shapes.text(tensor.dims)}")
