"""The kernel of Fused where the first part is a matrix product: each thread does the rest with the block that it computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.opdef import Spec
from ...graph.ops.product_blocks import InBlocks
from .blocks import Writer


class ProductWriter(Writer):
    """Blocks are those of the product, of its rows or columns; there is one, where the product is computed at once."""

    def row_of(self, at: int) -> tuple[int, ...]:
        return (self.dims[0],) if self._by_columns() else (self.dims[1],)

    def shape_of(self, at: int, length: int) -> tuple[int, ...]:
        return (self.dims[0], length) if self._by_columns() else (length, self.dims[1])

    def _blocks(self) -> InBlocks | None:
        function = self.kernels[0].function
        return function if isinstance(function, InBlocks) else None

    def _by_columns(self) -> bool:
        blocks = self._blocks()
        return blocks is not None and blocks.by_columns

    def _is_cut(self, spec: Spec) -> bool:
        return spec.dims == self.dims or (self._by_columns() and spec.dims == self.dims[1:])

    def _block_length(self) -> int:
        blocks = self._blocks()
        return self.dims[0] if blocks is None else blocks.step

    def slices(self) -> list[slice]:
        total = self.dims[1] if self._by_columns() else self.dims[0]
        return [slice(start, min(start + self.length, total)) for start in range(0, total, self.length)]

    def _forms(self) -> list[str]:
        return [f" r{index} = o{index}" for index in range(len(self.definition.results))]

    def _part_of_input(self, index: int) -> str:
        blocks, factors = self._blocks(), self.definition.parts[0].inputs
        if index not in factors:
            spec = self.inputs[index]
            return self._part_of_value() if spec.dims == self.dims else "[at]" if self.cut[index] else ""
        if blocks is None or index != factors[blocks.by_columns]:
            return ""
        return "[at]" if blocks.across == blocks.by_columns else "[:, at]"

    def _part_of_value(self) -> str:
        return "[:, at]" if self._by_columns() else "[at]"

    def _function(self, at: int) -> Callable[..., Any]:
        blocks = self._blocks()
        return super()._function(at) if at or blocks is None else blocks.form
