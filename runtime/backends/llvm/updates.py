"""Updates of whole variables by optimizers as compiled functions, and their kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.opdef import Spec
from ....graph.ops.training import shares_memory
from ...kernels import Kernel
from ..formula_table import update_of
from ..formulas import Recorder
from .frame import Array
from .loops import Function
from .regions import POOL, called, function_of, native_of


def update_code(definition: Any, inputs: Sequence[Spec]) -> Function | None:
    """The function that an optimizer's update is, for a variable of known shape."""
    known = update_of(definition)
    if known is None or not shapes.is_full(definition.shape) or definition.dtype.np.name not in ("float32", "float64"):
        return None
    slots, grad, formula = known
    dims, kind = definition.shape, definition.dtype.np.name
    rates = [spec.dims for n, spec in enumerate(inputs) if n >= slots and n != grad]
    if inputs[grad].dims != dims or set(rates) != {()} or not prod(dims):
        return None
    recorder = Recorder()
    values = [recorder.step("input", (), kind, n) for n in range(len(inputs))]
    results = [value.number for value in formula(*values)]
    arrays = [Array(kind, dims if n < slots or n == grad else (), n < slots) for n in range(len(inputs))]
    return function_of(recorder.steps, arrays, arrays[:slots], results, dims, 0)


def update_kernel(definition: Any, inputs: Sequence[Spec]) -> Kernel | None:
    """The kernel of an optimizer's update, if it can be compiled."""
    function, known = update_code(definition, inputs), update_of(definition)
    if function is None or known is None:
        return None
    slots, grad, _ = known

    def bind(state: Any) -> Callable[..., Any]:
        return _update_function(definition, state, function, slots, grad)

    return Kernel(definition.compute, needs_state=True, bind=bind, moves=True)


def _update_function(definition: Any, state: Any, function: Function, slots: int, grad: int) -> Callable[..., Any]:
    """The function of an update's inputs. What is not as it should be is left to NumPy, which says so.

    The new value of a variable that has `spare` memory is written there, else over the present one.
    """
    inputs = [f"a{n}" for n in range(len(function.inputs))]
    values, targets = ([f"{letter}{n}" for n in range(slots)] for letter in "vt")
    lines = [f"def update({', '.join(inputs)}):"]
    for name, value, target in zip(inputs, values, targets, strict=False):
        lines += [f" {value} = {name}.value", f" {target} = {value} if {name}.spare is None else {name}.spare"]
    shared = " or ".join(f"({target} is not None and shares(a{grad}, {target}))" for target in targets)
    lines.append(f" if {shared}: a{grad} = copy(a{grad})")
    lines += called(function, ", ".join([*values, *inputs[slots:], *targets]), "t0")
    lines.append(f" if refused: return compute({', '.join(['state', *inputs])})")
    for name, value, target in zip(inputs, values, targets, strict=False):
        lines.append(f" if {target} is not {value}: {name}.move()")
    names: dict[str, Any] = {
        "native": native_of(function), "shares": shares_memory, "copy": np.array, "compute": definition.compute,
        "state": state, **POOL,
    }  # fmt: skip
    exec("\n".join(lines), names)
    found: Callable[..., Any] = names["update"]
    return found
