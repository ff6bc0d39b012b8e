"""Initializers: what new variables start with, as functions of their shape and type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph.dtypes import DType, as_dtype
from ..graph.ir import Tensor
from ..graph.ops.arithmetic import multiply
from ..graph.ops.constant import constant
from ..graph.ops.fills import ones, zeros
from ..graph.ops.orthonormal import Orthonormal
from ..graph.ops.random import random_normal, random_uniform, truncated_normal
from ..graph.ops.reshaping import reshape, transpose
from ..graph.shapes import as_dims

#: The standard deviation of a normal distribution cut off at two standard deviations.
TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Base of initializers: callable with a shape, and a type that goes before the initializer's own."""

    dtype: DType

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal initializer."""
        config = {key: value for key, value in vars(self).items() if key != "dtype"}
        return {**config, "dtype": self.dtype.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The initializer with these arguments, which `get_config` gave."""
        return cls(**config)

    def _type(self, dtype: Any) -> DType:
        return self.dtype if dtype is None else as_dtype(dtype)


class Zeros(Initializer):
    """Zeros. Source: `tf.zeros_initializer`."""

    def __init__(self, dtype: Any = "float32") -> None:
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        return zeros(shape, self._type(dtype))


class Ones(Initializer):
    """Ones. Source: `tf.ones_initializer`."""

    def __init__(self, dtype: Any = "float32") -> None:
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        return ones(shape, self._type(dtype))


class Constant(Initializer):
    """A value, or the elements of a list or array. Source: `tf.constant_initializer`. Raises TypeError for other values."""

    def __init__(self, value: Any = 0, dtype: Any = "float32", verify_shape: bool = False) -> None:
        if not (np.isscalar(value) or isinstance(value, (list, tuple, np.ndarray))):
            raise TypeError(
                f"Invalid type for initial value: {type(value)} (expected a scalar, list or numpy.ndarray)."
            )
        self.value = value
        self.dtype = as_dtype(dtype)
        self.verify_shape = verify_shape

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        return constant(self.value, self._type(dtype), shape, verify_shape=self.verify_shape)


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, else zeros. Source: `tf.initializers.identity`. Raises ValueError for other ranks."""

    def __init__(self, gain: float = 1.0, dtype: Any = "float32") -> None:
        self.gain = gain
        self.dtype = _floating(as_dtype(dtype))

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        dims = _full(shape)
        if len(dims) != 2:
            raise ValueError("Identity matrix initializer can only be used for 2D matrices.")
        rows, columns = dims
        return constant(self.gain * np.eye(rows, columns), self._type(dtype))


class RandomUniform(Initializer):
    """Uniform numbers in [minval, maxval). Source: `tf.random_uniform_initializer`."""

    def __init__(self, minval: Any = 0, maxval: Any = None, seed: int | None = None, dtype: Any = "float32") -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        return random_uniform(shape, self.minval, self.maxval, self._type(dtype), self.seed)


class RandomNormal(Initializer):
    """Normal numbers. Source: `tf.random_normal_initializer`. Raises ValueError for types that are not floating-point."""

    def __init__(self, mean: Any = 0.0, stddev: Any = 1.0, seed: int | None = None, dtype: Any = "float32") -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed
        self.dtype = _floating(as_dtype(dtype))

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        return random_normal(shape, self.mean, self.stddev, self._type(dtype), self.seed)


class TruncatedNormal(RandomNormal):
    """Normal numbers within two standard deviations. Source: `tf.truncated_normal_initializer`."""

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        return truncated_normal(shape, self.mean, self.stddev, self._type(dtype), self.seed)


class VarianceScaling(Initializer):
    """Numbers whose variance is `scale` / n, n being the inputs of a unit ("fan_in"), its outputs, or their mean ("fan_avg").

    `distribution`: "truncated_normal" (or "normal"), "untruncated_normal" or "uniform". Source:
    `tf.variance_scaling_initializer`. Raises ValueError for other arguments and types that are not floating-point.
    """

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal", seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        if scale <= 0.0:
            raise ValueError("`scale` must be positive float")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"Invalid `mode` argument: {mode}")
        if distribution.lower() not in ("normal", "uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(f"Invalid `distribution` argument: {distribution}")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution.lower()
        self.seed = seed
        self.dtype = _floating(as_dtype(dtype))

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        kind = self._type(dtype)
        variance = self.scale / max(1.0, self._units(_full(shape)))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random_uniform(shape, -limit, limit, kind, self.seed)
        if self.distribution == "untruncated_normal":
            return random_normal(shape, 0.0, math.sqrt(variance), kind, self.seed)
        return truncated_normal(shape, 0.0, math.sqrt(variance) / TRUNCATED_STDDEV, kind, self.seed)

    def _units(self, dims: Sequence[int]) -> float:
        inputs, outputs = _fans(dims)
        return {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2.0}[self.mode]


class UniformUnitScaling(Initializer):
    """Uniform numbers that keep the scale of what is multiplied by them: between the roots of -3 / n and 3 / n, times factor.

    n is the product of all dimensions but the last. Source: `tf.uniform_unit_scaling_initializer`.
    """

    def __init__(self, factor: float = 1.0, seed: int | None = None, dtype: Any = "float32") -> None:
        self.factor = factor
        self.seed = seed
        self.dtype = _floating(as_dtype(dtype))

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        limit = math.sqrt(3 / max(1.0, math.prod(_full(shape)[:-1]))) * self.factor
        return random_uniform(shape, -limit, limit, _floating(self._type(dtype)), self.seed)


class Orthogonal(Initializer):
    """`gain` times a random matrix with orthonormal rows or columns, whichever are fewer; leading dimensions are rows.

    Source: `tf.orthogonal_initializer`. Raises ValueError for fewer than two dimensions and for types that are not
    floating-point.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None, dtype: Any = "float32") -> None:
        self.gain = gain
        self.seed = seed
        self.dtype = _floating(as_dtype(dtype))

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        dims = _full(shape)
        if len(dims) < 2:
            raise ValueError("The tensor to initialize must be at least two-dimensional")
        rows, columns = math.prod(dims[:-1]), dims[-1]
        numbers = random_normal([max(rows, columns), min(rows, columns)], 0.0, 1.0, self._type(dtype), self.seed)
        basis = Orthonormal()(numbers)
        return multiply(reshape(basis if rows >= columns else transpose(basis), dims), self.gain)


def _full(shape: Any) -> list[int]:
    dims = as_dims(shape)
    if dims is None or None in dims:
        raise ValueError(f"the shape of an initial value must be fully known, got {shape}")
    return [d for d in dims if d is not None]


def _fans(dims: Sequence[int]) -> tuple[float, float]:
    """How many inputs and outputs one unit of weights of this shape has; leading dimensions are a window."""
    if not dims:
        return 1, 1
    if len(dims) == 1:
        return dims[0], dims[0]
    window = math.prod(dims[:-2])
    return dims[-2] * window, dims[-1] * window


def _floating(dtype: DType) -> DType:
    if not dtype.is_floating:
        raise ValueError(f"Expected floating point type, got {dtype.name}.")
    return dtype


def glorot_uniform_initializer(seed: int | None = None, dtype: Any = "float32") -> VarianceScaling:
    """Uniform, variance 2 / (inputs + outputs). Source: `tf.glorot_uniform_initializer`."""
    return VarianceScaling(1.0, "fan_avg", "uniform", seed, dtype)


def glorot_normal_initializer(seed: int | None = None, dtype: Any = "float32") -> VarianceScaling:
    """Truncated normal, variance 2 / (inputs + outputs). Source: `tf.glorot_normal_initializer`."""
    return VarianceScaling(1.0, "fan_avg", "truncated_normal", seed, dtype)


def he_normal(seed: int | None = None, dtype: Any = "float32") -> VarianceScaling:
    """Truncated normal, variance 2 / inputs. Source: `tf.initializers.he_normal`."""
    return VarianceScaling(2.0, "fan_in", "truncated_normal", seed, dtype)


def he_uniform(seed: int | None = None, dtype: Any = "float32") -> VarianceScaling:
    """Uniform, variance 2 / inputs. Source: `tf.initializers.he_uniform`."""
    return VarianceScaling(2.0, "fan_in", "uniform", seed, dtype)


def lecun_normal(seed: int | None = None, dtype: Any = "float32") -> VarianceScaling:
    """Truncated normal, variance 1 / inputs. Source: `tf.initializers.lecun_normal`."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal", seed, dtype)


def lecun_uniform(seed: int | None = None, dtype: Any = "float32") -> VarianceScaling:
    """Uniform, variance 1 / inputs. Source: `tf.initializers.lecun_uniform`."""
    return VarianceScaling(1.0, "fan_in", "uniform", seed, dtype)


zeros_initializer = Zeros
ones_initializer = Ones
constant_initializer = Constant
identity_initializer = Identity
random_uniform_initializer = RandomUniform
random_normal_initializer = RandomNormal
truncated_normal_initializer = TruncatedNormal
variance_scaling_initializer = VarianceScaling
uniform_unit_scaling_initializer = UniformUnitScaling
orthogonal_initializer = Orthogonal
