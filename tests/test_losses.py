"""The cross entropies: extreme logits, gradients against closed forms, misuse; and other edges of the nn operations."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import weft  # noqa: F401
from weft.autodiff.gradients import gradients
from weft.graph import ir
from weft.graph.errors import InvalidArgumentError
from weft.graph.ops import activations, conv, losses, normalization, pooling, softmax
from weft.graph.ops.constant import constant
from weft.graph.ops.placeholders import placeholder
from weft.runtime.interpret import interpret

LOGITS = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
LABELS = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
EXTREME = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], np.float32)


def value(tensor: ir.Tensor) -> Any:
    return interpret([tensor], {})[0]


def probabilities(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


# extreme logits


def test_softmax_and_its_logarithm_of_extreme_logits() -> None:
    shares = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(value(softmax.softmax(EXTREME)), shares, rtol=1e-6)
    logs = value(softmax.log_softmax(EXTREME))
    np.testing.assert_allclose(logs, np.array([[0, -2e4, -1e4], -np.log([3.0, 3.0, 3.0])]), rtol=1e-6)


def test_softmax_cross_entropies_of_extreme_logits() -> None:
    labels = np.array([[0, 1, 0], [0, 0, 1]], np.float32)
    logits = constant(EXTREME)
    dense = losses.softmax_cross_entropy_with_logits_v2(labels, logits)
    sparse = losses.sparse_softmax_cross_entropy_with_logits(labels=[1, 2], logits=logits)
    wanted = np.array([2e4, np.log(3.0)])
    slope = np.array([[1, -1, 0], [1 / 3, 1 / 3, -2 / 3]])
    np.testing.assert_allclose(value(dense), wanted, rtol=1e-6)
    np.testing.assert_allclose(value(sparse), wanted, rtol=1e-6)
    for loss in (dense, sparse):
        np.testing.assert_allclose(value(gradients(loss, logits)[0]), slope, atol=1e-6)


def test_sigmoid_cross_entropy_of_extreme_logits() -> None:
    logits = constant([1e4, -1e4, 1e4, -1e4, 20.0])
    loss = losses.sigmoid_cross_entropy_with_logits(labels=constant([1.0, 1.0, 0.0, 0.0, 1.0]), logits=logits)
    np.testing.assert_allclose(value(loss), [0, 1e4, 1e4, 0, np.log1p(np.exp(-20.0))], rtol=1e-5)
    np.testing.assert_allclose(value(gradients(loss, logits)[0]), [0, -1, 1, 0, -np.exp(-20.0)], atol=1e-6)


def test_a_class_that_is_masked_out_by_minus_infinity_does_not_spoil_the_loss() -> None:
    logits = constant([[0.0, -np.inf, 0.0]])
    loss = losses.softmax_cross_entropy_with_logits_v2(constant([[1.0, 0.0, 0.0]]), logits)
    np.testing.assert_allclose(value(loss), [np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(value(gradients(loss, logits)[0]), [[-0.5, 0, 0.5]], atol=1e-6)


@pytest.mark.parametrize("logit", [0.0, -0.0])
def test_gradients_at_logit_0_are_exact(logit: float) -> None:
    logits = constant([logit])
    plain = losses.sigmoid_cross_entropy_with_logits(labels=constant([0.25]), logits=logits)
    weighted = losses.weighted_cross_entropy_with_logits(constant([0.25]), logits, 3.0)
    assert value(gradients(plain, logits)[0]) == 0.25
    assert value(gradients(weighted, logits)[0]) == 0.75 * 0.5 - 3 * 0.25 * 0.5


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_sixteen_bit_logits_are_computed_in_float32(dtype: Any) -> None:
    logits = constant(np.zeros((2, 5000), dtype))
    sparse = losses.sparse_softmax_cross_entropy_with_logits(labels=[0, 1], logits=logits)
    dense = losses.softmax_cross_entropy_with_logits_v2(np.full((2, 5000), 1 / 5000), logits)
    assert sparse.dtype is dense.dtype is logits.dtype
    np.testing.assert_allclose(value(sparse).astype(np.float64), np.log(5000), rtol=4e-3)
    np.testing.assert_allclose(value(dense).astype(np.float64), np.log(5000), rtol=1e-2)
    np.testing.assert_allclose(value(softmax.softmax(logits)).astype(np.float64).sum(1), 1, rtol=4e-3)


# closed forms


def test_gradients_of_the_dense_cross_entropy() -> None:
    logits, labels, weights = constant(LOGITS), constant(LABELS), np.array([1.0, -2.0])
    loss = losses.softmax_cross_entropy_with_logits_v2(labels, logits)
    by_logits, by_labels = gradients(loss, [logits, labels], grad_ys=constant(weights))
    p = probabilities(LOGITS)
    np.testing.assert_allclose(value(by_logits), weights[:, None] * (p - LABELS), rtol=1e-12)
    np.testing.assert_allclose(value(by_labels), -weights[:, None] * np.log(p), rtol=1e-12)


def test_second_order_of_the_softmax_cross_entropies_is_the_softmax_jacobian() -> None:
    p = probabilities(LOGITS)
    direction = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
    wanted = p * (direction - (p * direction).sum(-1, keepdims=True))
    logits = constant(LOGITS)
    dense = losses.softmax_cross_entropy_with_logits(labels=constant(LABELS), logits=logits)
    sparse = losses.sparse_softmax_cross_entropy_with_logits(labels=[2, 0], logits=logits)
    for loss in (dense, sparse):
        first = gradients(loss, logits)[0]
        np.testing.assert_allclose(value(gradients(first, logits, grad_ys=constant(direction))[0]), wanted, rtol=1e-12)


def test_first_order_gradients_build_no_second_order() -> None:
    logits = placeholder("float32", [None, 3])
    loss = losses.sparse_softmax_cross_entropy_with_logits(labels=[0], logits=logits)
    gradients(loss, logits)
    assert "Softmax" not in {operation.type for operation in logits.graph.get_operations()}


def test_v1_takes_the_labels_as_constants() -> None:
    logits, labels = constant(LOGITS), constant(LABELS)
    loss = losses.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    by_logits, by_labels = gradients(loss, [logits, labels])
    assert by_logits is not None
    assert by_labels is None


def test_the_sparse_loss_is_the_dense_one_of_one_hot_labels_at_any_rank() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    classes = np.array([[0, 1, 2], [3, 3, 0]])
    sparse = losses.sparse_softmax_cross_entropy_with_logits(labels=constant(classes), logits=constant(logits))
    dense = losses.softmax_cross_entropy_with_logits_v2(np.eye(4)[classes], constant(logits))
    np.testing.assert_allclose(value(sparse), value(dense), rtol=1e-12)


# misuse


@pytest.mark.parametrize("function", [
    losses.softmax_cross_entropy_with_logits,
    losses.sparse_softmax_cross_entropy_with_logits,
    losses.sigmoid_cross_entropy_with_logits,
], ids=lambda f: f.__name__)  # fmt: skip
def test_positional_and_missing_arguments_are_refused(function: Any) -> None:
    with pytest.raises(ValueError, match=f"Only call `{function.__name__}` with named arguments"):
        function(LOGITS, LABELS)
    with pytest.raises(ValueError, match="Both labels and logits must be provided"):
        function(labels=LABELS)


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_named(label: int) -> None:
    loss = losses.sparse_softmax_cross_entropy_with_logits(labels=[0, label], logits=LOGITS)
    with pytest.raises(InvalidArgumentError, match=rf"label value of {label} .* valid range of \[0, 3\)"):
        value(loss)


def test_sparse_labels_of_a_wrong_shape_or_type_are_refused() -> None:
    function = losses.sparse_softmax_cross_entropy_with_logits
    with pytest.raises(ValueError, match="Rank mismatch"):
        function(labels=[[1], [2]], logits=LOGITS)
    with pytest.raises(ValueError, match="Shape mismatch"):
        function(labels=[1, 2, 0], logits=LOGITS)
    with pytest.raises(ValueError, match="scalar"):
        function(labels=1, logits=1.0)
    with pytest.raises(TypeError, match="int32 or int64"):
        function(labels=[1.0, 2.0], logits=LOGITS)


def test_shapes_that_only_a_run_knows_are_checked_there() -> None:
    logits, labels, classes = placeholder("float32"), placeholder("float32"), placeholder("int32")
    feeds = {logits: np.zeros((2, 3), np.float32), labels: np.zeros((2, 2), np.float32), classes: np.zeros(3, np.int32)}
    for loss in (
        losses.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits),
        losses.softmax_cross_entropy_with_logits_v2(labels, logits),
        losses.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=logits),
    ):
        with pytest.raises(InvalidArgumentError, match="shape"):
            interpret([loss], feeds)


def test_dense_and_sigmoid_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        losses.sigmoid_cross_entropy_with_logits(labels=[1.0], logits=[1.0, 2.0])
    with pytest.raises(ValueError, match="not compatible"):
        losses.softmax_cross_entropy_with_logits_v2([[1.0, 0.0]], LOGITS)


# other edges


def test_softmax_refuses_scalars_integers_and_axes_out_of_range() -> None:
    with pytest.raises(ValueError, match="rank"):
        softmax.softmax(1.0)
    with pytest.raises(TypeError, match="int32"):
        softmax.softmax([1, 2])
    with pytest.raises(ValueError, match="axis 2"):
        softmax.softmax(LOGITS, 2)


def test_bias_must_fit_the_channels() -> None:
    for bias, match in ((np.ones(2), "must be equal"), (np.ones((3, 1)), "rank 1")):
        with pytest.raises(ValueError, match=match):
            activations.bias_add(LOGITS, bias)
    with pytest.raises(ValueError, match="at least rank 3"):
        activations.bias_add(LOGITS, np.ones(3), "NCHW")
    with pytest.raises(ValueError, match="data_format"):
        activations.bias_add(LOGITS, np.ones(3), "CHW")


def test_relu_gradients_stop_infinities_and_pass_halves() -> None:
    x, dy = constant([-1.0, 0.0, 2.0]), constant([np.inf, np.nan, 3.0])
    for function, low in ((activations.relu, 0.0), (activations.relu6, 0.0)):
        np.testing.assert_array_equal(value(gradients(function(x), x, grad_ys=dy)[0]), [low, low, 3.0])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_activations_and_images_keep_their_float_type(dtype: Any) -> None:
    x = constant(np.linspace(-3, 3, 16).reshape(1, 4, 4, 1).astype(dtype))
    w = constant(np.ones((2, 2, 1, 1), dtype))
    functions: list[Any] = [
        activations.relu, activations.relu6, activations.leaky_relu, activations.elu, activations.selu,
        activations.softplus, activations.softsign, softmax.softmax, softmax.log_softmax, losses.l2_loss,
        normalization.local_response_normalization, lambda t: conv.conv2d(t, w, 2, "SAME"),
        lambda t: pooling.max_pool(t, 2, 2, "SAME"), lambda t: pooling.avg_pool(t, 2, 2, "SAME"),
    ]  # fmt: skip
    for function in functions:
        y = function(x)
        values = interpret([y, gradients(y, x)[0]], {})
        assert [np.asarray(item).dtype for item in values] == [dtype, dtype]
        assert all(np.isfinite(np.asarray(item).astype(np.float64)).all() for item in values)


def test_the_first_maximum_of_a_window_gets_the_gradient() -> None:
    x = constant(np.array([[7.0, 1.0], [7.0, 7.0]]).reshape(1, 2, 2, 1))
    y = pooling.max_pool(x, 2, 2, "VALID")
    np.testing.assert_array_equal(value(gradients(y, x)[0]).reshape(2, 2), [[1, 0], [0, 0]])


def test_large_images_are_worked_on_in_blocks_of_rows() -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(1, 90, 90, 8)), random.normal(size=(3, 3, 8, 4))
    y = conv.conv2d(constant(x), constant(w), 1, "SAME")
    strided = conv.conv2d(constant(x), constant(w), [2, 1], "VALID")
    whole = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    wanted = sum(whole[:, i : i + 90, j : j + 90] @ w[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(value(y), wanted, atol=1e-9)
    np.testing.assert_allclose(value(strided), wanted[:, 1:-1:2, 1:-1], atol=1e-9)


def test_convolution_and_pooling_refuse_what_does_not_fit() -> None:
    x, w = constant(np.ones((1, 2, 2, 3))), np.ones((3, 3, 3, 4))
    misfits: dict[str, Any] = {
        "subtracting 3 from 2": lambda: conv.conv2d(x, w, 1, "VALID"),
        "channels": lambda: conv.conv2d(x, np.ones((2, 2, 4, 3)), 1, "SAME"),
        "length 1, 2 or 4": lambda: conv.conv2d(x, w, [1, 1, 1], "SAME"),
        "batch and depth": lambda: conv.conv2d(x, w, [2, 1, 1, 1], "SAME"),
        "padding must be": lambda: conv.conv2d(x, w, 1, "FULL"),
        "rank 4": lambda: conv.conv2d(np.ones((2, 2, 3)), w, 1, "SAME"),
        "data_format": lambda: conv.conv2d(x, w, 1, "SAME", data_format="HWC"),
        "subtracting 5 from 2": lambda: pooling.max_pool(x, 5, 1, "VALID"),
        "out_backprop": lambda: conv.conv2d_transpose(np.ones((1, 2, 2, 4)), w, [1, 7, 2, 3], 1, "SAME"),
    }
    for match, call in misfits.items():
        with pytest.raises(ValueError, match=match):
            call()
    shapeless = placeholder("float64")
    with pytest.raises(InvalidArgumentError, match="subtracting 3 from 2"):
        interpret([conv.conv2d(shapeless, w, 1, "VALID")], {shapeless: np.ones((1, 2, 2, 3))})


def test_pooling_takes_its_images_by_one_of_two_names() -> None:
    x = constant(np.ones((1, 2, 2, 1)))
    assert value(pooling.max_pool(None, 2, 2, "VALID", input=x)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match="both"):
        pooling.avg_pool(x, 2, 2, "VALID", input=x)
