"""Variables as operations: a handle, and reads and writes of the whole value through it (rows: variable_rows.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType, boolean, int32, resource
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .arithmetic import numeric

Array = np.ndarray[Any, Any]


@op
class VarHandleOp(Op):
    """The variable of that name (by default the operation's own), as a handle that reads and writes go through."""

    dtype: DType
    shape: Dims
    shared_name: str = ""
    container: str = ""
    stateful = True

    def infer(self) -> Spec:
        return Spec(resource, ())

    def compute(self, state: Any) -> Any:
        return state.session.variable(self.shared_name or state.name, self.dtype, self.shape, self.container)


@op
class ReadVariableOp(Op):
    """The value of a variable. The kernel returns the variable's own memory: whoever keeps it past a write copies."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "read"
    passes_slices = True

    def infer(self, handle: TensorLike) -> Spec:
        check_handle(handle)
        return Spec(self.dtype, self.shape)

    def compute(self, state: Any, slot: Any) -> Any:
        return slot.settled()

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy]


@op
class InitializedValue(Op):
    """The value of a variable, or the second input where it has none yet."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "read"
    view = True
    not_differentiable = True

    def infer(self, handle: TensorLike, initial: TensorLike) -> Spec:
        _written(self, handle, initial)
        return Spec(self.dtype, self.shape)

    def compute(self, state: Any, slot: Any, initial: Any) -> Any:
        return initial if slot.value is None else slot.settled()


@op
class VarIsInitializedOp(Op):
    """Whether a variable has a value."""

    stateful = True
    access = "read"
    not_differentiable = True

    def infer(self, handle: TensorLike) -> Spec:
        check_handle(handle)
        return Spec(boolean, ())

    def compute(self, state: Any, slot: Any) -> Any:
        return np.array(slot.value is not None)


@op
class VariableShape(Op):
    """The shape of a variable, as a vector."""

    shape: Dims
    out_type: DType = int32
    stateful = True
    access = "read"
    not_differentiable = True

    def infer(self, handle: TensorLike) -> Spec:
        check_handle(handle)
        return Spec(self.out_type, (None if self.shape is None else len(self.shape),), self.shape)

    def compute(self, state: Any, slot: Any) -> Any:
        return np.array(slot.settled().shape, self.out_type.np)


@op
class AssignVariableOp(Op):
    """Give a variable a value."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(self, handle: TensorLike, value: TensorLike) -> tuple[Spec, ...]:
        return _written(self, handle, value)

    def compute(self, state: Any, slot: Any, value: Any) -> None:
        if not shapes.compatible(slot.dims, np.shape(value)):
            raise errors.InvalidArgumentError(
                None, None,
                f"Cannot assign a value of shape {shapes.text(np.shape(value))} to variable {slot.name} "
                f"of shape {shapes.text(slot.dims)}",
            )  # fmt: skip
        slot.assign(value)


@op
class AssignAddVariableOp(Op):
    """Add to a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(self, handle: TensorLike, value: TensorLike) -> tuple[Spec, ...]:
        numeric("AssignAddVariableOp", self.dtype)
        return _written(self, handle, value)

    def compute(self, state: Any, slot: Any, value: Any) -> None:
        _update(np.add, slot, value)


@op
class AssignSubVariableOp(Op):
    """Subtract from a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(self, handle: TensorLike, value: TensorLike) -> tuple[Spec, ...]:
        numeric("AssignSubVariableOp", self.dtype)
        return _written(self, handle, value)

    def compute(self, state: Any, slot: Any, value: Any) -> None:
        _update(np.subtract, slot, value)


def check_handle(handle: TensorLike) -> None:
    if handle.dtype is not resource:
        raise TypeError(f"expected the handle of a variable, got a tensor of {handle.dtype.name}")


def _written(definition: Any, handle: TensorLike, value: TensorLike) -> tuple[Spec, ...]:
    """No outputs. Raises TypeError, ValueError for a value that is not of the variable's type and shape."""
    check_handle(handle)
    if value.dtype is not definition.dtype:
        raise TypeError(f"the variable holds {definition.dtype.name}, the value is {value.dtype.name}")
    shapes.merge(definition.shape, value.dims)
    return ()


def _update(function: Any, slot: Any, value: Any) -> None:
    """Give a variable the value that a ufunc makes of its present one and another."""
    spare = slot.spare
    if spare is None:
        target = updatable(slot, value)
        function(target, value, out=target)
    else:
        check_form(slot, slot.value, value)
        function(slot.value, value, out=spare)
        slot.move()


def updatable(slot: Any, value: Any) -> Array:
    """The variable's memory, to be changed by a value of its shape. Raises InvalidArgumentError, FailedPreconditionError."""
    target: Array = slot.read()
    check_form(slot, target, value)
    return target


def check_form(slot: Any, target: Array, value: Any) -> None:
    """Raises InvalidArgumentError unless a variable's memory is of the shape of a value."""
    if target.shape != np.shape(value):
        raise errors.InvalidArgumentError(
            None, None,
            f"Cannot update variable {slot.name} of shape {shapes.text(target.shape)} using a tensor of shape "
            f"{shapes.text(np.shape(value))}: the shapes must be equal",
        )  # fmt: skip
