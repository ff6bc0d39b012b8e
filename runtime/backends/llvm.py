"""The backend "llvm": regions of elementwise operations, updates and matrix products as machine code, all else as the CPU's.

It gives the bits that the CPU backend gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ...graph import shapes
from ...graph.opdef import OpDef, Spec
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.product_sums import ProductSumAdd
from ...graph.ops.training import shares_memory
from ..kernels import Kernel
from ..memory.workspace import Workspace
from ..stages.fused import Fused
from ..stages.parts import IfPart, OncePart, WhilePart
from ..stages.plan import Plan, Run
from . import (
    llvm_conv,
    llvm_conv_filters,
    llvm_conv_regions,
    llvm_matmul,
    llvm_pool,
    llvm_pooling,
    llvm_sparse,
)
from .convolutions import is_convolution
from .cpu import CPU
from .formula_table import recorded, update_of
from .formulas import KINDS, Recorder, Step
from .functional import branching, looping
from .layouts import layouts, place
from .llvm_checks import check_shapes
from .llvm_code import compiler
from .llvm_frame import Array
from .llvm_loops import MOST_SCRATCH, Form, Function, has_loop
from .product_sums import adding
from .spanning import branch_part, loop_part, once_part

#: What an element costs, in nanoseconds: a step, a call of NumPy's function, and to be read or written.
_STEP, _CALL, _ACCESS = 0.05, 0.4, 0.1
#: A block for a thread takes so many nanoseconds at least, and a function with several lets others run meanwhile.
_BLOCK = 20_000.0
#: And what takes as long is worth waking threads for that sleep.
_LONG = 150_000.0
_MOST_BLOCKS = 16
#: Blocks begin at multiples of so many elements, so that no two threads write to one line of the cache.
_LINE = 64
#: What calls of functions with blocks need by name.
_POOL = {"borrow": llvm_pool.borrow, "give_back": llvm_pool.give_back}


class LlvmBackend:
    """Kernels for `/device:CPU:*`."""

    device_type = "CPU"

    def kernel(self, definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
        kernel = (
            llvm_matmul.product_kernel(definition, inputs, outputs)
            or llvm_conv.conv_kernel(definition, inputs, outputs)
            or llvm_conv_filters.filter_kernel(definition, inputs, outputs)
            or llvm_pooling.pooling_kernel(definition, inputs)
            or llvm_sparse.sparse_kernel(definition, inputs, outputs)
        )
        if isinstance(definition, Fused):
            if is_convolution(definition):
                return llvm_conv_regions.region_kernel(definition, inputs)
            kernel = _region(definition, inputs)
        elif isinstance(definition, If):
            return branching(self, definition, inputs)
        elif isinstance(definition, While):
            return looping(self, definition, inputs)
        elif isinstance(definition, ProductSumAdd):
            return adding(self, definition, inputs)
        elif isinstance(definition, IfPart):
            return branch_part(self, definition)
        elif isinstance(definition, WhilePart):
            return loop_part(self, definition)
        elif isinstance(definition, OncePart):
            return once_part(self, definition)
        elif definition.access == "write":
            kernel = _update(definition, inputs) or kernel
        return kernel or CPU.kernel(definition, inputs, outputs)

    def layouts(self, definition: OpDef, inputs: tuple[Spec, ...], output: Spec) -> frozenset[int]:
        """How an operation can be compiled, if at all: see `layouts.layouts`."""
        dims = tuple([dim or 0 for dim in output.dims or ()])
        if any(spec.dtype.np.name not in KINDS for spec in (*inputs, output)):
            return frozenset()
        recorder = Recorder()
        values = [recorder.step("input", (), spec.dtype.np.name, n) for n, spec in enumerate(inputs)]
        value = recorded(recorder, definition, inputs, output, values)
        if value is None or not _callable(recorder.steps):
            return frozenset()
        return layouts(dims, [spec.dims for spec in inputs])

    def check(self, plan: Plan) -> None:
        check_shapes(plan)

    def note(self, plan: Plan, place: str = "") -> list[str]:
        runs = [run for run in plan.instructions if isinstance(run, Run)]
        regions, updates = (
            [code.written() for run in runs if isinstance(run.definition, Fused) is fused and (code := _code(run))]
            for fused in (True, False)
        )
        pools, rows = llvm_pooling.note(runs), llvm_sparse.note(runs)
        made = {*regions, *updates, *pools, *[text for each in rows for text in each]}
        parts = {
            "region": len(regions), "update": len(updates), "pooling gradient": len(pools), "row kernel": len(rows),
        }  # fmt: skip
        if place:
            return _noted_elsewhere(runs, parts, len(made), place)
        products, more = llvm_matmul.note(runs)
        convolutions, untried = llvm_conv.note(runs)
        if untried:
            more.append(f"    the first step tries whether {untried} convolutions can be compiled with the same bits")
        texts = {*made, *products, *convolutions}
        took = [seconds for text in texts if (seconds := compiler().took(text)) is not None]
        parts |= {"product": len(products), "convolution": len(convolutions)}
        lines = []
        if texts:
            lines.append(f"  compile: machine code of {_counted(parts)}, in {_counted({'function': len(texts)})}.")
        elif more:
            lines.append("  compile: no machine code yet.")
        if took:
            lines.append(f"    compiling {len(took)} of them took {1000 * sum(took):.0f} ms")
        left = len(texts) - len(took)
        return lines + ([f"    the first step compiles {left} of them"] if left else []) + more


def _noted_elsewhere(runs: Sequence[Run], parts: Mapping[str, int], functions: int, place: str) -> list[str]:
    """What another process compiles of these instructions: it alone knows what it has, and what it finds out by trying."""
    lines = []
    if functions:
        made = f"{_counted(parts)}, in {_counted({'function': functions})}"
        lines.append(f"  compile: machine code of {made}, on {place}, when the plan comes there.")
    tried = {"product": llvm_matmul.candidates(runs), "convolution": llvm_conv.candidates(runs)}
    if any(tried.values()):
        lines.append(f"  try, on {place}: whether {_counted(tried)} can be compiled with the same bits.")
    return lines


def _counted(parts: Mapping[str, int]) -> str:
    """So many of each, in words."""
    words = [f"{count} {what}{'s' * (count > 1)}" for what, count in parts.items() if count]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _code(run: Run) -> Function | None:
    """The function that an instruction is, if any."""
    if isinstance(run.definition, Fused):
        return region_code(run.definition, run.input_specs)
    return update_code(run.definition, run.input_specs) if run.definition.access == "write" else None


LLVM = LlvmBackend()


def _callable(steps: Sequence[Step]) -> bool:
    return all(has_loop(step.extra, step.kind) for step in steps if step.name == "call")


def _array(spec: Spec, written: bool = False) -> Array:
    return Array(spec.dtype.np.name, tuple([dim or 0 for dim in spec.dims or ()]), written)


def _given(definition: Fused, inputs: Sequence[Spec]) -> list[Array]:
    """The inputs of a region."""
    return [_array(spec)._replace(cut=number in definition.cut) for number, spec in enumerate(inputs)]


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
    if not splits or not prod(dims) or not _callable(recorder.steps):
        return None
    results = [values[len(inputs) + result].number for result in definition.results]
    outputs = [_array(definition.parts[result].spec, True) for result in definition.results]
    function = _function(recorder.steps, _given(definition, inputs), outputs, results, dims, min(splits))
    return function if function.scratch_bytes() <= MOST_SCRATCH else None


def _region(definition: Fused, inputs: Sequence[Spec]) -> Kernel | None:
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


def _function(
    steps: Sequence[Step], inputs: Sequence[Array], outputs: Sequence[Array], results: Sequence[int],
    dims: tuple[int, ...], split: int,
) -> Function:  # fmt: skip
    """A function over values of these dimensions, the first `split` of which number the rows."""
    count, rows = prod(dims), prod(dims[:split]) if split else 1
    calls = sum(step.name == "call" for step in steps)
    places = ["cut" if array.cut else place(dims, array.dims, split) for array in inputs]
    touched = len(outputs) + sum(each in ("full", "cut") for each in places)
    cost = count * (_STEP * (len(steps) - calls) + _CALL * calls + _ACCESS * touched)
    blocks = int(min(_MOST_BLOCKS, cost // _BLOCK)) if cost >= 2 * _BLOCK else 1
    whole = count if rows == 1 else rows
    block = -(-whole // blocks)
    if blocks > 1 and rows == 1:
        block = -(-block // _LINE) * _LINE
    return Function(
        steps, inputs, places, outputs, results, Form(rows, count // rows, block, cost >= 2 * _BLOCK, cost >= _LONG)
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
    lines += _called(function, arguments, "o0")
    lines.append(f" if refused: again([{', '.join(inputs)}], [{', '.join(outputs)}])")
    lines.append(f" return {', '.join(outputs)}")
    native = _native(function)

    def again(given: Sequence[Any], out: Sequence[Any]) -> None:
        """The arrays were not as they should be: strided, or NumPy's scalars."""
        for target, value in zip(out, compute(*[np.asarray(each, order="C") for each in given]), strict=True):
            np.copyto(target, value)

    names: dict[str, Any] = {"native": native, "empty": np.empty, "again": again, **_POOL}
    for n, output in enumerate(function.outputs):
        names |= {f"d{n}": output.dims, f"t{n}": np.dtype(output.kind)}
    exec("\n".join(lines), names)
    found: Callable[..., Any] = names["region"]
    return found


def _called(function: Function, arguments: str, first: str) -> list[str]:
    """The lines that call a compiled function; then `refused` tells whether it did nothing."""
    if function.form.blocks == 1:
        return [f" refused = native({arguments}, 0) is not {first}"]
    return [
        " helpers = borrow()",
        f" try: refused = native({arguments}, helpers) is not {first}",
        " finally:",
        "  if helpers: give_back()",
    ]


def _native(function: Function) -> Any:
    return compiler().function(function.written(), function.is_single(), llvm_pool.pool_library())


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
    return _function(recorder.steps, arrays, arrays[:slots], results, dims, 0)


def _update(definition: Any, inputs: Sequence[Spec]) -> Kernel | None:
    """The kernel of an optimizer's update, if it can be compiled."""
    function, known = update_code(definition, inputs), update_of(definition)
    if function is None or known is None:
        return None
    slots, grad, _ = known

    def bind(state: Any) -> Callable[..., Any]:
        return _update_function(definition, state, function, slots, grad)

    return Kernel(definition.compute, needs_state=True, bind=bind)


def _update_function(definition: Any, state: Any, function: Function, slots: int, grad: int) -> Callable[..., Any]:
    """The function of an update's inputs. What is not as it should be is left to NumPy, which says so."""
    inputs = [f"a{n}" for n in range(len(function.inputs))]
    targets = [f"t{n}" for n in range(slots)]
    lines = [f"def update({', '.join(inputs)}):"]
    lines += [f" {target} = {name}.value" for target, name in zip(targets, inputs, strict=False)]
    shared = " or ".join(f"(t{n} is not None and shares(a{grad}, t{n}))" for n in range(slots))
    lines.append(f" if {shared}: a{grad} = copy(a{grad})")
    lines += _called(function, ", ".join([*targets, *inputs[slots:], *targets]), "t0")
    lines.append(f" if refused: compute({', '.join(['state', *inputs])})")
    names: dict[str, Any] = {
        "native": _native(function), "shares": shares_memory, "copy": np.array, "compute": definition.compute,
        "state": state, **_POOL,
    }  # fmt: skip
    exec("\n".join(lines), names)
    found: Callable[..., Any] = names["update"]
    return found
