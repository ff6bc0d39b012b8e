"""Operations that pass their inputs on, or do nothing: identity, identity_n, stop_gradient, prevent_gradient, no_op."""

from __future__ import annotations

from typing import Any

from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .convert import convert_to_tensor


@op
class Identity(Op):
    """The input itself."""

    view = True
    passes_slices = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims, x.known)

    def compute(self, x: Any) -> Any:
        return x

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy]


@op
class StopGradient(Op):
    """The input itself, through which no gradient flows."""

    view = True
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims, x.known)

    def compute(self, x: Any) -> Any:
        return x


@op
class IdentityN(Op):
    """The inputs themselves, as one operation: a place to say the gradient of many tensors together."""

    view = True
    passes_slices = True

    def infer(self, *inputs: TensorLike) -> tuple[Spec, ...]:
        return tuple(Spec(x.dtype, x.dims, x.known) for x in inputs)

    def compute(self, *inputs: Any) -> Any:
        return inputs if len(inputs) != 1 else inputs[0]

    def grad(self, operation: Operation, *dys: Tensor) -> list[Tensor]:
        return list(dys)


@op
class PreventGradient(Op):
    """The input itself, whose gradient must not be asked for."""

    message: str = ""
    view = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims, x.known)

    def compute(self, x: Any) -> Any:
        return x

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        raise LookupError(f"Gradient explicitly disabled. Reason: {self.message}")


@op
class NoOp(Op):
    """Nothing: something to hang control dependencies on."""

    stateful = True

    def infer(self) -> tuple[Spec, ...]:
        return ()

    def compute(self, state: Any) -> None:
        return None


def identity(input: Any, name: str | None = None) -> Tensor:
    """The same value as a new tensor, of the same shape and type. Source: `tf.identity`."""
    return Identity()(convert_to_tensor(input), name=name)


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """The same value, a constant to `gradients`. Source: `tf.stop_gradient`."""
    return StopGradient()(convert_to_tensor(input), name=name)


def identity_n(input: Any, name: str | None = None) -> list[Tensor]:
    """The same values as new tensors, of one operation. Source: `tf.identity_n`. Raises ValueError for an empty list."""
    tensors = [convert_to_tensor(item) for item in input]
    if not tensors:
        raise ValueError("identity_n takes a list of at least one tensor")
    return list(IdentityN().outputs(*tensors, name=name))


def prevent_gradient(input: Any, message: str = "", name: str | None = None) -> Tensor:
    """The same value; `gradients` through it is a LookupError that says `message`. Source: `tf.raw_ops.PreventGradient`."""
    return PreventGradient(message)(convert_to_tensor(input), name=name)


def no_op(name: str | None = None) -> Operation:
    """An operation that does nothing. Source: `tf.no_op`."""
    return NoOp().node(name=name)
