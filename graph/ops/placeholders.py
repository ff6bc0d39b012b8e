"""Values that a run feeds."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .. import context, shapes
from ..dtypes import DType, as_dtype
from ..errors import InvalidArgumentError
from ..ir import Tensor, get_default_graph
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

    def compute(self, state: Any) -> Any:
        """Of one that is used in a branch or a loop alone: another run may not need it."""
        raise InvalidArgumentError(None, None, self.missing(state.name))

    def missing(self, name: str) -> str:
        """What a run is told that does not feed it."""
        return (
            f"You must feed a value for placeholder tensor '{name}' with dtype {self.dtype.name} and shape "
            f"{shapes.text(self.shape)}"
        )


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

    One that is made in a branch or in the body of a loop can be fed, too, and must be where that runs: with one value for
    all iterations. Raises RuntimeError in eager execution.
    """
    if context.executing_eagerly():
        raise RuntimeError("wf.placeholder() is not compatible with eager execution.")
    with _around():
        return Placeholder(as_dtype(dtype), as_dims(shape))(name=name)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """A tensor that a run may feed and that is `input` otherwise. Source: `tf.placeholder_with_default`.

    In a branch or a loop's body it can be fed unless `input` is made there.
    """
    if isinstance(input, Tensor) and input.graph is not input.graph.root:
        return PlaceholderWithDefault(as_dims(shape))(input, name=name)
    with _around():
        return PlaceholderWithDefault(as_dims(shape))(convert_to_tensor(input), name=name)


def _around() -> AbstractContextManager[None]:
    """Around all branches and loops, where a run can feed. There, nothing changes."""
    graph = get_default_graph()
    return nullcontext() if graph is graph.root else graph.control_dependencies(None)
