"""The kernel of Fused where blocks are whole rows: sums and extrema of each row, and what is computed with them."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...graph.opdef import Spec
from ...graph.ops.row_sums import WIDEST, sum_in_rows
from ...graph.shapes import Dims
from ..stages.fused import grain_of_rows, row_form
from .blocks import MOST, Writer


class RowWriter(Writer):
    """Values are matrices of rows, columns with a number for each row, or the same for all rows."""

    def _dims(self) -> Dims:
        specs = [*self.inputs, *(part.spec for part in self.definition.parts)]
        whole = max((spec.dims or () for spec in specs), key=lambda dims: prod(dim or 0 for dim in dims))
        self.whole = whole
        return prod(dim or 0 for dim in whole[:-1]), whole[-1]

    def row_of(self, at: int) -> tuple[int, ...]:
        return (self.dims[1],) if self.definition.parts[at].spec.dims == self.whole else (1,)

    def _is_cut(self, spec: Spec) -> bool:
        return row_form(spec.dims, self.whole) in ("matrix", "column")

    def _block_length(self) -> int:
        """How many rows a block has: all of them, where a part of them would be summed differently."""
        rows, columns = self.dims
        grain = grain_of_rows(columns)
        pairs = -(-rows * columns // (2 * MOST))  # each of two threads has as many
        length = max(grain, -(-rows // (2 * pairs * grain)) * grain)
        kinds = {
            part.spec.dtype.np
            for part, kernel in zip(self.definition.parts, self.kernels, strict=True)
            if kernel.in_rows is not None and part.spec.dtype.is_floating
        }
        return length if all(_sums_alike(kind, rows, columns, length) for kind in kinds) else rows

    def slices(self) -> list[slice]:
        return _slices(self.dims[0], self.length, grain_of_rows(self.dims[1]))

    def _forms(self) -> list[str]:
        rows, columns = self.dims
        lines = []
        for index, result in enumerate(self.definition.results):
            lines.append(f" r{index} = o{index}.reshape({rows}, {self.row_of(result)[0]})")
        for index, spec in enumerate(self.inputs):
            form = row_form(spec.dims, self.whole)
            if form in ("matrix", "column"):
                lines.append(f" a{index} = a{index}.reshape({rows}, {columns if form == 'matrix' else 1})")
            elif form == "row" and len(spec.dims or ()) > 1:
                lines.append(f" a{index} = a{index}.reshape(-1)")
        return lines

    def _call(self, at: int) -> str:
        if self.kernels[at].in_rows is None:
            return super()._call(at)
        first = self._value(self.definition.parts[at].inputs[0])
        return f"k{at}({first}, {self._value(len(self.inputs) + at)}.reshape(-1))"

    def _function(self, at: int) -> Any:
        return self.kernels[at].in_rows or super()._function(at)


def _slices(rows: int, length: int, grain: int) -> list[slice]:
    """Blocks of so many rows; the last one has what is left over too, if that is little: BLAS takes a single row otherwise."""
    starts = [start for start in range(0, rows, length) if start == 0 or rows - start >= grain]
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], rows], strict=True)]


@lru_cache(maxsize=1024)
def _sums_alike(kind: np.dtype[Any], rows: int, columns: int, length: int) -> bool:
    """Whether this machine's BLAS gives the sums of rows the same bits in blocks as at once. It is tried once a shape."""
    if columns > WIDEST or length >= rows:
        return True  # rows are summed one by one, or there is one block
    slices = _slices(rows, length, grain_of_rows(columns))
    some = slices[:3] + slices[-1:] if len(slices) > 4 else slices
    count = sum(each.stop - each.start for each in some)
    x = np.random.default_rng(0).standard_normal((count, columns), kind)
    parts, start = [], 0
    for each in some:
        parts.append(sum_in_rows(x[start : start + each.stop - each.start]))
        start += each.stop - each.start
    return bool(np.array_equal(np.concatenate(parts), sum_in_rows(x)))
