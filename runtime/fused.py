"""Fused: several elementwise operations as one definition, which a backend runs block by block."""

from __future__ import annotations

from math import gcd, prod
from typing import Any, NamedTuple

from ..graph.opdef import OpDef, Spec
from ..graph.record import record
from ..graph.shapes import Dims

#: Blocks begin at multiples of so many elements: whole vectors of the processor, whatever the type.
STEP = 64
#: How many elements blocks may have that are not cut within rows.
LARGEST_ROWS = 1 << 16


class Part(NamedTuple):
    """One of the operations. Its inputs by number: first come the inputs of all, then the values of the parts before it."""

    name: str
    definition: OpDef
    inputs: tuple[int, ...]
    spec: Spec


@record
class Fused(OpDef):
    """Elementwise operations whose values have one shape, in an order in which each comes after those it takes.

    `results`: the parts whose values somebody else needs. `flat`: all inputs are scalars or have that shape, row-major.
    """

    parts: tuple[Part, ...]
    results: tuple[int, ...]
    flat: bool
    type = "Fused"

    def infer(self, *inputs: Any) -> tuple[Spec, ...]:
        return tuple(self.parts[result].spec for result in self.results)

    def compute(self, *inputs: Any) -> Any:
        values = list(inputs)
        for part in self.parts:
            values.append(part.definition.compute(*(values[index] for index in part.inputs)))
        results = tuple(values[len(inputs) + result] for result in self.results)
        return results if len(results) > 1 else results[0]

    def lines(self, inputs: tuple[int, ...]) -> list[str]:
        """A line an operation, for people; `inputs` are the slots of the inputs."""
        names = [f"v{slot}" for slot in inputs] + [f".{index}" for index in range(len(self.parts))]
        return [
            f".{index} = {part.definition.type}({', '.join(names[i] for i in part.inputs)})  ({part.name})"
            for index, part in enumerate(self.parts)
        ]


def rows_of_block(dims: Dims, wanted: int) -> int:
    """How many rows blocks of about `wanted` elements have that begin at multiples of STEP; 0 where rows are too long."""
    row = prod(dim or 0 for dim in (dims or ())[1:])
    step = STEP // gcd(STEP, row)
    rows = max(step, wanted // row // step * step)
    return rows if rows * row <= max(wanted, LARGEST_ROWS) else 0
