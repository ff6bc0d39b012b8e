"""The backend "llvm": regions of elementwise operations, updates and matrix products as machine code, all else as the CPU's.

It gives the bits that the CPU backend gives. The folder, in the order in which to read it: `text` (LLVM's language), `frame` (a
builtin function of Python, and the work of a block), `compiling`, `pool` (the threads). Then what is compiled. Elementwise:
`stages` and `loops` are the text, `regions` and `updates` the kernels. Products: `micro` and `packing` are what all call,
`products` is the text, `trials` and `product_kernels` say where it has BLAS's bits. Convolutions: `convolutions` and `tails`,
`filter_gradient` and `filter_text` are texts, `convolution_kernels`, `filter_kernels`, `region_tails` and `convolution_regions`
the kernels; `pooling` is both. Rows of tables: `rows`, `distinct`, `row_sums` and `row_updates` are texts, `row_kernels` the
kernels. `checks` looks at plans that came from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....graph.opdef import OpDef, Spec
from ....graph.ops.branching import If
from ....graph.ops.looping import While
from ....graph.ops.product_sums import ProductSumAdd
from ...kernels import Kernel
from ...stages.fused import Fused
from ...stages.parts import IfPart, OncePart, WhilePart
from ...stages.plan import Plan, Run
from ..convolutions import is_convolution
from ..cpu import CPU
from ..formula_table import recorded
from ..formulas import KINDS, Recorder
from ..functional import branching, looping
from ..layouts import layouts
from ..product_sums import adding
from ..spanning import branch_part, loop_part, once_part
from . import convolution_kernels, convolution_regions, filter_kernels, pooling, product_kernels, row_kernels
from .checks import check_shapes
from .compiling import compiler
from .loops import Function
from .regions import can_call, region_code, region_kernel
from .updates import update_code, update_kernel


class LlvmBackend:
    """Kernels for `/device:CPU:*`."""

    device_type = "CPU"

    def kernel(self, definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
        kernel = (
            product_kernels.product_kernel(definition, inputs, outputs)
            or convolution_kernels.conv_kernel(definition, inputs, outputs)
            or filter_kernels.filter_kernel(definition, inputs, outputs)
            or pooling.pooling_kernel(definition, inputs)
            or row_kernels.sparse_kernel(definition, inputs, outputs)
        )
        if isinstance(definition, Fused):
            if is_convolution(definition):
                return convolution_regions.region_kernel(definition, inputs)
            kernel = region_kernel(definition, inputs)
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
            kernel = update_kernel(definition, inputs) or kernel
        return kernel or CPU.kernel(definition, inputs, outputs)

    def layouts(self, definition: OpDef, inputs: tuple[Spec, ...], output: Spec) -> frozenset[int]:
        """How an operation can be compiled, if at all: see `layouts.layouts`."""
        dims = tuple([dim or 0 for dim in output.dims or ()])
        if any(spec.dtype.np.name not in KINDS for spec in (*inputs, output)):
            return frozenset()
        recorder = Recorder()
        values = [recorder.step("input", (), spec.dtype.np.name, n) for n, spec in enumerate(inputs)]
        value = recorded(recorder, definition, inputs, output, values)
        if value is None or not can_call(recorder.steps):
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
        pools, rows = pooling.note(runs), row_kernels.note(runs)
        made = {*regions, *updates, *pools, *[text for each in rows for text in each]}
        parts = {
            "region": len(regions), "update": len(updates), "pooling gradient": len(pools), "row kernel": len(rows),
        }  # fmt: skip
        if place:
            return _noted_elsewhere(runs, parts, len(made), place)
        products, more = product_kernels.note(runs)
        convolutions, untried = convolution_kernels.note(runs)
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
    tried = {"product": product_kernels.candidates(runs), "convolution": convolution_kernels.candidates(runs)}
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
