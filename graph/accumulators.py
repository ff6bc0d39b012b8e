"""Accumulators as a program uses them: they gather the gradients of several workers, with TensorFlow's classes."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import context
from .dtypes import DType, as_dtype, float16, float32, float64, int32, int64
from .indexed_slices import IndexedSlices
from .ir import Operation, Tensor, get_default_graph
from .ops import accumulators as ops
from .ops.cast import cast
from .ops.convert import convert_to_tensor
from .shapes import Dims, TensorShape, as_dims

_REDUCTIONS = ("MEAN", "SUM")
_DTYPES = (float16, float32, float64)


class SparseAccumulatorTakeGradient(NamedTuple):
    """What `SparseConditionalAccumulator.take_grad` gives: rows, where they belong, and the shape of the whole."""

    indices: Tensor
    values: Tensor
    shape: Tensor


class ConditionalAccumulatorBase:
    """What both kinds of accumulators have: a type, a shape (or None for any), a handle and a step.

    Source: `tf.ConditionalAccumulatorBase`.
    """

    def __init__(self, dtype: DType, shape: Any, accumulator_ref: Tensor) -> None:
        self._dtype = dtype
        self._shape = TensorShape(shape)
        self._accumulator_ref = accumulator_ref
        self._name = str(accumulator_ref.op.name.split("/")[-1])

    @property
    def accumulator_ref(self) -> Tensor:
        """The handle."""
        return self._accumulator_ref

    @property
    def name(self) -> str:
        return self._name

    @property
    def dtype(self) -> DType:
        return self._dtype

    def num_accumulated(self, name: str | None = None) -> Tensor:
        """How many gradients have come since the last were taken: an int32 scalar."""
        name = name or f"{self._name}_NumAccumulated"
        return ops.ResourceAccumulatorNumAccumulated()(self._accumulator_ref, name=name)

    def set_global_step(self, new_global_step: Any, name: str | None = None) -> Operation:
        """An operation that sets the step below which gradients are dropped: an integer scalar, not smaller than before."""
        step = _step(new_global_step)
        return ops.ResourceAccumulatorSetGlobalStep().node(self._accumulator_ref, step, name=name)


class ConditionalAccumulator(ConditionalAccumulatorBase):
    """Gathers gradients of one step from many workers, and gives their mean (or sum) once there are enough.

    Each comes with the step that it was computed for; what is older than the accumulator's step is dropped. Taking the
    mean raises that step by one. The sum's bits do not depend on the order in which the gradients came. `dtype`: a float
    type; `shape`: of the gradients, None for any; `reduction_type`: "MEAN" or "SUM". Under `shared_name` the task's
    sessions share it, in the container that `wf.container` says. Source: `tf.ConditionalAccumulator`.
    Raises TypeError and ValueError for others.
    """

    def __init__(
        self, dtype: Any, shape: Any = None, shared_name: str | None = None, name: str = "conditional_accumulator",
        reduction_type: str = "MEAN",
    ) -> None:  # fmt: skip
        kind, dims = _checked(dtype, shape, reduction_type)
        definition = ops.ResourceConditionalAccumulator(
            kind, dims, get_default_graph().get_container(), shared_name or "", reduction_type
        )
        ConditionalAccumulatorBase.__init__(self, kind, dims, definition(name=name))

    def apply_grad(self, grad: Any, local_step: Any = 0, name: str | None = None) -> Operation:
        """An operation that adds a gradient computed for `local_step`, or drops it when that is over.

        Raises ValueError for a gradient of another type or shape; when run, InvalidArgumentError for another shape.
        """
        gradient = convert_to_tensor(grad, self._dtype)
        TensorShape(gradient.dims).assert_is_compatible_with(self._shape)
        step = _step(local_step)
        return ops.ResourceAccumulatorApplyGradient().node(self._accumulator_ref, step, gradient, name=name)

    def take_grad(self, num_required: Any, name: str | None = None) -> Tensor:
        """The mean (or sum) of all that came, once there are `num_required`; the accumulator begins its next step.

        When run it waits, and raises InvalidArgumentError for a number below one, CancelledError when the session is
        closed while it waits, DeadlineExceededError when the step's time is over.
        """
        required = convert_to_tensor(num_required, int32)
        taken = ops.ResourceAccumulatorTakeGradient(self._dtype)(self._accumulator_ref, required, name=name)
        taken.set_shape(self._shape)
        return taken


class SparseConditionalAccumulator(ConditionalAccumulatorBase):
    """The same for rows of a larger tensor (IndexedSlices). The mean of a row is over the gradients that have that row.

    `shape`: of the whole; None or () for any. Source: `tf.SparseConditionalAccumulator`.
    """

    def __init__(
        self, dtype: Any, shape: Any = None, shared_name: str | None = None,
        name: str = "sparse_conditional_accumulator", reduction_type: str = "MEAN",
    ) -> None:  # fmt: skip
        kind, dims = _checked(dtype, shape, reduction_type)
        definition = ops.SparseConditionalAccumulator(
            kind, dims, get_default_graph().get_container(), shared_name or "", reduction_type
        )
        ConditionalAccumulatorBase.__init__(self, kind, dims, definition(name=name))

    def apply_indexed_slices_grad(self, grad: IndexedSlices, local_step: Any = 0, name: str | None = None) -> Operation:
        """An operation that adds the rows of IndexedSlices. See `apply_grad`."""
        return self.apply_grad(grad.indices, grad.values, grad.dense_shape, local_step, name)

    def apply_grad(
        self, grad_indices: Any, grad_values: Any, grad_shape: Any = None, local_step: Any = 0, name: str | None = None
    ) -> Operation:
        """An operation that adds rows `grad_values` (shape [n, D1, …]) at `grad_indices` ([n]) of a whole of `grad_shape`.

        Equal indices add up. When run it raises InvalidArgumentError where these do not go together.
        """
        indices, shape = (_int64(each) for each in (grad_indices, () if grad_shape is None else grad_shape))
        values = convert_to_tensor(grad_values, self._dtype)
        definition = ops.SparseAccumulatorApplyGradient(grad_shape is not None)
        return definition.node(self._accumulator_ref, _step(local_step), indices, values, shape, name=name)

    def take_grad(self, num_required: Any, name: str | None = None) -> SparseAccumulatorTakeGradient:
        """The mean (or sum) of all rows that came, once there are `num_required` gradients: (indices, values, shape).

        The indices ascend, each once; the first dimension of the shape is -1 where it is not known. Waits and raises as
        `ConditionalAccumulator.take_grad`.
        """
        required = convert_to_tensor(num_required, int32)
        definition = ops.SparseAccumulatorTakeGradient(self._dtype)
        indices, values, shape = definition.outputs(self._accumulator_ref, required, name=name)
        return SparseAccumulatorTakeGradient(indices, values, shape)

    def take_indexed_slices_grad(self, num_required: Any, name: str | None = None) -> IndexedSlices:
        """The same as IndexedSlices."""
        taken = self.take_grad(num_required, name)
        return IndexedSlices(taken.values, taken.indices, taken.shape)


def _checked(dtype: Any, shape: Any, reduction_type: str) -> tuple[DType, Dims]:
    if context.executing_eagerly():
        raise RuntimeError("Accumulators need a graph: they are not supported when eager execution is enabled.")
    kind = as_dtype(dtype)
    if kind not in _DTYPES:
        names = ", ".join(each.name for each in _DTYPES)
        raise TypeError(f"An accumulator's dtype is {kind.name}, which is not in list of allowed values: {names}")
    if reduction_type not in _REDUCTIONS:
        raise ValueError(f"Invalid reduction_type '{reduction_type}': it is not in: {', '.join(_REDUCTIONS)}")
    return kind, as_dims(shape)


def _step(value: Any) -> Tensor:
    return cast(convert_to_tensor(value), int64)


def _int64(value: Any) -> Tensor:
    return cast(convert_to_tensor(value, int64 if isinstance(value, (list, tuple)) else None), int64)
