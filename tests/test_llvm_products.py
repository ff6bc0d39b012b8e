"""Matrix products as machine code: BLAS's bits or BLAS itself, on all shapes, in any tiles, blocks and threads."""

from collections.abc import Callable, Iterator
from itertools import accumulate, product as combinations
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from machine_code import LLVM, both, same
from weft.graph.opdef import Spec
from weft.graph.ops.linalg import BatchMatMulV2, MatMul
from weft.graph.parallel import limit_threads, threads
from weft.runtime.memory.workspace import Workspace

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.cpu import CPU
from weft.runtime.backends.llvm import product_kernels, products
from weft.runtime.backends.llvm.backend import LLVM as BACKEND
from weft.runtime.backends.llvm.frame import Array
from weft.runtime.backends.llvm.micro import HALF, WIDE, Tile, tile
from weft.runtime.backends.llvm.products import Cut, Product, Sides

pytestmark = pytest.mark.skipif(tile() is None, reason="nothing is compiled for this processor")

bounded = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIDES = st.sampled_from([1, 2, 3, 7, 13, 14, 15, 16, 17, 29, 32, 33, 50, 64, 100])
BOTH = list(combinations((False, True), repeat=2))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = threads()
    limit_threads(2)
    yield
    limit_threads(before)


def matrices(sides: Sides, seed: int = 0, whole: bool = False) -> tuple[Any, Any]:
    """Two matrices, or batches of them; `whole`: of small integers, whose sums no order changes."""
    random = np.random.default_rng(seed)
    dims = [array.dims for array in arrays_of(sides)[:2]]
    if whole:
        return tuple(random.integers(-8, 9, each).astype(sides.kind) for each in dims)  # type: ignore[return-value]
    return tuple(random.standard_normal(each).astype(sides.kind) for each in dims)  # type: ignore[return-value]


def arrays_of(sides: Sides) -> tuple[Array, ...]:
    lead = (sides.batch,) if sides.batch > 1 else ()
    a: tuple[int, ...] = (sides.rows, sides.inner)[:: -1 if sides.across_a else 1]
    b: tuple[int, ...] = (sides.inner, sides.columns)[:: -1 if sides.across_b else 1]
    given = ((a, False), (b, False), ((sides.rows, sides.columns), True))
    return tuple([Array(sides.kind, (*lead, *dims), written) for dims, written in given])


def plainly(sides: Sides, a: Any, b: Any) -> Any:
    """The product of arrays of any type, by NumPy."""
    return np.matmul(np.swapaxes(a, -1, -2) if sides.across_a else a, np.swapaxes(b, -1, -2) if sides.across_b else b)


def made(sides: Sides, cut: Cut, known: Tile = WIDE, parts: tuple[int, ...] = ()) -> Callable[..., Any]:
    """The compiled function of products, whatever the bits of BLAS are."""
    product = Product(sides, arrays_of(sides), known, parts or (sides.inner,), False, cut, True)
    return product_kernels._function(product, _refused, Workspace())


def _refused(*given: Any) -> Any:
    raise AssertionError("not compiled")


@bounded
@given(SIDES, SIDES, SIDES, st.sampled_from(BOTH), st.booleans(), st.sampled_from([1, 1, 3]), st.integers(0, 99))
def test_products_have_the_bits_of_numpys(
    rows: int, inner: int, columns: int, across: tuple[bool, bool], double: bool, batch: int, seed: int
) -> None:
    wf.reset_default_graph()
    sides = Sides("float64" if double else "float32", batch, rows, inner, columns, *across)
    arrays = matrices(sides, seed)
    x, y = (wf.placeholder(array.dtype, array.shape) for array in arrays)
    feeds = dict(zip((x, y), arrays, strict=True))
    found, wanted = both(wf.matmul(x, y, *across), feeds)
    same(found, wanted)
    exact = plainly(sides, *[array.astype(np.float64) for array in arrays])
    np.testing.assert_allclose(found, exact, rtol=1e-3 if not double else 1e-10, atol=1e-4 if not double else 1e-12)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("across", BOTH)
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(130, 1000, 258), (520, 129, 515), (33, 2300, 40), (700, 460, 10), (257, 513, 300)]
)
def test_long_sums_and_many_tiles_have_the_bits_of_numpys(
    rows: int, inner: int, columns: int, across: tuple[bool, bool]
) -> None:
    sides = Sides("float32", 1, rows, inner, columns, *across)
    arrays = matrices(sides)
    x, y = (wf.placeholder(wf.float32, array.shape) for array in arrays)
    same(*both(wf.matmul(x, y, *across), dict(zip((x, y), arrays, strict=True))))


@bounded
@given(
    SIDES, st.sampled_from([1, 2, 5, 16, 33, 300, 600, 1024]), SIDES, st.sampled_from(BOTH), st.booleans(),
    st.sampled_from([1, 5]), st.sampled_from(["rows", "columns", "batch"]), st.integers(1, 4), st.integers(1, 600),
)  # fmt: skip
def test_no_bit_depends_on_vectors_tiles_blocks_or_packing(
    rows: int, inner: int, columns: int, across: tuple[bool, bool], double: bool, batch: int, side: str, blocks: int, part: int
) -> None:  # fmt: skip
    sides = Sides("float64" if double else "float32", batch, rows, inner, columns, *across)
    parts = tuple([min(part, inner - start) for start in range(0, inner, part)])
    arrays, whole = matrices(sides), matrices(sides, whole=True)
    wanted = made(sides, Cut(1, "columns"), WIDE, parts)(*arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "OFTEN", 1)
        patch.setattr(products, "FAR", 4)
        patch.setattr(products, "BLOCK_BYTES", 1 << 14)
        for known in (WIDE, HALF, Tile(128, 3, 5)):
            function = made(sides, Cut(blocks, side), known, parts)
            np.testing.assert_array_equal(function(*arrays), wanted)
            np.testing.assert_array_equal(function(*whole), plainly(sides, *whole))


def test_blocks_behind_the_end_do_nothing() -> None:
    for columns, blocks, side in [(14, 3, "columns"), (140, 4, "columns"), (20, 3, "rows"), (150, 3, "columns")]:
        sides = Sides("float32", 1, 30, 600, columns, False, False)
        arrays = matrices(sides, whole=True)
        np.testing.assert_array_equal(
            made(sides, Cut(blocks, side), WIDE, (299, 301))(*arrays), plainly(sides, *arrays)
        )


def test_nothing_is_written_beside_the_result() -> None:
    for rows, columns, across in combinations((2, 5, 14, 17), (2, 9, 17, 33), BOTH):
        sides = Sides("float32", 1, rows, 20, columns, *across)
        room = np.full(rows * columns + 200, 7, np.float32)
        out = room[100 : 100 + rows * columns].reshape(rows, columns)
        assert made(sides, Cut(1, "rows"))(*matrices(sides), out=out) is out
        assert (room[:100] == 7).all()
        assert (room[100 + rows * columns :] == 7).all()


@pytest.mark.parametrize("dtype", [wf.float32, wf.float64], ids=str)
@pytest.mark.parametrize("across", BOTH)
def test_nan_inf_denormals_and_signs_of_zero_are_numpys(dtype: wf.DType, across: tuple[bool, bool]) -> None:
    random = np.random.default_rng(3)
    odd = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-30, 1e30]
    fetches: list[wf.Tensor] = []
    feeds: dict[wf.Tensor, Any] = {}
    for rows, inner, columns in [(5, 4, 6), (40, 30, 50), (300, 40, 300), (33, 200, 65)]:
        sides = Sides(dtype.name, 1, rows, inner, columns, *across)
        arrays = matrices(sides)
        for array in arrays:
            array[random.random(array.shape) < 0.02] = random.choice(odd)
            array[:, 0] *= 1e-25 if dtype == wf.float32 else 1e-200
        x, y = (wf.placeholder(dtype, array.shape) for array in arrays)
        feeds |= dict(zip((x, y), arrays, strict=True))
        fetches.append(wf.matmul(x, y, *across))
    for found, wanted in zip(*both(fetches, feeds), strict=True):
        same(found, wanted)


def in_parts(*lengths: int) -> Callable[..., Any]:
    """A product whose sums are made in such parts, a number after the other."""

    def form(a: Any, b: Any, out: Any = None) -> Any:
        total = np.zeros((*a.shape[:-1], b.shape[-1]), a.dtype)
        for end, length in zip(accumulate(lengths), lengths, strict=True):
            some = np.zeros_like(total)
            for at in range(end - length, end):
                some = some + a[..., at, None] * b[..., at, None, :]
            total = total + some
        return total

    return form


def test_where_sums_are_cut_is_found() -> None:
    for lengths in [(500,), (256, 244), (320, 160, 81), (448, 448, 304, 300), (16, 400, 8, 300)]:
        for kind, rows in combinations(("float32", "float64"), (2, 5, 90)):
            sides = Sides(kind, 1, rows, sum(lengths), 3, False, False)
            assert product_kernels._parts(sides, arrays_of(sides), in_parts(*lengths)) == lengths


def test_what_has_other_bits_is_not_taken() -> None:
    sides = Sides("float32", 1, 20, 300, 30, False, False)
    known = tile()
    assert known is not None

    def turned(a: Any, b: Any, out: Any = None) -> Any:
        return np.matmul(np.ascontiguousarray(a[:, ::-1]), np.ascontiguousarray(b[::-1]))

    assert product_kernels._found(sides, arrays_of(sides), turned, known) is None
    assert product_kernels._found(sides, arrays_of(sides), in_parts(300), known) is None  # these products are rounded


def kernel(definition: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The kernels of this backend and of the CPU's own, bound to a frame."""
    inputs = tuple([Spec(wf.as_dtype(array.dtype), array.shape) for array in (a, b)])
    outputs = (definition.infer(*inputs),)
    own, plain = BACKEND.kernel(definition, inputs, outputs), CPU.kernel(definition, inputs, outputs)
    assert own is not None
    assert plain is not None
    return own.in_frame(Workspace()) if own.in_frame else own.function, plain.function


def test_what_is_not_row_major_is_left_to_numpy_and_readonly_arrays_are_taken() -> None:
    sides = Sides("float32", 1, 40, 60, 50, False, False)
    a, b = matrices(sides, whole=True)
    seen: list[bool] = []

    def form(x: Any, y: Any, out: Any) -> Any:
        seen.append(bool(x.flags.c_contiguous and y.flags.c_contiguous))
        return np.matmul(x, y, out)

    for cut in (Cut(1, "rows"), Cut(2, "rows")):
        product = Product(sides, arrays_of(sides), WIDE, (60,), False, cut, True)
        function = product_kernels._function(product, form, Workspace())
        for one, other in [(np.asfortranarray(a), b), (np.repeat(a, 2, 1)[:, ::2], b), (a, np.asfortranarray(b))]:
            same(function(one, other), a @ b)
    assert seen == [True] * 6
    for array in (a, b):
        array.flags.writeable = False
    same(made(sides, Cut(1, "rows"))(a, b), a @ b)


def test_vectors_unknown_shapes_and_other_types_are_left_to_numpy() -> None:
    rows: list[tuple[Any, Any, Any]] = [
        (np.ones((1, 5), np.float32), np.ones((5, 4), np.float32), MatMul()),
        (np.ones((4, 5), np.float32), np.ones((5, 1), np.float32), MatMul()),
        (np.ones((0, 5), np.float32), np.ones((5, 4), np.float32), MatMul()),
        (np.ones((3, 0), np.float32), np.ones((0, 4), np.float32), MatMul()),
        (np.ones((3, 5), np.int32), np.ones((5, 4), np.int32), MatMul()),
        (np.ones((3, 5), np.float16), np.ones((5, 4), np.float16), MatMul()),
        (np.ones((2, 3, 5), np.float32), np.ones((1, 5, 4), np.float32), BatchMatMulV2()),
    ]
    for a, b, definition in rows:
        own, plain = kernel(definition, a, b)
        same(own(a, b), plain(a, b))
        specs = tuple([Spec(wf.as_dtype(array.dtype), array.shape) for array in (a, b)])
        assert product_kernels.sides_of(definition, specs) is None
    unknown = (Spec(wf.float32, (None, 5)), Spec(wf.float32, (5, 4)))
    assert product_kernels.sides_of(MatMul(), unknown) is None


@pytest.mark.usefixtures("two_threads")
def test_products_are_shared_by_two_threads() -> None:
    """Those of 32 rows with an LSTM's weights have a block for each; smaller ones have one."""
    for sides, blocks in [
        (Sides("float32", 1, 32, 256, 512, False, False), 2),
        (Sides("float32", 1, 32, 512, 128, False, True), 2),
        (Sides("float32", 1, 32, 64, 64, False, True), 1),
        (Sides("float32", 1, 256, 512, 512, True, False), 2),
    ]:
        cut, release = product_kernels._cut(sides, WIDE)
        assert cut.blocks == blocks
        assert release == (sides.columns >= 512)
        arrays = matrices(sides)
        x, y = (wf.placeholder(wf.float32, array.shape) for array in arrays)
        feeds = dict(zip((x, y), arrays, strict=True))
        same(*both(wf.matmul(x, y, sides.across_a, sides.across_b), feeds))


@pytest.mark.usefixtures("two_threads")
def test_steps_with_products_give_the_same_in_one_thread_and_two() -> None:
    random = np.random.default_rng(0)
    x = wf.constant(random.standard_normal((128, 300)).astype(np.float32))
    w = wf.get_variable("w", initializer=wf.constant(random.standard_normal((300, 260)).astype(np.float32)))
    v = wf.get_variable("v", initializer=wf.constant(random.standard_normal((260, 10)).astype(np.float32)))
    loss = wf.reduce_mean(wf.square(wf.matmul(wf.nn.relu(wf.matmul(x, w)), v)))
    train = wf.train.AdamOptimizer(0.1).minimize(loss)
    found = []
    for backend, count in combinations(("numpy", "llvm"), (1, 2)):
        config = wf.ConfigProto(backend=backend, intra_op_parallelism_threads=count)
        with wf.Session(config=config) as session:
            session.run(wf.global_variables_initializer())
            for _ in range(3):
                session.run(train)
            found.append(session.run([w, v, loss]))
    for each in found[1:]:
        for one, other in zip(each, found[0], strict=True):
            same(one, other)


def test_explain_says_what_became_of_products() -> None:
    x = wf.placeholder(wf.float32, (11, 12))
    y = wf.matmul(wf.matmul(x, x, transpose_b=True), x)
    with wf.Session(config=LLVM) as session:
        plan = session.plan(y, {x: np.ones((11, 12), np.float32)})
        assert "the first step tries whether 2 matrix products can be compiled" in str(plan.explain())
        session.run(y, {x: np.ones((11, 12), np.float32)})
        text = str(session.plan(y, {x: np.ones((11, 12), np.float32)}).explain())
    assert "tries" not in text
    assert "product" in text


@bounded
@given(
    SIDES, SIDES, SIDES, st.sampled_from(BOTH), st.booleans(), st.sampled_from(["rows", "columns", "batch"]),
    st.integers(1, 3), st.sampled_from([(True, True), (True, False), (False, True)]), st.sampled_from([WIDE, HALF]),
)  # fmt: skip
def test_batches_are_multiplied_where_they_lie(
    rows: int, inner: int, columns: int, across: tuple[bool, bool], double: bool, side: str, blocks: int,
    apart: tuple[bool, bool], known: Tile,
) -> None:  # fmt: skip
    """As the heads of attention lie: a row of one matrix after that of another. `_refused`: nothing is copied for BLAS."""
    sides = Sides("float64" if double else "float32", 6, rows, inner, columns, *across)
    a, b, c = (array._replace(dims=(2, 3, *array.dims[1:])) for array in arrays_of(sides))
    given = []
    for array, lies in zip((a, b), apart, strict=True):
        first, second, lines, width = array.dims
        whole = np.random.default_rng(0).integers(-8, 9, (first, lines, second, width)).astype(sides.kind)
        view = whole.transpose(0, 2, 1, 3)
        given.append(view if lies else np.ascontiguousarray(view))
    product = Product(sides, (a, b, c), known, (inner,), False, Cut(blocks, side), True)
    function = product_kernels._function(product, _refused, Workspace())
    for _ in range(2):
        same(function(*given), plainly(sides, *given))
        same(function(*[np.ascontiguousarray(array) for array in given]), plainly(sides, *given))


def test_matrices_that_lie_otherwise_are_copied() -> None:
    x = wf.placeholder(wf.float32, [64, 5, 64, 2])
    heads = wf.transpose(x, [1, 3, 0, 2])  # neither rows nor columns in one piece
    feeds = {x: np.random.default_rng(0).normal(size=(64, 5, 64, 2))}
    same(*both(wf.matmul(heads, heads, transpose_b=True), feeds))
    same(*both(wf.matmul(heads[:, :, ::-1], heads[:, :, ::2], transpose_b=True), feeds))
