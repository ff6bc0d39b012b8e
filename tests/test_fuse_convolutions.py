"""Convolutions fused with what follows them: the bits of the operations one by one; plans, errors, the wire."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import weft as wf
from fusing import regions, types
from hypothesis import HealthCheck, given, settings, strategies as st
from weft.cluster.wire import plans as plan_wire
from weft.graph.opdef import OPS, Spec
from weft.graph.ops import conv_kernels, pooling
from weft.graph.parallel import limit_threads, threads
from weft.runtime.backends import convolutions
from weft.runtime.backends.cpu import CPU
from weft.runtime.interpret import interpret
from weft.runtime.regions import convolutions as fuse_convolutions
from weft.runtime.stages.fused import Fused, Part

bounded = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All convolutions are fused, in several blocks."""
    monkeypatch.setattr(fuse_convolutions, "LEAST", 1)
    monkeypatch.setattr(conv_kernels, "LEAST_WORK", 200)
    monkeypatch.setattr(pooling, "BLOCK_SIZE", 100)
    before = threads()
    yield
    limit_threads(before)


def kinds(*fetches: Any, feeds: Any = None) -> list[list[str]]:
    """The kinds of operations in each region."""
    return [types(run) for run in regions(list(fetches), feeds)]


def zeros(*tensors: Any) -> dict[Any, Any]:
    """Something to feed."""
    return {tensor: np.zeros([int(dim) for dim in tensor.shape], np.float32) for tensor in tensors}


def bits(values: Any) -> list[bytes]:
    return [np.asarray(value).tobytes() for value in values]


def net(x: Any, w: Any, b: Any, form: dict[str, Any]) -> tuple[Any, list[Any]]:
    """A convolution and what a draw says comes after it; the result, and what else is looked at."""
    strides = [1, form["stride"], form["stride"], 1]
    h = wf.nn.conv2d(x, w, strides, form["padding"], dilations=[1, form["dilation"], form["dilation"], 1])
    if form["bias"]:
        h = wf.nn.bias_add(h, b) if form["bias"] == "bias" else h + b if form["bias"] == "add" else b + h
    for name in form["before"]:
        h = getattr(wf.nn if name.startswith("relu") else wf, name)(h)
    whole = h
    if form["pool"]:
        size, step, padding = form["pool"]
        padding = padding if min(int(h.shape[1]), int(h.shape[2])) >= size else "SAME"
        h = wf.nn.max_pool(h, [1, size, size, 1], [1, step, step, 1], padding)
    for name in form["later"]:
        h = getattr(wf.nn if name.startswith("relu") else wf, name)(h)
    return h, [whole] if form["looked at"] else []


FORMS = st.fixed_dictionaries(
    {
        "images": st.integers(1, 5),
        "side": st.integers(3, 9),
        "channels": st.sampled_from([1, 3, 8, 16]),
        "outputs": st.sampled_from([1, 2, 5]),
        "kernel": st.integers(1, 5),
        "stride": st.integers(1, 3),
        "dilation": st.sampled_from([1, 1, 2]),
        "padding": st.sampled_from(["SAME", "VALID"]),
        "bias": st.sampled_from(["add", "turned", "bias", ""]),
        "before": st.lists(st.sampled_from(["relu", "abs", "negative", "tanh"]), max_size=2),
        "pool": st.sampled_from(
            [None, (2, 2, "SAME"), (2, 2, "VALID"), (3, 2, "SAME"), (2, 1, "VALID"), (1, 2, "SAME")]
        ),
        "later": st.lists(st.sampled_from(["relu", "abs"]), max_size=2),
        "looked at": st.booleans(),
        "threads": st.integers(1, 3),
        "block bytes": st.sampled_from([400, 5 << 18]),
        "whole numbers": st.booleans(),
        "dtype": st.sampled_from([np.float32, np.float64]),
    }
)


def drawn(form: dict[str, Any], seed: int) -> list[Any]:
    """Images, filters and a bias of a draw."""
    random = np.random.default_rng(seed)
    shapes = [
        (form["images"], form["side"], form["side"], form["channels"]),
        (form["kernel"], form["kernel"], form["channels"], form["outputs"]),
        (form["outputs"],),
    ]
    values = [random.normal(size=shape).astype(form["dtype"]) for shape in shapes]
    # Whole numbers: equal maxima, and zeros of both signs.
    return [np.trunc(value) for value in values] if form["whole numbers"] else values


@bounded
@given(FORMS, st.integers(0, 1000))
def test_any_region_has_the_bits_of_its_operations(form: dict[str, Any], seed: int) -> None:
    side, kernel, dilation = form["side"], form["kernel"], form["dilation"]
    if form["padding"] == "VALID" and side < 2 + (kernel - 1) * dilation + form["stride"]:
        return
    values = drawn(form, seed)
    with wf.Graph().as_default(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_kernels, "BLOCK_BYTES", form["block bytes"])
        limit_threads(form["threads"])
        x, w, b = (wf.placeholder(value.dtype, value.shape) for value in values)
        y, others = net(x, w, b, form)
        slopes = [slope for slope in wf.gradients(y * y, [x, w, b]) if slope is not None]
        feeds = dict(zip((x, w, b), values, strict=True))
        fetches = [y, *others, *slopes]
        with wf.Session() as sess:
            found = sess.run(fetches, feeds)
        assert bits(found) == bits(interpret(fetches, feeds))


def layer(side: int = 8, pool: bool = True) -> tuple[Any, ...]:
    x, w = wf.placeholder(wf.float32, [4, side, side, 2], "x"), wf.placeholder(wf.float32, [3, 3, 2, 5], "w")
    b = wf.placeholder(wf.float32, [5], "b")
    h = wf.nn.relu(wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME", name="conv") + b)
    return x, w, b, wf.nn.max_pool(h, 2, 2, "SAME", name="pool") if pool else h


def test_a_layer_is_one_region_and_its_rectifier_comes_last() -> None:
    x, w, b, y = layer()
    assert kinds(y, feeds=zeros(x, w, b)) == [["Conv2D", "AddV2", "MaxPool", "Relu"]]
    assert kinds(y, *wf.gradients(y, [w, b]), feeds=zeros(x, w, b))[0] == ["Conv2D", "AddV2", "MaxPool", "Relu"]


def test_explain_names_the_regions() -> None:
    x, w, b, y = layer()
    with wf.Session() as sess:
        text = sess.plan(y, zeros(x, w, b)).explain()
    assert "fuse convolutions, 4 operations" in text
    assert "rectify after pooling, once" in text
    assert "4 from conv to pool" in text


def test_a_value_that_somebody_takes_on_the_way_ends_the_region() -> None:
    x, w, b, y = layer(pool=False)
    conv = wf.get_default_graph().get_tensor_by_name("conv:0")
    assert kinds(y, conv, feeds=zeros(x, w, b)) == []
    assert kinds(y, wf.reduce_sum(conv), feeds=zeros(x, w, b)) == []


def test_a_bias_as_large_as_the_images_is_no_part_of_a_region() -> None:
    x, w, *_ = layer()
    large = wf.placeholder(wf.float32, [4, 8, 8, 5])
    y = wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME") + large
    assert kinds(y, feeds=zeros(x, w, large)) == []


def test_nothing_is_moved_over_a_write() -> None:
    x, w, b, _ = layer()
    conv = wf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
    v = wf.Variable(np.zeros(5, np.float32))
    with wf.control_dependencies([conv]):
        write = v.assign_add(b)
    with wf.control_dependencies([write]):
        y = wf.nn.relu(conv + wf.identity(v))
    assert kinds(y, feeds=zeros(x, w, b)) == []


def test_infinite_and_undefined_numbers_come_out_where_they_did() -> None:
    x, w, b, y = layer()
    random = np.random.default_rng(5)
    images = random.normal(size=(4, 8, 8, 2)).astype(np.float32)
    images[0, 3, 3, 0], images[1, 2, 2, 1], images[2, 0, 0, 0] = np.nan, np.inf, -np.inf
    feeds = {x: images, w: random.normal(size=(3, 3, 2, 5)).astype(np.float32), b: np.full(5, -0.0, np.float32)}
    slopes = wf.gradients(y, [x, w, b])
    with wf.Session() as sess, np.errstate(invalid="ignore"):
        found = sess.run([y, *slopes], feeds)
        wanted = interpret([y, *slopes], feeds)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(np.signbit(one[~np.isnan(one)]), np.signbit(np.asarray(other)[~np.isnan(one)]))


@pytest.mark.parametrize(("which", "named"), [("conv", "conv"), ("bias", "add"), ("pool", "pool")])
def test_an_error_names_the_operation_of_the_region(which: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, b, y = layer()
    feeds = {x: np.ones((4, 8, 8, 2), np.float32), w: np.ones((3, 3, 2, 5), np.float32), b: np.ones(5, np.float32)}
    with wf.Session() as sess:
        if which == "conv":
            monkeypatch.setattr(conv_kernels, "multiply", _fails)
        elif which == "bias":
            monkeypatch.setattr(convolutions, "np", SimpleNamespace(add=_fails, empty=np.empty))
        else:
            monkeypatch.setattr(pooling.MaxPool, "into", lambda *_: _fails)
        with pytest.raises(wf.errors.OpError, match=rf"node {named}\b"):
            sess.run(y, feeds)


def _fails(*_: Any) -> None:
    raise ValueError("it does not work")


def test_a_region_goes_over_the_wire() -> None:
    x, w, b, y = layer()
    with wf.Session() as sess:
        (plan,) = sess.plan([y, *wf.gradients(y, [w])], zeros(x, w, b)).plans
    assert plan_wire.decode_plan(*plan_wire.encode_plan(plan)) == plan


def test_what_does_not_follow_from_each_other_is_no_region() -> None:
    images, row = Spec(wf.float32, (2, 4, 4, 3)), Spec(wf.float32, (3,))
    inputs = images, Spec(wf.float32, (1, 1, 3, 3)), row
    conv = Part("conv", OPS["Conv2D"](), (0, 1), images)
    add = OPS["AddV2"]()
    for wrong in [
        [Part("add", add, (0, 2), images)],  # takes an input in place of the convolution
        [Part("add", add, (3, 3), images)],
        [Part("mul", OPS["Mul"](), (3, 2), images)],
        [Part("tanh", OPS["Tanh"](), (3,), images)],
        [Part("add", add, (3, 2), images), Part("more", add, (4, 2), images)],
    ]:
        with pytest.raises(ValueError, match=r"does not|no bias"):
            CPU.kernel(Fused((conv, *wrong), (len(wrong),), False), inputs, (images,))
    with pytest.raises(ValueError, match="no result"):
        CPU.kernel(Fused((conv, Part("add", add, (3, 2), images)), (0,), False), inputs, (images,))
