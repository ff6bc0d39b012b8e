"""Operations that pass their input on, or do nothing: identity, stop_gradient, no_op."""

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
class NoOp(Op):
    """Nothing: something to hang control dependencies on."""

    stateful = True

    def infer(self) -> tuple[Spec, ...]:
        return ()

    def compute(self, state: Any) -> None:
        return None


def identity(input: Any, name: str | None = None) -> Tensor:
    """The same value as a new tensor. Source: `tf.identity`."""
    return Identity()(convert_to_tensor(input), name=name)


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """The same value, a constant to `gradients`. Source: `tf.stop_gradient`."""
    return StopGradient()(convert_to_tensor(input), name=name)


def no_op(name: str | None = None) -> Operation:
    """An operation that does nothing. Source: `tf.no_op`."""
    return NoOp().node(name=name)
