"""Values that a run feeds."""

from __future__ import annotations

from typing import Any

from .. import context, shapes
from ..dtypes import DType, as_dtype
from ..ir import Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, as_dims
from .convert import convert_to_tensor


@op
class Placeholder(Op):
    """A value that every run must feed."""

    dtype: DType
    shape: Dims = None
    stateful = True
    not_differentiable = True

    def infer(self) -> Spec:
        return Spec(self.dtype, self.shape)


@op
class PlaceholderWithDefault(Op):
    """A value that a run may feed; its input otherwise."""

    shape: Dims = None
    view = True
    passes_slices = True

    def infer(self, default: TensorLike) -> Spec:
        if not shapes.compatible(default.dims, self.shape):
            raise ValueError(
                f"the default value has shape {shapes.text(default.dims)}, the placeholder {shapes.text(self.shape)}"
            )
        return Spec(default.dtype, self.shape)

    def compute(self, default: Any) -> Any:
        return default

    def grad(self, operation: Any, dy: Tensor) -> list[Tensor]:
        return [dy]


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor that every run must feed, of `shape` (None: any; a None inside: any dimension). Source: `tf.placeholder`.

    Raises RuntimeError in eager execution.
    """
    if context.executing_eagerly():
        raise RuntimeError("wf.placeholder() is not compatible with eager execution.")
    return Placeholder(as_dtype(dtype), as_dims(shape))(name=name)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """A tensor that a run may feed and that is `input` otherwise. Source: `tf.placeholder_with_default`."""
    return PlaceholderWithDefault(as_dims(shape))(convert_to_tensor(input), name=name)
