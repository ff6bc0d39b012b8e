"""The way from an operation that holds functions to the differentiation of these, which is defined above the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .indexed_slices import Gradient
from .ir import Tensor

#: Takes ys, the gradients that arrive at them, and xs; gives the gradient of each x, or None.
Differentiate = Callable[[Sequence[Tensor], Sequence[Gradient], Sequence[Tensor]], list[Gradient | None]]

_DIFFERENTIATE: list[Differentiate] = []


def differentiator(function: Differentiate) -> Differentiate:
    """Decorator: the function is how gradients are taken inside of branches and loops."""
    _DIFFERENTIATE[:] = [function]
    return function


def differentiate(ys: Sequence[Tensor], grad_ys: Sequence[Gradient], xs: Sequence[Tensor]) -> list[Gradient | None]:
    """The gradients of `ys` by `xs`, all of one function, built in the default graph."""
    return _DIFFERENTIATE[0](ys, grad_ys, xs)
