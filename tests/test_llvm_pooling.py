"""The gradient of maximum pooling as machine code: the CPU backend's bits, on all geometries and in any blocks and vectors."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, settings, strategies as st
from machine_code import LLVM, both, same
from weft.graph.opdef import Spec
from weft.graph.ops.pooling import MaxPool, MaxPoolGrad

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import pooling
from weft.runtime.backends.llvm.micro import tile

pytestmark = pytest.mark.skipif(tile() is None, reason="nothing is compiled for this processor")


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5), st.integers(3, 15), st.integers(3, 15), st.sampled_from([8, 16, 19, 33]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(st.integers(0, 1), st.integers(0, 1)),
    st.sampled_from(["SAME", "VALID"]), st.booleans(), st.integers(1, 5), st.sampled_from([0.0, np.inf, np.nan]),
)  # fmt: skip
def test_the_first_maximum_gets_the_gradient_to_the_bit(
    images: int, height: int, width: int, channels: int, kernel: tuple[int, int], more: tuple[int, int], padding: str,
    double: bool, block: int, odd: float,
) -> None:  # fmt: skip
    kind = np.float64 if double else np.float32
    strides = (1, kernel[0] + more[0], kernel[1] + more[1], 1)
    pool = MaxPool((1, *kernel, 1), strides, padding)
    gradient = MaxPoolGrad((1, *kernel, 1), strides, padding)
    random = np.random.default_rng(0)
    x = np.rint(2 * random.standard_normal((images, height, width, channels))).astype(kind)  # many are the same
    x[random.random(x.shape) < 0.02] = odd
    x[random.random(x.shape) < 0.02] = -odd
    y = pool.compute(x)
    dy = random.standard_normal(y.shape).astype(kind)
    dy[random.random(dy.shape) < 0.05] = -odd
    specs = tuple([Spec(wf.as_dtype(kind), array.shape) for array in (x, y, dy)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "LEAST", 1)
        code = pooling.gradient_of(gradient, specs, block)
    assert code is not None
    function = pooling._function(code, refuse)
    with np.errstate(invalid="ignore"):
        same(function(x, y, dy, np.full(x.shape, 7, kind)), gradient.compute(x, y, dy))


def refuse(*arrays: Any) -> Any:
    raise AssertionError("the function does not take its arrays")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_have_numpys_bits_for_any_number_of_threads(threads: int) -> None:
    random = np.random.default_rng(1)
    x = wf.placeholder(wf.float32, [7, 28, 29, 32])
    fed = {x: random.standard_normal((7, 28, 29, 32)).astype(np.float32)}
    fetches = [
        gradient
        for padding in ("SAME", "VALID")
        for gradient in wf.gradients(wf.square(wf.nn.relu(wf.nn.max_pool(x, 2, 2, padding))), x)
    ]
    results = []
    for backend in ("llvm", "numpy"):
        with wf.Session(config=wf.ConfigProto(backend=backend, intra_op_parallelism_threads=threads)) as session:
            results.append(session.run(fetches, fed))
    for found, wanted in zip(*results, strict=True):
        same(found, wanted)


def test_windows_that_overlap_and_other_types_are_numpys() -> None:
    random = np.random.default_rng(1)
    fetches: list[wf.Tensor] = []
    feeds = {}
    for kind, size, stride in [("float32", 3, 2), ("float16", 2, 2), ("float64", 2, 1)]:
        x = wf.placeholder(kind, [3, 28, 28, 32])
        feeds[x] = random.standard_normal((3, 28, 28, 32)).astype(kind)
        fetches += wf.gradients(wf.nn.max_pool(x, size, stride, "SAME"), x)
    with wf.Session(config=LLVM) as session:
        assert "pooling" not in str(session.plan(fetches, feeds).explain())
    for found, wanted in zip(*both(fetches, feeds), strict=True):
        same(found, wanted)


def test_arrays_that_are_not_row_major_go_through_numpy() -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((4, 28, 28, 16)).astype(np.float32)
    pool, gradient = MaxPool((1, 2, 2, 1), (1, 2, 2, 1), "SAME"), MaxPoolGrad((1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    y = pool.compute(x)
    dy = random.standard_normal(y.shape).astype(np.float32)
    kernel = pooling.pooling_kernel(gradient, tuple([Spec(wf.float32, array.shape) for array in (x, y, dy)]))
    assert kernel is not None
    wanted = gradient.compute(x, y, dy)
    for given_ in ((x, y, dy), (np.asfortranarray(x), y, dy), (x, y, np.asfortranarray(dy))):
        same(kernel.function(*given_), wanted)


def test_explain_counts_pooling_gradients() -> None:
    x = wf.placeholder(wf.float32, [4, 28, 28, 24])
    fetches = wf.gradients(wf.nn.max_pool(x, 2, 2, "SAME"), x)
    feeds = {x: np.ones((4, 28, 28, 24), np.float32)}
    with wf.Session(config=LLVM) as session:
        session.run(fetches, feeds)
        assert "1 pooling gradient" in str(session.plan(fetches, feeds).explain())
