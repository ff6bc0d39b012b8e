"""Regions of elementwise operations as compiled functions: which can be, how their work is cut into blocks, and their kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ....graph.opdef import Spec
from ...kernels import Kernel
from ...memory.workspace import Workspace
from ...stages.fused import Fused
from ..formula_table import recorded
from ..formulas import KINDS, Recorder, Step
from ..layouts import layouts, place
from . import pool
from .compiling import compiler
from .frame import Array
from .loops import MOST_SCRATCH, Form, Function, has_loop

#: What an element costs, in nanoseconds: a step, a call of NumPy's function, and to be read or written.
_STEP, _CALL, _ACCESS = 0.05, 0.4, 0.1
#: A block for a thread takes so many nanoseconds at least; and what takes so many lets others run meanwhile.
_BLOCK, _OTHERS = 8_000.0, 40_000.0
#: And what takes as long is worth waking threads for that sleep.
_LONG = 150_000.0
_MOST_BLOCKS = 16
#: Blocks begin at multiples of so many elements, so that no two threads write to one line of the cache.
_LINE = 64
#: What calls of functions with blocks need by name.
POOL = {"borrow": pool.borrow, "give_back": pool.give_back}


def can_call(steps: Sequence[Step]) -> bool:
    """Whether NumPy has the loops that these steps call."""
    return all(has_loop(step.extra, step.kind) for step in steps if step.name == "call")


def _array(spec: Spec, written: bool = False) -> Array:
    return Array(spec.dtype.np.name, tuple([dim or 0 for dim in spec.dims or ()]), written)


def _given(definition: Fused, inputs: Sequence[Spec]) -> list[Array]:
    """The inputs of a region."""
    arrays = [_array(spec) for spec in inputs]
    return [array.cut() if number in definition.cut else array for number, array in enumerate(arrays)]


def region_code(definition: Fused, inputs: Sequence[Spec]) -> Function | None:
    """The function that a region is, if all of it can be compiled."""
    if definition.rows or any(spec.dtype.np.name not in KINDS for spec in inputs):
        return None
    if len({part.spec.dims for part in definition.parts}) > 1:  # nothing makes such; data that came may say so
        return None
    recorder = Recorder()
    values = [recorder.step("input", (), spec.dtype.np.name, n) for n, spec in enumerate(inputs)]
    specs = [*inputs, *(part.spec for part in definition.parts)]
    for part in definition.parts:
        taken = [specs[number] for number in part.inputs]
        value = recorded(recorder, part.definition, taken, part.spec, [values[number] for number in part.inputs])
        if value is None:
            return None
        values.append(value)
    dims = tuple([dim or 0 for dim in definition.parts[0].spec.dims or ()])
    splits = layouts(dims, [spec.dims for spec in inputs])
    if definition.cut:
        splits &= {len(dims) - 1}
    if not splits or not prod(dims) or not can_call(recorder.steps):
        return None
    results = [values[len(inputs) + result].number for result in definition.results]
    outputs = [_array(definition.parts[result].spec, True) for result in definition.results]
    function = function_of(recorder.steps, _given(definition, inputs), outputs, results, dims, min(splits))
    return function if function.scratch_bytes() <= MOST_SCRATCH else None


def region_kernel(definition: Fused, inputs: Sequence[Spec]) -> Kernel | None:
    """The kernel of a region, if all of it can be compiled."""
    code = region_code(definition, inputs)
    if code is None:
        return None
    function, single = code, len(code.results) == 1

    def compute(*arrays: Any) -> Any:
        found = definition.compute(*arrays)
        return (found,) if single else found

    def in_frame(workspace: Workspace) -> Callable[..., Any]:
        return _region_function(function, compute)

    def alone(*arrays: Any, out: Any = None) -> Any:
        return _region_function(function, compute)(*arrays, out=out)

    return Kernel(alone, takes_out=True, may_replace=_replaceable(function), in_frame=in_frame)


def function_of(
    steps: Sequence[Step], inputs: Sequence[Array], outputs: Sequence[Array], results: Sequence[int],
    dims: tuple[int, ...], split: int,
) -> Function:  # fmt: skip
    """A function over values of these dimensions, the first `split` of which number the rows."""
    count, rows = prod(dims), prod(dims[:split]) if split else 1
    calls = sum(step.name == "call" for step in steps)
    places = ["cut" if array.is_cut else place(dims, array.dims, split) for array in inputs]
    touched = len(outputs) + sum(each in ("full", "cut") for each in places)
    cost = count * (_STEP * (len(steps) - calls) + _CALL * calls + _ACCESS * touched)
    blocks = int(min(_MOST_BLOCKS, cost // _BLOCK)) if cost >= 2 * _BLOCK else 1
    whole = count if rows == 1 else rows
    block = -(-whole // blocks)
    if blocks > 1 and rows == 1:
        block = -(-block // _LINE) * _LINE
    return Function(
        steps, inputs, places, outputs, results, Form(rows, count // rows, block, cost >= _OTHERS, cost >= _LONG)
    )


def _replaceable(function: Function) -> tuple[tuple[int, ...], ...]:
    """For each result the inputs of its form that were read for the last time when it is written."""
    found = []
    for output, number in zip(function.outputs, function.results, strict=True):
        stage = function.stages.stage[number]
        limit = stage - stage % 2
        found.append(
            tuple(
                n
                for n, array in enumerate(function.inputs)
                if array == output._replace(written=False) and function.stages.last_read(n) <= limit
            )
        )
    return tuple(found)


def _region_function(function: Function, compute: Callable[..., Sequence[Any]]) -> Callable[..., Any]:
    """The function of a region's inputs and `out`. `compute`: what NumPy makes of them."""
    inputs = [f"a{n}" for n in range(len(function.inputs))]
    outputs = [f"o{n}" for n in range(len(function.outputs))]
    single = len(outputs) == 1
    lines = [f"def region({', '.join([*inputs, 'out=None'])}):"]
    lines.append(" o0 = out" if single else f" {', '.join(outputs)} = out or (None,) * {len(outputs)}")
    lines += [f" if {name} is None: {name} = empty(d{n}, t{n})" for n, name in enumerate(outputs)]
    arguments = ", ".join([*inputs, *outputs])
    lines += called(function, arguments, "o0")
    lines.append(f" if refused: again([{', '.join(inputs)}], [{', '.join(outputs)}])")
    lines.append(f" return {', '.join(outputs)}")
    native = native_of(function)

    def again(given: Sequence[Any], out: Sequence[Any]) -> None:
        """The arrays were not as they should be: strided, or NumPy's scalars."""
        for target, value in zip(out, compute(*[np.asarray(each, order="C") for each in given]), strict=True):
            np.copyto(target, value)

    names: dict[str, Any] = {"native": native, "empty": np.empty, "again": again, **POOL}
    for n, output in enumerate(function.outputs):
        names |= {f"d{n}": output.dims, f"t{n}": np.dtype(output.kind)}
    exec("\n".join(lines), names)
    found: Callable[..., Any] = names["region"]
    return found


def called(function: Function, arguments: str, first: str) -> list[str]:
    """The lines that call a compiled function; then `refused` tells whether it did nothing."""
    if function.form.blocks == 1:
        return [f" refused = native({arguments}, 0) is not {first}"]
    return [
        " helpers = borrow()",
        f" try: refused = native({arguments}, helpers) is not {first}",
        " finally:",
        "  if helpers: give_back()",
    ]


def native_of(function: Function) -> Any:
    """The compiled function."""
    return compiler().function(function.written(), function.is_single(), pool.pool_library())
