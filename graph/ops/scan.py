"""Running sums and products along an axis, and the linear recurrence that is the gradient of the products."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..record import record
from ..shapes import normal_axis
from .arithmetic import Mul, chain, conj, numeric
from .constant import static_int
from .convert import convert_to_tensor


@record
class Scan(Op):
    """Base of operations along an axis that keep shape and type."""

    axis: int = 0

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is not None:
            normal_axis(self.axis, len(x.dims))
        return Spec(numeric(self.type, x.dtype), x.dims)


@op
class Cumsum(Scan):
    """Each element and all before it added up; `exclusive` leaves out itself, `reverse` goes from the end."""

    exclusive: bool = False
    reverse: bool = False

    def compute(self, x: Any) -> Any:
        return _accumulate(np.add, x, 0, self)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Cumsum(self.axis, self.exclusive, not self.reverse)(dy)]


@op
class Cumprod(Scan):
    """Each element and all before it multiplied; `exclusive` leaves out itself, `reverse` goes from the end."""

    exclusive: bool = False
    reverse: bool = False

    def compute(self, x: Any) -> Any:
        return _accumulate(np.multiply, x, 1, self)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        # Without a division, so right where x is 0: (product before) * (sum over all after of dy * product between).
        x, back = conj(operation.inputs[0]), not self.reverse
        before = Cumprod(self.axis, True, self.reverse)(operation.inputs[0])
        if self.exclusive:
            after = Shift(self.axis, back)(Recurrence(self.axis, back)(x, dy))
        else:
            after = Recurrence(self.axis, back)(Shift(self.axis, back)(x), dy)
        return [chain(after, before)]


@op
class Shift(Scan):
    """The elements moved on by one along an axis (`reverse`: back), with a 0 at the free end."""

    reverse: bool = False

    def compute(self, x: Any) -> Any:
        return _shifted(np.asarray(x), self.axis, self.reverse, 0)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Shift(self.axis, not self.reverse)(dy)]


@op
class Recurrence(Op):
    """s[i] = a[i] * s[i - 1] + b[i] along an axis (`reverse`: from the end, with s[i + 1])."""

    axis: int
    reverse: bool = False

    def infer(self, a: TensorLike, b: TensorLike) -> Spec:
        if a.dtype is not b.dtype:
            raise TypeError(f"expected two tensors of one type, got {a.dtype.name} and {b.dtype.name}")
        return Spec(numeric(self.type, b.dtype), shapes.merge(a.dims, b.dims))

    def compute(self, a: Any, b: Any) -> Any:
        # By doubling: after the round of step k, (a, b) at i is the composition of the last 2k steps.
        step, total = 1, np.array(b)
        factor, running = _forward(np.array(a), self.axis, self.reverse), _forward(total, self.axis, self.reverse)
        while step < len(running):
            running[step:] += factor[step:] * running[:-step]
            factor[step:] = factor[step:] * factor[:-step]
            step *= 2
        return total

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        a, back = conj(operation.inputs[0]), not self.reverse
        db = Recurrence(self.axis, back)(Shift(self.axis, back)(a), dy)
        return [Mul()(db, conj(Shift(self.axis, self.reverse)(operation.outputs[0]))), db]


def _forward(x: np.ndarray[Any, Any], axis: int, reverse: bool) -> np.ndarray[Any, Any]:
    """A view with the axis first, in the direction of the scan."""
    front = np.moveaxis(x, axis, 0)
    return front[::-1] if reverse else front


def _shifted(x: np.ndarray[Any, Any], axis: int, reverse: bool, fill: int) -> np.ndarray[Any, Any]:
    """The elements moved on by one."""
    moved = np.full(x.shape, fill, x.dtype)
    _forward(moved, axis, reverse)[1:] = _forward(x, axis, reverse)[:-1]
    return moved


def _accumulate(ufunc: np.ufunc, x: Any, unit: int, scan: Cumsum | Cumprod) -> Any:
    x = np.asarray(x)
    source = _shifted(x, scan.axis, scan.reverse, unit) if scan.exclusive else x
    result = np.empty(x.shape, x.dtype)
    axis = normal_axis(scan.axis, x.ndim)
    flip = tuple(slice(None, None, -1) if scan.reverse and i == axis else slice(None) for i in range(x.ndim))
    ufunc.accumulate(source[flip], axis, x.dtype, result[flip])
    return result


def cumsum(x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Tensor:
    """Running sums along `axis` (static); `exclusive` starts at 0. Source: `tf.cumsum`. Raises ValueError for the axis."""
    return Cumsum(static_int("axis", axis), exclusive, reverse)(convert_to_tensor(x), name=name)


def cumprod(x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Tensor:
    """Running products along `axis` (static); `exclusive` starts at 1. Source: `tf.cumprod`. Raises as `cumsum`."""
    return Cumprod(static_int("axis", axis), exclusive, reverse)(convert_to_tensor(x), name=name)
