"""The gradient of convolutions by their filters as machine code: the CPU backend's sums, whatever the geometry and vectors."""

from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import assume, given, settings, strategies as st
from machine_code import LLVM, both, same
from weft.graph.ops import conv_kernels
from weft.graph.ops.windows import Axis, Layout

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import filter_kernels
from weft.runtime.backends.llvm.compiling import compiler
from weft.runtime.backends.llvm.filter_text import written
from weft.runtime.backends.llvm.micro import HALF, WIDE, Tile, tile

pytestmark = pytest.mark.skipif(tile() is None, reason="nothing is compiled for this processor")

Shape = tuple[int, ...]


def axes_of(images: Shape, filters: Shape, stride: int = 1, padding: str = "SAME", down: int = 1) -> tuple[Axis, Axis]:
    return Layout((1, stride, stride, 1), padding, (), (1, down, 1, 1)).axes(images, filters)


def arrays_of(images: Shape, outputs: int, axes: tuple[Axis, Axis], kind: Any = np.float32) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    shapes = images, (images[0], axes[0].out, axes[1].out, outputs)
    x, dy = (random.standard_normal(shape).astype(kind) for shape in shapes)
    return x, dy


def made(
    images: Shape, outputs: int, axes: tuple[Axis, Axis], arrays: tuple[Any, Any], known: Tile | None = None
) -> Any:
    """What the compiled function makes, whether it has NumPy's bits or not."""
    gradient = filter_kernels._gradient(arrays[0].dtype.name, images, outputs, *axes)
    assert gradient is not None
    gradient = gradient._replace(tile=known or gradient.tile)
    native = compiler().function(written(gradient), library=gradient.library())
    result = np.full(gradient.filters, np.nan, arrays[0].dtype)
    assert filter_kernels._run(gradient, native, *arrays, result)
    return result


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 16, 40]),
    st.sampled_from([2, 3, 16, 17, 33, 70]), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(1, 3),
    st.integers(1, 2), st.sampled_from(["SAME", "VALID"]), st.booleans(),
)  # fmt: skip
def test_sums_of_whole_numbers_are_numpys_for_any_geometry(
    images: int, height: int, width: int, channels: int, outputs: int, kernel: tuple[int, int], stride: int,
    down: int, padding: str, double: bool,
) -> None:  # fmt: skip
    if padding == "VALID":
        height, width = max(height, (kernel[0] - 1) * down + 1), max(width, kernel[1])
    shape, filters = (images, height, width, channels), (*kernel, channels, outputs)
    axes = axes_of(shape, filters, stride, padding, down)
    x, dy = arrays_of(shape, outputs, axes, np.float64 if double else np.float32)
    arrays = np.rint(4 * x), np.rint(4 * dy)
    assume(kernel[1] * channels > 1 and arrays[1].size > outputs)  # vectors are BLAS's
    np.testing.assert_array_equal(made(shape, outputs, axes, arrays), conv_kernels.filter_gradient(*arrays, *axes))


@pytest.mark.parametrize("blocks", ["whole images", "some lines"])
def test_blocks_of_images_and_of_lines_are_summed_as_numpy_does(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_kernels, "LEAST_WORK", 10_000)
    if blocks == "some lines":
        monkeypatch.setattr(conv_kernels, "BLOCK_BYTES", 2_000)
    monkeypatch.setattr(conv_kernels, "GROUPS", 3)
    monkeypatch.setattr(filter_kernels._trials, "found", {})
    for shape, filters, stride in [
        ((7, 18, 20, 16), (3, 3, 16, 40), 1),
        ((7, 18, 20, 16), (5, 3, 16, 24), 2),
        ((7, 18, 20, 2), (5, 3, 2, 24), 1),
        ((3, 30, 11, 3), (4, 3, 3, 16), 3),
    ]:
        axes = axes_of(shape, filters, stride)
        groups = conv_kernels.grouped_blocks(np.empty(shape, np.float32), *axes, filters[3])
        assert len(groups) > 1
        assert any(lines != slice(0, axes[0].out) for group in groups for _, lines in group) is (blocks == "some lines")
        arrays = arrays_of(shape, filters[3], axes)
        whole = np.rint(4 * arrays[0]), np.rint(4 * arrays[1])
        np.testing.assert_array_equal(made(shape, filters[3], axes, whole), conv_kernels.filter_gradient(*whole, *axes))
        found = filter_kernels.filter_gradient(*arrays, *axes)
        same(found, conv_kernels.filter_gradient(*arrays, *axes))


def test_no_bit_depends_on_vectors_or_tiles() -> None:
    for shape, filters in [
        ((5, 9, 17, 16), (3, 3, 16, 20)),
        ((3, 14, 30, 33), (5, 1, 33, 7)),
        ((9, 28, 28, 1), (5, 5, 1, 32)),
        ((2, 3, 5, 40), (5, 5, 40, 33)),
    ]:
        axes = axes_of(shape, filters)
        arrays = arrays_of(shape, filters[3], axes)
        wanted = made(shape, filters[3], axes, arrays, WIDE)
        for known in (HALF, Tile(128, 3, 5)):
            np.testing.assert_array_equal(made(shape, filters[3], axes, arrays, known), wanted)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_have_numpys_bits_for_any_number_of_threads(threads: int) -> None:
    random = np.random.default_rng(0)
    feeds: dict[wf.Tensor, Any] = {}
    fetches = []
    for shape, filters, stride in [
        ((16, 14, 14, 32), (5, 5, 32, 64), 1),
        ((16, 28, 28, 1), (5, 5, 1, 32), 1),
        ((4, 15, 13, 24), (3, 3, 24, 40), 2),
    ]:
        arrays = [random.standard_normal(dims).astype(np.float32) for dims in (shape, filters)]
        x, w = (wf.placeholder(wf.float32, dims) for dims in (shape, filters))
        feeds |= dict(zip((x, w), arrays, strict=True))
        fetches += wf.gradients(wf.square(wf.nn.conv2d(x, w, [1, stride, stride, 1], "SAME")), w)
    results = []
    for backend in ("llvm", "numpy"):
        with wf.Session(config=wf.ConfigProto(backend=backend, intra_op_parallelism_threads=threads)) as session:
            results.append([session.run(fetches, feeds) for _ in range(2)])
    for found, wanted in zip(*results, strict=True):
        for one, other in zip(found, wanted, strict=True):
            same(one, other)


def test_nan_inf_and_zeros_are_numpys() -> None:
    random = np.random.default_rng(2)
    fetches: list[wf.Tensor] = []
    feeds: dict[wf.Tensor, Any] = {}
    for one, other in combinations_with_replacement([0.0, -0.0, np.inf, np.nan, 1e-45], 2):
        arrays = [random.standard_normal(d).astype(np.float32) for d in ((2, 6, 6, 16), (2, 6, 6, 17), (3, 3, 16, 17))]
        for array, number in zip(arrays, (one, other), strict=False):
            array[random.random(array.shape) < 0.01] = number
        x, dy, w = (wf.placeholder(wf.float32, array.shape) for array in arrays)
        feeds |= dict(zip((x, dy, w), arrays, strict=True))
        fetches += wf.gradients(wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME"), w, dy)
    for found, wanted in zip(*both(fetches, feeds), strict=True):
        same(found, wanted)


def test_arrays_that_are_not_row_major_go_through_numpy() -> None:
    shape, filters = (4, 8, 8, 16), (3, 3, 16, 16)
    axes = axes_of(shape, filters)
    x, dy = arrays_of(shape, 16, axes)
    wanted = conv_kernels.filter_gradient(x, dy, *axes)
    for images, gradients in ((x, dy), (np.asfortranarray(x), dy), (x, np.asfortranarray(dy))):
        same(filter_kernels.filter_gradient(images, gradients, *axes), wanted)


def test_explain_counts_the_gradient_by_the_filters() -> None:
    x, w = (wf.placeholder(wf.float32, dims) for dims in ((2, 9, 9, 21), (3, 3, 21, 16)))
    fetches = wf.gradients(wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME"), w)
    feeds = {x: np.ones((2, 9, 9, 21), np.float32), w: np.ones((3, 3, 21, 16), np.float32)}
    with wf.Session(config=LLVM) as session:
        assert "tries whether 1 convolutions can be compiled" in str(session.plan(fetches, feeds).explain())
        session.run(fetches, feeds)
        text = str(session.plan(fetches, feeds).explain())
    (taken,) = [found for key, found in filter_kernels._trials.found.items() if key[1] == (2, 9, 9, 21)]
    assert "tries" not in text
    assert taken is None or "1 convolution" in text
