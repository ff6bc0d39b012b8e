"""Rows of what works element by element: arithmetic, comparisons, mathematical functions, activations, casts."""

from __future__ import annotations

from ..ops import (
    activations,
    arithmetic,
    cast,
    compare,
    complex,
    fills,
    from_value,
    identity,
    math,
    selecting,
    special,
    transcendental as functions,
)
from ..ops.windows import channels_first
from .rows import Count, InputType, InputTypes, Of, Only, OutputType, Row

_T = {"T": InputType()}
_COMPLEX = {"T": InputType(), "Tout": OutputType()}

_PLAIN = (
    arithmetic.AddV2, arithmetic.Sub, arithmetic.Mul, arithmetic.Neg, arithmetic.Conj, arithmetic.RealDiv,
    arithmetic.DivNoNan, arithmetic.FloorDiv, arithmetic.FloorMod,
    compare.Less, compare.LessEqual, compare.Greater, compare.GreaterEqual, compare.BitwiseAnd, compare.BitwiseOr,
    compare.BitwiseXor, compare.Invert, compare.IsNan, compare.IsInf, compare.IsFinite,
    functions.Square, functions.Sqrt, functions.Reciprocal, functions.Rsqrt, functions.Exp, functions.Expm1,
    functions.Log, functions.Log1p, functions.Sin, functions.Cos, functions.Tan, functions.Asin, functions.Acos,
    functions.Atan, functions.Sinh, functions.Cosh, functions.Tanh, functions.Asinh, functions.Acosh, functions.Atanh,
    functions.Atan2, functions.TanhGrad, special.SigmoidGrad,
    from_value.SqrtGrad, from_value.RsqrtGrad, from_value.ReciprocalGrad,
    math.Pow, math.SquaredDifference, math.Maximum, math.Minimum, math.Abs, math.Sign, math.Floor, math.Ceil,
    math.Round, math.Rint, special.Sigmoid, special.Erf, special.Erfc,
    activations.Relu, activations.ReluGrad, activations.Relu6, activations.Relu6Grad, activations.Elu,
    activations.EluGrad, activations.Selu, activations.SeluGrad, activations.Softplus, activations.Softsign,
    activations.SoftsignGrad,
    fills.ZerosLike, fills.OnesLike, identity.Identity, identity.StopGradient,
)  # fmt: skip


def _bias(definition: activations.BiasAdd | activations.BiasAddGrad) -> None:
    channels_first(definition.data_format)


ROWS = [
    *(Row(definition, _T) for definition in _PLAIN),
    Row(arithmetic.AddV2, _T, type="Add"),
    Row(functions.Reciprocal, _T, type="Inv"),
    Row(identity.Identity, _T, type="Snapshot"),
    Row(identity.PreventGradient, {"T": InputType(), "message": Of("message")}),
    Row(identity.IdentityN, {"T": InputTypes()}),
    Row(arithmetic.AddN, {"N": Count(), "T": InputType()}),
    Row(compare.Equal, {"T": InputType(), "incompatible_shape_error": Only(True)}),
    Row(compare.NotEqual, {"T": InputType(), "incompatible_shape_error": Only(True)}),
    Row(compare.LogicalAnd),
    Row(compare.LogicalOr),
    Row(compare.LogicalNot),
    Row(compare.CheckNumerics, {"T": InputType(), "message": Of("message")}),
    Row(compare.CheckNumerics, {"T": InputType(), "message": Of("message")}, type="CheckNumericsV2"),
    Row(complex.Complex, _COMPLEX),
    Row(complex.Real, _COMPLEX),
    Row(complex.Imag, _COMPLEX),
    Row(complex.ComplexAbs, _COMPLEX),
    Row(complex.Angle, _COMPLEX),
    Row(cast.Cast, {"SrcT": InputType(), "DstT": Of("dtype"), "Truncate": Only(False)}),
    Row(selecting.Select, {"T": InputType(1)}),
    Row(selecting.SelectV2, {"T": InputType(1)}),
    Row(activations.LeakyRelu, {"T": InputType(), "alpha": Of("alpha")}),
    Row(activations.LeakyReluGrad, {"T": InputType(), "alpha": Of("alpha")}),
    Row(activations.BiasAdd, {"T": InputType(), "data_format": Of("data_format")}, check=_bias),
    Row(activations.BiasAddGrad, {"T": InputType(), "data_format": Of("data_format")}, check=_bias),
    Row(activations.BiasAdd, _T, type="BiasAddV1"),
]
