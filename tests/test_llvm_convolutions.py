"""Convolutions as machine code: the CPU backend's bits, or its kernels, on all geometries and in any blocks and vectors."""

from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from machine_code import LLVM, both, same
from weft.graph.ops import conv_kernels
from weft.graph.ops.windows import Layout

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import convolution_kernels
from weft.runtime.backends.llvm.compiling import compiler
from weft.runtime.backends.llvm.micro import HALF, WIDE, Tile, tile
from weft.runtime.backends.llvm.pool import in_threads

pytestmark = pytest.mark.skipif(tile() is None, reason="nothing is compiled for this processor")

bounded = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@bounded
@given(
    st.integers(1, 5), st.integers(1, 18), st.integers(1, 18), st.sampled_from([1, 7, 16, 33]),
    st.sampled_from([1, 3, 16, 17, 40]), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(1, 3),
    st.integers(1, 2), st.sampled_from(["SAME", "VALID"]), st.booleans(),
)  # fmt: skip
def test_convolutions_and_their_gradients_have_the_bits_of_numpys(
    images: int, height: int, width: int, channels: int, outputs: int, kernel: tuple[int, int], stride: int,
    dilation: int, padding: str, double: bool,
) -> None:  # fmt: skip
    if padding == "VALID":
        height, width = (
            max(size, (side - 1) * dilation + 1) for size, side in zip((height, width), kernel, strict=True)
        )
    wf.reset_default_graph()
    random = np.random.default_rng(0)
    kind = np.float64 if double else np.float32
    arrays = [
        random.standard_normal(d).astype(kind)
        for d in ((images, height, width, channels), (*kernel, channels, outputs))
    ]
    x, w = (wf.placeholder(array.dtype, array.shape) for array in arrays)
    y = wf.nn.conv2d(x, w, [1, stride, stride, 1], padding, dilations=[1, dilation, dilation, 1])
    fetches = [y, *wf.gradients(wf.square(y), [x, w])]
    for found, wanted in zip(*both(fetches, dict(zip((x, w), arrays, strict=True))), strict=True):
        same(found, wanted)


@pytest.mark.parametrize("count", [1, 2])
def test_a_net_of_regions_has_the_bits_of_numpys(count: int) -> None:
    random = np.random.default_rng(1)
    x = wf.constant(random.standard_normal((9, 20, 20, 8)).astype(np.float32))
    w = wf.get_variable("w", initializer=wf.constant(random.standard_normal((5, 5, 8, 16)).astype(np.float32)))
    b = wf.get_variable("b", initializer=wf.constant(random.standard_normal(16).astype(np.float32)))
    v = wf.get_variable("v", initializer=wf.constant(random.standard_normal((3, 3, 16, 24)).astype(np.float32)))
    y = wf.nn.max_pool(wf.nn.relu(wf.nn.bias_add(wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME"), b)), 2, 2, "SAME")
    loss = wf.reduce_mean(wf.square(wf.nn.conv2d(y, v, [1, 1, 1, 1], "VALID")))
    train = wf.train.GradientDescentOptimizer(0.001).minimize(loss)
    found = []
    for backend in ("numpy", "llvm"):
        config = wf.ConfigProto(backend=backend, intra_op_parallelism_threads=count)
        with wf.Session(config=config) as session:
            session.run(wf.global_variables_initializer())
            for _ in range(3):
                session.run(train)
            found.append(session.run([w, b, v, loss]))
    for one, other in zip(*found, strict=True):
        same(one, other)


def made(shape: tuple[int, ...], filters: tuple[int, ...], known: Tile, block: int) -> Any:
    """What the compiled function makes of whole numbers, whose sums no order changes, and of others; and the arrays."""
    axes = Layout((1, 1, 1, 1), "SAME").axes(shape, filters)
    convolution = convolution_kernels._convolution("float32", shape, filters, *axes)
    assert convolution is not None
    convolution = convolution._replace(tile=known, block=block)
    native = compiler().function(convolution.written(), library=convolution.library())
    random = np.random.default_rng(0)
    found = []
    for whole in (True, False):
        arrays = [random.standard_normal(dims).astype(np.float32) for dims in (shape, filters)]
        if whole:
            arrays = [np.rint(3 * array) for array in arrays]
        out = np.empty(convolution.arrays()[2].dims, np.float32)
        assert in_threads(native, [*arrays, out], out, convolution.room_bytes())
        found.append(out)
        if whole:
            same(out, conv_kernels.forward(arrays[0], arrays[1], *axes))
    return found


def test_no_bit_depends_on_vectors_tiles_or_blocks() -> None:
    for shape, filters in [
        ((5, 9, 17, 16), (3, 3, 16, 20)),
        ((3, 4, 30, 33), (5, 1, 33, 7)),
        ((2, 3, 5, 40), (5, 5, 40, 33)),
        ((1, 2, 2, 130), (1, 3, 130, 16)),
    ]:
        wanted = made(shape, filters, WIDE, shape[0])
        for known, block in [(WIDE, 1), (HALF, 2), (Tile(128, 3, 5), 1)]:
            for one, other in zip(made(shape, filters, known, block), wanted, strict=True):
                np.testing.assert_array_equal(one, other)


def test_nan_inf_and_zeros_are_numpys() -> None:
    random = np.random.default_rng(2)
    fetches: list[wf.Tensor] = []
    feeds: dict[wf.Tensor, Any] = {}
    for one, other in combinations_with_replacement([0.0, -0.0, np.inf, np.nan, 1e-45], 2):
        arrays = [random.standard_normal(d).astype(np.float32) for d in ((2, 6, 6, 16), (3, 3, 16, 17))]
        for array, number in zip(arrays, (one, other), strict=True):
            array[random.random(array.shape) < 0.01] = number
        x, w = (wf.placeholder(wf.float32, array.shape) for array in arrays)
        feeds |= dict(zip((x, w), arrays, strict=True))
        fetches.append(wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME"))
    for found, wanted in zip(*both(fetches, feeds), strict=True):
        same(found, wanted)


def test_arrays_that_are_not_row_major_go_through_numpy() -> None:
    shape, filters = (4, 8, 8, 16), (3, 3, 16, 16)
    axes = Layout((1, 1, 1, 1), "SAME").axes(shape, filters)
    random = np.random.default_rng(0)
    x, w = (random.standard_normal(dims).astype(np.float32) for dims in (shape, filters))
    bias = np.arange(16, dtype=np.float32)
    wanted = conv_kernels.forward(x, w, *axes) + bias

    def finish(values: Any, place: Any) -> None:
        np.add(values, bias, place)

    for images in (x, np.asfortranarray(x)):
        same(convolution_kernels.forward(images, w, *axes, None, finish), wanted)


def test_errors_are_the_same() -> None:
    x, w = wf.placeholder(wf.float32, [2, 8, 8, None]), wf.placeholder(wf.float32, [3, 3, 16, 4])
    y = wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
    with (
        wf.Session(config=LLVM) as session,
        pytest.raises(wf.errors.InvalidArgumentError, match="the images have 15 channels, the filters 16"),
    ):
        session.run(y, {x: np.ones((2, 8, 8, 15), np.float32), w: np.ones((3, 3, 16, 4), np.float32)})


def test_explain_says_what_became_of_convolutions() -> None:
    x, w = (wf.placeholder(wf.float32, dims) for dims in ((2, 9, 9, 19), (3, 3, 19, 16)))
    y = wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
    fetches = [y, *wf.gradients(wf.square(y), x)]
    feeds = {x: np.ones((2, 9, 9, 19), np.float32), w: np.ones((3, 3, 19, 16), np.float32)}
    with wf.Session(config=LLVM) as session:
        assert "tries whether 2 convolutions can be compiled" in str(session.plan(fetches, feeds).explain())
        session.run(fetches, feeds)
        text = str(session.plan(fetches, feeds).explain())
    filters = (3, 3, 19, 16), (3, 3, 16, 19)
    tried = [
        found
        for key, found in convolution_kernels._trials.found.items()
        if key[1][:3] == (2, 9, 9) and key[2] in filters
    ]
    assert len(tried) == 2
    taken = sum(found is not None for found in tried)
    assert "tries" not in text
    assert not taken or f"{taken} convolution" in text
