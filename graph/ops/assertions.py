"""Checks of values at the run, and at once where these are known: assert_equal, assert_positive, assert_rank and others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import context
from ..dtypes import as_dtype, int32
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor, get_default_graph
from .arithmetic import add, multiply, subtract
from .cast import cast
from .compare import equal, greater, greater_equal, less, less_equal, not_equal
from .constant import constant_value
from .convert import convert_to_tensor
from .identity import no_op
from .math import abs as absolute
from .reduction import reduce_all
from .report import Assert
from .sizes import rank as rank_of

# Where the condition is known not to hold, they raise InvalidArgumentError when the graph is built, otherwise the run does.
_STATIC: dict[Any, Any] = {
    equal: np.equal, not_equal: np.not_equal, less: np.less, less_equal: np.less_equal, greater: np.greater,
    greater_equal: np.greater_equal,
}  # fmt: skip


def assert_equal(x: Any, y: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x == y holds for all elements, broadcast. Source: `tf.assert_equal`."""
    return _compared(equal, "x == y", "assert_equal", x, y, (data, summarize, message, name))


def assert_none_equal(x: Any, y: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x != y holds for all elements, broadcast. Source: `tf.assert_none_equal`."""
    return _compared(not_equal, "x != y", "assert_none_equal", x, y, (data, summarize, message, name))


def assert_less(x: Any, y: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x < y holds for all elements, broadcast. Source: `tf.assert_less`."""
    return _compared(less, "x < y", "assert_less", x, y, (data, summarize, message, name))


def assert_less_equal(x: Any, y: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x <= y holds for all elements, broadcast. Source: `tf.assert_less_equal`."""
    return _compared(less_equal, "x <= y", "assert_less_equal", x, y, (data, summarize, message, name))


def assert_greater(x: Any, y: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x > y holds for all elements, broadcast. Source: `tf.assert_greater`."""
    return _compared(greater, "x > y", "assert_greater", x, y, (data, summarize, message, name))


def assert_greater_equal(x: Any, y: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x >= y holds for all elements, broadcast. Source: `tf.assert_greater_equal`."""
    return _compared(greater_equal, "x >= y", "assert_greater_equal", x, y, (data, summarize, message, name))


def assert_positive(x: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x > 0 holds for all elements. Source: `tf.assert_positive`."""
    return _compared(greater, "x > 0", "assert_positive", x, None, (data, summarize, message, name))


def assert_negative(x: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x < 0 holds for all elements. Source: `tf.assert_negative`."""
    return _compared(less, "x < 0", "assert_negative", x, None, (data, summarize, message, name))


def assert_non_negative(x: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x >= 0 holds for all elements. Source: `tf.assert_non_negative`."""
    return _compared(greater_equal, "x >= 0", "assert_non_negative", x, None, (data, summarize, message, name))


def assert_non_positive(x: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x <= 0 holds for all elements. Source: `tf.assert_non_positive`."""
    return _compared(less_equal, "x <= 0", "assert_non_positive", x, None, (data, summarize, message, name))


def assert_near(x: Any, y: Any, rtol: Any = None, atol: Any = None, data: Any = None, summarize: int | None = None,
    message: str | None = None, name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless abs(x - y) <= atol + rtol * abs(y) for all elements; both are by default ten times the
    spacing of the type's numbers at 1. Source: `tf.assert_near`.
    """
    one, other = convert_to_tensor(x), convert_to_tensor(y)
    spacing = 10 * float(np.finfo(one.dtype.np).eps) if one.dtype.np.kind == "f" else 0.0
    relative, least = (cast(spacing if limit is None else limit, one.dtype) for limit in (rtol, atol))

    def near(a: Tensor, b: Tensor) -> Tensor:
        return less_equal(absolute(subtract(a, b)), add(least, multiply(relative, absolute(b))))

    return _compared(
        near, "x and y not equal to tolerance", "assert_near", one, other, (data, summarize, message, name)
    )


def _compared(
    holds: Callable[[Any, Any], Tensor],
    what: str,
    default_name: str,
    x: Any,
    y: Any,
    options: tuple[Any, Any, Any, Any],
) -> Operation:
    data, summarize, message, name = options
    with get_default_graph().name_scope(name or default_name):
        one = convert_to_tensor(x)
        other = convert_to_tensor(0 if y is None else y, one.dtype)
        shown = [
            "" if message is None else message,
            f"Condition {what} did not hold element-wise:",
            f"x ({_name(one)}) = ",
            one,
        ]
        if y is not None:
            shown += [f"y ({_name(other)}) = ", other]
        shown = shown if data is None else data
        values = constant_value(one), constant_value(other)
        if holds in _STATIC and not any(value is None for value in values) and not _STATIC[holds](*values).all():
            texts = [part if isinstance(part, str) else str(constant_value(convert_to_tensor(part))) for part in shown]
            raise InvalidArgumentError(None, None, " ".join(texts).strip())
        return Assert(reduce_all(holds(one, other)), shown, summarize=summarize)


def _name(tensor: Tensor) -> str:
    return "eager" if context.executing_eagerly() else tensor.name


def assert_rank(x: Any, rank: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x has that many dimensions. Source: `tf.assert_rank`.

    Raises ValueError where another number is known, and for a `rank` that is no scalar; TypeError for one that is no int.
    """
    return _ranked(equal, "equal to", "assert_rank", x, rank, (data, summarize, message, name))


def assert_rank_at_least(x: Any, rank: Any, data: Any = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None) -> Operation:  # fmt: skip
    """An operation that fails unless x has at least that many dimensions. Source: `tf.assert_rank_at_least`. Raises as
    `assert_rank`.
    """
    return _ranked(greater_equal, "at least", "assert_rank_at_least", x, rank, (data, summarize, message, name))


def _ranked(
    holds: Callable[[Any, Any], Tensor],
    what: str,
    default_name: str,
    x: Any,
    rank: Any,
    options: tuple[Any, Any, Any, Any],
) -> Operation:
    data, summarize, message, name = options
    with get_default_graph().name_scope(name or default_name):
        tensor, wanted = convert_to_tensor(x), convert_to_tensor(rank)
        if not wanted.dtype.is_integer:
            raise TypeError(f"The rank must be an integer, got {wanted.dtype.name}")
        if wanted.dims not in (None, ()):
            raise ValueError("Rank must be a scalar.")
        known = constant_value(wanted)
        if known is not None and tensor.dims is not None:
            count = len(tensor.dims)
            if not (count == known if holds is equal else count >= known):
                raise ValueError(
                    f"{message or ''} Tensor {_name(tensor)} must have rank {what} {known}. Received rank {count}, "
                    f"shape {tensor.shape}"
                )
            return no_op()
        found = rank_of(tensor)
        shown = [message or "", f"Tensor {_name(tensor)} must have rank {what}", wanted, "Received rank", found]
        return Assert(holds(found, cast(wanted, int32)), shown if data is None else data, summarize=summarize)


def assert_type(tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None) -> Operation:
    """An operation that does nothing. Source: `tf.assert_type`. Raises TypeError for a tensor of another type."""
    found, wanted = convert_to_tensor(tensor), as_dtype(tf_type)
    if found.dtype is not wanted:
        raise TypeError(f"{message or ''} {_name(found)} must be of type {wanted.name}, got {found.dtype.name}")
    return no_op(name=name or "assert_type")


def assert_scalar(tensor: Any, name: str | None = None, message: str | None = None) -> Tensor:
    """The tensor. Source: `tf.assert_scalar`. Raises ValueError for one that has dimensions, or may have."""
    found = convert_to_tensor(tensor)
    if found.dims != ():
        raise ValueError(f"{message or ''} Expected scalar shape, saw shape: {found.shape}")
    return found
