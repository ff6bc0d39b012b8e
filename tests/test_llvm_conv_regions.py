"""A convolution and what follows it as one compiled function: the CPU backend's bits, whatever follows."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import assume, given, settings, strategies as st
from machine_code import LLVM, both, same
from test_fuse_convolutions import drawn, net
from weft.graph.parallel import limit_threads, threads
from weft.runtime.regions import convolutions as fuse_convolutions

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import convolution_kernels
from weft.runtime.backends.llvm.compiling import compiler
from weft.runtime.backends.llvm.micro import tile
from weft.runtime.backends.llvm.pool import in_threads
from weft.runtime.backends.llvm.trials import same_bits

pytestmark = pytest.mark.skipif(tile() is None, reason="nothing is compiled for this processor")

STEPS = ["relu", "abs", "negative", "tanh", "relu6", "square"]
FORMS = st.fixed_dictionaries(
    {
        "images": st.integers(1, 9),
        "side": st.integers(3, 15),
        "channels": st.sampled_from([1, 3, 8, 16]),
        "outputs": st.sampled_from([2, 5, 16, 19, 33]),
        "kernel": st.integers(1, 5),
        "stride": st.integers(1, 3),
        "dilation": st.sampled_from([1, 1, 1, 2]),
        "padding": st.sampled_from(["SAME", "VALID"]),
        "bias": st.sampled_from(["add", "turned", "bias", ""]),
        "before": st.lists(st.sampled_from(STEPS), max_size=2),
        "pool": st.sampled_from(
            [None, (2, 2, "SAME"), (2, 2, "VALID"), (3, 2, "SAME"), (2, 1, "VALID"), (1, 2, "SAME"), (3, 3, "SAME")]
        ),
        "later": st.lists(st.sampled_from(STEPS), max_size=2),
        "looked at": st.booleans(),
        "threads": st.integers(1, 3),
        "whole numbers": st.booleans(),
        "odd": st.sampled_from([0.0, np.nan, np.inf]),
        "dtype": st.sampled_from([np.float32, np.float64]),
    }
)


@settings(max_examples=20, deadline=None)
@given(FORMS, st.integers(0, 1000))
def test_any_region_has_the_bits_of_numpys(form: dict[str, Any], seed: int) -> None:
    side, kernel, dilation = form["side"], form["kernel"], form["dilation"]
    assume(form["padding"] == "SAME" or side >= 2 + (kernel - 1) * dilation + form["stride"])
    values = drawn(form, seed)
    if form["odd"]:
        values[0][np.random.default_rng(seed).random(values[0].shape) < 0.02] = form["odd"]
    before = threads()
    with wf.Graph().as_default(), pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(fuse_convolutions, "LEAST", 1)
        limit_threads(form["threads"])
        x, w, b = (wf.placeholder(value.dtype, value.shape) for value in values)
        y, others = net(x, w, b, form)
        slopes = [slope for slope in wf.gradients(y * y, [x, w, b]) if slope is not None]
        feeds = dict(zip((x, w, b), values, strict=True))
        for found, wanted in zip(*both([y, *others, *slopes], feeds), strict=True):
            same(found, wanted)
    limit_threads(before)


def layer(images: int) -> tuple[wf.Tensor, dict[wf.Tensor, Any]]:
    """A layer with padding, and something to feed."""
    random = np.random.default_rng(0)
    values = [random.standard_normal(dims, np.float32) for dims in ((images, 28, 28, 1), (5, 5, 1, 32), (32,))]
    x, w, b = (wf.placeholder(wf.float32, value.shape) for value in values)
    y = wf.nn.max_pool(wf.nn.relu(wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME") + b), 2, 2, "SAME")
    return y, dict(zip((x, w, b), values, strict=True))


def test_a_layer_with_padding_is_one_function_where_its_sums_are_numpys() -> None:
    y, feeds = layer(11)
    with wf.Session(config=LLVM) as session:
        wanted = session.run(y, feeds)
    ((key, found),) = [
        item for item in convolution_kernels._trials.found.items() if item[0][1][0] == 11 and item[0][-1] is not None
    ]
    convolution = convolution_kernels._convolution(*key)
    assert convolution is not None
    assert convolution.tail is not None
    assert convolution.tail.bias
    native = compiler().function(convolution.written(), library=convolution.library())
    made = [np.empty(array.dims, np.float32) for array in convolution.arrays() if array.written]
    assert in_threads(native, [*feeds.values(), *made], made[0], convolution.room_bytes())
    assert (found is not None) == same_bits(made[1], wanted)


def test_results_go_into_given_memory_and_other_layouts_through_numpy() -> None:
    y, feeds = layer(3)
    with wf.Session() as session:
        wanted = session.run(y, feeds)
    turned = {key: np.asfortranarray(value) for key, value in feeds.items()}
    with wf.Session(config=LLVM) as session:
        for given_ in (feeds, turned, feeds):
            same(session.run(y, given_), wanted)
