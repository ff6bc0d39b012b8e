"""How matrix products are computed: the form of a product in which BLAS is fast, chosen by types and shapes.

No form changes a bit of the result. Why these forms, with figures: docs/decisions/0015-matrix-products.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from .. import shapes
from ..parallel import threads
from ..shapes import Dims
from .product_blocks import InBlocks, block_sides, in_blocks
from .rooms import BLOCK

#: Computes a product of two matrices, row-major and not yet transposed, into `out` or a new array.
Form = Callable[..., Any]

#: Of so many rows by a large matrix (of numbers) are the float32 products that have a form of their own: BLAS would
#: spend its time on laying out the large matrix anew.
FEW_ROWS = range(8, 65)
LARGE = 1 << 14

#: BLAS has kernels that leave both matrices where they are, for products of at most so many multiplications.
SMALL_PRODUCT = 10**6
#: How many columns a piece of a product has.
PIECE = 64

#: Products of more multiplications are not tried in other forms: these take some 20 ms.
TRIED = 2 * 10**9


def product(a: Any, b: Any, out: Any = None) -> Any:
    """The products of the matrices in the last two dimensions; 2-byte floats go through float32, which BLAS has."""
    dtype = np.asarray(a).dtype
    if is_half(dtype):
        return np.matmul(np.asarray(a, np.float32), np.asarray(b, np.float32)).astype(dtype)
    return np.matmul(a, _apart(b, a), out)


def is_half(dtype: np.dtype[Any]) -> bool:
    """Whether it is a float of two bytes, whose products are not written in place."""
    return dtype.itemsize == 2 and dtype.kind not in "iu"


def matrix_product(a: Any, b: Any, across_a: bool, across_b: bool, out: Any = None) -> Any:
    """The product of two matrices, `a` transposed first if `across_a`, `b` if `across_b`."""
    return form_of(np.asarray(a).dtype, np.shape(a), np.shape(b), across_a, across_b)(a, b, out)


def form_of(dtype: np.dtype[Any], a: Dims, b: Dims, across_a: bool, across_b: bool) -> Form:
    """The function for products of these types and shapes: one that looks at the arrays first, where more is unknown."""
    if is_half(dtype):
        return _HALF[across_a, across_b]
    if a is None or b is None or not shapes.is_full(a) or not shapes.is_full(b):
        return lambda x, y, out=None: matrix_product(x, y, across_a, across_b, out)
    if len(a) == len(b) == 2 and dtype.kind == "f":
        sides = [side or 0 for side in a[:: -1 if across_a else 1] + b[:: -1 if across_b else 1]]
        block = block_sides(sides)
        form = _special(dtype, block, across_a, across_b) or _plain(block, across_a, across_b)
        made = in_blocks(form, sides, across_a, across_b)
        return _fitted(made, dtype, sides, across_a, across_b) if isinstance(made, InBlocks) else made
    return _PLAIN[across_a, across_b]


def _fitted(blocks: InBlocks, dtype: np.dtype[Any], sides: list[int], across_a: bool, across_b: bool) -> Form:
    """The same product in as many blocks as there are threads, which is faster, where that gives the same bits."""
    count = threads()
    if count > blocks.count():
        return blocks
    large = blocks.fewer(count)
    rows, inner, _, columns = sides
    block = [rows, inner, inner, min(large.step, columns)] if large.by_columns else [large.step, inner, inner, columns]
    form = _special(dtype, block, across_a, across_b) or _plain(block, across_a, across_b)
    fitted = form if count == 1 else replace(large, form=form)
    return fitted if _same_bits(fitted, blocks, dtype, sides[1], across_a, across_b) else blocks


def _plain(sides: list[int], across_a: bool, across_b: bool) -> Form:
    """BLAS on the matrices as they are, of these sides."""
    return (_PLAIN if sides[0] == sides[3] else _OBLONG)[across_a, across_b]


def _special(dtype: np.dtype[Any], sides: list[int], across_a: bool, across_b: bool) -> Form | None:
    """A better form than BLAS on the matrices as they are, if there is one."""
    rows, inner, inner_b, columns = sides
    if inner != inner_b:
        return None
    if inner == 1 < min(rows, columns):
        return _OUTER[across_a, across_b]
    if dtype.itemsize != 4 or across_a or rows not in FEW_ROWS or inner * columns < LARGE:
        return None
    form = _better_reversed(rows, inner, columns) if across_b else _better_in_pieces(rows, inner, columns)
    return form if form and _keeps_bits(form, across_b, rows, inner, columns) else None


def _better_reversed(rows: int, inner: int, columns: int) -> Form | None:
    return _reversed if 4 * rows <= min(inner, columns) else None


def _better_in_pieces(rows: int, inner: int, columns: int) -> Form | None:
    whole, piece = rows * inner * columns, rows * inner * PIECE
    if columns % PIECE or piece > SMALL_PRODUCT or whole <= SMALL_PRODUCT:
        return None
    return _in_pieces


@lru_cache(maxsize=1024)
def _keeps_bits(form: Form, across_b: bool, rows: int, inner: int, columns: int) -> bool:
    """Whether this machine's BLAS gives the same bits in a form as for the matrices as they are. It is tried once."""
    return _agree(form, _PLAIN[False, across_b], np.dtype(np.float32), (rows, inner, columns), False, across_b)


@lru_cache(maxsize=1024)
def _same_bits(form: Form, blocks: InBlocks, dtype: np.dtype[Any], inner: int, across_a: bool, across_b: bool) -> bool:
    """Whether a product has the bits that it has in these blocks, which its shape alone says."""
    rows, columns = blocks.dims
    return _agree(form, blocks, dtype, (rows, inner, columns), across_a, across_b)


@lru_cache(maxsize=1024)
def part_keeps_bits(
    dtype: np.dtype[Any], a: Dims, b: Dims, across_a: bool, across_b: bool, axis: int, part: tuple[int, int]
) -> bool:
    """Whether rows `part` of `a` times `b` (of `b`, with `axis` 1) have the bits that these rows or columns of the product
    have. Tried once, with this machine's BLAS, for floats, for which it does not follow from the arithmetic.
    """
    if a is None or b is None or dtype.kind != "f" or is_half(dtype) or part[1] == part[0]:
        return False
    sides = [side or 0 for side in (*a, *b)]
    if sides[0] * sides[1] * sides[2 if across_b else 3] > TRIED:
        return False
    random = np.random.default_rng(0)
    x, y = (random.standard_normal(tuple(dims), dtype) for dims in (sides[:2], sides[2:]))
    rows = slice(*part)
    whole = matrix_product(x, y, across_a, across_b)
    alone = matrix_product(x, y[rows], across_a, across_b) if axis else matrix_product(x[rows], y, across_a, across_b)
    return bool(np.array_equal(alone, whole[:, rows] if axis else whole[rows]))


def _agree(
    form: Form, other: Form, dtype: np.dtype[Any], sides: tuple[int, int, int], across_a: bool, across_b: bool
) -> bool:
    """Whether two forms give the same for matrices of these sides: no, where it takes long to find out.

    Smaller matrices would not tell: BLAS cuts large ones elsewhere.
    """
    rows, inner, columns = sides
    if rows * inner * columns > TRIED:
        return False
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(count * inner, dtype) for count in (rows, columns))
    x = a.reshape((inner, rows) if across_a else (rows, inner))
    w = b.reshape((columns, inner) if across_b else (inner, columns))
    return bool(np.array_equal(form(x, w), other(x, w)))


def _apart(b: Any, a: Any) -> Any:
    """`b`, copied if it lies in the memory of `a`: for a matrix and its own transpose NumPy takes another BLAS routine,
    and the bits of a product must not depend on whether two equal matrices are one."""
    return np.array(b) if np.may_share_memory(a, b) else b


#: A transposed view, not a copy: BLAS reads it as it is.
_PLAIN: dict[tuple[bool, bool], Form] = {
    (False, False): np.matmul,
    (True, False): lambda x, y, out=None: np.matmul(np.transpose(x), _apart(y, x), out),
    (False, True): lambda x, y, out=None: np.matmul(x, _apart(np.transpose(y), x), out),
    (True, True): lambda x, y, out=None: np.matmul(np.transpose(x), np.transpose(y), out),
}

#: The same where the result is not square, and a matrix and its own transpose cannot be meant.
_OBLONG: dict[tuple[bool, bool], Form] = {
    (False, False): np.matmul,
    (True, False): lambda x, y, out=None: np.matmul(x.T, y, out),
    (False, True): lambda x, y, out=None: np.matmul(x, y.T, out),
    (True, True): lambda x, y, out=None: np.matmul(x.T, y.T, out),
}

_HALF: dict[tuple[bool, bool], Form] = {
    (False, False): product,
    (True, False): lambda x, y, out=None: product(np.transpose(x), y),
    (False, True): lambda x, y, out=None: product(x, np.transpose(y)),
    (True, True): lambda x, y, out=None: product(np.transpose(x), np.transpose(y)),
}


def _reversed(x: Any, w: Any, out: Any = None) -> Any:
    """`x @ w.T`, as the transpose of `w @ x.T`."""
    across = np.matmul(w, np.transpose(x), BLOCK.array((len(w), len(x)), x.dtype))
    if out is None:
        return np.array(across.T, order="C")
    np.copyto(out, across.T)
    return out


def _in_pieces(x: Any, w: Any, out: Any = None) -> Any:
    """`x @ w`, some columns of it at a time."""
    rows, columns = len(x), w.shape[1]
    if out is None:
        out = np.empty((rows, columns), x.dtype)
    pieces = [matrix.reshape(-1, columns // PIECE, PIECE).transpose(1, 0, 2) for matrix in (w, out)]
    np.matmul(x, *pieces)
    return out


def _outer(x: Any, y: Any, out: Any = None) -> Any:
    """A column times a row, both of them with zeros beside them: NumPy has BLAS only for an inner dimension above one.

    Zero is added to each product in either case, so that none is -0.
    """
    rows, columns = len(x), y.shape[1]
    room = BLOCK.array((2 * (rows + columns),), x.dtype)
    left, right = room[: 2 * rows].reshape(rows, 2), room[2 * rows :].reshape(2, columns)
    left[:, :1], left[:, 1:] = x, 0
    right[:1], right[1:] = y, 0
    return np.matmul(left, right, out)


_OUTER: dict[tuple[bool, bool], Form] = {
    (False, False): _outer,
    (True, False): lambda x, y, out=None: _outer(np.transpose(x), y, out),
    (False, True): lambda x, y, out=None: _outer(x, np.transpose(y), out),
    (True, True): lambda x, y, out=None: _outer(np.transpose(x), np.transpose(y), out),
}
