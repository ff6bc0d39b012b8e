"""Rows of what has effects or no inputs: constants, placeholders, variables, optimizers, random numbers, reports."""

from __future__ import annotations

from inspect import signature

from ..opdef import OPS, OpDef
from ..ops import (
    candidates,
    constant,
    identity,
    placeholders,
    random,
    report,
    summaries,
    training,
    training_adadelta,
    training_adagrad_da,
    training_adaptive,
    training_ftrl,
    training_proximal,
    training_sparse,
    variable_rows,
    variable_slices,
    variables,
)
from .attributes import definition_fields
from .rows import Attr, Count, InputType, InputTypes, Of, Only, Row, SharedName

_SEEDS = {"seed": Of("seed"), "seed2": Of("seed2")}
_DRAWN = {"T": InputType(), "dtype": Of("dtype"), **_SEEDS}
_SAMPLED = {what: Of(what) for what in ("num_true", "num_sampled", "unique", "range_max")} | _SEEDS
_VALUE = {"dtype": Of("dtype")}
_ROWS = {"dtype": Of("dtype"), "Tindices": InputType(1)}
_SLICES = {"T": Of("dtype"), "Tindices": InputType(1), "use_locking": Attr(), "bad_indices_policy": Attr()}

_SCATTERS = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Update")

_OPTIMIZERS = (
    training.ResourceApplyGradientDescent, training.ResourceApplyMomentum, training.ResourceApplyAdam,
    training_adaptive.ResourceApplyAdagrad, training_adaptive.ResourceApplyRMSProp,
    training_adaptive.ResourceApplyCenteredRMSProp, training_sparse.ResourceSparseApplyMomentum,
    training_sparse.ResourceSparseApplyAdagrad, training_sparse.ResourceSparseApplyRMSProp,
    training_sparse.ResourceSparseApplyCenteredRMSProp, training_adadelta.ResourceApplyAdadelta,
    training_adadelta.ResourceSparseApplyAdadelta, training_adagrad_da.ResourceApplyAdagradDA,
    training_adagrad_da.ResourceSparseApplyAdagradDA, training_ftrl.ResourceApplyFtrl,
    training_ftrl.ResourceSparseApplyFtrl, training_ftrl.ResourceApplyFtrlV2, training_ftrl.ResourceSparseApplyFtrlV2,
    training_proximal.ResourceApplyProximalGradientDescent, training_proximal.ResourceSparseApplyProximalGradientDescent,
    training_proximal.ResourceApplyProximalAdagrad, training_proximal.ResourceSparseApplyProximalAdagrad,
)  # fmt: skip


def _constant(definition: constant.Const) -> None:
    array = definition.value.array
    if array.dtype != definition.dtype.np:
        raise ValueError(f"the value is {array.dtype}, the type {definition.dtype.name}")


def _optimizer(definition: type[OpDef]) -> Row:
    """The arguments are TF's, in TF's order. Whether an update locks the variable has no meaning here: it is one step."""
    arguments = list(signature(definition.infer).parameters)[1:]
    attrs: dict[str, Attr] = {"T": Of("dtype"), "use_locking": Attr()}
    if "indices" in arguments:
        attrs["Tindices"] = InputType(arguments.index("indices"))
    if "use_nesterov" in definition_fields(definition):
        attrs["use_nesterov"] = Of("use_nesterov")
    attrs["multiply_linear_by_lr"], attrs["update_slots"] = Only(False), Only(True)
    return Row(definition, attrs)


ROWS = [
    Row(constant.Const, {"dtype": Of("dtype"), "value": Of("value")}, check=_constant),
    Row(placeholders.Placeholder, {"dtype": Of("dtype"), "shape": Of("shape")}),
    Row(placeholders.Placeholder, {"dtype": Of("dtype"), "shape": Of("shape")}, type="PlaceholderV2"),
    Row(placeholders.PlaceholderWithDefault, {"dtype": InputType(), "shape": Of("shape")}),
    Row(identity.NoOp),
    Row(report.PrintOp, {
        "T": InputType(), "U": InputTypes(1), "message": Of("message"), "first_n": Of("first_n"), "summarize": Of("summarize"),
    }),
    Row(report.AssertOp, {"T": InputTypes(1), "summarize": Of("summarize")}),
    # summaries
    Row(summaries.ScalarSummary, {"T": InputType(1)}),
    Row(summaries.HistogramSummary, {"T": InputType(1)}),
    Row(summaries.ImageSummary, {"T": InputType(1), "max_images": Of("max_images"), "bad_color": Attr()}),
    Row(summaries.AudioSummaryV2, {"max_outputs": Of("max_outputs")}),
    Row(summaries.TensorSummaryV2, {"T": InputType(1)}),
    Row(summaries.MergeSummary, {"N": Count()}),
    # random numbers
    Row(random.RandomUniform, _DRAWN),
    Row(random.RandomStandardNormal, _DRAWN),
    Row(random.TruncatedNormal, _DRAWN),
    Row(random.RandomUniformInt, {"T": InputType(), "Tout": InputType(1), **_SEEDS}),
    Row(random.RandomShuffle, {"T": InputType(), **_SEEDS}),
    Row(random.Multinomial, {"T": InputType(), "output_dtype": Of("output_dtype"), **_SEEDS}),
    Row(candidates.LogUniformCandidateSampler, _SAMPLED),
    Row(candidates.UniformCandidateSampler, _SAMPLED),
    # variables
    Row(variables.VarHandleOp, {
        "dtype": Of("dtype"), "shape": Of("shape"), "shared_name": SharedName(),
        "container": Of("container"), "debug_name": Attr(), "allowed_devices": Attr(),
    }),
    Row(variables.ReadVariableOp, _VALUE),
    Row(variables.VarIsInitializedOp),
    Row(variables.VariableShape, {"out_type": Of("out_type")}),
    Row(variables.AssignVariableOp, {**_VALUE, "validate_shape": Attr()}),
    Row(variables.AssignAddVariableOp, _VALUE),
    Row(variables.AssignSubVariableOp, _VALUE),
    Row(variable_rows.ResourceGather, {**_ROWS, "batch_dims": Only(0), "validate_indices": Attr()}),
    *(Row(OPS[f"ResourceScatter{what}"], _ROWS) for what in _SCATTERS),
    *(Row(OPS[f"ResourceScatterNd{what}"], _SLICES) for what in ("Add", "Sub", "Min", "Max", "Update")),
    Row(variable_slices.ResourceStridedSliceAssign, {
        "T": Of("dtype"), "Index": InputType(1),
        **{f"{what}_mask": Of(f"{what}_mask") for what in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")},
    }),
    Row(variable_slices.ResourceCountUpTo, {"T": Of("dtype"), "limit": Of("limit")}),
    *(_optimizer(definition) for definition in _OPTIMIZERS),
]  # fmt: skip
