"""Convolution and pooling kernels against sums over windows, for odd geometries, and their bits for any number of threads."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import threadpoolctl
import weft as wf
from weft.graph.dtypes import as_dtype
from weft.graph.opdef import Spec
from weft.graph.ops import conv, conv_kernels, pooling, tiles
from weft.graph.ops.windows import Axis, Layout
from weft.graph.parallel import limit_threads, threads
from weft.runtime.backends.cpu import CPU

Sizes = tuple[tuple[int, int, int, int], tuple[int, int, int, int], Layout]


@contextmanager
def of_threads(count: int) -> Iterator[None]:
    before = threads()
    with threadpoolctl.threadpool_limits(count):
        limit_threads(count)
        try:
            yield
        finally:
            limit_threads(before)


def geometries() -> Iterator[Sizes]:
    """Images, filters and layouts: few and many channels, strides, dilations, paddings that windows lie in wholly."""
    draw = np.random.default_rng(7)

    def pick(*values: int) -> int:
        return int(draw.choice(values))

    paddings = itertools.cycle(["SAME", "VALID", "EXPLICIT"])
    for padding in itertools.islice(paddings, 150):
        images = (pick(1, 2, 5, 11), pick(1, 4, 7, 18), pick(1, 3, 9, 14), pick(1, 3, 4, 16, 67))
        filters = (pick(1, 2, 3, 5), pick(1, 2, 3, 4), images[3], pick(1, 2, 32, 65))
        strides, dilations = (1, pick(1, 2, 3), pick(1, 2), 1), (1, pick(1, 2, 3), pick(1, 2), 1)
        explicit = (0, 0, pick(0, 1, 6), pick(0, 2), pick(0, 4), pick(0, 3), 0, 0) if padding == "EXPLICIT" else ()
        layout = Layout(strides, padding, explicit, dilations)
        try:
            layout.axes(images, filters)
        except wf.errors.InvalidArgumentError:
            continue
        yield images, filters, layout


GEOMETRIES = list(geometries())


def numbers(shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def by_offsets(x: Any, w: Any, dy: Any, rows: Axis, cols: Axis) -> tuple[Any, Any, Any]:
    """The convolution and its two gradients, one product for each place in the window."""
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    for i, j in np.ndindex(*w.shape[:2]):
        (down, from_down), (across, from_across) = rows.reach(i), cols.reach(j)
        out, inside = (slice(None), down, across), (slice(None), from_down, from_across)
        y[out] += x[inside] @ w[i, j]
        dx[inside] += dy[out] @ w[i, j].T
        dw[i, j] = np.einsum("nabc,nabo->co", x[inside], dy[out])
    return y, dx, dw


def all_three(x: Any, w: Any, dy: Any, rows: Axis, cols: Axis) -> list[Any]:
    return [
        conv_kernels.forward(x, w, rows, cols),
        conv_kernels.input_gradient(w, dy, rows, cols),
        conv_kernels.filter_gradient(x, dy, rows, cols),
    ]


@pytest.mark.parametrize("small", [False, True], ids=["usual blocks", "many blocks"])
def test_kernels_are_the_sums_over_windows(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        monkeypatch.setattr(conv_kernels, "BLOCK_BYTES", 3000)
        monkeypatch.setattr(conv_kernels, "LEAST_WORK", 500)
        monkeypatch.setattr(tiles, "DEPTH", 17)
        monkeypatch.setattr(conv_kernels, "DEPTH", 17)
        monkeypatch.setattr(tiles, "TERMS_BYTES", 5000)
    assert len(GEOMETRIES) > 100
    for images, filters, layout in GEOMETRIES:
        rows, cols = layout.axes(images, filters)
        x, w, dy = numbers(images), numbers(filters), numbers((images[0], rows.out, cols.out, filters[3]))
        for found, expected in zip(all_three(x, w, dy, rows, cols), by_offsets(x, w, dy, rows, cols), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10, err_msg=f"{images} {filters} {layout}")


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    sizes = [((32, 14, 14, 32), (5, 5, 32, 64), 1), ((9, 28, 28, 1), (5, 5, 1, 32), 1), ((3, 40, 40, 3), (7, 7, 3, 64), 2),
             ((5, 9, 9, 130), (3, 3, 130, 1), 1), ((6, 12, 12, 64), (3, 3, 64, 96), 2)]  # fmt: skip
    for images, filters, stride in sizes:
        rows, cols = Layout((1, stride, stride, 1), "SAME").axes(images, filters)
        x, w = numbers(images, np.float32), numbers(filters, np.float32)
        dy = numbers((images[0], rows.out, cols.out, filters[3]), np.float32)
        found = []
        for count in (1, 2, 3):
            with of_threads(count):
                found.append([value.tobytes() for value in all_three(x, w, dy, rows, cols)])
        assert found[0] == found[1] == found[2], (images, filters)


def test_products_have_the_same_bits_for_any_number_of_threads() -> None:
    draw = np.random.default_rng(3)
    for rows, depth, width in [(784, 160, 64), (1, 256, 200), (700, 256, 1), (1000, 25, 32), (33, 9, 1000), (1, 1, 1)]:
        a = draw.standard_normal((2, rows, depth)).astype(np.float32)
        b = draw.standard_normal((2, depth, width)).astype(np.float32)
        found = []
        for count in (1, 2):
            out = np.empty((rows, width), np.float32)
            with of_threads(count):
                room = np.empty(tiles.room_for(2, out.shape, 4), np.float32)
                tiles.add_products(a, b, out, room)
            found.append(out.tobytes())
            np.testing.assert_allclose(out, a[0] @ b[0] + a[1] @ b[1], rtol=1e-4, atol=1e-4)
        assert found[0] == found[1]


SQUARE = (1, 2, 2, 1)
#: Windows that touch, that leave gaps, that overlap, and that stick out.
POOLS = [(SQUARE, SQUARE, "VALID"), (SQUARE, SQUARE, "SAME"), ((1, 3, 2, 1), (1, 2, 2, 1), "SAME"),
         ((1, 1, 2, 1), (1, 3, 3, 1), "VALID"), ((1, 3, 3, 1), (1, 1, 1, 1), "SAME")]  # fmt: skip


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("block", [1, 1 << 18])
def test_max_pool_gives_its_gradient_to_the_first_maximum(
    pool: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling, "BLOCK_SIZE", block)
    x = np.random.default_rng(0).integers(0, 3, (3, 7, 9, 2)).astype(np.float32)  # many ties
    y = pooling.MaxPool(*pool).compute(x)
    dy = numbers(y.shape, np.float32)
    rows, cols = Layout(pool[1], pool[2]).axes(x.shape, pool[0][1:3])
    expected = np.zeros_like(x)
    for n, a, b, c in np.ndindex(*y.shape):
        top, left = a * rows.stride - rows.before, b * cols.stride - cols.before
        places = [(i, j) for i in range(top, top + rows.kernel) for j in range(left, left + cols.kernel)]
        places = [(i, j) for i, j in places if 0 <= i < 7 and 0 <= j < 9]
        best = max(x[n, i, j, c] for i, j in places)
        assert y[n, a, b, c] == best
        i, j = next((i, j) for i, j in places if x[n, i, j, c] == best)
        expected[n, i, j, c] += dy[n, a, b, c]
    np.testing.assert_allclose(pooling.MaxPoolGrad(*pool).compute(x, y, dy), expected, rtol=1e-6, atol=1e-6)


def test_an_infinite_gradient_reaches_the_maximum_alone() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    pool = pooling.MaxPoolGrad(SQUARE, SQUARE, "VALID")
    y = pooling.MaxPool(SQUARE, SQUARE, "VALID").compute(x)
    dx = pool.compute(x, y, np.full((1, 2, 2, 1), np.inf, np.float32))
    assert np.isinf(dx).sum() == 4
    assert (dx[np.isfinite(dx)] == 0).all()


KERNELS = [
    (conv.Conv2D(), [(4, 9, 9, 8), (3, 3, 8, 16)], (4, 9, 9, 16)),
    (pooling.MaxPool(SQUARE, SQUARE, "SAME"), [(4, 9, 9, 8)], (4, 5, 5, 8)),
    (pooling.AvgPool(SQUARE, SQUARE, "SAME"), [(4, 9, 9, 8)], (4, 5, 5, 8)),
]


@pytest.mark.parametrize(("definition", "shapes", "shape"), KERNELS, ids=lambda value: getattr(value, "type", ""))
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_kernels_write_into_the_buffer_of_the_plan(definition: Any, shapes: Any, shape: Any, dtype: str) -> None:
    kind = as_dtype(dtype)
    kernel = CPU.kernel(definition, tuple(Spec(kind, dims) for dims in shapes), (Spec(kind, shape),))
    assert kernel is not None
    assert kernel.takes_out == (kind.size > 2)
    inputs = [numbers(dims, kind.np) for dims in shapes]
    expected = kernel.function(*inputs)
    assert expected.dtype == kind.np
    assert expected.shape == shape
    if kernel.takes_out:
        out = np.full(shape, np.nan, kind.np)
        assert kernel.function(*inputs, out=out) is out
        assert out.tobytes() == expected.tobytes()


def test_a_step_allocates_no_big_array() -> None:
    images = numbers((64, 14, 14, 8), np.float32)
    x = wf.placeholder(wf.float32, images.shape)
    w, v = (wf.Variable(numbers(shape, np.float32) / 10) for shape in [(5, 5, 8, 16), (3, 3, 16, 4)])
    pooled = wf.nn.max_pool(wf.nn.relu(wf.nn.conv2d(x, w, 1, "SAME")), 2, 2, "SAME")
    loss = wf.reduce_mean(wf.square(wf.nn.conv2d(pooled, v, 2, "SAME")))
    update = wf.train.GradientDescentOptimizer(0.01).minimize(loss)
    with of_threads(1), wf.Session() as session:
        session.run(wf.global_variables_initializer())
        for _ in range(3):  # the rooms have grown
            session.run([loss, update], {x: images})
        tracemalloc.start()
        try:
            session.run([loss, update], {x: images})
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            session.run([loss, update], {x: images})
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
    biggest = 64 * 14 * 14 * 16 * 4  # of the arrays of images inside; masks are a quarter of that
    assert peak < biggest // 2
