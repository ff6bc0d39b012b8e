"""Statistics and normalization of activations: moments, batch and L2 normalization, local response normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import as_dtype, bfloat16, float16, float32
from ..ir import Operation, Tensor, graph_of
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .arithmetic import AddV2, Mul, Neg, Sub, add, floating, multiply, number
from .broadcasting import reduce_sum
from .cast import cast
from .compare import equal
from .constant import axes_tuple
from .convert import convert_to_tensor
from .math import SquaredDifference, maximum, pow
from .reduction import reduce_mean
from .reshaping import squeeze
from .transcendental import Rsqrt, Square


@op
class NeighborSum(Op):
    """The sum over the channels at most `radius` away, along the last dimension. It is its own adjoint."""

    radius: int

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is not None and len(x.dims) != 4:
            raise ValueError(f"Shape must be rank 4 but is rank {len(x.dims)}")
        return Spec(floating(self.type, x.dtype), x.dims)

    def compute(self, x: Any) -> Any:
        total = x.copy()
        for distance in range(1, min(self.radius, x.shape[-1] - 1) + 1):
            total[..., distance:] += x[..., :-distance]
            total[..., :-distance] += x[..., distance:]
        return total

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [self(dy)]


def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None) -> Tensor:
    """x / sqrt(max(sum(x**2), epsilon)), the sum along `axis` (an int or several; `dim` is its old name).

    Source: `tf.nn.l2_normalize`.
    """
    tensor = convert_to_tensor(x)
    with graph_of((tensor,)).name_scope(name or "l2_normalize") as scope:
        total = reduce_sum(Square()(tensor), dim if axis is None else axis, keepdims=True)
        return Mul()(tensor, Rsqrt()(maximum(total, epsilon)), name=scope)


def moments(x: Any, axes: Any, shift: Any = None, name: str | None = None, keep_dims: bool | None = None,
            keepdims: bool | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The mean and the variance (not corrected for the size) over `axes`; 16-bit floats are computed in float32.

    `shift` is accepted and has no meaning. Source: `tf.nn.moments`.
    """
    tensor = convert_to_tensor(x)
    kept = axes_tuple(axes)
    with graph_of((tensor,)).name_scope(name or "moments"):
        wide = cast(tensor, float32) if tensor.dtype in (float16, bfloat16) else tensor
        mean = reduce_mean(wide, kept, keepdims=True, name="mean")
        squares = SquaredDifference()(wide, mean)
        variance = reduce_mean(squares, kept, keepdims=True, name="variance")
        if not (keep_dims if keepdims is None else keepdims):
            mean, variance = _without(mean, kept), _without(variance, kept)
        return cast(mean, tensor.dtype), cast(variance, tensor.dtype)


def _without(tensor: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    return tensor if axes == () else squeeze(tensor, axes)


def batch_normalization(x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float,
                        name: str | None = None) -> Tensor:  # fmt: skip
    """scale * (x - mean) / sqrt(variance + epsilon) + offset; `offset` and `scale` may be None. All broadcast to `x`.

    Source: `tf.nn.batch_normalization`.
    """
    tensor = convert_to_tensor(x)
    with graph_of((tensor,)).name_scope(name or "batchnorm") as scope:
        factor = Rsqrt()(add(convert_to_tensor(variance, tensor.dtype), variance_epsilon))
        if scale is not None:
            factor = multiply(factor, scale)
        center = multiply(mean, factor)
        shift = Neg()(center) if offset is None else Sub()(convert_to_tensor(offset, tensor.dtype), center)
        return AddV2()(Mul()(tensor, factor), shift, name=scope)


def local_response_normalization(input: Any, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0,
                                 beta: float = 0.5, name: str | None = None) -> Tensor:  # fmt: skip
    """x / (bias + alpha * s)**beta, where s sums x**2 over the channels at most `depth_radius` away. Rank 4.

    Source: `tf.nn.local_response_normalization`.
    """
    x = convert_to_tensor(input)
    with graph_of((x,)).name_scope(name or "LRN") as scope:
        near = NeighborSum(int(depth_radius))(Square()(x))
        size = AddV2()(number(bias, x), Mul()(number(alpha, x), near))
        return Mul()(x, pow(size, number(-beta, x)), name=scope)


def zero_fraction(value: Any, name: str | None = None, dtype: Any = None) -> Tensor:
    """The share of zeros, a float32 scalar (or `dtype`); nan without elements. Source: `tf.nn.zero_fraction`."""
    tensor = convert_to_tensor(value)
    kind = float32 if dtype is None else as_dtype(dtype)
    with graph_of((tensor,)).name_scope(name or "zero_fraction") as scope:
        zeros = cast(equal(tensor, np.zeros((), tensor.dtype.np)), kind)
        return reduce_mean(zeros, name=scope)
