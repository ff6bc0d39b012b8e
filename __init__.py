"""weft: TensorFlow-1-style symbolic graphs on one process or a Ray cluster, with the same bits. `import weft as wf`.

This file is the public face: names only. Each is defined in the file that its import names.
"""

import importlib as _importlib
import typing as _typing

from . import nn as nn
from .autodiff.aggregate import AggregationMethod as AggregationMethod
from .autodiff.custom import custom_gradient as custom_gradient, grad_pass_through as grad_pass_through
from .autodiff.explain import explain_gradient as explain_gradient
from .autodiff.gradients import UnconnectedGradients as UnconnectedGradients, gradients as gradients
from .autodiff.recompute import recompute_grad as recompute_grad
from .autodiff.registry import (
    NoGradient as NoGradient,
    NotDifferentiable as NotDifferentiable,
    RegisterGradient as RegisterGradient,
)
from .autodiff.repeat import recompute as recompute
from .autodiff.second_order import (
    hessian_vector_product as hessian_vector_product,
    hessians as hessians,
    jacobian as jacobian,
    per_example_gradients as per_example_gradients,
)
from .compat import app as app, flags as flags, logging as logging
from .compat.behavior import (
    disable_eager_execution as disable_eager_execution,
    disable_tensor_equality as disable_tensor_equality,
    disable_v2_behavior as disable_v2_behavior,
    disable_v2_tensorshape as disable_v2_tensorshape,
    enable_resource_variables as enable_resource_variables,
)
from .graph import dtypes as dtypes, errors as errors, queue as queue, sparse as sparse
from .graph.accumulators import (
    ConditionalAccumulator as ConditionalAccumulator,
    ConditionalAccumulatorBase as ConditionalAccumulatorBase,
    SparseConditionalAccumulator as SparseConditionalAccumulator,
)
from .graph.collections import GraphKeys as GraphKeys
from .graph.context import get_default_session as get_default_session, reset_default_graph as reset_default_graph
from .graph.defaults import (
    add_to_collection as add_to_collection,
    add_to_collections as add_to_collections,
    colocate_with as colocate_with,
    container as container,
    control_dependencies as control_dependencies,
    device as device,
    get_collection as get_collection,
    get_collection_ref as get_collection_ref,
    init_scope as init_scope,
    is_tensor as is_tensor,
    name_scope as name_scope,
)
from .graph.devices import DeviceSpec as DeviceSpec
from .graph.dtypes import (
    DType as DType,
    as_dtype as as_dtype,
    bfloat16 as bfloat16,
    boolean as _bool,
    complex64 as complex64,
    complex128 as complex128,
    double as double,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    half as half,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    resource as resource,
    string as string,
    uint8 as uint8,
    uint16 as uint16,
    uint32 as uint32,
    uint64 as uint64,
    variant as variant,
)
from .graph.eager import enable_eager_execution as enable_eager_execution, executing_eagerly as executing_eagerly
from .graph.errors import OpError as OpError
from .graph.graphdef import exporting as _exporting, graph_util as graph_util
from .graph.graphdef.importing import import_graph_def as import_graph_def
from .graph.graphdef.meta_protos import meta_protos as _meta_protos
from .graph.graphdef.protos import protos as _protos
from .graph.indexed_slices import IndexedSlices as IndexedSlices
from .graph.ir import Graph as Graph, Operation as Operation, Tensor as Tensor, get_default_graph as get_default_graph
from .graph.ops.arithmetic import (
    add as add,
    add_n as add_n,
    conj as conj,
    div as div,
    div_no_nan as div_no_nan,
    divide as divide,
    floordiv as floordiv,
    floormod as floormod,
    mod as mod,
    multiply as multiply,
    negative as negative,
    realdiv as realdiv,
    subtract as subtract,
    truediv as truediv,
)
from .graph.ops.array import concat as concat, meshgrid as meshgrid, split as split, tile as tile
from .graph.ops.assertions import (
    assert_equal as assert_equal,
    assert_greater as assert_greater,
    assert_greater_equal as assert_greater_equal,
    assert_less as assert_less,
    assert_less_equal as assert_less_equal,
    assert_near as assert_near,
    assert_negative as assert_negative,
    assert_non_negative as assert_non_negative,
    assert_non_positive as assert_non_positive,
    assert_none_equal as assert_none_equal,
    assert_positive as assert_positive,
    assert_rank as assert_rank,
    assert_rank_at_least as assert_rank_at_least,
    assert_scalar as assert_scalar,
    assert_type as assert_type,
)
from .graph.ops.broadcasting import broadcast_to as broadcast_to, reduce_sum as reduce_sum
from .graph.ops.cast import (
    cast as cast,
    to_bfloat16 as to_bfloat16,
    to_complex64 as to_complex64,
    to_complex128 as to_complex128,
    to_double as to_double,
    to_float as to_float,
    to_int32 as to_int32,
    to_int64 as to_int64,
)
from .graph.ops.compare import (
    check_numerics as check_numerics,
    equal as equal,
    greater as greater,
    greater_equal as greater_equal,
    is_finite as is_finite,
    is_inf as is_inf,
    is_nan as is_nan,
    less as less,
    less_equal as less_equal,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    not_equal as not_equal,
)
from .graph.ops.complex import angle as angle, complex as complex, imag as imag, real as real
from .graph.ops.conditions import case as case, cond as cond, switch_case as switch_case
from .graph.ops.constant import constant as constant, constant_value as _get_static_value
from .graph.ops.control import group as group, tuple as tuple, with_dependencies as with_dependencies
from .graph.ops.convert import convert_to_tensor as convert_to_tensor, stack as stack, unstack as unstack
from .graph.ops.diagonal import (
    diag as diag,
    diag_part as diag_part,
    eye as eye,
    matrix_diag as matrix_diag,
    matrix_diag_part as matrix_diag_part,
    matrix_set_diag as matrix_set_diag,
    trace as trace,
)
from .graph.ops.einsum import einsum as einsum
from .graph.ops.fills import (
    fill as fill,
    ones as ones,
    ones_like as ones_like,
    zeros as zeros,
    zeros_like as zeros_like,
)
from .graph.ops.functional import foldl as foldl, foldr as foldr, map_fn as map_fn, scan as scan
from .graph.ops.gathering import gather as gather, gather_nd as gather_nd, one_hot as one_hot, scatter_nd as scatter_nd
from .graph.ops.getitem import newaxis as newaxis
from .graph.ops.identity import (
    identity as identity,
    identity_n as identity_n,
    no_op as no_op,
    prevent_gradient as prevent_gradient,
    stop_gradient as stop_gradient,
)
from .graph.ops.linalg import (
    matmul as matmul,
    matrix_determinant as matrix_determinant,
    matrix_inverse as matrix_inverse,
    tensordot as tensordot,
)
from .graph.ops.loops import while_loop as while_loop
from .graph.ops.math import (
    abs as abs,
    ceil as ceil,
    clip_by_value as clip_by_value,
    floor as floor,
    maximum as maximum,
    minimum as minimum,
    pow as pow,
    rint as rint,
    round as round,
    saturate_cast as saturate_cast,
    sign as sign,
    squared_difference as squared_difference,
)
from .graph.ops.padding import pad as pad
from .graph.ops.partitioning import dynamic_partition as dynamic_partition, dynamic_stitch as dynamic_stitch
from .graph.ops.placeholders import placeholder as placeholder, placeholder_with_default as placeholder_with_default
from .graph.ops.random import (
    multinomial as multinomial,
    random_normal as random_normal,
    random_shuffle as random_shuffle,
    random_uniform as random_uniform,
    truncated_normal as truncated_normal,
)
from .graph.ops.ranges import (
    lin_space as lin_space,
    linspace as linspace,
    range_ as _range,
    sequence_mask as sequence_mask,
)
from .graph.ops.rearranging import (
    argsort as argsort,
    batch_to_space as batch_to_space,
    batch_to_space_nd as batch_to_space_nd,
    ensure_shape as ensure_shape,
    extract_image_patches as extract_image_patches,
    matrix_band_part as matrix_band_part,
    scalar_mul as scalar_mul,
    sort as sort,
    space_to_batch as space_to_batch,
    space_to_batch_nd as space_to_batch_nd,
)
from .graph.ops.reduction import (
    argmax as argmax,
    argmin as argmin,
    reduce_all as reduce_all,
    reduce_any as reduce_any,
    reduce_max as reduce_max,
    reduce_mean as reduce_mean,
    reduce_min as reduce_min,
    reduce_prod as reduce_prod,
)
from .graph.ops.reordering import (
    depth_to_space as depth_to_space,
    invert_permutation as invert_permutation,
    reverse as reverse,
    reverse_sequence as reverse_sequence,
    roll as roll,
    space_to_depth as space_to_depth,
)
from .graph.ops.report import Assert as Assert, Print as Print
from .graph.ops.reshaping import (
    expand_dims as expand_dims,
    reshape as reshape,
    squeeze as squeeze,
    transpose as transpose,
)
from .graph.ops.scan import cumprod as cumprod, cumsum as cumsum
from .graph.ops.segment_extremes import (
    segment_max as segment_max,
    segment_mean as segment_mean,
    segment_min as segment_min,
    segment_prod as segment_prod,
    unsorted_segment_max as unsorted_segment_max,
    unsorted_segment_mean as unsorted_segment_mean,
    unsorted_segment_min as unsorted_segment_min,
    unsorted_segment_prod as unsorted_segment_prod,
    unsorted_segment_sqrt_n as unsorted_segment_sqrt_n,
)
from .graph.ops.segments import (
    segment_sum as segment_sum,
    unique as unique,
    unique_with_counts as unique_with_counts,
    unsorted_segment_sum as unsorted_segment_sum,
)
from .graph.ops.selecting import boolean_mask as boolean_mask, where as where, where_v2 as where_v2
from .graph.ops.sizes import rank as rank, shape as shape, size as size
from .graph.ops.slicing import slice_ as _slice, strided_slice as strided_slice
from .graph.ops.sparse import (
    sparse_add as sparse_add,
    sparse_concat as sparse_concat,
    sparse_placeholder as sparse_placeholder,
    sparse_reduce_sum as sparse_reduce_sum,
    sparse_reorder as sparse_reorder,
    sparse_retain as sparse_retain,
    sparse_tensor_dense_matmul as sparse_tensor_dense_matmul,
    sparse_tensor_to_dense as sparse_tensor_to_dense,
    sparse_to_dense as sparse_to_dense,
    sparse_transpose as sparse_transpose,
)
from .graph.ops.special import erf as erf, erfc as erfc, sigmoid as sigmoid
from .graph.ops.statistics import (
    count_nonzero as count_nonzero,
    norm as norm,
    reduce_logsumexp as reduce_logsumexp,
    reduce_std as reduce_std,
    reduce_variance as reduce_variance,
)
from .graph.ops.tensor_array import TensorArray as TensorArray
from .graph.ops.transcendental import (
    acos as acos,
    acosh as acosh,
    asin as asin,
    asinh as asinh,
    atan as atan,
    atan2 as atan2,
    atanh as atanh,
    cos as cos,
    cosh as cosh,
    exp as exp,
    expm1 as expm1,
    log as log,
    log1p as log1p,
    reciprocal as reciprocal,
    rsqrt as rsqrt,
    sin as sin,
    sinh as sinh,
    sqrt as sqrt,
    square as square,
    tan as tan,
    tanh as tanh,
)
from .graph.queues import (
    FIFOQueue as FIFOQueue,
    PaddingFIFOQueue as PaddingFIFOQueue,
    PriorityQueue as PriorityQueue,
    QueueBase as QueueBase,
    RandomShuffleQueue as RandomShuffleQueue,
)
from .graph.random_seed import get_seed as get_seed, set_random_seed as set_random_seed
from .graph.shapes import (
    Dimension as Dimension,
    TensorShape as TensorShape,
    broadcast_static_shape as broadcast_static_shape,
    dimension_at_index as dimension_at_index,
    dimension_value as dimension_value,
)
from .graph.sparse_tensor import SparseTensor as SparseTensor, SparseTensorValue as SparseTensorValue
from .graph.variable import Variable as Variable
from .graph.variable_functions import (
    all_variables as all_variables,
    assert_variables_initialized as assert_variables_initialized,
    assign as assign,
    assign_add as assign_add,
    assign_sub as assign_sub,
    count_up_to as count_up_to,
    global_variables as global_variables,
    global_variables_initializer as global_variables_initializer,
    initialize_all_variables as initialize_all_variables,
    initialize_local_variables as initialize_local_variables,
    initialize_variables as initialize_variables,
    is_variable_initialized as is_variable_initialized,
    local_variables as local_variables,
    local_variables_initializer as local_variables_initializer,
    model_variables as model_variables,
    moving_average_variables as moving_average_variables,
    report_uninitialized_variables as report_uninitialized_variables,
    scatter_add as scatter_add,
    scatter_div as scatter_div,
    scatter_max as scatter_max,
    scatter_min as scatter_min,
    scatter_mul as scatter_mul,
    scatter_nd_add as scatter_nd_add,
    scatter_nd_sub as scatter_nd_sub,
    scatter_nd_update as scatter_nd_update,
    scatter_sub as scatter_sub,
    scatter_update as scatter_update,
    trainable_variables as trainable_variables,
    variables_initializer as variables_initializer,
)
from .graph.variable_kinds import (
    VariableAggregation as VariableAggregation,
    VariableSynchronization as VariableSynchronization,
)
from .nn import image as image, initializers as initializers, layers as layers, losses as losses
from .nn.clipping import (
    clip_by_average_norm as clip_by_average_norm,
    clip_by_global_norm as clip_by_global_norm,
    clip_by_norm as clip_by_norm,
    global_norm as global_norm,
)
from .nn.initializer_classes import (
    constant_initializer as constant_initializer,
    glorot_normal_initializer as glorot_normal_initializer,
    glorot_uniform_initializer as glorot_uniform_initializer,
    ones_initializer as ones_initializer,
    orthogonal_initializer as orthogonal_initializer,
    random_normal_initializer as random_normal_initializer,
    random_uniform_initializer as random_uniform_initializer,
    truncated_normal_initializer as truncated_normal_initializer,
    uniform_unit_scaling_initializer as uniform_unit_scaling_initializer,
    variance_scaling_initializer as variance_scaling_initializer,
    zeros_initializer as zeros_initializer,
)
from .nn.template import make_template as make_template
from .nn.variable_scope import (
    AUTO_REUSE as AUTO_REUSE,
    VariableScope as VariableScope,
    get_local_variable as get_local_variable,
    get_variable as get_variable,
    get_variable_scope as get_variable_scope,
    no_regularizer as no_regularizer,
    variable_op_scope as variable_op_scope,
    variable_scope as variable_scope,
)
from .runtime import targets as _targets

if _typing.TYPE_CHECKING:  # `_MODULES` and `_NAMES`, below, for who looks at types
    from . import contrib as contrib, train as train
    from .compat import linalg as linalg, math as math, random as random
    from .contrib import testing as test
    from .runtime.config import (
        CallableOptions as CallableOptions,
        ConfigProto as ConfigProto,
        GPUOptions as GPUOptions,
        GraphOptions as GraphOptions,
        OptimizerOptions as OptimizerOptions,
        RunMetadata as RunMetadata,
        RunOptions as RunOptions,
    )
    from .runtime.fetches import IndexedSlicesValue as IndexedSlicesValue
    from .runtime.interactive import InteractiveSession as InteractiveSession
    from .runtime.measuring.measure_costs import measure_costs as measure_costs
    from .runtime.placing.cost_model import CostModel as CostModel
    from .runtime.races import Race as Race, RaceWarning as RaceWarning, find_races as find_races
    from .runtime.session import Session as Session
    from .train import distribute as distribute, gfile as gfile, summary as summary
    from .train.summaries_before_1_0 import (
        histogram_summary as histogram_summary,
        image_summary as image_summary,
        merge_all_summaries as merge_all_summaries,
        merge_summary as merge_summary,
        scalar_summary as scalar_summary,
    )

# Names that Python has taken in the files that define them, and second names.
arg_max = argmax
arg_min = argmin
bool = _bool
floor_div = floordiv
get_static_value = _get_static_value
range = _range
reverse_v2 = reverse
slice = _slice

__version__ = "0.1.0"

#: Modules that are loaded when they are first used: what trains, the cluster with Ray and Arrow, and what few programs use.
_MODULES = {
    "cluster": "cluster", "contrib": "contrib", "distribute": "train.distribute", "gfile": "train.gfile",
    "linalg": "compat.linalg", "math": "compat.math", "random": "compat.random", "summary": "train.summary",
    "test": "contrib.testing", "train": "train",
}  # fmt: skip
#: So is what runs graphs, and the messages of event files, which need protobuf: names, by the module that has them.
_NAMES = {
    "runtime.config": "CallableOptions ConfigProto GPUOptions GraphOptions OptimizerOptions RunMetadata RunOptions",
    "runtime.placing.cost_model": "CostModel",
    "runtime.fetches": "IndexedSlicesValue",
    "runtime.interactive": "InteractiveSession",
    "runtime.measuring.measure_costs": "measure_costs",
    "runtime.races": "Race RaceWarning find_races",
    "runtime.session": "Session",
    "train.summaries_before_1_0": "histogram_summary image_summary merge_all_summaries merge_summary scalar_summary",
    "train.events.protos": """Event HistogramProto LogMessage SessionLog Summary SummaryDescription SummaryMetadata
        TaggedRunMetadata""",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def _of(module: str) -> _typing.Any:
    return _importlib.import_module(f".{module}", __name__)


_targets.register_server(lambda: _of("cluster.server").Server)
for _scheme in ("weft", "flight", "grpc"):
    _targets.register_engine(
        _scheme,
        lambda *request: _of("cluster.target").engine(*request),
        lambda *which: _of("cluster.target").reset(*which),
        lambda target: _of("cluster.target").recover(target),
        lambda target: _of("cluster.target").finished(target),
    )


def __getattr__(name: str) -> _typing.Any:
    """What is loaded when it is first used: a graph is built without what runs it, and a local session needs no Arrow."""
    if name in _MODULES:
        found = _of(_MODULES[name])
    elif name in _HOMES:
        found = getattr(_of(_HOMES[name]), name)
    elif name in ("GraphDef", "NodeDef", "AttrValue"):
        return getattr(_protos(), name)
    elif name == "MetaGraphDef":
        return _meta_protos().MetaGraphDef
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_HOMES})
