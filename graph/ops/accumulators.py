"""Accumulators of gradients as operations: a handle, and what is done through it (user's classes: ../accumulators.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import errors, shapes
from ..accumulator_state import Accumulator, SparseAccumulator
from ..dtypes import DType, int32, int64, resource
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..record import record
from ..shapes import Dims
from ..waiting import Attempt
from .waits import Waiting, check_resource


@record
class AccumulatorHandle(Op):
    """Base of the handles. `shape`: of the gradients, or of the whole that rows are of; None for any."""

    dtype: DType
    shape: Dims
    container: str = ""
    shared_name: str = ""
    reduction_type: str = "MEAN"
    stateful = True
    not_differentiable = True

    def infer(self) -> Spec:
        return Spec(resource, ())


@op
class ResourceConditionalAccumulator(AccumulatorHandle):
    """An accumulator of dense gradients."""

    def compute(self, state: Any) -> Any:
        return _accumulator(state, self, Accumulator, self.shape)


@op
class SparseConditionalAccumulator(AccumulatorHandle):
    """An accumulator of rows. In TensorFlow its handle is a string that is changed in place; here it is a resource."""

    def compute(self, state: Any) -> Any:
        return _accumulator(state, self, SparseAccumulator, self.shape or None)


def _accumulator(state: Any, definition: Any, kind: Any, dims: Dims) -> Any:
    place = definition.container, definition.shared_name, state.name
    wanted = definition.dtype, dims, definition.reduction_type
    found = state.session.resource(kind, *place, lambda name: kind(name, *wanted))
    if (found.dtype, found.dims, found.reduction) != wanted:
        has = f"{found.dtype.name}{shapes.text(found.dims)} ({found.reduction})"
        text = (
            f"Shared accumulator '{found.name}' holds {has}, asked for was {definition.dtype.name}{shapes.text(dims)}"
        )
        raise errors.InvalidArgumentError(None, None, f"{text} ({definition.reduction_type})")
    return found


@op
class ResourceAccumulatorApplyGradient(Op):
    """Add a gradient, unless it is older than the accumulator's step. Inputs: handle, the gradient's step, the gradient."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike, local_step: TensorLike, gradient: TensorLike) -> tuple[()]:
        _check_step(handle, local_step)
        return ()

    def compute(self, state: Any, accumulator: Any, local_step: Any, gradient: Any) -> None:
        accumulator.apply(int(local_step), gradient)


class Taking(Waiting):
    """Base of what takes the gradients of an accumulator, reduced to one, once so many have come."""

    __slots__ = ()

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        accumulator, required = inputs
        attempt: Attempt = accumulator.take(int(required))
        return attempt

    def result(self, resource: Any, value: Any) -> Any:
        return value


@op
class ResourceAccumulatorTakeGradient(Taking):
    """The reduced gradient, once so many have come. Inputs: handle, how many."""

    dtype: DType

    def infer(self, handle: TensorLike, num_required: TensorLike) -> Spec:
        check_resource(handle, "an accumulator")
        return Spec(self.dtype, None)


@op
class SparseAccumulatorApplyGradient(Op):
    """Add rows, unless they are older than the accumulator's step. Inputs: handle, step, indices, values, the whole's shape."""

    has_known_shape: bool
    stateful = True
    not_differentiable = True

    def infer(
        self, handle: TensorLike, local_step: TensorLike, indices: TensorLike, values: TensorLike, shape: TensorLike
    ) -> tuple[()]:
        _check_step(handle, local_step)
        if indices.dtype is not int64 or shape.dtype is not int64:
            raise TypeError("indices and shape must be int64")
        return ()

    def compute(self, state: Any, *inputs: Any) -> None:
        accumulator, local_step, indices, values, shape = inputs
        accumulator.apply_rows(int(local_step), indices, values, shape, self.has_known_shape)


@op
class SparseAccumulatorTakeGradient(Taking):
    """The reduced rows, once so many gradients have come: indices, values, the whole's shape."""

    dtype: DType

    def infer(self, handle: TensorLike, num_required: TensorLike) -> tuple[Spec, Spec, Spec]:
        check_resource(handle, "an accumulator")
        return Spec(int64, (None,)), Spec(self.dtype, None), Spec(int64, (None,))


@op
class ResourceAccumulatorNumAccumulated(Op):
    """How many gradients have come since the last were taken."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike) -> Spec:
        check_resource(handle, "an accumulator")
        return Spec(int32, ())

    def compute(self, state: Any, accumulator: Any) -> Any:
        return np.array(accumulator.count(), np.int32)


@op
class ResourceAccumulatorSetGlobalStep(Op):
    """Set the step below which gradients are dropped. Inputs: handle, the step."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike, step: TensorLike) -> tuple[()]:
        _check_step(handle, step)
        return ()

    def compute(self, state: Any, accumulator: Any, step: Any) -> None:
        accumulator.set_global_step(int(step))


@op
class AccumulatorStopTaking(Op):
    """Cancel whoever waits for gradients, or comes to wait before the step is set anew."""

    stateful = True
    not_differentiable = True

    def infer(self, handle: TensorLike) -> tuple[()]:
        check_resource(handle, "an accumulator")
        return ()

    def compute(self, state: Any, accumulator: Any) -> None:
        accumulator.stop_taking()


def _check_step(handle: TensorLike, step: TensorLike) -> None:
    check_resource(handle, "an accumulator")
    if step.dtype is not int64:
        raise TypeError(f"a step must be int64, got {step.dtype.name}")
    if not shapes.compatible(step.dims, ()):
        raise ValueError(f"a step must be a scalar, got {shapes.text(step.dims)}")
