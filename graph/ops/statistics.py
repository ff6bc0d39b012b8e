"""What is composed of reductions: log-sum-exp, variance, standard deviation, norms, and how many are not zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import as_dtype, int64, string
from ..ir import Tensor
from .arithmetic import AddV2, Masked, Mul, Sub, conj, inexact, number
from .broadcasting import reduce_sum
from .cast import cast
from .compare import IsFinite, NotEqual
from .complex import real
from .constant import const
from .convert import convert_to_tensor
from .identity import stop_gradient
from .math import abs, pow
from .reduction import reduce_max, reduce_mean, reduce_options
from .reshaping import like
from .transcendental import Exp, Log, Sqrt, sqrt


def reduce_logsumexp(input_tensor: Any, axis: Any = None, keepdims: bool | None = None, name: str | None = None,
                     reduction_indices: Any = None, keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """log(sum(exp(x))) over `axis`, without overflow. Source: `tf.reduce_logsumexp`. Raises TypeError for integers."""
    x = convert_to_tensor(input_tensor)
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    largest = reduce_max(x, axes, keepdims=True)
    shift = stop_gradient(Masked()(IsFinite()(largest), largest))
    log = Log()(reduce_sum(Exp()(Sub()(x, shift)), axes, keepdims=keep))
    return AddV2()(log, shift if keep else like(shift, log), name=name or "ReduceLogSumExp")


def reduce_variance(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The mean squared distance from the mean, over `axis`. Source: `tf.math.reduce_variance`. Raises TypeError for integers."""
    x = convert_to_tensor(input_tensor)
    inexact("reduce_variance", x.dtype)
    deviation = Sub()(x, reduce_mean(x, axis, keepdims=True))
    return reduce_mean(_squared_size(deviation), axis, keepdims=keepdims, name=name or "reduce_variance")


def reduce_std(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The standard deviation over `axis`. Source: `tf.math.reduce_std`. Raises TypeError for integers."""
    return sqrt(reduce_variance(input_tensor, axis, keepdims), name=name or "reduce_std")


def _squared_size(x: Tensor) -> Tensor:
    """|x|², real."""
    return real(Mul()(x, conj(x)))


def count_nonzero(input_tensor: Any = None, axis: Any = None, keepdims: bool | None = None, dtype: Any = int64,
                  name: str | None = None, reduction_indices: Any = None, keep_dims: bool | None = None,
                  input: Any = None) -> Tensor:  # fmt: skip
    """How many elements over `axis` are not 0 (False, empty), in `dtype`. Source: `tf.count_nonzero`."""
    x = convert_to_tensor(input if input_tensor is None else input_tensor)
    axes, keep = reduce_options(axis, keepdims, reduction_indices, keep_dims)
    zero = const(np.array(b"", object)) if x.dtype is string else number(0, x)
    return reduce_sum(cast(NotEqual()(x, zero), as_dtype(dtype)), axes, keepdims=keep, name=name)


def norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool | None = None, name: str | None = None,
         keep_dims: bool | None = None) -> Tensor:  # fmt: skip
    """The norm of the whole (`axis` None), of vectors (one axis) or of matrices (two axes). Source: `tf.norm`.

    `ord`: "euclidean", 1, 2, inf or a positive number for vectors; "euclidean", "fro", 1 or inf for matrices.
    Raises ValueError for other orders, TypeError for integers.
    """
    x = convert_to_tensor(tensor)
    inexact("norm", x.dtype)
    axes, keep = reduce_options(axis, keepdims, None, keep_dims)
    if axes is not None and len(axes) == 2:
        return _matrix_norm(x, ord, axes, keep, name or "norm")
    if axes is not None and len(axes) != 1:
        raise ValueError("'axis' must be None, an integer, or a tuple of 2 unique integers")
    return _vector_norm(x, ord, axes, keep, name or "norm")


def _vector_norm(x: Tensor, ord: Any, axes: Any, keep: bool, name: str) -> Tensor:
    if ord in ("euclidean", "fro", 2):
        return Sqrt()(reduce_sum(_squared_size(x), axes, keepdims=keep), name=name)
    if ord == 1:
        return reduce_sum(abs(x), axes, keepdims=keep, name=name)
    if ord == np.inf:
        return reduce_max(abs(x), axes, keepdims=keep, name=name)
    if isinstance(ord, str) or not ord > 0:
        raise ValueError(f"'ord' must be a supported vector norm, got {ord}")
    return pow(reduce_sum(pow(abs(x), ord), axes, keepdims=keep), 1 / ord, name=name)


def _matrix_norm(x: Tensor, ord: Any, axes: tuple[int, ...], keep: bool, name: str) -> Tensor:
    if ord in ("euclidean", "fro"):
        return Sqrt()(reduce_sum(_squared_size(x), axes, keepdims=keep), name=name)
    if ord not in (1, np.inf):
        raise ValueError(f"'ord' must be a supported matrix norm in ['euclidean', 'fro', 1, inf], got {ord}")
    summed = axes[0] if ord == 1 else axes[1]
    sums = reduce_sum(abs(x), [summed], keepdims=True)
    return reduce_max(sums, list(axes), keepdims=keep, name=name)
