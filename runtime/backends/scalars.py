"""The kernel of a region of single numbers: one function with a line an operation, on NumPy's scalars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels import Kernel
from ..stages.fused import Fused
from .lines import naming_parts

_FILE = "<weft numbers>"


def of_numbers(definition: Fused, inputs: int, kernels: Sequence[Kernel]) -> Kernel:
    """The kernel of a region all of whose values are single numbers, and whose kernels say how scalars are computed."""
    region, lines = _function(definition, inputs, kernels)
    names = {line: definition.parts[at].name for line, at in lines.items()}
    return Kernel(naming_parts(region, _FILE, names), takes_out=True)


def _function(definition: Fused, inputs: int, kernels: Sequence[Kernel]) -> tuple[Callable[..., Any], dict[int, int]]:
    """The function of `out` and the inputs, and which of its lines is which operation's."""
    names: dict[str, Any] = {"array": np.asarray}
    lines = [f"def region({', '.join(['out', *(f'a{number}' for number in range(inputs))])}):"]
    lines += [f" v{number} = a{number}[()]" for number in range(inputs)]
    places = {}
    for at, (part, kernel) in enumerate(zip(definition.parts, kernels, strict=True)):
        assert kernel.scalar is not None, "fusing asks for it first"
        form, names[f"k{at}"] = kernel.scalar
        values = [f"v{number}" for number in part.inputs]
        lines.append(f" v{inputs + at} = {form.format(*values, k=f'k{at}')}")
        places[len(lines)] = at
    results = [f"v{inputs + result}" for result in definition.results]
    if len(results) == 1:
        lines += [f" if out is None: return array({results[0]})", f" out[()] = {results[0]}", " return out"]
    else:
        outs = [f"o{index}" for index in range(len(results))]
        lines.append(f" {', '.join(outs)} = out or (None,) * {len(outs)}")
        for out, result in zip(outs, results, strict=True):
            lines += [f" if {out} is None: {out} = array({result})", f" else: {out}[()] = {result}"]
        lines.append(f" return {', '.join(outs)}")
    exec(compile("\n".join(lines), _FILE, "exec"), names)
    return names["region"], places
