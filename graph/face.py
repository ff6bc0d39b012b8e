"""What `import weft as wf` offers of this room: names only. Each is defined in the file that its import names."""

from . import dtypes as dtypes, errors as errors, queue as queue, sparse as sparse
from .accumulators import (
    ConditionalAccumulator as ConditionalAccumulator,
    ConditionalAccumulatorBase as ConditionalAccumulatorBase,
    SparseConditionalAccumulator as SparseConditionalAccumulator,
)
from .collections import GraphKeys as GraphKeys
from .context import get_default_session as get_default_session, reset_default_graph as reset_default_graph
from .defaults import (
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
from .devices import DeviceSpec as DeviceSpec
from .dtypes import (
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
from .eager import enable_eager_execution as enable_eager_execution, executing_eagerly as executing_eagerly
from .errors import OpError as OpError
from .graphdef import exporting as _exporting, graph_util as graph_util
from .graphdef.importing import import_graph_def as import_graph_def
from .indexed_slices import IndexedSlices as IndexedSlices
from .ir import Graph as Graph, Operation as Operation, Tensor as Tensor, get_default_graph as get_default_graph
from .ops.arithmetic import (
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
from .ops.array import concat as concat, meshgrid as meshgrid, split as split, tile as tile
from .ops.assertions import (
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
from .ops.broadcasting import broadcast_to as broadcast_to, reduce_sum as reduce_sum
from .ops.cast import (
    cast as cast,
    to_bfloat16 as to_bfloat16,
    to_complex64 as to_complex64,
    to_complex128 as to_complex128,
    to_double as to_double,
    to_float as to_float,
    to_int32 as to_int32,
    to_int64 as to_int64,
)
from .ops.compare import (
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
from .ops.complex import angle as angle, complex as complex, imag as imag, real as real
from .ops.conditions import case as case, cond as cond, switch_case as switch_case
from .ops.constant import constant as constant, constant_value as _get_static_value
from .ops.control import group as group, tuple as tuple, with_dependencies as with_dependencies
from .ops.convert import convert_to_tensor as convert_to_tensor, stack as stack, unstack as unstack
from .ops.diagonal import (
    diag as diag,
    diag_part as diag_part,
    eye as eye,
    matrix_diag as matrix_diag,
    matrix_diag_part as matrix_diag_part,
    matrix_set_diag as matrix_set_diag,
    trace as trace,
)
from .ops.einsum import einsum as einsum
from .ops.fills import (
    fill as fill,
    ones as ones,
    ones_like as ones_like,
    zeros as zeros,
    zeros_like as zeros_like,
)
from .ops.functional import foldl as foldl, foldr as foldr, map_fn as map_fn, scan as scan
from .ops.gathering import gather as gather, gather_nd as gather_nd, one_hot as one_hot, scatter_nd as scatter_nd
from .ops.getitem import newaxis as newaxis
from .ops.identity import (
    identity as identity,
    identity_n as identity_n,
    no_op as no_op,
    prevent_gradient as prevent_gradient,
    stop_gradient as stop_gradient,
)
from .ops.linalg import (
    matmul as matmul,
    matrix_determinant as matrix_determinant,
    matrix_inverse as matrix_inverse,
    tensordot as tensordot,
)
from .ops.loops import while_loop as while_loop
from .ops.math import (
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
from .ops.padding import pad as pad
from .ops.partitioning import dynamic_partition as dynamic_partition, dynamic_stitch as dynamic_stitch
from .ops.placeholders import placeholder as placeholder, placeholder_with_default as placeholder_with_default
from .ops.random import (
    multinomial as multinomial,
    random_normal as random_normal,
    random_shuffle as random_shuffle,
    random_uniform as random_uniform,
    truncated_normal as truncated_normal,
)
from .ops.ranges import (
    lin_space as lin_space,
    linspace as linspace,
    range_ as _range,
    sequence_mask as sequence_mask,
)
from .ops.rearranging import (
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
from .ops.reduction import (
    argmax as argmax,
    argmin as argmin,
    reduce_all as reduce_all,
    reduce_any as reduce_any,
    reduce_max as reduce_max,
    reduce_mean as reduce_mean,
    reduce_min as reduce_min,
    reduce_prod as reduce_prod,
)
from .ops.reordering import (
    depth_to_space as depth_to_space,
    invert_permutation as invert_permutation,
    reverse as reverse,
    reverse_sequence as reverse_sequence,
    roll as roll,
    space_to_depth as space_to_depth,
)
from .ops.report import Assert as Assert, Print as Print
from .ops.reshaping import (
    expand_dims as expand_dims,
    reshape as reshape,
    squeeze as squeeze,
    transpose as transpose,
)
from .ops.scan import cumprod as cumprod, cumsum as cumsum
from .ops.segment_extremes import (
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
from .ops.segments import (
    segment_sum as segment_sum,
    unique as unique,
    unique_with_counts as unique_with_counts,
    unsorted_segment_sum as unsorted_segment_sum,
)
from .ops.selecting import boolean_mask as boolean_mask, where as where, where_v2 as where_v2
from .ops.sizes import rank as rank, shape as shape, size as size
from .ops.slicing import slice_ as _slice, strided_slice as strided_slice
from .ops.sparse import (
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
from .ops.special import erf as erf, erfc as erfc, sigmoid as sigmoid
from .ops.statistics import (
    count_nonzero as count_nonzero,
    norm as norm,
    reduce_logsumexp as reduce_logsumexp,
    reduce_std as reduce_std,
    reduce_variance as reduce_variance,
)
from .ops.tensor_array import TensorArray as TensorArray
from .ops.transcendental import (
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
from .queues import (
    FIFOQueue as FIFOQueue,
    PaddingFIFOQueue as PaddingFIFOQueue,
    PriorityQueue as PriorityQueue,
    QueueBase as QueueBase,
    RandomShuffleQueue as RandomShuffleQueue,
)
from .random_seed import get_seed as get_seed, set_random_seed as set_random_seed
from .shapes import (
    Dimension as Dimension,
    TensorShape as TensorShape,
    broadcast_static_shape as broadcast_static_shape,
    dimension_at_index as dimension_at_index,
    dimension_value as dimension_value,
)
from .sparse_tensor import SparseTensor as SparseTensor, SparseTensorValue as SparseTensorValue
from .variable import Variable as Variable
from .variable_functions import (
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
from .variable_kinds import (
    VariableAggregation as VariableAggregation,
    VariableSynchronization as VariableSynchronization,
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
