"""Bias addition and the activation functions of neural networks, with gradients of every order."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..ir import Operation, Tensor, graph_of
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .arithmetic import Mul, Neg, Sub, Unary, floating, number, numeric, real
from .array import concat
from .branchless import keep, select
from .convert import convert_to_tensor
from .fills import zeros_like
from .linalg import matmul
from .math import Sign
from .row_sums import sum_rows
from .special import Sigmoid


@op
class BiasAdd(Op):
    """A vector added along the channels: the last dimension, or the second in the format NCHW."""

    data_format: str = "NHWC"

    def infer(self, x: TensorLike, bias: TensorLike) -> Spec:
        if x.dtype is not bias.dtype:
            raise TypeError(f"BiasAdd takes tensors of one type, got {x.dtype.name} and {bias.dtype.name}")
        if bias.dims is not None and len(bias.dims) != 1:
            raise ValueError(f"Shape must be rank 1 but is rank {len(bias.dims)}: the bias {shapes.text(bias.dims)}")
        axis = self.channel_axis(x)
        if (
            x.dims is not None
            and bias.dims is not None
            and not shapes.compatible(x.dims[axis : axis + 1 or None], bias.dims)
        ):
            raise ValueError(f"Dimensions must be equal, but are {x.dims[axis]} channels and a bias of {bias.dims[0]}")
        return Spec(numeric("BiasAdd", x.dtype), x.dims)

    def channel_axis(self, x: TensorLike) -> int:
        """The dimension of the channels. Raises ValueError for too low a rank."""
        lowest = 3 if self.data_format == "NCHW" else 2
        if x.dims is not None and len(x.dims) < lowest:
            raise ValueError(f"Shape must be at least rank {lowest} but is rank {len(x.dims)}")
        return 1 if self.data_format == "NCHW" else -1

    def compute(self, x: Any, bias: Any) -> Any:
        return x + (bias.reshape(-1, *[1] * (x.ndim - 2)) if self.data_format == "NCHW" else bias)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy, BiasAddGrad(self.data_format)(dy)]


@op
class BiasAddGrad(Op):
    """The sum over everything but the channels: the gradient of the bias."""

    data_format: str = "NHWC"

    def infer(self, dy: TensorLike) -> Spec:
        axis = BiasAdd(self.data_format).channel_axis(dy)
        return Spec(dy.dtype, (None if dy.dims is None else dy.dims[axis],))

    def compute(self, dy: Any) -> Any:
        wide = dy.astype(np.float32) if dy.dtype.itemsize == 2 else dy
        if self.data_format == "NCHW":
            return wide.sum(axis=(0, *range(2, dy.ndim)), dtype=wide.dtype).astype(dy.dtype, copy=False)
        rows = wide.reshape(-1, dy.shape[-1])
        if rows.dtype.kind == "f":
            return sum_rows(rows).astype(dy.dtype, copy=False)
        return rows.sum(axis=0, dtype=dy.dtype)

    def grad(self, operation: Operation, db: Tensor) -> list[Tensor]:
        return [BiasAdd(self.data_format)(zeros_like(operation.inputs[0]), db)]


class Activation(Unary):
    """Base of the activations of floats."""

    __slots__ = ()

    def result_dtype(self, dtype: DType) -> DType:
        return floating(self.type, dtype)


class Backward(Op):
    """Base of the activations' gradients: inputs dy and what the slope follows from, of one shape and type."""

    __slots__ = ()

    def infer(self, dy: TensorLike, x: TensorLike) -> Spec:
        if dy.dtype is not x.dtype:
            raise TypeError(f"expected two tensors of one type, got {dy.dtype.name} and {x.dtype.name}")
        return Spec(self.result_dtype(dy.dtype), shapes.merge(dy.dims, x.dims))

    def result_dtype(self, dtype: DType) -> DType:
        """The output's type. Raises TypeError for a type that the operation does not take."""
        return floating(self.type, dtype)


class Passed(Backward):
    """Base of gradients that pieces of straight lines let through: linear in dy and flat in x."""

    __slots__ = ()

    def result_dtype(self, dtype: DType) -> DType:
        return real(self.type, dtype)

    def grad(self, operation: Operation, ddy: Tensor) -> list[Tensor]:
        x = operation.inputs[1]
        return [self(ddy, x), zeros_like(x)]


@op
class Relu(Unary):
    """max(x, 0)."""

    def result_dtype(self, dtype: DType) -> DType:
        return real("Relu", dtype)

    def compute(self, x: Any) -> Any:
        return np.maximum(x, x.dtype.type(0))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [ReluGrad()(dy, operation.outputs[0])]


@op
class ReluGrad(Passed):
    """dy where x > 0, else 0. Relu's output tells that as well as its input does."""

    def compute(self, dy: Any, x: Any) -> Any:
        return keep(x > x.dtype.type(0), dy)


@op
class Relu6(Unary):
    """min(max(x, 0), 6)."""

    def result_dtype(self, dtype: DType) -> DType:
        return real("Relu6", dtype)

    def compute(self, x: Any) -> Any:
        return np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(6))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Relu6Grad()(dy, operation.outputs[0])]


@op
class Relu6Grad(Passed):
    """dy where 0 < x < 6, else 0."""

    def compute(self, dy: Any, x: Any) -> Any:
        return keep((x > x.dtype.type(0)) & (x < x.dtype.type(6)), dy)


@op
class LeakyRelu(Activation):
    """x where it is positive, else alpha * x."""

    alpha: float = 0.2

    def compute(self, x: Any) -> Any:
        return select(x > x.dtype.type(0), x, x * x.dtype.type(self.alpha))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [LeakyReluGrad(self.alpha)(dy, operation.inputs[0])]


@op
class LeakyReluGrad(Passed):
    """dy where x > 0, else alpha * dy."""

    alpha: float = 0.2

    def compute(self, dy: Any, x: Any) -> Any:
        return select(x > x.dtype.type(0), dy, dy * dy.dtype.type(self.alpha))


@op
class Elu(Activation):
    """x where it is positive, else exp(x) - 1."""

    def compute(self, x: Any) -> Any:
        zero = x.dtype.type(0)
        return select(x > zero, x, np.expm1(np.minimum(x, zero)))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [EluGrad()(dy, operation.outputs[0])]


@op
class EluGrad(Backward):
    """Inputs dy and Elu's output y: dy where y is not negative, else dy * (y + 1)."""

    def compute(self, dy: Any, y: Any) -> Any:
        return dy * (np.minimum(y, y.dtype.type(0)) + y.dtype.type(1))

    def grad(self, operation: Operation, ddy: Tensor) -> list[Tensor]:
        dy, y = operation.inputs
        return [self(ddy, y), where_negative(Mul()(ddy, dy), y)]


#: The fixed point of mean 0 and variance 1 of self-normalizing networks.
_SELU_SCALE, _SELU_SCALE_ALPHA = 1.0507009873554804934, 1.7580993408473768600


@op
class Selu(Activation):
    """scale * x where x is positive, else scale * alpha * (exp(x) - 1)."""

    def compute(self, x: Any) -> Any:
        kind = x.dtype.type
        negative = kind(_SELU_SCALE_ALPHA) * np.expm1(np.minimum(x, kind(0)))
        return select(x > kind(0), kind(_SELU_SCALE) * x, negative)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [SeluGrad()(dy, operation.outputs[0])]


@op
class SeluGrad(Backward):
    """Inputs dy and Selu's output y: dy * scale where y is not negative, else dy * (y + scale * alpha)."""

    def compute(self, dy: Any, y: Any) -> Any:
        kind = y.dtype.type
        return select(y < kind(0), dy * (y + kind(_SELU_SCALE_ALPHA)), dy * kind(_SELU_SCALE))

    def grad(self, operation: Operation, ddy: Tensor) -> list[Tensor]:
        dy, y = operation.inputs
        return [self(ddy, y), where_negative(Mul()(ddy, dy), y)]


def where_negative(values: Tensor, y: Tensor) -> Tensor:
    """`values` where y < 0, else 0."""
    return ReluGrad()(values, Neg()(y))


@op
class Softplus(Activation):
    """log(exp(x) + 1), without overflow."""

    def compute(self, x: Any) -> Any:
        return np.maximum(x, x.dtype.type(0)) + np.log1p(np.exp(-np.abs(x)))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Mul()(dy, Sigmoid()(operation.inputs[0]))]


@op
class Softsign(Activation):
    """x / (1 + |x|)."""

    def compute(self, x: Any) -> Any:
        return x / (np.abs(x) + x.dtype.type(1))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [SoftsignGrad()(dy, operation.inputs[0])]


@op
class SoftsignGrad(Backward):
    """dy / (1 + |x|)**2."""

    def compute(self, dy: Any, x: Any) -> Any:
        return dy / np.square(np.abs(x) + x.dtype.type(1))

    def grad(self, operation: Operation, ddy: Tensor) -> list[Tensor]:
        dy, x = operation.inputs
        slope = Sub()(Softsign()(x), Sign()(x))
        two = number(2, x)
        return [self(ddy, x), Mul()(Mul()(two, slope), self(Mul()(ddy, dy), x))]


# the public functions


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Tensor:
    """A vector `bias` added along the channels of `value`: the last dimension, or the second for 'NC…' formats.

    Source: `tf.nn.bias_add`. Raises ValueError for shapes that do not fit or another format, TypeError for two types.
    """
    form = data_format or "NHWC"
    if not form.startswith("N") or not (form.startswith("NC") or form.endswith("C")):
        raise ValueError(f"data_format must be of the form `N...C` or `NC...`, got {data_format!r}")
    kind = "NCHW" if form.startswith("NC") else "NHWC"
    x = convert_to_tensor(value)
    return BiasAdd(kind)(x, convert_to_tensor(bias, x.dtype), name=name)


def relu(features: Any, name: str | None = None) -> Tensor:
    """max(features, 0). Source: `tf.nn.relu`."""
    return Relu()(convert_to_tensor(features), name=name)


def relu6(features: Any, name: str | None = None) -> Tensor:
    """min(max(features, 0), 6). Source: `tf.nn.relu6`."""
    return Relu6()(convert_to_tensor(features), name=name)


def crelu(features: Any, name: str | None = None, axis: int = -1) -> Tensor:
    """The positive part and the negated negative part side by side along `axis`. Source: `tf.nn.crelu`."""
    x = convert_to_tensor(features)
    with graph_of((x,)).name_scope(name or "CRelu") as scope:
        return Relu()(concat([x, Neg()(x)], axis), name=scope)


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Tensor:
    """`features` where positive, else alpha * features. Source: `tf.nn.leaky_relu`."""
    return LeakyRelu(float(alpha))(convert_to_tensor(features), name=name)


def elu(features: Any, name: str | None = None) -> Tensor:
    """`features` where positive, else exp(features) - 1. Source: `tf.nn.elu`."""
    return Elu()(convert_to_tensor(features), name=name)


def selu(features: Any, name: str | None = None) -> Tensor:
    """The scaled exponential linear unit of self-normalizing networks. Source: `tf.nn.selu`."""
    return Selu()(convert_to_tensor(features), name=name)


def softplus(features: Any, name: str | None = None) -> Tensor:
    """log(exp(features) + 1). Source: `tf.nn.softplus`."""
    return Softplus()(convert_to_tensor(features), name=name)


def softsign(features: Any, name: str | None = None) -> Tensor:
    """features / (abs(features) + 1). Source: `tf.nn.softsign`."""
    return Softsign()(convert_to_tensor(features), name=name)


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """matmul(x, weights) + biases. Source: `tf.nn.xw_plus_b`."""
    inputs = convert_to_tensor(x)
    with graph_of((inputs, weights)).name_scope(name or "xw_plus_b") as scope:
        return bias_add(matmul(inputs, weights), biases, name=scope)


def relu_layer(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """relu(matmul(x, weights) + biases). Source: `tf.nn.relu_layer`."""
    inputs = convert_to_tensor(x)
    with graph_of((inputs, weights)).name_scope(name or "relu_layer") as scope:
        return relu(bias_add(matmul(inputs, weights), biases), name=scope)
