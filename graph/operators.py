"""Python's operators on tensors and variables, bound to op functions that are defined above this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_BINARY: dict[str, Callable[..., Any]] = {}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def operator(*names: str) -> Callable[[_Function], _Function]:
    """Decorator: the function implements these operators (`add`, `neg`, `getitem`, …) of everything tensor-like."""

    def bind(function: _Function) -> _Function:
        for name in names:
            _BINARY[name] = function
        return function

    return bind


class Operators:
    """The operators of Tensor and Variable. `==` is identity and a truth value an error, as in TensorFlow 1."""

    __slots__ = ()
    __array_priority__ = 100  # NumPy leaves `array + tensor` to the tensor

    def __add__(self, other: Any) -> Any:
        return _BINARY["add"](self, other)

    def __radd__(self, other: Any) -> Any:
        return _BINARY["add"](other, self)

    def __sub__(self, other: Any) -> Any:
        return _BINARY["sub"](self, other)

    def __rsub__(self, other: Any) -> Any:
        return _BINARY["sub"](other, self)

    def __mul__(self, other: Any) -> Any:
        return _BINARY["mul"](self, other)

    def __rmul__(self, other: Any) -> Any:
        return _BINARY["mul"](other, self)

    def __truediv__(self, other: Any) -> Any:
        return _BINARY["truediv"](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _BINARY["truediv"](other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _BINARY["floordiv"](self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _BINARY["floordiv"](other, self)

    def __mod__(self, other: Any) -> Any:
        return _BINARY["mod"](self, other)

    def __rmod__(self, other: Any) -> Any:
        return _BINARY["mod"](other, self)

    def __pow__(self, other: Any) -> Any:
        return _BINARY["pow"](self, other)

    def __rpow__(self, other: Any) -> Any:
        return _BINARY["pow"](other, self)

    def __matmul__(self, other: Any) -> Any:
        return _BINARY["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _BINARY["matmul"](other, self)

    def __lt__(self, other: Any) -> Any:
        return _BINARY["less"](self, other)

    def __le__(self, other: Any) -> Any:
        return _BINARY["less_equal"](self, other)

    def __gt__(self, other: Any) -> Any:
        return _BINARY["greater"](self, other)

    def __ge__(self, other: Any) -> Any:
        return _BINARY["greater_equal"](self, other)

    def __and__(self, other: Any) -> Any:
        return _BINARY["and"](self, other)

    def __rand__(self, other: Any) -> Any:
        return _BINARY["and"](other, self)

    def __or__(self, other: Any) -> Any:
        return _BINARY["or"](self, other)

    def __ror__(self, other: Any) -> Any:
        return _BINARY["or"](other, self)

    def __xor__(self, other: Any) -> Any:
        return _BINARY["xor"](self, other)

    def __rxor__(self, other: Any) -> Any:
        return _BINARY["xor"](other, self)

    def __invert__(self) -> Any:
        return _BINARY["invert"](self)

    def __neg__(self) -> Any:
        return _BINARY["neg"](self)

    def __abs__(self) -> Any:
        return _BINARY["abs"](self)

    def __getitem__(self, key: Any) -> Any:
        return _BINARY["getitem"](self, key)

    def __iter__(self) -> Any:
        raise TypeError(
            "Tensor objects are only iterable when eager execution is enabled. Use wf.unstack or wf.map_fn."
        )

    def __len__(self) -> int:
        raise TypeError(
            "len is not well defined for symbolic Tensors: use `x.shape[0]`, or wf.shape(x)[0] for its value."
        )

    def __bool__(self) -> bool:
        raise TypeError(
            "Using a weft Tensor as a Python bool is not allowed. Use `if t is not None:` to test whether it is defined, "
            "and graph operations such as wf.cond or wf.where to decide by its value."
        )
