"""Which regions of a convolution and what follows it can be compiled as one: their tails, from the operations."""

from __future__ import annotations

from ....graph import shapes
from ....graph.opdef import Spec
from ....graph.ops.activations import BiasAdd
from ....graph.ops.arithmetic import AddV2
from ....graph.ops.pooling import MaxPool
from ....graph.ops.windows import Axis
from ...stages.fused import Fused, Part
from ..formula_table import recorded
from ..formulas import KINDS, Recorder
from .tails import Formula, Tail


def tail_of(definition: Fused, inputs: tuple[Spec, ...]) -> Tail | None:
    """What follows the convolution of a region; None where that is no formula."""
    parts = list(definition.parts[1:])
    whole = definition.parts[0].spec
    if not shapes.is_full(whole.dims):
        return None
    bias = bool(parts) and isinstance(parts[0].definition, (AddV2, BiasAdd)) and len({*parts[0].inputs}) == 2
    if bias:
        (number,) = [number for number in parts.pop(0).inputs if number < len(inputs)]
        if inputs[number].dims != (whole.dims or ())[3:]:
            return None
    pools = [at for at, part in enumerate(parts) if isinstance(part.definition, MaxPool)]
    at = pools[0] if pools else len(parts)
    before, after = _formula(parts[:at], whole), _formula(parts[at + 1 :], whole)
    if before is None or after is None:  # maxima are those of the processors that tiles are known for
        return None
    axes: tuple[Axis, Axis] | None = None
    if pools:
        pool = parts[at].definition
        assert isinstance(pool, MaxPool)
        axes = pool.axes(tuple([dim or 0 for dim in whole.dims or ()]))
    return Tail(bias, before, axes, after)


def _formula(parts: list[Part], spec: Spec) -> Formula | None:
    """Operations of one input one after the other."""
    kind = spec.dtype.np.name
    if kind not in KINDS:
        return None
    recorder = Recorder()
    value = recorder.step("input", (), kind)
    for part in parts:
        found = recorded(recorder, part.definition, (part.spec,), part.spec, [value])
        if found is None:
            return None
        value = found
    if any(step.name == "call" for step in recorder.steps):
        return None
    return Formula(tuple(recorder.steps), value.number)
