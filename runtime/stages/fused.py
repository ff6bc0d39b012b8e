"""Fused: several elementwise operations as one definition, which a backend runs block by block."""

from __future__ import annotations

from math import gcd, prod
from typing import Any, NamedTuple

from ...graph.opdef import OpDef, Spec
from ...graph.record import record
from ...graph.shapes import Dims

#: Blocks begin at multiples of so many elements: whole vectors of the processor, whatever the type.
STEP = 64
#: How many elements blocks may have that are not cut within rows.
LARGEST_ROWS = 1 << 16
#: How many rows BLAS takes together when it sums them: blocks of whole rows begin at multiples of it.
ROWS_TOGETHER = 16


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
    `rows`: the values are matrices of rows along the last axis, or a number for each row: what is computed of each row
    alone, sums and extrema of it included (`row_form`). `cut`: the inputs, by number, whose rows may lie apart in memory: they
    are pieces of longer rows.
    """

    parts: tuple[Part, ...]
    results: tuple[int, ...]
    flat: bool
    rows: bool = False
    cut: tuple[int, ...] = ()
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


def row_form(dims: Dims, whole: Dims) -> str | None:
    """What a value is beside others of shape `whole`, looked at as rows: "matrix", "column" (a number for each row), "row".

    None: it is neither, or has to be looked at in another way. A number is a row.
    """
    if dims == whole:
        return "matrix"
    if dims is None or whole is None:
        return None
    if dims == () or (dims[-1:] == whole[-1:] and all(dim == 1 for dim in dims[:-1])):
        return "row"
    return "column" if dims in ((*whole[:-1], 1), whole[:-1]) else None


def can_be_rows(dims: Dims) -> bool:
    """Whether values of that shape can be computed in blocks of whole rows."""
    if dims is None or len(dims) < 2 or (dims[-1] or 0) < 2:
        return False
    count, width = prod(dim or 0 for dim in dims[:-1]), dims[-1] or 0
    return count > 1 and grain_of_rows(width) * width <= 2 * LARGEST_ROWS


def grain_of_rows(width: int) -> int:
    """Blocks of rows of so many elements begin at multiples of this."""
    return max(ROWS_TOGETHER, STEP // gcd(STEP, width))


def rows_of_block(dims: Dims, wanted: int) -> int:
    """How many rows blocks of about `wanted` elements have that begin at multiples of STEP; 0 where rows are too long."""
    row = prod(dim or 0 for dim in (dims or ())[1:])
    step = STEP // gcd(STEP, row)
    rows = max(step, wanted // row // step * step)
    return rows if rows * row <= max(wanted, LARGEST_ROWS) else 0
