"""Rows for graph/ops/activations.py, softmax.py, losses.py and normalization.py."""

from typing import Any

import numpy as np
from case import Case, floats, ints
from weft.graph.ops import activations, losses, normalization, reshaping, softmax

X, Y, ROW = floats(2, 3, seed=1), floats(2, 3, seed=2), floats(3)
IMAGES = floats(2, 2, 2, 3)
POSITIVE = floats(2, 3, low=0.1, high=0.9)
LABELS = POSITIVE / POSITIVE.sum(-1, keepdims=True)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def probabilities(x: Any, axis: int = -1) -> Any:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def normalized(x: Any) -> Any:
    return x / np.sqrt(np.square(x).sum(-1, keepdims=True))


def local_response(x: Any) -> Any:
    near = np.stack([np.square(x[..., max(0, c - 1) : c + 2]).sum(-1) for c in range(3)], -1)
    return x / np.sqrt(2 + 0.5 * near)


CASES = [
    Case("BiasAdd", activations.bias_add, (X, ROW), expected=lambda x, b: x + b),
    Case("BiasAdd", lambda x, b: activations.bias_add(x, b, "NCHW"), (IMAGES, floats(2)), label="nchw",
         expected=lambda x, b: x + b[:, None, None]),
    Case("BiasAdd", activations.bias_add, (ints(2, 3), ints(3)), label="ints", expected=lambda x, b: x + b),
    Case("BiasAddGrad", activations.BiasAddGrad(), (X,), expected=lambda x: x.sum(0)),
    Case("BiasAddGrad", activations.BiasAddGrad("NCHW"), (IMAGES,), label="nchw", expected=lambda x: x.sum((0, 2, 3))),
    Case("BiasAdd", lambda x, w, b: activations.xw_plus_b(x, w, b), (X, floats(3, 2), floats(2)), label="xw_plus_b",
         expected=lambda x, w, b: x @ w + b),
    Case("Relu", activations.relu_layer, (X, floats(3, 2), floats(2)), label="relu_layer",
         expected=lambda x, w, b: np.maximum(x @ w + b, 0)),
    Case("Relu", activations.relu, (X,), expected=lambda x: np.maximum(x, 0)),
    Case("Relu", activations.relu, (ints(2, 3, low=-3),), label="ints", expected=lambda x: np.maximum(x, 0)),
    Case("Relu", activations.crelu, (X,), label="crelu", expected=lambda x: np.maximum(np.hstack([x, -x]), 0)),
    Case("ReluGrad", activations.ReluGrad(), (Y, X), expected=lambda dy, x: dy * (x > 0)),
    Case("Relu6", lambda x: activations.relu6(x), (6 * X,), expected=lambda x: np.clip(x, 0, 6)),
    Case("Relu6Grad", activations.Relu6Grad(), (Y, 6 * X), expected=lambda dy, x: dy * ((x > 0) & (x < 6))),
    Case("LeakyRelu", activations.leaky_relu, (X,), expected=lambda x: np.maximum(x, 0.2 * x)),
    Case("LeakyRelu", lambda x: activations.leaky_relu(x, -0.5), (X,), label="bent",
         expected=lambda x: np.maximum(x, 0) - 0.5 * np.minimum(x, 0)),
    Case("LeakyReluGrad", activations.LeakyReluGrad(0.1), (Y, X), expected=lambda dy, x: dy * np.where(x > 0, 1, 0.1)),
    Case("Elu", activations.elu, (X,), expected=lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    Case("EluGrad", activations.EluGrad(), (Y, X), expected=lambda dy, y: dy * (1 + np.minimum(y, 0))),
    Case("Selu", activations.selu, (X,),
         expected=lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1))),
    Case("SeluGrad", activations.SeluGrad(), (Y, X)),
    Case("Softplus", activations.softplus, (X,), expected=lambda x: np.log(np.exp(x) + 1)),
    Case("Softsign", activations.softsign, (X,), expected=lambda x: x / (1 + np.abs(x))),
    Case("SoftsignGrad", activations.SoftsignGrad(), (Y, X), expected=lambda dy, x: dy / (1 + np.abs(x)) ** 2),
    Case("Softmax", softmax.softmax, (X,), expected=probabilities),
    Case("Softmax", lambda x: softmax.softmax(x, axis=1), (floats(2, 3, 2),), label="middle",
         expected=lambda x: probabilities(x, 1)),
    Case("LogSoftmax", softmax.log_softmax, (X,), expected=lambda x: np.log(probabilities(x))),
    Case("LogSoftmax", lambda x: softmax.log_softmax(x, dim=0), (X,), label="first",
         expected=lambda x: np.log(probabilities(x, 0))),
    Case("L2Loss", losses.l2_loss, (X,), expected=lambda x: np.square(x).sum() / 2),
    Case("SigmoidCrossEntropyWithLogits",
         lambda x, z: losses.sigmoid_cross_entropy_with_logits(labels=z, logits=x), (X, POSITIVE),
         expected=lambda x, z: -z * np.log(sigmoid(x)) - (1 - z) * np.log(1 - sigmoid(x))),
    Case("Softplus", lambda x, z: losses.weighted_cross_entropy_with_logits(z, x, 3.0), (X, POSITIVE), label="weighted",
         expected=lambda x, z: -3 * z * np.log(sigmoid(x)) - (1 - z) * np.log(1 - sigmoid(x))),
    Case("SoftmaxCrossEntropyWithLogits",
         lambda x, z: losses.softmax_cross_entropy_with_logits_v2(z, x), (X, LABELS),
         expected=lambda x, z: -(z * np.log(probabilities(x))).sum(-1)),
    Case("SoftmaxCrossEntropyWithLogits",
         lambda x, z: losses.softmax_cross_entropy_with_logits(labels=z, logits=x), (X, LABELS), label="v1", grad=(0,)),
    Case("SoftmaxCrossEntropyWithLogits",
         lambda x, z: losses.softmax_cross_entropy_with_logits_v2(z, x, axis=0), (X.T, LABELS.T), label="axis 0",
         needs_shapes=True, expected=lambda x, z: -(z * np.log(probabilities(x, 0))).sum(0)),
    Case("SoftmaxCrossEntropyWithLogits", lambda x, z: losses.SoftmaxCrossEntropyWithLogits().outputs(x, z)[1],
         (X, LABELS), label="backprop", expected=lambda x, z: probabilities(x) - z),
    Case("SparseSoftmaxCrossEntropyWithLogits",
         lambda x, z: losses.sparse_softmax_cross_entropy_with_logits(labels=z, logits=x), (X, np.array([2, 0])),
         expected=lambda x, z: -np.log(probabilities(x))[[0, 1], z]),
    Case("SparseSoftmaxCrossEntropyWithLogits",
         lambda x, z: losses.sparse_softmax_cross_entropy_with_logits(labels=z, logits=x),
         (floats(2, 2, 3), ints(2, 2, high=3)), label="higher rank"),
    Case("SparseSoftmaxCrossEntropyWithLogits",
         lambda x, z: losses.SparseSoftmaxCrossEntropyWithLogits().outputs(x, z)[1], (X, np.array([2, 0])),
         label="backprop", expected=lambda x, z: probabilities(x) - np.eye(3)[z]),
    Case("Rsqrt", lambda x: normalization.l2_normalize(x, -1), (X,), label="l2_normalize", expected=normalized),
    Case("SquaredDifference", lambda x: normalization.moments(x, [0]), (X,), label="moments",
         expected=lambda x: [x.mean(0), x.var(0)]),
    Case("SquaredDifference", lambda x: normalization.moments(x, [0, 1], keep_dims=True), (X,), label="kept moments",
         expected=lambda x: [x.mean(keepdims=True), x.var(keepdims=True)]),
    Case("Rsqrt", lambda x, m, v, b, g: normalization.batch_normalization(x, m, v, b, g, 0.1),
         (X, ROW, np.square(ROW), floats(3, seed=1), floats(3, seed=2)), label="batch_normalization",
         expected=lambda x, m, v, b, g: g * (x - m) / np.sqrt(v + 0.1) + b),
    Case("NeighborSum", lambda x: normalization.local_response_normalization(x, 1, 2.0, 0.5), (IMAGES,),
         expected=local_response),
    Case("Equal", lambda x: normalization.zero_fraction(reshaping.reshape(x, [-1])), (np.array([[0.0, 1.0], [2.0, 0.0]]),),
         label="zero_fraction", order=0, expected=lambda x: np.array(0.5)),
]  # fmt: skip
