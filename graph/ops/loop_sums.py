"""What the iterations of a loop's gradient add to the gradient of something that never changes, and how that is added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..indexed_slices import Gradient, IndexedSlices
from ..ir import Operation, Tensor
from ..product_sum import capacity
from .arithmetic import AddN
from .array_tapes import TensorArrayConcatV3, TensorArrayWriteV3
from .constant import const
from .linalg import MatMul
from .neutral import add_all, content
from .product_sums import ProductSumAdd, ProductSumStart, ProductSumTotal
from .row_gradients import parts_of, rows_of, rows_type
from .tapes import EmptyTape


class LoopSum(Protocol):
    """A sum over iterations. Its first values and its result are built around the loop.

    `numbered`: each iteration needs its number, from 1 on.
    """

    @property
    def initial(self) -> list[Tensor]: ...
    @property
    def numbered(self) -> bool: ...

    def following(self, totals: Sequence[Tensor], grad: Gradient, number: Tensor) -> list[Tensor]:
        """The totals after the iteration of that number, in the loop."""
        ...

    def result(self, totals: Sequence[Tensor]) -> Gradient:
        """The gradient, around the loop."""
        ...


def added_up(loop: Operation, at: int, first: Gradient | None, grad: Gradient, rows: bool) -> LoopSum:
    """The sum of what iterations add to the gradient of a loop's input, of which `grad` is that of one iteration.

    `first`: what has arrived there already. `rows`: whether it may be of IndexedSlices.
    """
    source = loop.inputs[at]
    kind = rows_type([first, grad]) if rows else None
    if kind is not None:
        return _Rows(source, first, grad, kind)
    if isinstance(grad, Tensor) and (products := products_of(grad)):
        return _Products(source, first, grad, products)
    return _Dense(source, first)


class _Dense:
    """One tensor, to which each iteration adds."""

    numbered = False

    def __init__(self, source: Tensor, first: Gradient | None) -> None:
        self._source = source
        self.initial = parts_of(first, source, None)

    def following(self, totals: Sequence[Tensor], grad: Gradient, number: Tensor) -> list[Tensor]:
        return [add_all([totals[0], *parts_of(grad, self._source, None)])]

    def result(self, totals: Sequence[Tensor]) -> Gradient:
        return totals[0]


class _Rows:
    """All rows, in arrays of them."""

    numbered = True

    def __init__(self, source: Tensor, first: Gradient | None, grad: Gradient, kind: DType) -> None:
        self._source, self._kind = source, kind
        self._dims = grad.values.dims if isinstance(grad, IndexedSlices) else None
        # Even without an iteration there is an element, which tells the shape of a row.
        zero = const(np.array(0, np.int32))
        self.initial = [_written(EmptyTape()(), zero, part) for part in parts_of(first, source, kind)]

    def following(self, totals: Sequence[Tensor], grad: Gradient, number: Tensor) -> list[Tensor]:
        parts = parts_of(grad, self._source, self._kind)
        return [_written(total, number, part) for total, part in zip(totals, parts, strict=True)]

    def result(self, totals: Sequence[Tensor]) -> Gradient:
        values = TensorArrayConcatV3(content(self._source)[0], self._dims and self._dims[1:]).outputs(totals[0])[0]
        return rows_of(self._source, values, TensorArrayConcatV3(self._kind, ()).outputs(totals[1])[0])


def _written(total: Tensor, number: Tensor, part: Tensor) -> Tensor:
    return TensorArrayWriteV3(dynamic=True)(total, number, part)


class _Products:
    """Products of a few rows each, which are added up many rows at once, and a tensor for what else is added."""

    numbered = False

    def __init__(self, source: Tensor, first: Gradient | None, grad: Tensor, products: Sequence[Operation]) -> None:
        self._source, self._first, self._products = source, first, products
        made = {product.outputs[0] for product in products}
        self._rest = [term for term in terms_of(grad) if term not in made]
        self._dtype, self._dims = grad.dtype, products[0].outputs[0].dims
        self.initial = [ProductSumStart()()]
        if self._rest:
            self.initial += parts_of(first, source, None)

    def following(self, totals: Sequence[Tensor], grad: Gradient, number: Tensor) -> list[Tensor]:
        held = totals[0]
        for product in self._products:
            matmul = product.definition
            assert isinstance(matmul, MatMul)
            add = ProductSumAdd(matmul.transpose_a, matmul.transpose_b, self._dtype, self._dims)
            held = add(held, *product.inputs)
        return [held, *([add_all([totals[1], *self._rest])] if self._rest else [])]

    def result(self, totals: Sequence[Tensor]) -> Gradient:
        others = totals[1:] if self._rest or self._first is None else parts_of(self._first, self._source, None)
        return ProductSumTotal(self._dtype, self._dims)(*totals[:1], *others)


def products_of(grad: Tensor) -> list[Operation]:
    """The products that a gradient is a sum of, those that are worth to be computed for many iterations at once.

    They are of a known shape, sum over few rows each, and are used for nothing else. Which devices they ask for is not looked
    at: they wait where the loop has its home, for bits must not depend on it.
    """
    return [term.op for term in terms_of(grad) if _is_worth(term, grad)]


def terms_of(grad: Tensor) -> list[Tensor]:
    """What a gradient is the sum of."""
    return list(grad.op.inputs) if isinstance(grad.op.definition, AddN) and not grad.consumers() else [grad]


def _is_worth(term: Tensor, grad: Tensor) -> bool:
    product = term.op
    definition = product.definition
    if not isinstance(definition, MatMul) or term.dtype.size < 4 or not shapes.is_full(term.dims):
        return False
    a = product.inputs[0].dims
    count = None if a is None else a[not definition.transpose_a]
    users = len(term.consumers())
    return (count is None or capacity(count) > 0) and users == (term is not grad)
