"""Tokens, and accumulators that know epochs, as SyncReplicasOptimizer builds them into a graph."""

from __future__ import annotations

from .accumulators import ConditionalAccumulator, SparseConditionalAccumulator
from .dtypes import int32, int64
from .indexed_slices import IndexedSlices
from .ir import Operation, Tensor, get_default_graph
from .ops import sync as ops
from .ops.array import concat
from .ops.cast import cast
from .ops.convert import convert_to_tensor
from .ops.fills import zeros
from .ops.reshaping import reshape


class TokenQueue:
    """The tokens that begin a step, shared by all sessions under its name. See graph/sync_state.py."""

    def __init__(self, name: str, counted: bool) -> None:
        self.counted = counted
        self.queue_ref: Tensor = ops.SyncTokens(counted, get_default_graph().get_container(), name)(name=name)
        self.name = str(self.queue_ref.op.name)

    def epoch(self) -> Tensor:
        """The number of the present epoch: an int64 scalar."""
        return ops.SyncEpoch()(self.queue_ref, name=f"{self.name}_epoch")

    def new_epoch(self) -> Tensor:
        """A number that no other epoch has."""
        number: Tensor = ops.WorkerNumbers()(name="NewEpoch")[1]
        return number

    def begin(self, step: Tensor, number: Tensor) -> Operation:
        """Begin an epoch at a step."""
        return ops.SyncTokensBegin().node(self.queue_ref, cast(step, int64), number, name=f"{self.name}_begin")

    def put(self, steps: Tensor) -> Operation:
        """Give out a token of each step."""
        return ops.SyncTokensPut().node(self.queue_ref, cast(steps, int64), name=f"{self.name}_put")

    def take(self, member: Tensor) -> Tensor:
        """Wait for the next step; what the worker is then."""
        return ops.SyncTokensTake()(self.queue_ref, member, name=f"{self.name}_take")

    def leave(self, member: Tensor) -> Operation:
        """Leave the tokens of this worker to others."""
        return ops.SyncTokensLeave().node(self.queue_ref, member, name=f"{self.name}_leave")

    def close(self, cancel_pending_enqueues: bool = False) -> Operation:
        """End the waits of all who have no token; nobody waits to give any."""
        return ops.SyncTokensClose().node(self.queue_ref, name=f"{self.name}_close")


class SyncedGradients:
    """An accumulator to which workers add what they computed in one epoch, and from which its chief alone takes."""

    def __init__(self, accumulator: ConditionalAccumulator | SparseConditionalAccumulator) -> None:
        self._accumulator = accumulator
        self.handle = accumulator.accumulator_ref

    def begin_epoch(self, step: Tensor, number: Tensor) -> Operation:
        """Begin an epoch at a step, without gradients."""
        return ops.AccumulatorBeginEpoch().node(self.handle, cast(step, int64), number, name="BeginEpoch")

    def apply(self, gradient: Tensor | IndexedSlices, member: Tensor) -> Operation:
        """Add a worker's gradient. Raises ValueError for another shape than the accumulator's."""
        if isinstance(gradient, Tensor):
            gradient.shape.assert_is_compatible_with(self._accumulator._shape)
            return ops.SyncApplyGradient().node(self.handle, member, gradient, name="ApplyGradient")
        known = gradient.dense_shape is not None
        whole = cast(gradient.dense_shape, int64) if known else zeros([0], int64)
        indices = cast(gradient.indices, int64)
        return ops.SyncApplyRows(known).node(self.handle, member, indices, gradient.values, whole, name="ApplyRows")

    def take(self, count: int) -> Tensor | IndexedSlices:
        """The mean of so many gradients, once they have come."""
        required, dtype = convert_to_tensor(count, int32), self._accumulator.dtype
        if isinstance(self._accumulator, ConditionalAccumulator):
            taken = ops.SyncTakeGradient(dtype)(self.handle, required, name="TakeGradient")
            taken.set_shape(self._accumulator._shape)
            return taken
        indices, values, shape = ops.SyncTakeRows(dtype).outputs(self.handle, required, name="TakeRows")
        return IndexedSlices(values, indices, shape)


def new_member(step: Tensor, epoch: Tensor, counted: bool) -> Tensor:
    """What a worker's session is at first. `counted`: then nothing it brings replaces anything."""
    numbers = zeros([2], int64) if counted else ops.WorkerNumbers()(name="WorkerNumbers")
    return concat([reshape(cast(step, int64), [1]), reshape(epoch, [1]), numbers], 0)
