"""Matrix products as machine code, where that gives the bits of the CPU backend's: each shape is tried once.

Why, and how the order of the sums is found: docs/decisions/0034-products-as-machine-code.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.opdef import OpDef, Spec
from ....graph.ops.linalg import BatchMatMulV2, MatMul
from ....graph.ops.products import TRIED
from ....graph.parallel import threads
from ...kernels import Kernel
from ...memory.workspace import Workspace
from ...stages.plan import Run
from ..cpu import CPU
from .compiling import compiler
from .frame import Array, in_lines
from .micro import Tile, tile
from .pool import borrow, give_back
from .products import Cut, Product, Sides
from .trials import BLOCK, LONG, Trials, nanoseconds, same_bits

#: To pack a number takes as long as so many multiplications.
_PACKED = 20
#: And what takes so many is worth waking threads for that sleep.
_AWAKE = 100_000.0
#: Sums that are shorter are never cut, as far as is known; and so many places are looked at to find where longer ones are.
_SHORT, _PLACES = 128, 64

Form = Callable[..., Any]


def sides_of(definition: OpDef, inputs: tuple[Spec, ...]) -> Sides | None:
    """The products that an operation makes, if it could be compiled."""
    if isinstance(definition, MatMul):
        across_a, across_b = definition.transpose_a, definition.transpose_b
    elif isinstance(definition, BatchMatMulV2):
        across_a, across_b = definition.adj_x, definition.adj_y
    else:
        return None
    (a, b), kind = inputs, inputs[0].dtype.np.name
    if kind not in ("float32", "float64") or not shapes.is_full(a.dims) or not shapes.is_full(b.dims):
        return None
    one, other = (tuple([dim or 0 for dim in spec.dims or ()]) for spec in inputs)
    if one[:-2] != other[:-2]:
        return None
    rows, inner = one[-2:][:: -1 if across_a else 1]
    inner_b, columns = other[-2:][:: -1 if across_b else 1]
    batch = int(np.prod(one[:-2], dtype=np.int64))
    sides = Sides(kind, batch, rows, inner, columns, across_a, across_b)
    # A vector is BLAS's, which has another kernel for it.
    fits = inner == inner_b and min(batch, inner) > 0 and min(rows, columns) > 1 and sides.work() <= TRIED
    return sides if fits else None


def product_kernel(definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
    """The kernel of products, if they may be compiled. Whether they are turns out when a step first runs."""
    sides, known = sides_of(definition, inputs), tile()
    if sides is None or known is None:
        return None
    plain = CPU.kernel(definition, inputs, outputs)
    assert plain is not None
    form, arrays = plain.function, _arrays(sides.kind, inputs, outputs)

    def in_frame(workspace: Workspace) -> Form:
        product = tried(sides, arrays, form, known)
        if product is not None:
            return _function(product, form, workspace)
        return _row_major(form) if sides.batch > 1 else form

    def alone(a: Any, b: Any, out: Any = None) -> Any:
        return in_frame(Workspace())(a, b, out)

    return Kernel(alone, takes_out=True, in_frame=in_frame, strided=sides.batch > 1)


def _row_major(form: Form) -> Form:
    """A form for matrices that may lie in any way: its bits are those of matrices whose rows lie one after the other."""
    return lambda a, b, out=None: form(np.asarray(a, order="C"), np.asarray(b, order="C"), out)


def _arrays(kind: str, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> tuple[Array, ...]:
    dims = [tuple([dim or 0 for dim in spec.dims or ()]) for spec in (*inputs, *outputs)]
    return tuple([Array(kind, each, written) for each, written in zip(dims, (False, False, True), strict=True)])


def note(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The texts of the products among these instructions that are compiled, and what else is to be said, as lines."""
    known, texts, left, kept = tile(), [], 0, 0
    for run in runs:
        sides = sides_of(run.definition, run.input_specs)
        if sides is None or known is None:
            continue
        is_tried, product = seen(sides, _arrays(sides.kind, run.input_specs, run.output_specs), known)
        if product is not None:
            texts.append(product.written())
        elif is_tried:
            kept += 1
        else:
            left += 1
    lines = []
    if left:
        lines.append(f"    the first step tries whether {_counted(left)} can be compiled with the same bits")
    if kept:
        lines.append(f"    {_counted(kept)} would have other bits, and {'are' if kept > 1 else 'is'} BLAS's")
    return texts, lines


def candidates(runs: Sequence[Run]) -> int:
    """How many of these instructions are products that might be compiled."""
    return sum(sides_of(run.definition, run.input_specs) is not None for run in runs)


def _counted(count: int) -> str:
    return f"{count} matrix product{'s' * (count > 1)}"


def _cut(sides: Sides, known: Tile) -> tuple[Cut, bool]:
    """How a product is cut for the threads that there are, and whether others may run while it is computed."""
    time = nanoseconds(sides.work(), known.lanes(sides.kind))
    blocks = int(max(1, min(threads(), time // BLOCK)))
    release = time >= LONG
    if blocks == 1:
        return Cut(1, "columns"), release
    if sides.batch >= 4 * blocks:
        return Cut(blocks, "batch", time >= _AWAKE), release
    whole = Product(sides, (), known, (sides.inner,), False, Cut(1, "columns"), release)
    counts = {"columns": whole.panels, "rows": whole.heights[2]}
    packed = {"columns": sides.rows * whole.packs_a(), "rows": sides.columns * whole.packs_b()}

    def longest(side: str) -> float:
        """What the thread with the most to do takes: each has all of the other matrix to pack."""
        share = -(-counts[side] // blocks) / counts[side]
        return share * sides.work() + _PACKED * sides.inner * packed[side]

    best = min(counts, key=longest)
    return Cut(min(blocks, counts[best]), best, time >= _AWAKE), release


_trials: Trials[Product] = Trials()


def _key(sides: Sides, arrays: tuple[Array, ...], known: Tile) -> Any:
    return sides, arrays, known, _cut(sides, known)


def seen(sides: Sides, arrays: tuple[Array, ...], known: Tile) -> tuple[bool, Product | None]:
    """Whether such products were tried, with the threads that there are, and what is compiled for them."""
    key = _key(sides, arrays, known)
    return key in _trials.found, _trials.found.get(key)


def tried(sides: Sides, arrays: tuple[Array, ...], form: Form, known: Tile) -> Product | None:
    """What is compiled for such products, if it gives the bits that `form` gives: tried once, for matrices of that size."""
    return _trials.tried(_key(sides, arrays, known), lambda: _found(sides, arrays, form, known))


def _found(sides: Sides, arrays: tuple[Array, ...], form: Form, known: Tile) -> Product | None:
    """A product with the order of sums that `form` has, if it has the same bits then."""
    random, tiny = _random(sides, arrays), _tiny(sides, arrays)
    lost = np.signbit(form(*tiny))
    parts = _parts(sides, arrays, form)
    product = Product(sides, arrays, known, parts, bool(lost.all()), *_cut(sides, known))
    function = _function(product, form, Workspace(), refuses=True)
    same = all(same_bits(function(*given), form(*given)) for given in (random, tiny))
    return product if same else None


def _random(sides: Sides, arrays: tuple[Array, ...]) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.standard_normal(array.dims, np.dtype(sides.kind)) for array in arrays[:2]]


def _tiny(sides: Sides, arrays: tuple[Array, ...]) -> list[Any]:
    """Matrices whose sums are 0 until the last product, which is negative and too small for a number but -0."""
    found = [np.zeros(array.dims, sides.kind) for array in arrays[:2]]
    tiny = float(np.finfo(sides.kind).tiny)
    _rows(sides, found[0])[..., -1] = tiny
    _columns(sides, found[1])[..., -1, :] = -tiny
    return found


def _rows(sides: Sides, a: Any) -> Any:
    """The first matrices with their rows first."""
    return np.swapaxes(a, -1, -2) if sides.across_a else a


def _columns(sides: Sides, b: Any) -> Any:
    """The second matrices with their columns last."""
    return np.swapaxes(b, -1, -2) if sides.across_b else b


def _parts(sides: Sides, arrays: tuple[Array, ...], form: Form) -> tuple[int, ...]:
    """How many products `form` sums before it adds them to the result, as a product of chosen numbers shows.

    Ones added to a number so large that it does not change are lost, and those of other parts are not: what is not lost tells
    how many follow after the part that the large number is in.
    """
    if sides.inner <= _SHORT:
        return (sides.inner,)
    large = 2.0 ** (24 if sides.kind == "float32" else 53)
    even = sides.inner - sides.inner % 2  # an odd number of ones could not be told
    ones = np.zeros(arrays[1].dims, sides.kind)
    _columns(sides, ones)[..., :even, :] = 1
    ends: set[int] = set()
    places = [n * even // _PLACES for n in range(_PLACES)]
    for start in range(0, _PLACES, sides.rows):
        a = np.ones(arrays[0].dims, sides.kind)
        rows = _rows(sides, a)
        for row, place in enumerate(places[start : start + sides.rows]):
            rows[..., row, :place] = 0
            rows[..., row, place] = large
        made = form(a, ones)[..., : len(places[start : start + sides.rows]), 0]
        ends |= {even - int(number) for number in (made.astype(np.float64) - large).ravel()}
    bounds = sorted({0, *(end for end in ends if 0 < end < even), sides.inner})
    return tuple([end - begin for begin, end in pairwise(bounds)])


def _function(product: Product, form: Form, workspace: Workspace, refuses: bool = False) -> Form:
    """The function of two matrices and `out`. What it does not take is `form`'s; `refuses`: is an error."""
    blocks, dims, kind = product.cut.blocks, product.arrays[2].dims, np.dtype(product.sides.kind)
    most = min(threads(), blocks)
    workspace.reserve(most * in_lines(product.most_bytes()))
    start = cache(lambda: workspace.piece(0).ctypes.data)
    native, plain = _native(product), _row_major(form)
    others = _Others(product)

    def alone(a: Any, b: Any, out: Any) -> bool:
        """Whether the function took the matrices."""
        return native(a, b, out, 0, start()) is out

    def shared(a: Any, b: Any, out: Any) -> bool:
        helpers = borrow()
        try:
            return native(a, b, out, min(helpers, most - 1), start()) is out
        finally:
            if helpers:
                give_back()

    fits = shared if blocks > 1 else alone

    def again(a: Any, b: Any, out: Any) -> Any:
        """Matrices that do not lie as those before: there is a function for some, which is the first to be called then."""
        nonlocal native
        if refuses:
            raise AssertionError("a product refuses its own matrices")
        other = others.like(a, b)
        if other is not None:
            native = other
            if fits(a, b, out):
                return out
        return plain(a, b, out)

    def run(a: Any, b: Any, out: Any = None) -> Any:
        if out is None:
            out = np.empty(dims, kind)
        return out if fits(a, b, out) else again(a, b, out)

    return run


class _Others:
    """The functions of a product for matrices that lie otherwise."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._found: dict[Any, Any] = {}

    def like(self, a: Any, b: Any) -> Any:
        """That for matrices that lie as these do; None where they have to be copied."""
        key = getattr(a, "strides", None), getattr(b, "strides", None)
        if key not in self._found:
            other = _lying(self._product, a, b)
            self._found[key] = None if other is None else _native(other)
        return self._found[key]


def _native(product: Product) -> Any:
    """The compiled function, whose text is not written again for each frame."""
    return _compiled(product, product.packs_a(), product.packs_b(), product.block_tiles())


@lru_cache(maxsize=1024)
def _compiled(product: Product, *packing: object) -> Any:
    """`packing`: what else the text depends on, and how much memory it works in."""
    return compiler().function(product.written(), library=product.library())


def _lying(product: Product, *given: Any) -> Product | None:
    """The same product of matrices that lie as these do, if they can be read so: along their lines."""
    arrays: list[Array] = []
    for array, found in zip(product.arrays, given, strict=False):
        if not isinstance(found, np.ndarray) or found.dtype != array.kind or found.shape != array.dims:
            return None
        strides = () if found.flags.c_contiguous else tuple([each // found.itemsize for each in found.strides])
        if strides and (strides[-1] != 1 or strides[-2] < array.dims[-1] or not found.flags.aligned):
            return None
        arrays.append(array._replace(strides=strides))
    different = product.sides.batch > 1 or not any(array.strides for array in arrays)
    return product._replace(arrays=(*arrays, product.arrays[2])) if different else None
