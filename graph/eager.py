"""Eager execution: operations compute at once, on the same definitions and kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import context, ir
from .dtypes import as_dtype
from .opdef import Known, OpDef, Spec
from .state import OpState, State, VariableSlot

_state = State()
_names = itertools.count()


class EagerTensor(ir.Tensor):
    """A tensor that has its value."""

    __slots__ = ("_value",)

    def __init__(self, value: Any, spec: Spec) -> None:
        self._value = value
        self.value_index = 0
        self.dtype = spec.dtype
        self.dims = spec.dims
        self.known = spec.known
        self._consumers = None

    def numpy(self) -> Any:
        """The value: an array, or a NumPy scalar; a copy, so that changing it changes no tensor."""
        return self._value.copy() if isinstance(self._value, np.ndarray) and self._value.ndim else self._value[()]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._value, dtype=dtype)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __int__(self) -> int:
        return int(self._value)

    def __float__(self) -> float:
        return float(self._value)

    def __index__(self) -> int:
        return int(np.asarray(self._value).__index__())

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self._value)))

    def __repr__(self) -> str:
        return f"<wf.Tensor: shape={self.shape} dtype={self.dtype.name} numpy={self._value!r}>"

    __str__ = __repr__

    @property
    def op(self) -> Any:  # type: ignore[override]
        if not context.executing_eagerly():
            raise RuntimeError(
                "Attempting to capture an EagerTensor without building a function: it is no part of the graph that is being "
                f"built, but feeding or a constant of its value are: {self!r}"
            )
        raise AttributeError("Tensor.op is undefined when eager execution is enabled.")

    @property
    def name(self) -> str:
        raise AttributeError("Tensor.name is undefined when eager execution is enabled.")


def enable_eager_execution() -> None:
    """From here on operations compute at once, in the whole process, but for those inside of `with graph.as_default()`.

    Source: `tf.enable_eager_execution`. Raises ValueError once a graph was built.
    """
    if context.has_default_graph():
        raise ValueError("enable_eager_execution must be called at program startup.")
    context.set_eager(True)


def executing_eagerly() -> bool:
    """Whether operations compute at once. Source: `tf.executing_eagerly`."""
    return context.executing_eagerly()


@np.errstate(all="ignore")
def compute(definition: OpDef, inputs: Sequence[EagerTensor]) -> tuple[EagerTensor, ...]:
    """Run one operation now. Raises TypeError for a tensor of a graph."""
    for tensor in inputs:
        if not isinstance(tensor, EagerTensor):
            raise TypeError(
                f"{tensor!r} is out of scope and cannot be used here: it belongs to a graph, which a session runs."
            )
    inferred = definition.infer(*inputs)
    specs = (inferred,) if isinstance(inferred, Spec) else inferred
    arrays = [tensor._value for tensor in inputs]
    if definition.stateful:
        arrays.insert(0, OpState(_state, f"eager_{next(_names)}"))
    result = definition.compute(*arrays)
    values = (result,) if len(specs) == 1 else (result or ())
    return tuple(EagerTensor(_own(value), _seen(value, spec)) for value, spec in zip(values, specs, strict=True))


def _own(value: Any) -> Any:
    """A value no later assignment changes: a read of a variable is its own memory."""
    return value if isinstance(value, VariableSlot) else np.array(value)


def _seen(value: Any, spec: Spec) -> Spec:
    if isinstance(value, VariableSlot):
        return spec
    array = np.asarray(value)
    return Spec(as_dtype(array.dtype) if spec.dtype.name != "string" else spec.dtype, array.shape, known_value(array))


def known_value(array: np.ndarray[Any, Any]) -> Known:
    """What shape inference may know of a constant: a small integer scalar or vector, as Python ints."""
    if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
        return None
    return int(array) if array.ndim == 0 else tuple(array.tolist())
