"""What a plan that came as data says of shapes, held against what its operations infer: machine code goes by it."""

from __future__ import annotations

from collections.abc import Sequence

from ....graph import shapes
from ....graph.opdef import OpDef, Spec
from ....graph.ops.conv import Conv2D, Conv2DBackpropFilter, Conv2DBackpropInput, Convolution
from ....graph.ops.linalg import BatchMatMulV2, MatMul
from ....graph.ops.pooling import MaxPoolGrad, Pooling
from ...stages.fused import Fused
from ...stages.parts import all_instructions
from ...stages.plan import Plan, Run

#: What is compiled besides regions. Updates and kernels of rows are not here: they go by nothing but the arrays they are given.
_COMPILED = (MatMul, BatchMatMulV2, Conv2D, Conv2DBackpropInput, Conv2DBackpropFilter, MaxPoolGrad)


def check_shapes(plan: Plan) -> None:
    """Raises ValueError where a result's type or shape is not what the operation makes of its inputs'.

    Code looks at the arrays that it is given, so nothing else can lead it beyond their memory.
    """
    for run in all_instructions(plan.instructions):
        if not isinstance(run, Run):
            continue
        if isinstance(run.definition, Fused):
            _check_region(run.definition, run.input_specs)
            _check_same(run.name, run.definition.infer(), run.output_specs)
        elif isinstance(run.definition, _COMPILED):
            _check(run.name, run.definition, run.input_specs, run.output_specs)


def _check_region(definition: Fused, inputs: Sequence[Spec]) -> None:
    specs = [*inputs]
    for part in definition.parts:
        _check(part.name, part.definition, [specs[number] for number in part.inputs], (part.spec,))
        specs.append(part.spec)


def _check(name: str, definition: OpDef, inputs: Sequence[Spec], outputs: Sequence[Spec]) -> None:
    if isinstance(definition, (Convolution, Pooling)):
        for numbers in (getattr(definition, each, ()) for each in ("ksize", "strides", "dilations")):
            if not all(type(number) is int and number > 0 for number in numbers):
                raise ValueError(f"'{name}' has windows of {numbers}")
    found = definition.infer(*inputs)
    _check_same(name, (found,) if isinstance(found, Spec) else found, outputs)


def _check_same(name: str, inferred: Sequence[Spec], said: Sequence[Spec]) -> None:
    same = len(inferred) == len(said) and all(map(_fits, said, inferred))
    if not same:
        told, made = (
            ", ".join(f"{each.dtype.name}{shapes.text(each.dims)}" for each in some) for some in (said, inferred)
        )
        raise ValueError(f"'{name}' gives {made}, and not {told}")


def _fits(said: Spec, inferred: Spec) -> bool:
    """Whether the type is the same, and the shape too, as far as inference knows it: a plan may know more."""
    if said.dtype is not inferred.dtype:
        return False
    if inferred.dims is None:
        return True
    return (
        said.dims is not None
        and len(said.dims) == len(inferred.dims)
        and all(known in (None, dim) for dim, known in zip(said.dims, inferred.dims, strict=True))
    )
