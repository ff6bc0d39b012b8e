"""`wf.math`: functions of numbers under the names that later programs of TensorFlow 1 have for them."""

from ..graph.ops.activations import softplus as softplus, softsign as softsign
from ..graph.ops.arithmetic import (
    add as add,
    add_n as add_n,
    conj as conj,
    div_no_nan as div_no_nan,
    divide as divide,
    floordiv as floordiv,
    floormod as floormod,
    mod as mod,
    multiply as multiply,
    negative as negative,
    subtract as subtract,
    truediv as truediv,
)
from ..graph.ops.broadcasting import reduce_sum as reduce_sum
from ..graph.ops.compare import (
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
from ..graph.ops.complex import (
    angle as angle,
    imag as imag,
    real as real,
)
from ..graph.ops.math import (
    abs as abs,
    ceil as ceil,
    floor as floor,
    maximum as maximum,
    minimum as minimum,
    pow as pow,
    rint as rint,
    round as round,
    sign as sign,
    squared_difference as squared_difference,
)
from ..graph.ops.normalization import l2_normalize as l2_normalize, zero_fraction as zero_fraction
from ..graph.ops.rearranging import scalar_mul as scalar_mul
from ..graph.ops.reduction import (
    argmax as argmax,
    argmin as argmin,
    reduce_all as reduce_all,
    reduce_any as reduce_any,
    reduce_max as reduce_max,
    reduce_mean as reduce_mean,
    reduce_min as reduce_min,
    reduce_prod as reduce_prod,
)
from ..graph.ops.reordering import invert_permutation as invert_permutation
from ..graph.ops.scan import cumprod as cumprod, cumsum as cumsum
from ..graph.ops.segment_extremes import (
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
from ..graph.ops.segments import segment_sum as segment_sum, unsorted_segment_sum as unsorted_segment_sum
from ..graph.ops.selecting import in_top_k as in_top_k, top_k as top_k
from ..graph.ops.softmax import log_softmax as log_softmax, softmax as softmax
from ..graph.ops.special import (
    erf as erf,
    erfc as erfc,
    sigmoid as sigmoid,
)
from ..graph.ops.statistics import (
    count_nonzero as count_nonzero,
    reduce_logsumexp as reduce_logsumexp,
    reduce_std as reduce_std,
    reduce_variance as reduce_variance,
)
from ..graph.ops.transcendental import (
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
