"""Dropout: elements set to 0 at random, the rest scaled so that sums stay as they are on average."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import Tensor, graph_of
from .arithmetic import Masked, RealDiv, Sub, number
from .compare import Less
from .constant import constant_value
from .convert import convert_to_tensor, int_vector
from .random import random_uniform
from .sizes import shape


def dropout(x: Any, keep_prob: Any = None, noise_shape: Any = None, seed: int | None = None, name: str | None = None,
            rate: Any = None) -> Tensor:  # fmt: skip
    """`x` / keep_prob with probability `keep_prob`, else 0, for each element alone, or where `noise_shape` has a 1 for all
    elements of that dimension together. Instead of `keep_prob` (a number or a scalar tensor), `rate` is 1 - keep_prob.

    Source: `tf.nn.dropout`. Raises ValueError for what are no floats, a probability outside of (0, 1], and for both or
    none of the two.
    """
    tensor = convert_to_tensor(x)
    if not tensor.dtype.is_floating:
        raise ValueError(f"x has to be a floating point tensor since it's going to be scaled, got {tensor.dtype.name}")
    if (keep_prob is None) == (rate is None):
        raise ValueError("dropout needs one of keep_prob and rate")
    with graph_of((tensor, keep_prob, rate)).name_scope(name or "dropout") as scope:
        keep = _keep(tensor, keep_prob, rate)
        if _static(keep) == 1:
            return tensor
        chosen = Less()(random_uniform(_noise_shape(tensor, noise_shape), dtype=tensor.dtype, seed=seed), keep)
        return Masked()(chosen, RealDiv()(tensor, keep), name=scope)


def _keep(x: Tensor, keep_prob: Any, rate: Any) -> Tensor:
    """The probability to keep, a scalar in the type of `x`. Raises ValueError outside of (0, 1]."""
    what, given = ("keep_prob", keep_prob) if rate is None else ("rate", rate)
    tensor = convert_to_tensor(given, x.dtype, what)
    if tensor.dims not in (None, ()):
        raise ValueError(f"{what} must be a scalar, got shape {tensor.shape}")
    value = _static(tensor)
    low_open = rate is None
    if value is not None and not (0 < value <= 1 if low_open else 0 <= value < 1):
        raise ValueError(
            f"{what} must be a scalar tensor or a float in the range {'(0, 1]' if low_open else '[0, 1)'}, got {value:g}"
        )
    return tensor if rate is None else number(1 - value, x) if value is not None else Sub()(number(1, x), tensor)


def _static(tensor: Tensor) -> float | None:
    value = constant_value(tensor)
    return None if value is None else float(np.asarray(value))


def _noise_shape(x: Tensor, noise_shape: Any) -> Tensor:
    """The shape of the choices: that of `x`, or the given one with its unknown dimensions filled in from `x`."""
    if noise_shape is None:
        return shape(x)
    if isinstance(noise_shape, (list, tuple)) and x.dims is not None and len(x.dims) == len(noise_shape):
        noise_shape = [known if given is None else given for given, known in zip(noise_shape, x.dims, strict=True)]
    return int_vector(noise_shape)
