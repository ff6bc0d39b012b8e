"""`wf.linalg`: functions of matrices under the names that later programs of TensorFlow 1 have for them."""

from ..graph.ops.diagonal import (
    diag as tensor_diag,
    diag_part as tensor_diag_part,
    eye as eye,
    matrix_diag as diag,
    matrix_diag_part as diag_part,
    matrix_set_diag as set_diag,
    trace as trace,
)
from ..graph.ops.einsum import einsum as einsum
from ..graph.ops.linalg import (
    matmul as matmul,
    matrix_determinant as det,
    matrix_inverse as inv,
    tensordot as tensordot,
)
from ..graph.ops.normalization import l2_normalize as l2_normalize
from ..graph.ops.rearranging import matrix_band_part as band_part
from ..graph.ops.statistics import norm as norm

__all__ = [
    "band_part", "det", "diag", "diag_part", "einsum", "eye", "inv", "l2_normalize", "matmul", "norm",
    "set_diag", "tensor_diag", "tensor_diag_part", "tensordot", "trace",
]  # fmt: skip
