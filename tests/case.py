"""The form of a row in the table of operation cases; the rows stand in cases_*.py, the tests they drive in test_cases.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """One use of one kind of operation.

    `build` makes the output (a Tensor or a list of them) from one tensor an input; `inputs` are the arrays to feed (keep
    them tiny: central differences visit every element; away from kinks). `expected` is a NumPy function of the arrays
    for the value, where NumPy can say it in another way than the kernel does.
    """

    op: str  #: the operation type that `build` must add
    build: Callable[..., Any]
    inputs: tuple[Any, ...] = ()
    label: str = ""
    expected: Callable[..., Any] | None = None
    grad: tuple[int, ...] | None = None  #: which inputs to differentiate by (None: all of type float64)
    order: int = 2  #: up to which order gradients are checked numerically; 0: it has none
    needs_shapes: bool = False  #: building needs static input shapes, so it is not tried with unknown ones
    exact_shape: bool = True  #: the static output shape is fully known when the input shapes are

    def __str__(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op

    def arrays(self) -> tuple[np.ndarray[Any, Any], ...]:
        return tuple(np.asarray(value) for value in self.inputs)


def floats(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray[Any, Any]:
    """Float64 values in [low, high), the same at every call."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


def ints(*shape: int, seed: int = 0, low: int = 0, high: int = 5) -> np.ndarray[Any, Any]:
    """Int32 values in [low, high), the same at every call."""
    return np.random.default_rng([seed, *shape]).integers(low, high, shape).astype(np.int32)
